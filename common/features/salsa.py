"""Spatial features aligned with log spectra bin by bin: SALSA, SALSA-Lite and SALSA-IPD.

SALSA-Lite and SALSA-IPD are phase differences between the microphones and the first of them. SALSA
takes the phases, or with Ambisonics the intensities, from the principal eigenvector of the
spatial covariance, and only of bins in which one source stands out from noise and from others.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from common.features import spectral
from common.features.intensity import linear_bands
from common.features.kinds import FeatureSizes

SPEED_OF_SOUND_M_S = 343.0
NEIGHBOURS = 3  # frames on either side in a covariance
_BEFORE = 2  # frames before a frame in the average that is compared with the noise floor
_FAST_FRAMES = 3
_BLOCK_FRAMES = 64  # x 191 bins x 16 products fit the second-level cache
_DOMINANCE = 5.0  # ratio of the two largest eigenvalues of a bin with one source
_AUDIBLE = 1.5  # ratio of a bin's magnitude to the noise floor
_NEWTON_STEPS = 8
PhaseUnit = Literal["metres", "half_turns"]


@dataclass(frozen=True)
class BinRange:
    """Bins of the spectra and, among them, of the spatial features.

    Attributes:
        lower: first bin of both, at least 1: the constant component has no direction.
        upper: first bin without spatial features.
        cutoff: first bin beyond the spectra.
        published: quirk of the published code, which counts `upper` from `lower` on, so that as
            many bins above it as there are below `lower` keep their spatial features.
    """

    lower: int
    upper: int
    cutoff: int
    published: bool = False

    @classmethod
    def of(cls, sizes: FeatureSizes) -> "BinRange":
        """Bins of the frequencies in the settings, rounded down."""
        edges = sizes.fmin_doa_hz, sizes.fmax_doa_hz, sizes.fmax_spectra_hz
        lower, upper, cutoff = (int(f * sizes.n_fft / sizes.sample_rate_hz) for f in edges)
        lower, cutoff = max(lower, 1), min(cutoff, sizes.n_fft // 2 + 1)
        return cls(lower, min(upper, cutoff), cutoff, sizes.published_phase_range)

    @property
    def spatial(self) -> slice:
        """Bins with spatial features."""
        return slice(self.lower, min(self.upper + self.lower * self.published, self.cutoff))

    @property
    def n_spectra(self) -> int:
        """Number of bins of the spectra."""
        return self.cutoff - self.lower

    @property
    def n_spatial(self) -> int:
        """Number of bins with spatial features; they are the first ones of the spectra."""
        return max(self.spatial.stop - self.lower, 0)


def phase_scale(sizes: FeatureSizes, unit: PhaseUnit, bins: slice) -> np.ndarray:
    """Factors from phases in radians to path differences in metres, or to half turns.

    Args:
        sizes: sample rate and FFT size.
        unit: "metres" as in SALSA-Lite, where the direction decides at all frequencies alike;
            "half_turns" as in SALSA-IPD, phase / pi.
        bins: the bins of the phases.

    Returns:
        float32 (bins,).
    """
    numbers = np.arange(bins.start, bins.stop)
    if unit == "half_turns":
        return np.full(len(numbers), 1 / np.pi, np.float32)
    wave_number = 2 * np.pi * sizes.sample_rate_hz / (sizes.n_fft * SPEED_OF_SOUND_M_S)  # of bin 1
    return (1 / (wave_number * numbers)).astype(np.float32)


def phase_differences(
    audio: np.ndarray, sizes: FeatureSizes, n_frames: int, unit: PhaseUnit, dtype: str = "float32"
) -> np.ndarray:
    """Log power spectra of all microphones, and phases of all but the first against the first.

    Args:
        audio: float (S, C), any number of microphones.
        sizes: STFT and range of bins.
        n_frames: number of frames.
        unit: see `phase_scale`.
        dtype: type of the result.

    Returns:
        (T, cutoff - lower, 2C - 1): C spectra in dB, then C - 1 phases, 0 above `fmax_doa_hz`. A
        microphone that is nearer to the source than the first has positive ones.

    References:
        Nguyen et al., "SALSA-Lite: A fast and effective feature for polyphonic sound event
        localization and detection with microphone arrays", ICASSP 2022, arXiv:2111.08192.
    """
    bins, n_channels = BinRange.of(sizes), audio.shape[1]
    features = np.zeros((n_frames, bins.n_spectra, 2 * n_channels - 1), dtype)
    scale = phase_scale(sizes, unit, bins.spatial)
    for block, spectra in spectral.stft_blocks(audio, sizes, n_frames):  # (C, t, F)
        kept = spectra[..., bins.lower : bins.cutoff]
        levels = spectral.decibels(kept.real**2 + kept.imag**2)
        features[block, :, :n_channels] = levels.transpose(1, 2, 0)
        low = spectra[..., bins.spatial]
        cross = low[1:] * low[0].conj()  # (C - 1, t, bins)
        phases = np.arctan2(cross.imag, cross.real) * scale
        features[block, : bins.n_spatial, n_channels:] = phases.transpose(1, 2, 0)
    return features


def salsa(
    audio: np.ndarray,
    sizes: FeatureSizes,
    n_frames: int,
    audio_format: str,
    dtype: str = "float32",
    floor: "NoiseFloor | None" = None,
    new: slice = slice(None),
) -> np.ndarray:
    """Log spectra, and the principal eigenvector of the covariance of each bin (SALSA).

    The covariance of a bin is summed over seven frames. With the setting `wrap_around`, a quirk of
    the published code, the frames before the beginning are those of the end; else they are
    reflected. A bin counts if it is louder than the noise floor and its largest eigenvalue is at
    least five times the second, else its spatial features are 0. The noise floor follows the first
    channel from the beginning of the recording on.

    Args:
        audio: float (S, C): W, Y, Z, X, or any number of microphones.
        sizes: STFT and range of bins.
        n_frames: number of frames.
        audio_format: "foa": real parts of the eigenvector against its first element, scaled to
            length 1, which points at the source along y, z and x; "mic": its phases against its
            first element as path differences in metres, see `phase_scale`.
        dtype: type of the result.
        floor: noise floor so far, where the audio continues a stream; None: a recording begins.
        new: frames that follow those of the floor; the others have no spatial features.

    Returns:
        (T, bands, 2C - 1): C spectra in dB in `linear_bands`, then C - 1 spatial features of the
        first, single bins.

    References:
        As for `common.features.intensity.linear_bands`.
    """
    filters = linear_bands(sizes.sample_rate_hz, sizes.n_fft, sizes.fmax_spectra_hz)
    bins, n_channels = BinRange.of(sizes), audio.shape[1]
    features = np.zeros((n_frames, filters.shape[1], 2 * n_channels - 1), dtype)
    low = np.empty((n_channels, n_frames, bins.n_spatial), np.complex64)
    for block, spectra in spectral.stft_blocks(audio, sizes, n_frames):  # (C, t, F)
        power = (spectra.real**2 + spectra.imag**2) @ filters
        features[block, :, :n_channels] = spectral.decibels(power).transpose(1, 2, 0)
        low[:, block] = spectra[..., bins.spatial]
    widths = ((0, 0), (NEIGHBOURS, NEIGHBOURS), (0, 0))
    padded = np.pad(low, widths, mode="wrap" if sizes.wrap_around else "reflect")
    magnitude = np.abs(padded[0, NEIGHBOURS - _BEFORE : -NEIGHBOURS])
    audible = (floor or NoiseFloor()).audible_bins(magnitude, new)
    scale = phase_scale(sizes, "metres", bins.spatial)
    place = slice(bins.lower - 1, bins.lower - 1 + bins.n_spatial)  # linear bands begin at bin 1
    for block, covariance in covariances(padded):  # (C, C, t, bins)
        chosen = audible[block]
        column, dominant = principal_column(covariance[:, :, chosen])  # (C - 1, n), (n,)
        if audio_format == "foa":
            length = np.sqrt(np.sum(column.real**2, axis=0))
            values = column.real / np.maximum(length, np.finfo(np.float64).tiny)
        else:
            values = (
                np.arctan2(column.imag, column.real) * np.broadcast_to(scale, chosen.shape)[chosen]
            )
        spatial = np.zeros((*chosen.shape, n_channels - 1))  # (t, bins, C - 1)
        spatial[chosen] = np.where(dominant, values, 0.0).T
        features[block, place, n_channels:] = spatial
    return features


class NoiseFloor:
    """Noise floor of each bin, which is tracked from frame to frame, across blocks of a stream.

    The power is averaged over a frame and the two before it. The floor of the magnitude begins at
    half the mean of the first five averages. It rises by 2 % in up to three frames in a row that
    are above it, then by 0.2 % in each, falls by 2 % in each below it, and is at least 1e-6.
    """

    def __init__(self) -> None:
        self._floor: np.ndarray | None = None  # (bins,)
        self._left = np.zeros(0)  # (bins,) frames in which the floor may still rise fast

    def audible_bins(self, magnitude: np.ndarray, new: slice = slice(None)) -> np.ndarray:
        """Bins that are louder than the noise floor.

        Args:
            magnitude: float32 (2 + T, bins), of the first channel, with two frames before the
                first.
            new: frames that follow those tracked so far; the others are not tracked.

        Returns:
            bool (T, bins), true where the average is above 1.5 times the floor; false in frames
            that are not new.
        """
        power = magnitude.astype(np.float64) ** 2
        averages = np.sqrt((power[:-2] + power[1:-1] + power[2:]) / (1 + _BEFORE))  # (T, bins)
        if self._floor is None:
            self._floor = 0.5 * averages[:5].mean(axis=0)
            self._left = np.full(len(self._floor), _FAST_FRAMES)
        floor, left = self._floor, self._left
        audible = np.zeros(averages.shape, bool)
        for frame in range(*new.indices(len(averages))):
            average = averages[frame]
            above = average > floor
            factor = np.where(above, np.where(left > 0, 1.02, 1.002), 0.98)
            left = np.where(above, left - 1, _FAST_FRAMES)
            floor = np.maximum(floor * factor, 1e-6)
            audible[frame] = average > _AUDIBLE * floor
        self._floor, self._left = floor, left
        return audible


def covariances(spectra: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Spatial covariances, summed over seven frames, a few frames at a time.

    Args:
        spectra: complex64 (C, T + 6, bins), with three frames before the first, and after the last.

    Yields:
        Frame numbers as a slice, and complex128 (C, C, t, bins).
    """
    n_channels, n_padded, n_bins = spectra.shape
    n_frames = n_padded - 2 * NEIGHBOURS
    for start in range(0, n_frames, _BLOCK_FRAMES):
        block = slice(start, min(start + _BLOCK_FRAMES, n_frames))
        n = block.stop - start
        part = spectra[:, start : block.stop + 2 * NEIGHBOURS].astype(np.complex128)
        covariance = np.empty((n_channels, n_channels, n, n_bins), np.complex128)
        for row in range(n_channels):
            for column in range(row + 1):
                products = part[row] * part[column].conj()  # (t + 6, bins)
                summed = sum(products[shift : shift + n] for shift in range(2 * NEIGHBOURS + 1))
                covariance[row, column], covariance[column, row] = summed, np.conj(summed)
        yield block, covariance


