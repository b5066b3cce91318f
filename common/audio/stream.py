"""Audio of any length as blocks of samples, from files and pipes, at a model's sample rate."""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol

import numpy as np

from common.audio.files import as_samples, check_format, from_int16, opened
from common.errors import DataError

logger = logging.getLogger(__name__)
PcmFormat = Literal["s16le", "f32le"]
_DTYPES = {"s16le": "<i2", "f32le": "<f4"}
_MAX_PEAK = 16.0  # above it, samples are taken for integers stored as floats


class AudioSource(Protocol):
    """Source of audio, block by block."""

    @property
    def name(self) -> str:
        """Name in messages."""

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
    """A sound file, read in blocks as `common.audio.files.read_audio` reads it."""

    path: Path
    rate_hz: int
    channels: int
    is_lossy: bool
    samples: int

    @classmethod
    def open(cls, path: Path) -> "FileSource":
        """Reads the header.

        Raises:
            DataError: no such file, not a sound file, truncated or empty.
        """
        with opened(path) as sound:
            check_format(sound)
            return cls(path, sound.rate_hz, sound.channels, sound.is_lossy, sound.samples)

    @property
    def duration_s(self) -> float:
        """Length in seconds, as the header has it."""
        return self.samples / self.rate_hz

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
            yield from sound.blocks()


class PcmSource:
    """Samples without a header, as from a pipe.

    Args:
        stream: source of the bytes; may return fewer than requested.
        rate_hz: their sample rate.
        channels: their number of channels, interleaved.
        pcm_format: of a sample, little endian; floats are clipped to full scale.
        block_s: maximum length of a block.
    """

    name = "standard input"

    def __init__(
        self,
        stream: BinaryIO,
        rate_hz: int,
        channels: int,
        pcm_format: PcmFormat = "s16le",
        block_s: float = 0.1,
    ):
        self.rate_hz, self.channels = rate_hz, channels
        self._stream, self._dtype = stream, np.dtype(_DTYPES[pcm_format])
        self._n_cut = 0
        self._frame_bytes = channels * self._dtype.itemsize
        self._block_bytes = max(1, round(block_s * rate_hz)) * self._frame_bytes

    def blocks(self) -> Iterator[np.ndarray]:
        """Yields the samples as soon as they arrive; incomplete trailing ones are left out.

        Raises:
            DataError: there is no sample, or one is not finite or far beyond full scale.
        """
        rest, n_samples = b"", 0
        while new := self._stream.read(self._block_bytes - len(rest)):
            rest += new
            whole = len(rest) // self._frame_bytes * self._frame_bytes
            if whole:
                yield self._samples(rest[:whole], n_samples)
                rest, n_samples = rest[whole:], n_samples + whole // self._frame_bytes
        if not n_samples:
            remedy = "Pipe audio into this command, see its --help."
            raise DataError(f"No sample came from standard input. {remedy}")
        if self._n_cut:
            logger.warning("%s, %d values: beyond full scale, clipped.", self.name, self._n_cut)
        if rest:
            text = "The last %d bytes are no complete sample of all channels: left out."
            logger.warning(text, len(rest))

    def _samples(self, content: bytes, before: int) -> np.ndarray:
        values = np.frombuffer(content, self._dtype).reshape(-1, self.channels)  # (S, C)
        if self._dtype.kind == "i":
            return from_int16(values)
        if not np.isfinite(values).all():
            number = before + int(np.argwhere(~np.isfinite(values))[0, 0])
            raise DataError(
                f"Sample {number} of standard input is not a finite number. Expected: samples in"
                " [-1, 1]. Is its format truly f32le?"
            )
        peak = float(np.abs(values).max())
        if peak > _MAX_PEAK:
            raise DataError(
                f"Samples of standard input reach {peak:.6g}. Expected: floats in [-1, 1]. Divide"
                " them by their full scale, or name their format with --format."
            )
        self._n_cut += int(np.count_nonzero(np.abs(values) > 1)) if peak > 1 else 0
        return np.clip(values, -1.0, 1.0).astype(np.float32)


