"""Audio of any length as blocks of samples, from files and from pipes, at the rate that a model takes."""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, Protocol

import numpy as np

from common.audio import check_format, from_int16, opened
from common.errors import DataError

logger = logging.getLogger(__name__)
PcmFormat = Literal["s16le", "f32le"]
_DTYPES = {"s16le": "<i2", "f32le": "<f4"}
_BLOCK_S = 5.0


class AudioSource(Protocol):
    """Something that gives audio block by block."""

    @property
    def name(self) -> str:
        """What messages call it."""

    @property
    def rate_hz(self) -> int:
        """Its sample rate."""

    @property
    def channels(self) -> int:
        """Its number of channels."""

    def blocks(self) -> Iterator[np.ndarray]:
        """Yields float32 (S, C) in [-1, 1], none of them empty."""


@dataclass(frozen=True)
class FileSource:
    """A sound file of any format that libsndfile reads, read as by `common.audio.read_audio`, but in blocks."""

    path: Path
    rate_hz: int
    channels: int
    is_lossy: bool

    @classmethod
    def open(cls, path: Path) -> "FileSource":
        """Reads the header.

        Raises:
            DataError: no such file, not a sound file, truncated or empty.
        """
        with opened(path) as sound:
            check_format(sound)
            return cls(path, sound.rate_hz, sound.channels, sound.is_lossy)

    @property
    def name(self) -> str:
        """The path."""
        return str(self.path)

    def blocks(self) -> Iterator[np.ndarray]:
        """Yields the samples.

        Raises:
            DataError: damaged, or values that are not finite or lie outside [-1, 1].
        """
        with opened(self.path) as sound:
            yield from sound.blocks(round(_BLOCK_S * self.rate_hz))


class PcmSource:
    """Samples without a header, as they come out of a pipe.

    Args:
        stream: where the bytes come from; may give fewer than asked for.
        rate_hz: their sample rate.
        channels: their number of channels, interleaved.
        pcm_format: of a sample, little endian; floats beyond full scale are cut to it.
        block_s: most that is waited for before samples are handed on.
    """

    name = "standard input"

    def __init__(
        self, stream: BinaryIO, rate_hz: int, channels: int, pcm_format: PcmFormat = "s16le", block_s: float = 0.1
    ):
        self.rate_hz, self.channels = rate_hz, channels
        self._stream, self._dtype = stream, np.dtype(_DTYPES[pcm_format])
        self._frame_bytes = channels * self._dtype.itemsize
        self._block_bytes = max(1, round(block_s * rate_hz)) * self._frame_bytes

    def blocks(self) -> Iterator[np.ndarray]:
        """Yields the samples as soon as they are there; bytes at the end that are no whole sample are left out.

        Raises:
            DataError: there is no sample, or one is not finite.
        """
        rest, n_samples = b"", 0
        while new := self._stream.read(self._block_bytes - len(rest)):
            rest += new
            whole = len(rest) // self._frame_bytes * self._frame_bytes
            if whole:
                yield self._samples(rest[:whole], n_samples)
                rest, n_samples = rest[whole:], n_samples + whole // self._frame_bytes
        if not n_samples:
            raise DataError("No sample came from standard input. Pipe audio into this command, see its --help.")
        if rest:
            logger.warning("The last %d bytes are no whole sample of all channels: left out.", len(rest))

    def _samples(self, content: bytes, before: int) -> np.ndarray:
        values = np.frombuffer(content, self._dtype).reshape(-1, self.channels)  # (S, C)
        if self._dtype.kind == "i":
            return from_int16(values)
        if not np.isfinite(values).all():
            number = before + int(np.argwhere(~np.isfinite(values))[0, 0])
            raise DataError(
                f"Sample {number} of standard input is not a finite number. Expected: samples in [-1, 1]. Is its "
                "format truly f32le?"
            )
        return np.clip(values, -1.0, 1.0).astype(np.float32)


def check_channels(source: AudioSource, channels: int | None) -> None:
    """Raises DataError where audio has another number of channels than the model takes; None: it takes any."""
    if channels is not None and source.channels != channels:
        raise DataError(
            f"Wrong number of channels in {source.name}. Expected: {channels}, those of the array that the model was "
            f"trained on: it hears directions by comparing them. Received: {source.channels}."
        )


def converted(source: AudioSource, sample_rate_hz: int, channels: int | None) -> Iterator[np.ndarray]:
    """Brings audio to what a model takes.

    Args:
        source: of any rate.
        sample_rate_hz: rate wanted.
        channels: number of channels it must have; None: any, of which the mean is taken.

    Yields:
        float32 (S, channels), or (S, 1); all of them put together are what `common.audio.resample` gives for the whole.

    Raises:
        DataError: another number of channels, or see `AudioSource.blocks`.
    """
    check_channels(source, channels)
    blocks = source.blocks()
    if channels is None and source.channels > 1:
        blocks = (block.mean(axis=1, keepdims=True) for block in blocks)
    yield from _resampled(blocks, source.rate_hz, sample_rate_hz)


def _resampled(blocks: Iterable[np.ndarray], from_hz: int, to_hz: int) -> Iterator[np.ndarray]:
    if from_hz == to_hz:
        yield from blocks
        return
    import soxr  # here: only recordings of another rate need it

    stream, n_given, n_taken, total = None, 0, 0, np.zeros(1)
    for block in blocks:
        stream = stream or soxr.ResampleStream(from_hz, to_hz, block.shape[1], dtype="float32", quality="HQ")
        n_channels = block.shape[1]
        resampled = stream.resample_chunk(np.ascontiguousarray(block))
        n_given, n_taken, total = n_given + len(resampled), n_taken + len(block), total + block.sum(axis=0)
        if len(resampled):
            yield resampled
    if stream is not None:
        rest = stream.resample_chunk(np.zeros((0, n_channels), np.float32), last=True)
        if len(rest):
            yield rest
        elif not n_given:  # as `common.audio.resample` does
            yield (total / n_taken)[None].astype(np.float32)
