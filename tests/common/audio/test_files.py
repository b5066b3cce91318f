"""Reading recordings: exact samples, and one clear error for each kind of bad file."""

import numpy as np
import pytest
import soundfile

from common.audio.files import fit_length, from_int16, read_audio, read_mono, resample, write_wav
from common.errors import DataError

RATE = 8000


def noise(samples=800, channels=4):
    return np.random.default_rng(0).uniform(-0.5, 0.5, (samples, channels)).astype(np.float32)


def written(path, audio, rate=RATE, subtype="PCM_16"):
    soundfile.write(path, audio, rate, subtype=subtype, format="WAV")
    return path


def test_16_bit_samples_are_divided_by_32768(tmp_path):
    samples = np.array([[-32768, 32767, 1, 0]], np.int16)
    path = written(tmp_path / "a.wav", samples)
    audio = read_audio(path, RATE, 4)
    assert audio.dtype == np.float32
    assert np.array_equal(audio, samples / 32768.0)
    assert np.array_equal(audio, from_int16(samples))


def test_written_audio_is_read_back_and_leaves_no_temporary_file(tmp_path):
    audio = noise()
    write_wav(tmp_path / "a.wav", audio, RATE, "FLOAT")
    assert np.array_equal(read_audio(tmp_path / "a.wav", RATE, 4), audio)
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_another_number_of_channels_is_refused(tmp_path, channels):
    path = written(tmp_path / "a.wav", noise(channels=channels))
    with pytest.raises(
        DataError, match=rf"channels in .*a\.wav\. Expected: 4\. Received: {channels}\. Use"
    ):
        read_audio(path, RATE, 4)


def test_another_sample_rate_is_refused(tmp_path):
    path = written(tmp_path / "a.wav", noise(), rate=44100)
    with pytest.raises(
        DataError, match=r"rate in .*a\.wav\. Expected: 8000 Hz\. Received: 44100 Hz\. Resample"
    ):
        read_audio(path, RATE, 4)


def test_a_recording_without_samples_is_refused(tmp_path):
    path = written(tmp_path / "a.wav", noise(samples=0))
    with pytest.raises(DataError, match=r"Empty recording: .*a\.wav.*Copy or download"):
        read_audio(path, RATE, 4)


@pytest.mark.parametrize("lost", [1, 1000, 6300])
def test_truncated_data_is_refused(tmp_path, lost):
    path = written(tmp_path / "a.wav", noise())
    path.write_bytes(path.read_bytes()[:-lost])
    with pytest.raises(
        DataError, match=rf"Truncated recording: .*a\.wav\. Expected: 6400 .*: {6400 - lost}\."
    ):
        read_audio(path, RATE, 4)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_with_their_place(tmp_path, value):
    audio = noise()
    audio[17, 2] = value
    path = written(tmp_path / "a.wav", audio, subtype="FLOAT")
    with pytest.raises(
        DataError, match=r"not finite in .*a\.wav, sample 17, channel 2\. .*Received: "
    ):
        read_audio(path, RATE, 4)


def test_floats_outside_the_range_are_refused_with_their_peak(tmp_path):
    audio = noise()
    audio[3, 1] = -1.5
    path = written(tmp_path / "a.wav", audio, subtype="FLOAT")
    with pytest.raises(
        DataError, match=r"outside \[-1, 1\] in .*a\.wav, sample 3, channel 1\..*peak 1\.5\. Divide"
    ):
        read_audio(path, RATE, 4)


@pytest.mark.parametrize(
    "content", [b"", b"RIFF", b"not a sound file at all", b"RIFF\0\0\0\0WAVEjunk"]
)
def test_a_file_that_is_no_recording_is_refused(tmp_path, content):
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    with pytest.raises(
        DataError, match=r"Not a readable sound file: .*a\.wav .*Expected: a WAV file"
    ):
        read_audio(path, RATE, 4)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"Cannot read .*a\.wav: No such file.*Check `dataset_dir`"):
        read_audio(tmp_path / "a.wav", RATE, 4)


def test_an_unwritable_folder_is_an_error_with_a_remedy(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"Cannot write .*a\.wav"):
        write_wav(tmp_path / "file" / "a.wav", noise(), RATE)


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_any_number_of_channels_becomes_their_mean(tmp_path, channels):
    audio = noise(channels=channels)
    path = written(tmp_path / "a.wav", audio, subtype="FLOAT")
    mono = read_mono(path, RATE)
    assert mono.dtype == np.float32
    np.testing.assert_allclose(mono, audio.mean(axis=1, keepdims=True), atol=1e-7)


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 32000, 44100, 48000])
def test_a_tone_of_any_rate_keeps_its_frequency_after_resampling(tmp_path, rate):
    tone = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(rate) / rate)
    path = written(tmp_path / "a.wav", tone[:, None], rate)
    mono = read_mono(path, 32000)
    expected = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(32000) / 32000)
    assert mono.shape == (32000, 1)
    np.testing.assert_allclose(
        mono[2000:-2000, 0], expected[2000:-2000], atol=1e-3
    )  # no delay, no gain


def test_tones_above_half_the_new_rate_disappear():
    tone = np.sin(2 * np.pi * 9000 * np.arange(44100) / 44100)[:, None]
    assert np.abs(resample(tone, 44100, 16000)[1000:-1000]).max() < 1e-4


def test_recordings_are_cut_or_filled_with_zeros():
    audio = noise(10, 2)
    assert np.array_equal(fit_length(audio, 4), audio[:4])
    longer = fit_length(audio, 12)
    assert np.array_equal(longer[:10], audio) and not longer[10:].any() and len(longer) == 12


def flac(path, samples=9000):
    soundfile.write(path, noise(samples), RATE, format="FLAC")
    return path


@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_a_flac_file_that_was_cut_off_is_refused(tmp_path, kept):
    path = flac(tmp_path / "a.wav")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    with pytest.raises(DataError, match=r"a\.wav.*Copy or download the recording again"):
        read_audio(path, RATE, 4)


def test_a_header_with_a_length_beyond_memory_is_refused(tmp_path):
    path = flac(tmp_path / "a.wav")
    content = bytearray(path.read_bytes())
    content[21] |= 0x0F  # number of samples, 36 bits
    content[22:26] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    with pytest.raises(
        DataError, match=r"Truncated recording: .*a\.wav\. Expected: 68719476735 samples"
    ):
        read_audio(path)


@pytest.mark.parametrize("rate", [1, 999, 2**31 - 1])
def test_an_impossible_sample_rate_is_refused_before_resampling(tmp_path, rate):
    path = written(tmp_path / "a.wav", noise())
    content = bytearray(path.read_bytes())
    content[24:28] = rate.to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(
        DataError, match=rf"No sample rate of sound in .*a\.wav\. .*Received: {rate} Hz"
    ):
        read_mono(path, 32000)
