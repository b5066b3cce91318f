"""Sound files: headers that promise anything, bodies cut and damaged."""

import io
from pathlib import Path

import numpy as np
import soundfile
from hypothesis import strategies as st

from common.audio import read_audio, read_mono
from tests.fuzz.damage import damaged_bytes, garbage
from tests.fuzz.engine import Files, Target

RATE, CHANNELS, SAMPLES = 8000, 2, 90
NAME = "split1_ir0_ov1_1.wav"
PCM_HEADER = 44  # bytes of a plain WAV header


def sound(file_format: str = "WAV", subtype: str = "PCM_16") -> bytes:
    """A valid file of two channels."""
    audio = np.random.default_rng(0).uniform(-0.9, 0.9, (SAMPLES, CHANNELS))
    written = io.BytesIO()
    soundfile.write(written, audio, RATE, format=file_format, subtype=subtype)
    return written.getvalue()


def with_chunk(valid: bytes) -> bytes:
    """The same WAV file with a chunk of odd length before its data."""
    size = int.from_bytes(valid[4:8], "little") + 12
    return valid[:4] + size.to_bytes(4, "little") + valid[8:36] + b"LIST\3\0\0\0abc\0" + valid[36:]


WAVS = {
    "pcm": sound(), "chunk": with_chunk(sound()), "float": sound(subtype="FLOAT"), "extensible": sound("WAVEX"),
    "rf64": sound("RF64"), "24": sound(subtype="PCM_24"), "adpcm": sound(subtype="IMA_ADPCM"),
}  # fmt: skip
OTHERS = {kind: sound(kind) for kind in ("FLAC", "AIFF", "AU", "W64", "CAF")} | {"OGG": sound("OGG", "VORBIS")}


def _cases(valid: dict[str, bytes]) -> st.SearchStrategy[Files]:
    contents = st.one_of(*(damaged_bytes(content) for content in valid.values()), garbage())
    return contents.map(lambda content: {NAME: content})


def _read(folder: Path) -> None:
    content = (folder / NAME).read_bytes()
    audio = read_audio(folder / NAME, RATE, CHANNELS)
    assert audio.dtype == np.float32 and audio.ndim == 2 and audio.shape[1] == CHANNELS and len(audio)
    assert np.isfinite(audio).all() and np.abs(audio).max() <= 1
    if content[:PCM_HEADER] == WAVS["pcm"][:PCM_HEADER]:  # then the file says what it holds
        samples = np.frombuffer(content[PCM_HEADER : PCM_HEADER + audio.size * 2], "<i2")
        assert len(audio) == SAMPLES and np.array_equal(audio.reshape(-1), samples / 32768)
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
        assert np.array_equal(audio, expected)


TARGETS = [
    Target("wav", lambda: _cases(WAVS), _read, weight=30, examples=60),
    Target("wav-mono", lambda: _cases(WAVS), _read_mono, weight=15, examples=30),
    Target("sound-other", lambda: _cases(OTHERS), _read_mono, weight=15, examples=30),
    Target("flac", lambda: _cases({"FLAC": OTHERS["FLAC"]}), _read_flac, weight=15, examples=30),
]