def check_channels(source: AudioSource, channels: int | None) -> None:
    """Raises DataError if audio has another number of channels than the model; None: any."""
    if channels is not None and source.channels != channels:
        raise DataError(
            f"Wrong number of channels in {source.name}. Expected: {channels}, those of the array"
            " that the model was trained on: it compares them to find directions. Received:"
            f" {source.channels}."
        )


def converted(
    source: AudioSource, sample_rate_hz: int, channels: int | None
) -> Iterator[np.ndarray]:
    """Converts audio to the sample rate and channels of a model.

    Args:
        source: of any rate.
        sample_rate_hz: sample rate of the model.
        channels: number of channels it must have; None: any, averaged.

    Yields:
        float32 (S, channels), or (S, 1); together they equal `common.audio.files.resample` of all.

    Raises:
        DataError: another number of channels, or see `AudioSource.blocks`.
    """
    check_channels(source, channels)
    blocks = source.blocks()
    if channels is None and source.channels > 1:
        blocks = (block.mean(axis=1, keepdims=True) for block in blocks)
    yield from _resampled(blocks, source.rate_hz, sample_rate_hz)


class StreamResampler:
    """Resamples audio block by block, with the result of `common.audio.files.resample`.

    Args:
        from_hz: sample rate of the audio.
        to_hz: sample rate of the result.
        channels: number of channels.
    """

    def __init__(self, from_hz: int, to_hz: int, channels: int) -> None:
        import soxr  # here: only recordings of another rate need it

        self._stream = soxr.ResampleStream(from_hz, to_hz, channels, dtype="float32", quality="HQ")
        self._n_given = self._n_taken = 0
        self._total = np.zeros(channels)

    def feed(self, block: np.ndarray) -> np.ndarray:
        """Adds float32 (S, C); returns the resampled samples that are final, maybe none, (0, C)."""
        resampled = self._stream.resample_chunk(np.ascontiguousarray(block))
        self._n_taken += len(block)
        self._n_given += len(resampled)
        if not self._n_given:
            self._total += block.sum(axis=0)
        return resampled

    def finish(self) -> np.ndarray:
        """Returns the rest; the mean of audio that is shorter than one resampled sample."""
        rest = self._stream.resample_chunk(np.zeros((0, len(self._total)), np.float32), last=True)
        if not self._n_given and not len(rest) and self._n_taken:
            return (self._total / self._n_taken)[None].astype(np.float32)
        return rest


def _resampled(blocks: Iterable[np.ndarray], from_hz: int, to_hz: int) -> Iterator[np.ndarray]:
    if from_hz == to_hz:
        yield from blocks
        return
    stream = None
    for block in blocks:
        stream = stream or StreamResampler(from_hz, to_hz, block.shape[1])
        if len(resampled := stream.feed(block)):
            yield resampled
    if stream is not None and len(rest := stream.finish()):
        yield rest


class Intake:
    """Converts arrays of one recording, from a program, to a model's rate and channels.

    Args:
        from_hz: their sample rate.
        to_hz: sample rate of the result.
        channels: number of channels they must have; None: any, averaged.
    """

    def __init__(self, from_hz: int, to_hz: int, channels: int | None) -> None:
        self._channels, self._is_mixed = channels, channels is None
        self._resampler: StreamResampler | None = None
        if from_hz != to_hz:
            self._resampler = StreamResampler(from_hz, to_hz, channels or 1)
        self._n_samples = 0

    def feed(self, audio: Any) -> np.ndarray:
        """Adds an array, see `common.audio.files.as_samples`; returns float32 (S, C).

        Raises:
            DataError: it cannot be used, or has another number of channels than those before.
        """
        samples = as_samples(audio, self._channels, self._n_samples)
        self._channels = samples.shape[1]
        self._n_samples += len(samples)
        if self._is_mixed and samples.shape[1] > 1:
            samples = samples.mean(axis=1, keepdims=True)
        return samples if self._resampler is None else self._resampler.feed(samples)

    def finish(self) -> np.ndarray:
        """Returns the rest of resampling, float32 (S, C)."""
        return np.zeros((0, 1), np.float32) if self._resampler is None else self._resampler.finish()
