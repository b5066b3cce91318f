"""Intensity vectors of Ambisonics that are normalised bin by bin, and then summed to bands.

`common.features.spectral.logmel_intensity` normalises the sums instead, which weights loud bins
more. Published systems weight all bins alike, each by another rule:

- `LENGTH`: by the vector's own length. Directions of quiet bins count as much as those of loud
  ones (DCASE 2020, EINV2, SALSA's baselines).
- `HALF_ENERGY`: by half the energy of the four channels (DCASE 2021).
- `ENERGY`: by the energy of W and a third of that of Y, Z, X, as for N3D (DCASE 2022 to 2024).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from common.features.spectral import decibels, stft_blocks
from common.settings.stft import Stft

Norm = Literal["length", "half_energy", "energy"]
YZX, XYZ = (1, 2, 3), (3, 1, 2)  # channels of the axes, among W, Y, Z, X
SHARES = {"half_energy": (0.5, 0.5), "energy": (1.0, 1 / 3)}  # of the energies of W and the others
_AVERAGED = 8  # bins in each of the wide bands of `linear_bands`


@dataclass(frozen=True)
class BinNorm:
    """Rule by which the intensity of each bin is normalised.

    Attributes:
        norm: see the module.
        axes: channels of the components in their order, `YZX` or `XYZ`.
        floor: added to the norm: intensities below it fade out.
    """

    norm: Norm
    axes: Sequence[int] = YZX
    floor: float = 1e-8


def bin_intensity(spectra: np.ndarray, rule: BinNorm) -> np.ndarray:
    """Active intensity Re(W* [Y, Z, X]), normalised bin by bin.

    Args:
        spectra: complex64 (4, t, F), channels W, Y, Z, X.
        rule: order of the axes, and what the intensity is divided by.

    Returns:
        float32 (3, t, F), pointing at the source.
    """
    w, velocity = spectra[0], spectra[list(rule.axes)]
    intensity = w.real * velocity.real + w.imag * velocity.imag  # (3, t, F)
    if rule.norm == "length":
        norm = np.sqrt(np.einsum("atf,atf->tf", intensity, intensity))
    else:
        energy = spectra.real**2 + spectra.imag**2  # (4, t, F)
        shares = SHARES[rule.norm]
        norm = np.float32(shares[0]) * energy[0] + np.float32(shares[1]) * energy[1:].sum(axis=0)
    intensity /= norm + np.float32(rule.floor)
    return intensity


def levels_and_intensity(
    audio: np.ndarray,
    filters: np.ndarray,
    sizes: Stft,
    n_frames: int,
    rule: BinNorm,
    dtype: str = "float32",
) -> np.ndarray:
    """Spectra of first-order Ambisonics in dB, and intensities normalised bin by bin, in bands.

    Args:
        audio: float (S, 4), channels W, Y, Z, X (ACN order).
        filters: float32 (n_fft // 2 + 1, bands), of mel bands or `linear_bands`.
        sizes: see `common.features.spectral.stft_blocks`, as `n_frames`.
        rule: see `bin_intensity`.
        dtype: type of the result.

    Returns:
        (T, bands, 7): W, Y, Z, X in dB, then the intensity along the axes of the rule.

    References:
        Politis et al., "A dataset of reverberant spatial sound scenes with moving sources for sound
        event localization and detection", DCASE 2020, arXiv:2006.01919. Politis et al., "STARSS22",
        DCASE 2022, arXiv:2206.01948.
    """
    features = np.empty((n_frames, filters.shape[1], 7), dtype)
    for block, spectra in stft_blocks(audio, sizes, n_frames):  # (4, t, F)
        power = spectra.real**2 + spectra.imag**2
        features[block, :, :4] = decibels(power @ filters).transpose(1, 2, 0)
        intensity = bin_intensity(spectra, rule) @ filters  # (3, t, bands)
        features[block, :, 4:] = intensity.transpose(1, 2, 0)
    return features


@lru_cache(maxsize=8)
def linear_bands(sample_rate_hz: int, n_fft: int, from_hz: float) -> np.ndarray:
    """Bands that are single bins up to a frequency, and averages of eight bins above it.

    The constant component is left out. The last band takes what bins remain.

    Args:
        sample_rate_hz: sample rate of the audio.
        n_fft: FFT size.
        from_hz: frequency of the first averaged bin.

    Returns:
        float32 (n_fft // 2 + 1, bands), read-only.

    References:
        Nguyen et al., "SALSA: Spatial cue-augmented log-spectrogram features for polyphonic sound
        event localization and detection", IEEE/ACM Trans. Audio Speech Lang. Process. 30, 2022,
        arXiv:2110.00275.
    """
    n_bins = n_fft // 2  # without the constant component
    single = min(int(from_hz * n_fft / sample_rate_hz), n_bins)
    n_wide = -(-(n_bins - single) // _AVERAGED)
    filters = np.zeros((n_bins + 1, single + n_wide), np.float32)
    filters[1 : single + 1, :single] = np.eye(single)
    for band in range(n_wide):
        first = 1 + single + band * _AVERAGED
        part = filters[first : first + _AVERAGED, single + band]
        part[:] = 1 / len(part)
    filters.flags.writeable = False
    return filters
