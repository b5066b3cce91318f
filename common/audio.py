"""Recordings from and to sound files; every file that cannot be used is refused with the reason and a remedy."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from common.errors import DataError
from common.files import atomic_path

FULL_SCALE = 32768.0  # of 16-bit samples
LOWEST_RATE_HZ, HIGHEST_RATE_HZ = 1000, 1_000_000  # a damaged header says 1 Hz, and resampling fills the memory
_UNKNOWN_SIZE = 0xFFFFFFFF  # what streaming writers and RF64 put where the size of a chunk would be


def read_audio(path: Path, sample_rate_hz: int | None = None, channels: int | None = None) -> np.ndarray:
    """Reads a recording whole.

    Args:
        path: a sound file; integers are divided by their full scale (16 bit: 32768).
        sample_rate_hz: rate the recording must have; None: any.
        channels: number of channels it must have; None: any.

    Returns:
        float32 (samples, channels) in [-1, 1].

    Raises:
        DataError: no such file, not a sound file, truncated, empty, another rate or number of channels, values that
            are not finite or lie outside [-1, 1].
    """
    return read_with_rate(path, sample_rate_hz, channels)[0]


class AudioHeader(NamedTuple):
    """What a sound file says of itself."""

    sample_rate_hz: int
    channels: int
    samples: int

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.samples / self.sample_rate_hz


def read_header(path: Path) -> AudioHeader:
    """Reads what a sound file says of itself, without decoding it.

    Raises:
        DataError: no such file, not a sound file, truncated or empty.
    """
    path = Path(path)
    with opened(path) as file:
        check_format(path, file, None, None)
        return AudioHeader(file.samplerate, file.channels, file.frames)


def read_mono(path: Path, sample_rate_hz: int) -> np.ndarray:
    """Reads a recording of any rate and number of channels as one channel of one rate.

    Args:
        path: a sound file.
        sample_rate_hz: rate wanted.

    Returns:
        float32 (samples, 1), the mean of the channels; resampling may exceed [-1, 1] by a little.

    Raises:
        DataError: see `read_audio`.
    """
    audio, rate_hz = read_with_rate(path)
    mono = audio if audio.shape[1] == 1 else audio.mean(axis=1, keepdims=True)  # the mean of one is slow
    return resample(mono, rate_hz, sample_rate_hz)


def resample(audio: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
    """Changes the sample rate with soxr, band-limited, without delay.

    Args:
        audio: float (S, C).
        from_hz: its rate.
        to_hz: the rate wanted.

    Returns:
        float32 (S', C), S' = S * to_hz / from_hz, rounded.
    """
    audio = np.asarray(audio, np.float32)
    if from_hz == to_hz:
        return audio
    import soxr  # here: only recordings of another rate need it

    return soxr.resample(audio, from_hz, to_hz, quality="HQ")


def fit_length(audio: np.ndarray, samples: int) -> np.ndarray:
    """Cuts (S, C) to `samples`, or pads it with zeros at the end."""
    missing = samples - len(audio)
    return np.pad(audio, ((0, missing), (0, 0))) if missing > 0 else audio[:samples]


def read_with_rate(
    path: Path, sample_rate_hz: int | None = None, channels: int | None = None
) -> tuple[np.ndarray, int]:
    """Reads a recording as `read_audio` does, and tells its rate."""
    path = Path(path)
    with opened(path) as file:
        check_format(path, file, sample_rate_hz, channels)
        audio, rate_hz = _samples(path, file), file.samplerate  # (S, C)
    check_values(path, audio)
    return audio, rate_hz


@contextmanager
def opened(path: Path) -> Iterator[soundfile.SoundFile]:
    """Opens a sound file that is whole; also what goes wrong while it is read becomes a DataError."""
    check_complete(path)
    try:
        with soundfile.SoundFile(path) as file:
            yield file
    except soundfile.LibsndfileError as error:
        raise DataError(
            f"Not a readable sound file: {path} ({error.error_string.rstrip('.')}). Expected: a WAV file. "
            "Copy or download the recording again, or remove it from the dataset."
        ) from error


def _samples(path: Path, file: soundfile.SoundFile) -> np.ndarray:
    promised, audio = file.frames, None
    try:
        if file.subtype == "PCM_16":  # the same numbers, but numpy converts them in a third of the time
            audio = from_int16(file.read(dtype="int16", always_2d=True))
        else:
            audio = file.read(dtype="float32", always_2d=True)
    except (MemoryError, ValueError):  # numpy has no room for what the header promises
        pass
    if audio is None or len(audio) != promised:
        raise _truncated(path, f"{promised} samples", "fewer" if audio is None else str(len(audio)))
    return audio


def write_wav(path: Path, audio: np.ndarray, sample_rate_hz: int, subtype: str = "PCM_16") -> None:
    """Writes (samples, channels) in [-1, 1] as WAV, finished or not at all.

    Raises:
        DataError: the disk is full or the folder cannot be written to.
    """
    with atomic_path(Path(path)) as temporary:
        try:
            soundfile.write(temporary, audio, sample_rate_hz, subtype=subtype, format="WAV")
        except soundfile.LibsndfileError as error:
            raise DataError(f"Cannot write {path}: {error.error_string} Check the disk and its permissions.") from error


def from_int16(samples: np.ndarray) -> np.ndarray:
    """16-bit samples as `read_audio` returns them: float32, divided by 32768."""
    # A power of two: nothing is rounded.
    return np.multiply(samples, np.float32(1 / FULL_SCALE), dtype=np.float32)


def to_int16(audio: np.ndarray) -> np.ndarray:
    """Rounds float samples in [-1, 1] to 16 bits; exact for what was read from a 16-bit file."""
    return np.clip(np.rint(audio * np.float32(FULL_SCALE)), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)


def check_format(path: Path, file: soundfile.SoundFile, sample_rate_hz: int | None, channels: int | None) -> None:
    """Raises DataError unless a sound file has samples, of the rate and number of channels wanted (None: any)."""
    if channels is not None and file.channels != channels:
        raise DataError(
            f"Wrong number of channels in {path}. Expected: {channels}. Received: {file.channels}. "
            "Use the recordings of the array that the settings name, or change `dataset.channels`."
        )
    if sample_rate_hz is not None and file.samplerate != sample_rate_hz:
        raise DataError(
            f"Wrong sample rate in {path}. Expected: {sample_rate_hz} Hz. Received: {file.samplerate} Hz. "
            "Resample the recording, or change `dataset.sample_rate_hz`."
        )
    if not LOWEST_RATE_HZ <= file.samplerate <= HIGHEST_RATE_HZ:
        raise DataError(
            f"No sample rate of sound in {path}. Expected: {LOWEST_RATE_HZ} to {HIGHEST_RATE_HZ} Hz. Received: "
            f"{file.samplerate} Hz. The header is damaged: copy or download the recording again."
        )
    if file.frames == 0:
        raise DataError(
            f"Empty recording: {path}. Expected: at least one sample. Received: 0 samples. "
            "Copy or download the recording again, or remove it from the dataset."
        )


def check_values(path: Path, audio: np.ndarray, before: int = 0) -> None:
    """Raises DataError unless all values of float (S, C), which follow `before` samples, are finite and in [-1, 1]."""
    peak = max(float(audio.max()), -float(audio.min()))  # NaN and infinity reach the peak
    if not np.isfinite(peak):
        sample, channel = np.argwhere(~np.isfinite(audio))[0]
        raise DataError(
            f"Value that is not finite in {path}, sample {before + sample}, channel {channel}. "
            f"Expected: numbers in [-1, 1]. Received: {audio[sample, channel]}. "
            "Write the recording again without it, or remove it from the dataset."
        )
    if peak > 1:
        sample, channel = np.argwhere(np.abs(audio) > 1)[0]
        raise DataError(
            f"Value outside [-1, 1] in {path}, sample {before + sample}, channel {channel}. "
            f"Received: {audio[sample, channel]}, peak {peak:.6g}. "
            "Divide all recordings by one common factor and write them again."
        )


def check_complete(path: Path) -> None:
    """Raises DataError unless all bytes that the header of a RIFF file promises are there."""
    try:
        with path.open("rb") as file:
            promised, present = _data_bytes(file, path.stat().st_size)
    except OSError as error:
        raise DataError(
            f"Cannot read {path}: {error.strerror}. Expected: a WAV file. Check `dataset_dir` and the permissions."
        ) from error
    if promised > present:
        raise _truncated(path, f"{promised} bytes of audio", str(present))


def _truncated(path: Path, expected: str, received: str) -> DataError:
    return DataError(
        f"Truncated recording: {path}. Expected: {expected}. Received: {received}. "
        "Copy or download the recording again, or remove it from the dataset."
    )


def _data_bytes(file, file_bytes: int) -> tuple[int, int]:
    """Bytes of audio promised by the header and present in the file; (0, 0) when it is no plain RIFF file."""
    if file_bytes < 12 or file.read(4) != b"RIFF":
        return 0, 0
    file.seek(12)
    while len(header := file.read(8)) == 8:
        kind, size = struct.unpack("<4sI", header)
        if kind == b"data":
            return (0, 0) if size == _UNKNOWN_SIZE else (size, file_bytes - file.tell())
        file.seek(size + size % 2, 1)  # chunks are padded to an even number of bytes
    return 0, 0
