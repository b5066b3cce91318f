"""Audio of files and pipes, block by block."""

import io
import logging

import numpy as np
import pytest
import soundfile

from common.audio.files import read_audio, read_mono, resample
from common.audio.stream import FileSource, PcmSource, converted
from common.errors import DataError


def noise(n_samples: int, channels: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.9, 0.9, (n_samples, channels)).astype(np.float32)


class Trickle(io.BytesIO):
    """Gives a few bytes at a time, as a pipe does."""

    def read(self, size: int = -1) -> bytes:
        return super().read(min(size, 7))


@pytest.mark.parametrize(
    ("rate_hz", "wanted_hz"), [(8000, 8000), (44100, 32000), (16000, 48000), (11025, 8000)]
)
def test_a_file_in_blocks_is_the_whole_file_resampled(tmp_path, rate_hz, wanted_hz):
    soundfile.write(tmp_path / "a.wav", noise(13 * rate_hz + 17, 2), rate_hz)
    blocks = list(converted(FileSource.open(tmp_path / "a.wav"), wanted_hz, 2))
    expected = resample(read_audio(tmp_path / "a.wav"), rate_hz, wanted_hz)
    assert len(blocks) > 2
    np.testing.assert_allclose(np.concatenate(blocks), expected, atol=1e-6)


@pytest.mark.parametrize("name", ["a.flac", "a.ogg", "a.mp3", "a.wav"])
def test_any_format_and_number_of_channels_becomes_mono(tmp_path, name):
    soundfile.write(tmp_path / name, 0.2 * noise(24000, 2), 24000)
    source = FileSource.open(tmp_path / name)
    assert source.is_lossy == (name in ("a.ogg", "a.mp3"))
    mono = np.concatenate(list(converted(source, 24000, None)))
    np.testing.assert_allclose(mono, read_mono(tmp_path / name, 24000), atol=1e-6)


def test_only_lossy_files_may_exceed_full_scale_and_are_clipped(tmp_path):
    square = np.sign(np.sin(np.arange(96000) * 0.02)).astype(np.float32)
    soundfile.write(tmp_path / "a.ogg", square, 16000)
    assert np.abs(soundfile.read(tmp_path / "a.ogg")[0]).max() > 1
    assert (
        np.abs(
            np.concatenate(list(converted(FileSource.open(tmp_path / "a.ogg"), 16000, None)))
        ).max()
        == 1
    )
    loud = 0.1 * square
    loud[90000] = 1.5
    soundfile.write(tmp_path / "b.wav", loud, 16000, subtype="FLOAT")
    with pytest.raises(DataError, match=r"outside \[-1, 1\].*sample 90000"):
        list(converted(FileSource.open(tmp_path / "b.wav"), 16000, None))


def test_other_files_than_recordings_are_refused(tmp_path):
    (tmp_path / "text.wav").write_text("no sound")
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 8000)
    for name, message in (
        ("text.wav", "Not a readable"),
        ("empty.wav", "Empty"),
        ("none.wav", "Cannot read"),
    ):
        with pytest.raises(DataError, match=message):
            FileSource.open(tmp_path / name)


def test_a_recording_of_another_array_is_refused(tmp_path):
    soundfile.write(tmp_path / "a.wav", noise(100, 1), 8000)
    with pytest.raises(DataError, match=r"a\.wav\. Expected: 4, those of the array.*Received: 1\."):
        list(converted(FileSource.open(tmp_path / "a.wav"), 8000, 4))


@pytest.mark.parametrize(("pcm_format", "dtype"), [("s16le", "<i2"), ("f32le", "<f4")])
def test_samples_of_a_pipe_are_put_together_from_any_pieces(pcm_format, dtype):
    audio = noise(1000, 3)
    stored = (audio * 32768).astype("<i2") if dtype == "<i2" else audio.astype("<f4")
    source = PcmSource(Trickle(stored.tobytes()), 8000, 3, pcm_format)
    received = np.concatenate(list(source.blocks()))
    np.testing.assert_array_equal(received, stored / 32768 if dtype == "<i2" else audio)


def test_blocks_of_a_pipe_last_up_to_a_tenth_second():
    blocks = list(PcmSource(io.BytesIO(bytes(2 * 2 * 2500)), 8000, 2).blocks())
    assert [len(block) for block in blocks] == [800, 800, 800, 100]


def test_floats_of_a_pipe_are_clipped_and_integers_refused(caplog):
    values = np.array([0.5, 1.25, -1.5, 1.0], "<f4")
    with caplog.at_level(logging.WARNING):
        (block,) = PcmSource(io.BytesIO(values.tobytes()), 8000, 1, "f32le").blocks()
    assert block[:, 0].tolist() == [0.5, 1, -1, 1] and "2 values: beyond full scale" in caplog.text
    with pytest.raises(DataError, match="reach 16384"):
        list(PcmSource(io.BytesIO((values[:1] * 32768).tobytes()), 8000, 1, "f32le").blocks())


def test_audio_shorter_than_one_sample_becomes_its_mean(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.array([[0.5, 0.25]]), 48000)
    for channels, expected in ((2, [[0.5, 0.25]]), (None, [[0.375]])):
        blocks = list(converted(FileSource.open(tmp_path / "a.wav"), 8000, channels))
        np.testing.assert_allclose(np.concatenate(blocks), expected, atol=1e-4)
    np.testing.assert_allclose(read_mono(tmp_path / "a.wav", 8000), [[0.375]], atol=1e-4)


def test_a_pipe_without_samples_or_finite_numbers_is_refused(caplog):
    with pytest.raises(DataError, match="No sample came"):
        list(PcmSource(io.BytesIO(b"\0"), 8000, 1).blocks())
    values = np.zeros(900, "<f4")
    values[850] = np.nan
    with pytest.raises(DataError, match="Sample 850 of standard input"):
        list(PcmSource(io.BytesIO(values.tobytes()), 8000, 1, "f32le").blocks())
    with caplog.at_level(logging.WARNING):
        assert len(np.concatenate(list(PcmSource(io.BytesIO(bytes(11)), 8000, 2).blocks()))) == 2
    assert "The last 3 bytes" in caplog.text
