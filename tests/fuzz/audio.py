"""Sound files: headers that promise anything, bodies cut and damaged."""

import io
from pathlib import Path

import numpy as np
import soundfile
from hypothesis import strategies as st

from common.audio.files import read_audio, read_header, read_mono, read_with_rate
from common.audio.stream import FileSource
from common.errors import DataError
from common.io.notes import collected
from tests.fuzz.damage import damaged_bytes, garbage
from tests.fuzz.engine import Files, Target

RATE, CHANNELS, SAMPLES = 8000, 2, 90
NAME = "split1_ir0_ov1_1.wav"
PCM_HEADER = 44  # bytes of a plain WAV header


def sound(
    file_format: str = "WAV",
    subtype: str = "PCM_16",
    samples: int = SAMPLES,
    channels: int = CHANNELS,
) -> bytes:
    """A valid file."""
    audio = np.random.default_rng(0).uniform(-0.9, 0.9, (samples, channels))
    written = io.BytesIO()
    soundfile.write(written, audio, RATE, format=file_format, subtype=subtype)
    return written.getvalue()


def stream(valid: bytes, place: bytes, after: int, size: bytes) -> bytes:
    """A file of unknown length: `size` in the bytes after the first occurrence of `place`."""
    start = valid.index(place) + after
    return valid[:start] + size + valid[start + len(size) :]


def with_chunk(valid: bytes) -> bytes:
    """The same WAV file with a chunk of odd length before its data."""
    size = int.from_bytes(valid[4:8], "little") + 12
    return valid[:4] + size.to_bytes(4, "little") + valid[8:36] + b"LIST\3\0\0\0abc\0" + valid[36:]


WAVS = {
    "pcm": sound(),
    "chunk": with_chunk(sound()),
    "float": sound(subtype="FLOAT"),
    "extensible": sound("WAVEX"),
    "rf64": sound("RF64"),
    "24": sound(subtype="PCM_24"),
    "adpcm": sound(subtype="IMA_ADPCM"),
}
OTHERS = {kind: sound(kind) for kind in ("FLAC", "AIFF", "AU", "W64", "CAF")} | {
    "OGG": sound("OGG", "VORBIS")
}
STREAMS = {
    "wav": stream(sound(), b"data", 4, b"\xff\xff\xff\xff"),
    "sox": stream(sound(), b"data", 4, b"\0\xf0\xff\x7f"),
    "rf64": stream(sound("RF64"), b"ds64", 16, bytes(8)),
    "aiff": stream(sound("AIFF"), b"SSND", 4, bytes(4)),
    "au": stream(sound("AU"), b".snd", 8, b"\xff\xff\xff\xff"),
    "caf": stream(sound("CAF"), b"data", 4, b"\xff" * 8),
    "w64": stream(sound("W64"), b"data", 16, bytes(8)),
    "flac": stream(sound("FLAC"), b"fLaC", 22, bytes(4)),
    "svx": sound("SVX", channels=1),
    "nist": sound("NIST"),
    "avr": sound("AVR"),
    "voc": sound("VOC"),
    "wve": sound("WVE", "ALAW", channels=1),
}
PACKETS = {
    "vorbis": sound("OGG", "VORBIS", 4000),
    "opus": sound("OGG", "OPUS", 4000),
    "flac": sound("FLAC", samples=9000),
}
MP3S = {
    "mp3": sound("MP3", "MPEG_LAYER_III", 9000),
    "mono": sound("MP3", "MPEG_LAYER_III", 9000, 1),
}
MP3S["bare"] = MP3S["mono"][MP3S["mono"].index(b"\xff", 144) :]
JOINED = {
    f"{name} joined": 2 * content
    for name, content in (STREAMS | PACKETS | MP3S | {"pcm": WAVS["pcm"]}).items()
}


