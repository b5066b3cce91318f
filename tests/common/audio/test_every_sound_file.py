"""Every sound file by every reader: one verdict, all of its samples or a remark on the rest.

Headers are written here as other programs write them; what SoX, ffmpeg, flac and LAME leave behind
was looked up in files that they wrote into a pipe.
"""

import io
import logging
import struct
from dataclasses import dataclass

import numpy as np
import pytest
import soundfile

from common.audio.containers.layout import Pieces
from common.audio.containers.mpeg import parse_frame
from common.audio.files import read_header, read_mono, read_with_rate
from common.audio.stream import FileSource
from common.data.extraction import Item, Recipe, extract
from common.data.tfrecord import ArraySpec, ExampleSchema
from common.datasets.checks import examine
from common.errors import DataError
from common.io.notes import Note, collected, summaries
from common.settings.parallel import ParallelConfig

RATE = 16000
N = 12 * RATE + 7  # more than two blocks of the block reader
ONE = ParallelConfig(jobs=1)


def noise(n=N, channels=1, seed=0, level=0.2):
    return np.clip(np.random.default_rng(seed).normal(0, level, (n, channels)), -0.9, 0.9)


def written(audio, kind="WAV", subtype="PCM_16", rate=RATE, **more):
    content = io.BytesIO()
    soundfile.write(content, audio, rate, format=kind, subtype=subtype, **more)
    return content.getvalue()


def mp3(audio, mode="CONSTANT", rate=RATE):
    return written(audio, "MP3", "MPEG_LAYER_III", rate, bitrate_mode=mode, compression_level=0.5)


@dataclass
class Heard:
    """Result of all readers: samples, or None and the error; notes on header and samples."""

    audio: np.ndarray | None
    error: str
    header_notes: list[str]
    notes: list[str]


def heard(path):
    """Reads a file by all routes, which must agree."""
    outcomes, remarks = {}, {}
    routes = {
        "header": lambda: read_header(path).samples,
        "whole": lambda: read_with_rate(path)[0],
        "blocks": lambda: np.concatenate(list(FileSource.open(path).blocks())),
        "mono": lambda: read_mono(path, read_header(path).sample_rate_hz),
    }
    for name, route in routes.items():
        with collected() as notes:
            try:
                outcomes[name] = route()
            except DataError as error:
                outcomes[name] = str(error)
                assert path.name in str(error)
        remarks[name] = sorted({note.kind for note in notes})
    facts = [examine([path], deep, ONE)[0] for deep in (False, True)]
    if isinstance(outcomes["whole"], str):
        # Damage within a recording shows only when it is decoded; what is missing shows to all.
        assert outcomes["blocks"] == outcomes["mono"] == outcomes["whole"] == outcomes["header"]
        assert all(fact.problem == outcomes["whole"] for fact in facts)
        return Heard(None, outcomes["whole"], [], [])
    whole = outcomes["whole"]
    np.testing.assert_array_equal(outcomes["blocks"], whole)
    np.testing.assert_allclose(outcomes["mono"][:, 0], whole.mean(axis=1), atol=1e-6)
    assert outcomes["header"] == len(whole)
    assert remarks["whole"] == remarks["blocks"] and set(remarks["header"]) <= set(remarks["whole"])
    assert all(fact.problem is None for fact in facts)
    assert all(fact.duration_s * fact.sample_rate_hz == pytest.approx(len(whole)) for fact in facts)
    assert np.abs(whole).max() <= 1
    return Heard(whole, "", remarks["header"], remarks["whole"])


def put(tmp_path, content, name="a.wav"):
    (tmp_path / name).write_bytes(content)
    return tmp_path / name


