"""From masks to separated sounds: back to linear frequency, times the mixture's spectra, overlapped
and added.

The phase is the mixture's. Each synthesis window is the analysis window, and the sum of their
squares is divided out at every sample, the first and the last ones too: a mask of ones gives the
mixture back.
"""

from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Self

import numpy as np
import scipy.fft

from common.errors import DataError
from common.features.kinds import FeatureSizes
from common.features.settings import as_frontend
from common.features.spectral import analysis_window, density_magnitude
from common.settings.stft import Window
from sed_task4.features import FeatureConfig

_BLOCK_FRAMES = 256  # 2 MB of spectra


@dataclass(frozen=True, kw_only=True)
class MaskFraming(FeatureSizes):
    """Frames and mel bands of a mask in mono audio; frame t starts at sample t * hop_samples."""

    kind: str = "ln_mel_density"
    channels: int = 1
    window: Window = "hamming_symmetric"

    @classmethod
    def of(cls, features: FeatureConfig, sample_rate_hz: int) -> Self:
        """The framing of features, which the masks of a network share.

        Raises:
            ConfigError: window or hop length do not fit the sample rate.
        """
        return cls(**asdict(as_frontend(features, sample_rate_hz)))

    @property
    def hop_s(self) -> float:
        """Hop length in seconds."""
        return self.hop_samples / self.sample_rate_hz

    @property
    def synthesis_hop(self) -> int:
        """Hop length of the overlap-add, at most half a window, so that frames overlap."""
        return max(1, min(self.hop_samples, self.window_samples // 2))

    def mel_magnitude(self, audio: np.ndarray) -> np.ndarray:
        """Computes the magnitudes of one channel, float (S,), in the bands of a mask: float32 (T,
        n_mels).

        Raises:
            ValueError: there is less than one window.
        """
        return density_magnitude(audio, self) @ self.filters


def linear_masks(masks: np.ndarray, framing: MaskFraming) -> np.ndarray:
    """Brings masks from mel bands to the bins of the transform: each bin is an average of the bands
    it lies in.

    Unlike the published code, bins outside all bands take the values of the nearest bin that has
    any, instead of 0, and the weights of a bin sum to 1 exactly: a mask of ones stays one.

    Args:
        masks: (T, F).
        framing: what the bands are.

    Returns:
        float32 (T, n_fft // 2 + 1).

    Raises:
        ValueError: the mask has another number of bands.
    """
    if np.ndim(masks) != 2 or np.shape(masks)[1] != framing.n_mels:
        raise ValueError(
            f"Expected: a mask (frames, {framing.n_mels}). Received: {np.shape(masks)}."
        )
    return np.asarray(masks, np.float32) @ _bin_weights(framing)


@lru_cache(maxsize=4)
def _bin_weights(framing: MaskFraming) -> np.ndarray:
    """How much of each band a bin gets, float32 (F, n_fft // 2 + 1)."""
    total = framing.filters.sum(axis=1)
    covered = np.flatnonzero(total > 0)
    nearest = covered[np.abs(np.arange(len(total))[:, None] - covered).argmin(axis=1)]
    weights = framing.filters[nearest].astype(np.float64)
    return np.ascontiguousarray((weights / weights.sum(axis=1, keepdims=True)).T, np.float32)


def separate(audio: np.ndarray, masks: np.ndarray, framing: MaskFraming) -> np.ndarray:
    """Separates the sounds that masks stand for from a recording of any length.

    Frames at both edges that only the overlap needs take the nearest frame of the mask, as do those
    beyond its last one. Needs little memory beyond that of the result.

    Args:
        audio: float (S,), the mixture.
        masks: (T, F, K), or (T, F) for one sound, values in [0, 1].
        framing: frames and bands of the masks.

    Returns:
        float32 (S, K), or (S,) for one mask.

    Raises:
        ValueError: not one channel, no sample, no frame, or another number of bands.
    """
    audio, masks = np.asarray(audio, np.float32), np.asarray(masks)
    if masks.ndim == 2:
        return separate(audio, masks[..., None], framing)[:, 0]
    if (
        audio.ndim != 1
        or not len(audio)
        or masks.ndim != 3
        or not len(masks)
        or masks.shape[1] != framing.n_mels
    ):
        raise ValueError(
            f"Expected: `audio` (samples,) and `masks` (frames, {framing.n_mels}, classes)."
            f" Received: {audio.shape} and {masks.shape}."
        )
    window, hop = framing.window_samples, framing.synthesis_hop
    lead = (
        -(-(window - hop) // hop) * hop
    )  # samples before the first, so that it is in as many frames as the others
    n_frames = -(-(lead + len(audio)) // hop)
    padded = np.pad(audio, (lead, (n_frames - 1) * hop + window - lead - len(audio)))
    weights = analysis_window(window, window, framing.window).astype(np.float32)
    starts = np.arange(n_frames) * hop
    nearest = np.clip(np.rint((starts - lead) / framing.hop_samples).astype(int), 0, len(masks) - 1)
    total = np.zeros((masks.shape[2], len(padded)), np.float32)
    overlap = np.zeros(len(padded), np.float32)
    for first in range(0, n_frames, _BLOCK_FRAMES):
        block = slice(first, first + _BLOCK_FRAMES)
        frames = np.lib.stride_tricks.sliding_window_view(padded, window)[
            starts[block]
        ]  # (t, window)
        spectra = scipy.fft.rfft(frames * weights, framing.n_fft, axis=1)  # (t, bins)
        for k in range(masks.shape[2]):
            masked = spectra * linear_masks(masks[nearest[block], :, k], framing)
            parts = scipy.fft.irfft(masked, framing.n_fft, axis=1)[:, :window] * weights
            _add_frames(total[k], parts, starts[block])
        _add_frames(overlap, np.broadcast_to(weights**2, (len(frames), window)), starts[block])
    inside = slice(lead, lead + len(audio))
    return (total[:, inside] / overlap[inside]).T


def _add_frames(signal: np.ndarray, frames: np.ndarray, starts: np.ndarray) -> None:
    """Adds frames (t, window) to a signal where they start."""
    for frame, start in zip(frames, starts.tolist(), strict=True):
        signal[start : start + len(frame)] += frame


def si_sdr(estimate: np.ndarray, reference: np.ndarray) -> float:
    """Computes the scale-invariant signal-to-distortion ratio.

    Args:
        estimate: float (S,).
        reference: float (S,).

    Returns:
        dB; infinite for a multiple of the reference, minus infinity for silence or a signal
        orthogonal to it, NaN where the reference is silent.

    Raises:
        ValueError: the shapes differ.

    References:
        Le Roux, Wisdom, Erdogan, Hershey, "SDR - half-baked or well done?", ICASSP 2019,
        arXiv:1811.02508.
    """
    estimate, reference = np.asarray(estimate, np.float64), np.asarray(reference, np.float64)
    if estimate.shape != reference.shape or estimate.ndim != 1:
        raise ValueError(
            "`estimate` must have the shape of `reference`, (samples,). Expected:"
            f" {reference.shape}. Received: {estimate.shape}."
        )
    energy = float(reference @ reference)
    if energy == 0:
        return float("nan")
    target = reference * (float(estimate @ reference) / energy)
    rest = estimate - target
    if not target.any():
        return float("-inf")
    with np.errstate(divide="ignore"):
        return float(10 * np.log10(np.divide(target @ target, rest @ rest)))


@dataclass(frozen=True)
class SeparationQuality:
    """How well one sound was separated, in dB.

    Attributes:
        si_sdr_db: over the whole recording.
        gain_db: what this is above the mixture's.
        event_gain_db: the same, both within the sound's events alone.
    """

    si_sdr_db: float
    gain_db: float
    event_gain_db: float


def separation_quality(
    estimate: np.ndarray,
    mixture: np.ndarray,
    reference: np.ndarray,
    inside: np.ndarray,
    limit_db: float = 60.0,
) -> SeparationQuality:
    """Scores a separated sound against its reference, beside the mixture as it is.

    Args:
        estimate: float (S,), the separated sound.
        mixture: float (S,).
        reference: float (S,), the sound alone, silent outside its events.
        inside: bool (S,), where its events are.
        limit_db: no ratio counts for more than this, or less than its negative, so that one silent
            estimate does not make the mean infinite.
    """
    ratios = [
        np.clip(si_sdr(signal[part], reference[part]), -limit_db, limit_db)
        for part in (slice(None), inside)
        for signal in (estimate, mixture)
    ]
    return SeparationQuality(
        float(ratios[0]), float(ratios[0] - ratios[1]), float(ratios[2] - ratios[3])
    )


def inside_events(events: np.ndarray, sample_rate_hz: int, n_samples: int) -> np.ndarray:
    """Says which samples lie within events (n, 3) = class_index, onset_s, offset_s: bool (S,)."""
    inside = np.zeros(n_samples, bool)
    for onset_s, offset_s in np.asarray(events, np.float64).reshape(-1, 3)[:, 1:].tolist():
        inside[round(onset_s * sample_rate_hz) : round(offset_s * sample_rate_hz)] = True
    return inside


def check_length(audio: np.ndarray, framing: MaskFraming, name: str) -> None:
    """Raises DataError where a recording has not even one window."""
    if len(audio) < framing.window_samples:
        raise DataError(
            f"{name} is too short. Expected: at least"
            f" {framing.window_samples / framing.sample_rate_hz:g} s, one window. Received:"
            f" {len(audio) / framing.sample_rate_hz:g} s. Use a longer recording."
        )