def principal_column(covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Principal eigenvectors v of covariances, as v[1:] conj(v[0]), and whether they dominate.

    For four channels from the characteristic polynomial, which takes a fraction of the time of an
    eigenvalue solver: Newton's method, which falls from the Frobenius norm to the largest root
    without passing it, since all roots are real; the others are below a bound where the rest of the
    polynomial and its derivatives are positive; and the rest of the polynomial, taken of the
    matrix, leaves its principal eigenvector alone.

    Args:
        covariance: complex128 (C, C, n), Hermitian.

    Returns:
        complex128 (C - 1, n), up to a positive factor, and bool (n,), true where the largest
        eigenvalue is at least five times the second.
    """
    if len(covariance) != 4:
        values, vectors = np.linalg.eigh(np.moveaxis(covariance, -1, 0))  # ascending
        principal = vectors[:, :, -1].T  # (C, n)
        return principal[1:] * principal[0].conj(), values[:, -1] > _DOMINANCE * values[:, -2]
    scale = np.maximum(np.einsum("iin->n", covariance).real, np.finfo(np.float64).tiny)
    unit = covariance / scale  # of trace 1
    squared = np.einsum("ikn,kjn->ijn", unit, unit)
    largest, rest = _largest_root(_coefficients(unit, squared))
    bound = largest / _DOMINANCE
    b, c, d = rest
    value = ((bound + b) * bound + c) * bound + d
    slope = (3 * bound + 2 * b) * bound + c
    dominant = (value > 0) & (slope > 0) & (3 * bound + b > 0)
    first = np.einsum("ikn,kn->in", unit, squared[:, 0])  # of the third power
    column = first + b * squared[:, 0] + c * unit[:, 0]
    return column[1:], dominant


def _coefficients(matrix: np.ndarray, squared: np.ndarray) -> tuple[np.ndarray, ...]:
    """Coefficients of the characteristic polynomials of (4, 4, n), from the highest power on."""
    first = np.einsum("iin->n", matrix).real
    second = np.einsum("iin->n", squared).real
    third = np.einsum("ijn,ijn->n", squared, matrix.conj()).real  # sums of powers of the roots
    fourth = np.einsum("ijn,ijn->n", squared, squared.conj()).real
    pairs = (first * first - second) / 2  # Newton's identities
    triples = (pairs * first - first * second + third) / 3
    product = (triples * first - pairs * second + first * third - fourth) / 4
    return -first, pairs, -triples, product


def _largest_root(
    coefficients: tuple[np.ndarray, ...],
) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Largest root of x^4 + a x^3 + b x^2 + c x + d, and the polynomial divided by it."""
    a, b, c, d = coefficients
    root = np.sqrt(np.maximum(a * a - 2 * b, 0))  # of the sum of squares: no root is larger
    for _ in range(_NEWTON_STEPS):
        first = root + a
        second = first * root + b
        third = second * root + c
        slope = ((root + first) * root + second) * root + third
        value = third * root + d
        root = root - np.where(slope > 0, value / np.where(slope > 0, slope, 1), 0)
    first = root + a
    second = first * root + b
    return root, (first, second, second * root + c)