SIZED = {
    "wav": ("WAV", "PCM_16"),
    "wav float": ("WAV", "FLOAT"),
    "wav 24": ("WAV", "PCM_24"),
    "wavex": ("WAVEX", "PCM_16"),
    "rf64": ("RF64", "PCM_16"),
    "w64": ("W64", "PCM_16"),
    "aiff": ("AIFF", "PCM_16"),
    "aiff float": ("AIFF", "FLOAT"),
    "au": ("AU", "PCM_16"),
    "au ulaw": ("AU", "ULAW"),
    "caf": ("CAF", "PCM_16"),
    "caf float": ("CAF", "FLOAT"),
    "flac": ("FLAC", "PCM_16"),
    "flac 24": ("FLAC", "PCM_24"),
    "nist": ("NIST", "PCM_16"),
    "avr": ("AVR", "PCM_16"),
    "svx": ("SVX", "PCM_16"),
    "adpcm": ("WAV", "IMA_ADPCM"),
    "gsm": ("WAV", "GSM610"),
    "voc": ("VOC", "PCM_16"),
    "wve": ("WVE", "ALAW"),
    "vorbis": ("OGG", "VORBIS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "alac": ("CAF", "ALAC_16"),
}
WITHOUT_LENGTH = {"paf": ("PAF", "PCM_16"), "pvf": ("PVF", "PCM_16"), "ircam": ("IRCAM", "PCM_16")}


@pytest.mark.parametrize("name", SIZED)
def test_whole_files_are_read_alike_by_all_readers(tmp_path, name):
    outcome = heard(put(tmp_path, written(noise(), *SIZED[name])))
    assert outcome.audio is not None and not outcome.header_notes
    assert N <= len(outcome.audio) <= N + 1100  # those in packets fill the last one up
    if SIZED[name][1].startswith(("PCM", "FLOAT")):
        np.testing.assert_allclose(outcome.audio, noise(), atol=1 / 32768)


@pytest.mark.parametrize("kept", [0.02, 0.45, 0.55, 0.97])
@pytest.mark.parametrize("name", SIZED)
def test_truncated_files_are_refused_in_every_container(tmp_path, name, kept):
    content = written(noise(), *SIZED[name])
    outcome = heard(put(tmp_path, content[: int(len(content) * kept)]))
    assert outcome.audio is None


@pytest.mark.parametrize("name", WITHOUT_LENGTH)
def test_containers_without_a_length_are_read_with_a_warning(tmp_path, name):
    content = written(noise(), *WITHOUT_LENGTH[name])
    outcome = heard(put(tmp_path, content[: len(content) // 2]))
    assert 0.4 * N < len(outcome.audio) < 0.6 * N and "may be truncated" in outcome.notes[0]


def pcm(n=N):
    return np.rint(noise(n)[:, 0] * 32767).astype("<i2")


def wav(size, riff=None, before=b"", behind=b"", samples=None, order="<"):
    """A WAV file with any size in its header."""
    data = (pcm() if samples is None else samples).astype(f"{order}i2").tobytes()
    head = struct.pack(f"{order}IHHIIHH", 16, 1, 1, RATE, 2 * RATE, 2, 16)
    riff = min(size + 36, 0xFFFFFFFF) if riff is None else riff
    magic = b"RIFF" if order == "<" else b"RIFX"
    riff_size, data_size = (struct.pack(f"{order}I", each) for each in (riff, size))
    return b"".join([magic, riff_size, b"WAVEfmt ", head, before, b"data", data_size, data, behind])


STREAM_SIZES = [
    0,
    0xFFFFFFFF,
    0xFFFFFFFF - 36,
    0xFFFFFFFE,
    0x7FFFFFFF,
    0x7FFFFFFF - 36,
    0x7FFFFFFE,
    0x7FFFF000,
    0x7FFFFF00,
    0x80000000,
    0x80000000 - 44,
    0x7FFFF000 - 24,
    0xFFFFF000,
]


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("size", STREAM_SIZES)
def test_a_wav_from_a_pipe_is_read_with_a_note(tmp_path, size, order):
    outcome = heard(put(tmp_path, wav(size, order=order)))
    np.testing.assert_array_equal(outcome.audio[:, 0], pcm() / np.float32(32768))
    assert len(outcome.header_notes) == 1 and "has no length" in outcome.header_notes[0]


@pytest.mark.parametrize("missing", [2, 4000, 2 * N - 2])
def test_a_wav_that_only_lacks_its_end_is_refused(tmp_path, missing):
    content = wav(2 * N)[:-missing]
    assert "Truncated" in heard(put(tmp_path, content)).error


def riff_chunk(name, content):
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


@pytest.mark.parametrize(
    "before", [b"", riff_chunk(b"LIST", b"abc"), riff_chunk(b"JUNK", bytes(28))]
)
@pytest.mark.parametrize(
    "behind", [b"", riff_chunk(b"LIST", b"abcd"), riff_chunk(b"id3 ", bytes(9)), bytes(512)]
)
def test_chunks_around_the_sound_and_padding_are_no_sound(tmp_path, before, behind):
    outcome = heard(put(tmp_path, wav(2 * N, before=before, behind=behind)))
    assert len(outcome.audio) == N and not outcome.notes


def test_an_empty_wav_with_chunks_behind_is_empty(tmp_path):
    content = wav(0, behind=riff_chunk(b"LIST", b"abcd"), samples=np.zeros(0))
    assert "Empty recording" in heard(put(tmp_path, content)).error


def test_bytes_after_the_sound_are_logged(tmp_path):
    outcome = heard(put(tmp_path, wav(2 * N, behind=np.arange(5000, dtype="<u2").tobytes())))
    assert len(outcome.audio) == N and "left out" in outcome.notes[0]


def test_an_odd_number_of_bytes_is_padded(tmp_path):
    audio = np.full((101, 1), 0.25)
    content = written(audio, "WAV", "PCM_24")
    assert len(heard(put(tmp_path, content + riff_chunk(b"LIST", b"ab"))).audio) == 101


def test_the_long_size_of_rf64_counts(tmp_path):
    content = bytearray(written(noise(), "RF64"))
    place = content.index(b"ds64") + 16
    for size, right in ((0, True), (2**63, True), (2 * N + 1000, False)):
        content[place : place + 8] = struct.pack("<Q", size)
        outcome = heard(put(tmp_path, content))
        assert (outcome.audio is not None) == right
        if right:
            assert len(outcome.audio) == N and outcome.notes


def test_bw64_is_read_as_rf64(tmp_path):
    content = b"BW64" + written(noise(), "RF64")[4:]
    assert len(heard(put(tmp_path, content)).audio) == N


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7F000008])
def test_an_aiff_from_a_pipe_is_read_to_its_end(tmp_path, size):
    content = bytearray(written(noise(), "AIFF"))
    place = content.index(b"SSND") + 4
    content[place : place + 4] = struct.pack(">I", size)
    frames = content.index(b"COMM") + 10
    content[frames : frames + 4] = struct.pack(">I", size // 4)
    outcome = heard(put(tmp_path, content))
    assert len(outcome.audio) == N and outcome.notes


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFF000])
def test_an_au_from_a_pipe_is_read_to_its_end(tmp_path, order, size):
    endian = {"<": "LITTLE", ">": "BIG"}[order]
    content = bytearray(written(noise(), "AU", endian=endian))
    content[8:12] = struct.pack(f"{order}I", size)
    outcome = heard(put(tmp_path, content))
    assert len(outcome.audio) == N and outcome.notes


def test_a_caf_from_a_pipe_is_read_to_its_end(tmp_path):
    content = bytearray(written(noise(), "CAF"))
    place = content.index(b"data") + 4
    for size in (-1, 4):
        content[place : place + 8] = struct.pack(">q", size)
        outcome = heard(put(tmp_path, content))
        assert len(outcome.audio) == N and outcome.notes


@pytest.mark.parametrize("size", [24, 0, 2**63, 2**64 - 1])
def test_a_w64_from_a_pipe_is_read_to_its_end(tmp_path, size):
    content = bytearray(written(noise(), "W64"))
    place = content.index(b"data") + 16
    content[place : place + 8] = struct.pack("<Q", size)
    outcome = heard(put(tmp_path, content))
    assert len(outcome.audio) == N and outcome.notes


@pytest.mark.parametrize("total", [0, 1, N - 1, N + 1, 2**36 - 1])
def test_a_flac_has_as_many_samples_as_its_frames(tmp_path, total):
    content = bytearray(written(noise(), "FLAC"))
    content[21] = content[21] & 0xF0 | total >> 32
    content[22:26] = struct.pack(">I", total & 0xFFFFFFFF)
    outcome = heard(put(tmp_path, content))
    if total > N:
        assert (
            f"Truncated recording: {tmp_path}/a.wav. Expected: {total} samples. Received: {N}."
            in outcome.error
        )
    else:
        np.testing.assert_allclose(outcome.audio, noise(), atol=1 / 32768)
        assert len(outcome.notes) == 1


@pytest.mark.parametrize("lost", [1, 100, 20_000])
def test_a_flac_of_unknown_length_cut_in_frames_is_refused(tmp_path, lost):
    content = bytearray(written(noise(), "FLAC"))
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    assert heard(put(tmp_path, content[:-lost])).audio is None


JOINED = ["wav", "aiff", "au", "flac", "vorbis", "mp3"]


@pytest.mark.parametrize("name", JOINED)
def test_joined_recordings_are_read_one_after_another(tmp_path, name):
    first, second = (noise(seed=seed) for seed in (1, 2))
    contents = [written(audio, *SIZED[name]) for audio in (first, second)]
    alone = np.concatenate([heard(put(tmp_path, content)).audio for content in contents])
    outcome = heard(put(tmp_path, b"".join(contents)))
    np.testing.assert_array_equal(outcome.audio, alone)
    assert any("joined" in note for note in outcome.header_notes)


@pytest.mark.parametrize("name", JOINED)
@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (RATE, 2)])
def test_joined_recordings_of_different_kinds_are_refused(tmp_path, name, rate, channels):
    kind, subtype = SIZED[name]
    content = written(noise(), kind, subtype) + written(
        noise(channels=channels), kind, subtype, rate
    )
    assert "different kinds" in heard(put(tmp_path, content)).error


