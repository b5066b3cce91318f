"""Separated sounds from masks: linear frequency, product with the mixture's spectra, overlap-add.

The phase is the mixture's. The synthesis window is the analysis window, and the sum of the squared
windows is divided out at all samples, so that a mask of ones returns the mixture.
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
        """Framing of features and of the masks from them.

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
        """Magnitudes of one channel, float (S,), in the bands of a mask: float32 (T, n_mels).

        Raises:
            ValueError: there is less than one window.
        """
        return density_magnitude(audio, self) @ self.filters


def linear_masks(masks: np.ndarray, framing: MaskFraming) -> np.ndarray:
    """Brings masks from mel bands to the bins of the FFT: averages of the bands at each bin.

    Unlike the published code, bins outside all bands take the values of the nearest bin with bands
    instead of 0, and the weights of a bin sum to 1 exactly: a mask of ones stays one.

    Args:
        masks: (T, F).
        framing: the bands.

    Returns:
        float32 (T, n_fft // 2 + 1).

    Raises:
        ValueError: the mask has another number of bands.
    """
    if np.ndim(masks) != 2 or np.shape(masks)[1] != framing.n_mels:
        expected, received = f"(frames, {framing.n_mels})", np.shape(masks)
        raise ValueError(f"Expected: a mask {expected}. Received: {received}.")
    return np.asarray(masks, np.float32) @ _bin_weights(framing)


@lru_cache(maxsize=4)
def _bin_weights(framing: MaskFraming) -> np.ndarray:
    """Weights of the bands in each bin, float32 (F, n_fft // 2 + 1)."""
    total = framing.filters.sum(axis=1)
    covered = np.flatnonzero(total > 0)
    nearest = covered[np.abs(np.arange(len(total))[:, None] - covered).argmin(axis=1)]
    weights = framing.filters[nearest].astype(np.float64)
    return np.ascontiguousarray((weights / weights.sum(axis=1, keepdims=True)).T, np.float32)


def separate(audio: np.ndarray, masks: np.ndarray, framing: MaskFraming) -> np.ndarray:
    """Separates the sounds of masks from a recording of any length, with little extra memory.

    Frames that only overlap-add needs at the edges use the nearest frame of the mask.

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
        or masks.ndim != 3
        or masks.shape[1] != framing.n_mels
        or not (len(audio) and len(masks))
    ):
        raise ValueError(
            f"Expected: `audio` (samples,) and `masks` (frames, {framing.n_mels}, classes)."
            f" Received: {audio.shape} and {masks.shape}."
        )
    window, hop = framing.window_samples, framing.synthesis_hop
    # Padding before the first sample, so that it is in as many frames as the others.
    lead = -(-(window - hop) // hop) * hop
    n_frames = -(-(lead + len(audio)) // hop)
    padded = np.pad(audio, (lead, (n_frames - 1) * hop + window - lead - len(audio)))
    weights = analysis_window(window, window, framing.window).astype(np.float32)
    starts = np.arange(n_frames) * hop
    windows = np.lib.stride_tricks.sliding_window_view(padded, window)
    nearest = np.clip(np.rint((starts - lead) / framing.hop_samples).astype(int), 0, len(masks) - 1)
    total = np.zeros((masks.shape[2], len(padded)), np.float32)
    overlap = np.zeros(len(padded), np.float32)
    for first in range(0, n_frames, _BLOCK_FRAMES):
        block = slice(first, first + _BLOCK_FRAMES)
        frames = windows[starts[block]]  # (t, window)
        spectra = scipy.fft.rfft(frames * weights, framing.n_fft, axis=1)  # (t, bins)
        for k in range(masks.shape[2]):
            masked = spectra * linear_masks(masks[nearest[block], :, k], framing)
            parts = scipy.fft.irfft(masked, framing.n_fft, axis=1)[:, :window] * weights
            _add_frames(total[k], parts, starts[block])
        _add_frames(overlap, np.broadcast_to(weights**2, (len(frames), window)), starts[block])
    inside = slice(lead, lead + len(audio))
    return (total[:, inside] / overlap[inside]).T


def _add_frames(signal: np.ndarray, frames: np.ndarray, starts: np.ndarray) -> None:
    """Adds frames (t, window) to a signal from their starts on."""
    for frame, start in zip(frames, starts.tolist(), strict=True):
        signal[start : start + len(frame)] += frame


def si_sdr(estimate: np.ndarray, reference: np.ndarray) -> float:
    """Computes the scale-invariant signal-to-distortion ratio.

    Args:
        estimate: float (S,).
        reference: float (S,).

    Returns:
        dB; infinite for a multiple of the reference, minus infinity for silence or a signal
        orthogonal to it, NaN if the reference is silent.

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
    """Quality of one separated sound, in dB.

    Attributes:
        si_sdr_db: SI-SDR over the whole recording.
        gain_db: its difference from that of the mixture.
        event_gain_db: the same difference, only within the sound's events.
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
    """Scores a separated sound against its reference, relative to the mixture.

    Args:
        estimate: float (S,), the separated sound.
        mixture: float (S,).
        reference: float (S,), the isolated sound, silent outside its events.
        inside: bool (S,), true within its events.
        limit_db: ratios are clipped to +/- this, so that one silent estimate does not make the mean
            infinite.
    """
    ratios = [
        np.clip(si_sdr(signal[part], reference[part]), -limit_db, limit_db)
        for part in (slice(None), inside)
        for signal in (estimate, mixture)
    ]
    whole, mixed, within, mixed_within = map(float, ratios)
    return SeparationQuality(whole, whole - mixed, within - mixed_within)


def inside_events(events: np.ndarray, sample_rate_hz: int, n_samples: int) -> np.ndarray:
    """Marks the samples within events (n, 3) = class_index, onset_s, offset_s: bool (S,)."""
    inside = np.zeros(n_samples, bool)
    for onset_s, offset_s in np.asarray(events, np.float64).reshape(-1, 3)[:, 1:].tolist():
        inside[round(onset_s * sample_rate_hz) : round(offset_s * sample_rate_hz)] = True
    return inside


def check_length(audio: np.ndarray, framing: MaskFraming, name: str) -> None:
    """Raises DataError for a recording shorter than one window."""
    if len(audio) < framing.window_samples:
        needed_s, length_s = np.array([framing.window_samples, len(audio)]) / framing.sample_rate_hz
        raise DataError(
            f"{name} is too short. Expected: at least {needed_s:g} s, one window."
            f" Received: {length_s:g} s. Use a longer recording."
        )