def _cases(valid: dict[str, bytes]) -> st.SearchStrategy[Files]:
    contents = st.one_of(*(damaged_bytes(content) for content in valid.values()), garbage())
    return contents.map(lambda content: {NAME: content})


def _read_alike(folder: Path) -> None:
    """All readers agree: on what is refused, on every sample and on the length."""
    outcomes: list[object] = []
    routes = (
        read_header,
        lambda path: read_with_rate(path)[0],
        lambda path: list(FileSource.open(path).blocks()),
    )
    for route in routes:
        try:
            with collected():
                outcomes.append(route(folder / NAME))
        except DataError as error:
            outcomes.append(error)
    header, whole, blocks = outcomes
    if isinstance(whole, DataError):
        assert isinstance(blocks, DataError) and str(blocks) == str(whole)
        assert not isinstance(header, DataError) or str(header) == str(whole)
        raise whole
    assert not isinstance(header, DataError) and not isinstance(blocks, DataError), (header, blocks)
    np.testing.assert_array_equal(np.concatenate(blocks), whole)
    assert header.samples == len(whole) > 0 and header.channels == whole.shape[1]
    assert np.isfinite(whole).all() and np.abs(whole).max() <= 1


def _read(folder: Path) -> None:
    content = (folder / NAME).read_bytes()
    audio = read_audio(folder / NAME, RATE, CHANNELS)
    assert (
        audio.dtype == np.float32 and audio.ndim == 2 and audio.shape[1] == CHANNELS and len(audio)
    )
    assert np.isfinite(audio).all() and np.abs(audio).max() <= 1
    if content[:PCM_HEADER] == WAVS["pcm"][:PCM_HEADER]:  # then the header is undamaged
        samples = np.frombuffer(content[PCM_HEADER : PCM_HEADER + audio.size * 2], "<i2")
        assert len(audio) >= SAMPLES
        assert np.array_equal(audio.reshape(-1)[: len(samples)], samples / 32768)
        assert len(audio) == SAMPLES or content.count(b"RIFF") > 1  # several that were joined
    mono = read_mono(folder / NAME, RATE)
    assert np.allclose(mono[:, 0], audio.mean(axis=1), atol=1e-6)


def _read_mono(folder: Path) -> None:
    mono = read_mono(folder / NAME, RATE)
    assert mono.dtype == np.float32 and mono.shape[1:] == (1,) and len(mono)
    assert np.isfinite(mono).all() and np.abs(mono).max() < 2


def _read_flac(folder: Path) -> None:
    """A FLAC file keeps checksums: what is accepted is what was written."""
    audio = read_audio(folder / NAME)
    assert np.isfinite(audio).all() and np.abs(audio).max() <= 1 and len(audio)
    content = (folder / NAME).read_bytes()
    if content[:4] == b"fLaC" and content[8:42] == OTHERS["FLAC"][8:42]:  # STREAMINFO as it was
        expected, _ = soundfile.read(io.BytesIO(OTHERS["FLAC"]), dtype="float32")
        assert np.array_equal(audio[: len(expected)], expected)
        assert len(audio) == len(expected) or content.count(b"fLaC") > 1  # several that were joined


TARGETS = [
    Target("wav", lambda: _cases(WAVS), _read, weight=30, examples=20),
    Target("wav-mono", lambda: _cases(WAVS), _read_mono, weight=15, examples=30),
    Target("sound-other", lambda: _cases(OTHERS), _read_mono, weight=15, examples=30),
    Target("sound-streams", lambda: _cases(STREAMS), _read_alike, weight=15, examples=20),
    Target("sound-packets", lambda: _cases(PACKETS), _read_alike, weight=15, examples=30),
    Target("sound-joined", lambda: _cases(JOINED), _read_alike, weight=15, examples=30),
    Target("mp3", lambda: _cases(MP3S), _read_alike, weight=15, examples=30),
    Target("flac", lambda: _cases({"FLAC": OTHERS["FLAC"]}), _read_flac, weight=15, examples=30),
]