@pytest.mark.parametrize("name", JOINED)
def test_a_joined_recording_that_is_truncated_is_refused(tmp_path, name):
    content = written(noise(), *SIZED[name])
    assert heard(put(tmp_path, content + content[: len(content) * 2 // 3])).audio is None


def test_an_ogg_without_an_end_mark_is_read_with_warning(tmp_path):
    content = written(noise(), "OGG", "VORBIS")
    last = content.rindex(b"OggS")
    outcome = heard(put(tmp_path, content[:last]))
    assert 0.5 * N < len(outcome.audio) < N and "end is not marked" in outcome.header_notes[0]


def test_an_ogg_file_that_lacks_a_page_is_refused(tmp_path):
    content = written(noise(), "OGG", "VORBIS")
    starts = [place for place in range(len(content)) if content[place : place + 4] == b"OggS"]
    assert "missing" in heard(put(tmp_path, content[: starts[4]] + content[starts[5] :])).error


def frames_of(content):
    """Start of each frame of MPEG layer III of version 2 or 1 without padding."""
    kbps2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
    starts, place = [], 0
    while place + 4 <= len(content):
        starts.append(place)
        place += 72 * kbps2[content[place + 2] >> 4] * 1000 // RATE + (content[place + 2] >> 1 & 1)
    assert place == len(content)
    return starts


@pytest.fixture(scope="module")
def quiet_then_loud():
    """An MP3 of variable bit rate whose first frames do not show its length."""
    audio = np.concatenate([noise(N // 2, level=0.0005), noise(N // 2)])
    content = mp3(audio, "VARIABLE")
    return content, frames_of(content)


def test_an_mp3_of_variable_bit_rate_is_read_completely(tmp_path, quiet_then_loud):
    content, starts = quiet_then_loud
    outcome = heard(put(tmp_path, content[starts[1] :]))
    n_samples = 576 * (len(starts) - 1)
    assert n_samples - 1200 <= len(outcome.audio) <= n_samples
    loudness = np.abs(outcome.audio[:, 0])
    assert loudness[-8000:].mean() > 50 * loudness[2000:8000].mean()  # the loud half is there


@pytest.mark.parametrize("told", [0, 5, 1])
def test_an_mp3_with_too_low_a_count_is_read_completely(tmp_path, quiet_then_loud, told):
    content, starts = quiet_then_loud
    changed = bytearray(content)
    place = content.index(b"Xing") + 8
    changed[place : place + 4] = struct.pack(">I", told)
    outcome = heard(put(tmp_path, changed))
    assert 576 * (len(starts) - 1) - 1200 <= len(outcome.audio)
    assert bool(outcome.header_notes) == bool(told)  # none at all is how a stream begins


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
@pytest.mark.parametrize("kept", [0.2, 0.5625, 0.99])
def test_a_truncated_mp3_is_refused(tmp_path, mode, kept):
    content = mp3(noise(), mode)
    assert "Truncated" in heard(put(tmp_path, content[: int(len(content) * kept)])).error


def test_a_cut_mp3_without_a_count_is_read_with_warning(tmp_path):
    content = mp3(noise())
    starts = frames_of(content)
    outcome = heard(put(tmp_path, content[starts[1] : starts[101] + 30]))
    assert 576 * 100 - 1200 <= len(outcome.audio) <= 576 * 100
    assert "may be truncated" in outcome.header_notes[0]


def test_an_mp3_may_begin_within_a_frame(tmp_path):
    content = mp3(noise())
    starts = frames_of(content)
    outcome = heard(put(tmp_path, content[starts[50] + 20 :]))
    n_samples = 576 * (len(starts) - 51)
    assert outcome.error or n_samples - 1200 <= len(outcome.audio) <= n_samples


@pytest.mark.parametrize(
    ("header", "n_bytes", "samples", "rate_hz"),
    [
        (0xFFFB9000, 417, 1152, 44100),  # layer III: 144 * 128000 / 44100
        (0xFFFB9200, 418, 1152, 44100),  # with padding
        (0xFFF39000, 261, 576, 22050),  # version 2: 72 * 80000 / 22050
        (0xFFE39800, 720, 576, 8000),  # version 2.5: 72 * 80000 / 8000
        (0xFFFDA400, 576, 1152, 48000),  # layer II: 144 * 192000 / 48000
        (0xFFFF8800, 384, 384, 32000),  # layer I: 4 * (12 * 256000 / 32000)
    ],
)
def test_frames_of_mpeg_have_the_sizes_of_the_standard(header, n_bytes, samples, rate_hz):
    frame = parse_frame(header.to_bytes(4, "big"))
    assert (frame.n_bytes, frame.samples, frame.rate_hz) == (n_bytes, samples, rate_hz)


ID3V1 = b"TAG" + b"title".ljust(125, b"\0")
ID3V2 = b"ID3\x04\0\0" + bytes([0, 0, 2, 0]) + bytes(256)
APE_HEAD, APE_FOOT = (
    b"APETAGEX" + struct.pack("<IIII", 2000, 64, 1, flags) + bytes(8)
    for flags in (0xA0000000, 0x80000000)
)
APE = APE_HEAD + bytes(32) + APE_FOOT


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
@pytest.mark.parametrize("before", [b"", ID3V2])
@pytest.mark.parametrize(
    "behind", [b"", ID3V1, APE, APE + ID3V1], ids=["none", "id3v1", "ape", "both"]
)
def test_tags_of_an_mp3_are_no_sound(tmp_path, mode, before, behind):
    content = mp3(noise(), mode)
    plain = heard(put(tmp_path, content)).audio
    outcome = heard(put(tmp_path, before + content + behind))
    np.testing.assert_array_equal(outcome.audio, plain)
    assert not outcome.notes


def test_joined_mp3_files_with_tags_are_read_one_after_another(tmp_path):
    content = mp3(noise())
    alone = heard(put(tmp_path, content)).audio
    outcome = heard(put(tmp_path, ID3V2 + content + ID3V1 + ID3V2 + content + ID3V1))
    np.testing.assert_array_equal(outcome.audio, np.concatenate([alone, alone]))


def test_bytes_between_the_frames_of_an_mp3_are_logged(tmp_path):
    content = mp3(noise())
    starts = frames_of(content)
    middle = starts[len(starts) // 2]
    outcome = heard(put(tmp_path, content[:middle] + b"noise" * 200 + content[middle:]))
    assert len(outcome.audio) >= N - 1200 and any(
        "between its frames" in note for note in outcome.header_notes
    )


LOSSY = {"vorbis": ("OGG", "VORBIS"), "opus": ("OGG", "OPUS"), "mp3": ("MP3", "MPEG_LAYER_III")}
SQUARE = np.sign(np.sin(np.arange(N) * 0.02))[:, None]


@pytest.mark.parametrize("name", LOSSY)
def test_lossy_files_beyond_full_scale_are_clipped_and_counted(tmp_path, name):
    path = put(tmp_path, written(SQUARE, *LOSSY[name]))
    decoded = soundfile.read(path, dtype="float32", always_2d=True)[0]
    assert np.abs(decoded).max() > 1
    outcome = heard(path)
    np.testing.assert_allclose(outcome.audio, np.clip(decoded, -1, 1), atol=1e-6)
    with collected() as notes:
        read_with_rate(path)
    assert [note.amount for note in notes] == [
        pytest.approx(np.count_nonzero(np.abs(decoded) > 1), abs=20)
    ]


@pytest.mark.parametrize("name", ["wav float", "aiff float", "caf float"])
@pytest.mark.parametrize("value", [1.5, -1.001, np.nan, np.inf])
def test_lossless_floats_beyond_full_scale_are_refused_by_all_readers(tmp_path, name, value):
    audio = noise()
    audio[90_000] = value
    path = put(tmp_path, written(audio, *SIZED[name]))
    errors = set()
    blocks, mono = (
        (lambda path: list(FileSource.open(path).blocks())),
        (lambda path: read_mono(path, 8000)),
    )
    for route in (read_with_rate, blocks, mono):
        with pytest.raises(DataError, match=r"a\.wav, sample 90000, channel 0") as caught:
            route(path)
        errors.add(str(caught.value).split("peak")[0])
    assert len(errors) == 1 and examine([path], True, ONE)[0].problem is not None


def test_remarks_of_many_recordings_are_one_line_for_each_kind(tmp_path):
    notes = [
        Note(tmp_path / f"{number}.ogg", "it is loud", number, "values") for number in (1, 2, 3)
    ]
    lines = summaries([*notes, notes[0], Note(tmp_path / "a.wav", "it is odd")])
    assert lines == [
        f"3 recording(s), such as {tmp_path}/1.ogg: it is loud (6 values in all).",
        f"1 recording(s), such as {tmp_path}/a.wav: it is odd.",
    ]


def features_of(item):
    """Any array of a recording."""
    return {"features": read_mono(item.sources[0], RATE)[:100, :, None]}


def test_an_extraction_logs_oddities_in_one_line_each(tmp_path, caplog):
    for name in ("a", "b"):
        (tmp_path / f"{name}.ogg").write_bytes(written(SQUARE, "OGG", "VORBIS"))
    put(tmp_path, wav(0xFFFFFFFF), "c.wav")
    items = [Item(path.stem, "x", (path,)) for path in sorted(tmp_path.iterdir())]
    schema = ExampleSchema({"features": ArraySpec("float32", (None, 1, 1))})
    with caplog.at_level(logging.WARNING):
        recipe = Recipe(tmp_path / "store", features_of, schema, {})
        extract(recipe, items, parallel=ONE, progress=False)
    told = [record.message for record in caplog.records]
    assert len(told) == 2
    assert "2 recording(s), such as" in told[0] and "exceeds full scale" in told[0]
    assert "1 recording(s), such as" in told[1] and "as of a stream" in told[1]


def test_a_file_of_pieces_reads_as_the_pieces_joined(tmp_path):
    content = bytes(range(256)) * 3
    pieces = (b"ab", (10, 300), b"", b"xyz", (0, 5))
    joined = b"ab" + content[10:300] + b"xyz" + content[:5]
    file = Pieces(put(tmp_path, content), pieces)
    assert file.read() == joined
    for start, count in ((0, 1), (1, 5), (290, 10), (299, 100)):
        file.seek(start)
        assert file.read(count) == joined[start : start + count] and file.tell() == min(
            start + count, len(joined)
        )
    assert file.seek(-3, 2) == len(joined) - 3 and file.read() == joined[-3:]
