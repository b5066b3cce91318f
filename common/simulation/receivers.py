"""Receivers of plane waves: first-order ambisonics, stereo from it, microphones on a sphere."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import eval_legendre, spherical_jn, spherical_yn

SOUND_SPEED_M_S = 343.0
MAX_SPHERICAL_ORDER = 30  # enough for a sphere of a few cm up to 24 kHz
AmbisonicNorm = Literal["n3d", "sn3d"]
AudioFormat = Literal["foa", "mic", "stereo"]


def unit_vectors(azimuth_deg: np.ndarray | float, elevation_deg: np.ndarray | float) -> np.ndarray:
    """Converts directions to unit vectors (x front, y left, z up), (..., 3)."""
    azimuth, elevation = np.deg2rad(azimuth_deg), np.deg2rad(elevation_deg)
    return np.stack(
        [
            np.cos(azimuth) * np.cos(elevation),
            np.sin(azimuth) * np.cos(elevation),
            np.sin(elevation) + 0 * azimuth,
        ],
        -1,
    )


def first_order_gains(directions: np.ndarray, norm: AmbisonicNorm) -> np.ndarray:
    """Computes the gains of the first-order channels.

    Args:
        directions: unit vectors towards the sources, (n, 3).
        norm: n3d scales Y, Z and X by sqrt(3), sn3d by 1.

    Returns:
        float64 (4, n) in the order W, Y, Z, X (ACN); W is 1.
    """
    dipole = np.sqrt(3.0) if norm == "n3d" else 1.0
    return np.stack(
        [np.ones(len(directions)), *(dipole * directions[:, axis] for axis in (1, 2, 0))]
    )


def rigid_sphere_response(
    frequencies_hz: np.ndarray, cos_angle: np.ndarray, radius_m: float
) -> np.ndarray:
    """Computes the pressure on a rigid sphere relative to that in the free field at its centre.

    Args:
        frequencies_hz: (F,), not negative.
        cos_angle: cosine of the angle between the wave's origin and the point on the sphere, (A,).
        radius_m: radius of the sphere.

    Returns:
        complex128 (A, F) for the time convention exp(+iwt); 1 at 0 Hz.

    References:
        Politis, Mitsufuji et al., TAU-SRIR database, README (responses of the tetrahedral format).
    """
    frequencies_hz = np.asarray(frequencies_hz, float)
    x = 2 * np.pi * np.maximum(frequencies_hz, 1e-9) * radius_m / SOUND_SPEED_M_S
    response = np.zeros((len(cos_angle), len(x)), complex)
    with np.errstate(all="ignore"):  # high orders overflow at low frequencies: no contribution
        for order in range(MAX_SPHERICAL_ORDER + 1):
            derivative = spherical_jn(order, x, True) - 1j * spherical_yn(order, x, True)
            radial = 1j ** (order - 1) * (2 * order + 1) / derivative / x**2
            radial[~np.isfinite(radial)] = 0.0
            response += eval_legendre(order, cos_angle)[:, None] * radial
    response[:, frequencies_hz <= 0] = 1.0
    return response


@dataclass(frozen=True)
class SphericalArray:
    """Microphones on a rigid sphere.

    Attributes:
        microphones_deg: (azimuth, elevation) of each microphone.
        radius_m: radius of the sphere.
    """

    microphones_deg: tuple[tuple[float, float], ...]
    radius_m: float

    @property
    def directions(self) -> np.ndarray:
        """Unit vectors towards the microphones, (M, 3)."""
        angles = np.array(self.microphones_deg, float)
        return unit_vectors(angles[:, 0], angles[:, 1])


@dataclass(frozen=True)
class Receiver:
    """Formats in which a scene is rendered.

    Channel 0 is always W, which sets the levels: a format is the same with or without another.

    Attributes:
        formats: any of foa, mic and stereo.
        array: the microphones of the mic format.
        norm: normalisation of the foa format.
    """

    formats: tuple[AudioFormat, ...]
    array: SphericalArray
    norm: AmbisonicNorm = "n3d"

    @property
    def n_dipoles(self) -> int:
        """Number of channels between W and the microphones: Y, Z, X; Y for stereo; or none."""
        if "foa" in self.formats:
            return 3
        return 1 if "stereo" in self.formats else 0

    @property
    def n_microphones(self) -> int:
        """Number of microphone channels, after W and the dipoles."""
        return len(self.array.microphones_deg) if "mic" in self.formats else 0

    @property
    def n_channels(self) -> int:
        """Number of channels that are rendered."""
        return 1 + self.n_dipoles + self.n_microphones

    def signals_of(self, audio_format: AudioFormat, channels: np.ndarray) -> np.ndarray:
        """Makes the signals of a format from the rendered channels, (channels, samples).

        Stereo is that of two cardioids to the left and the right: (W + Y) / 2 and (W - Y) / 2, Y
        with the gain of SN3D.
        """
        if audio_format == "foa":
            return channels[:4]
        if audio_format == "mic":
            return channels[1 + self.n_dipoles :]
        middle, side = channels[0], channels[1]
        if self.norm == "n3d":
            side = side / np.float32(np.sqrt(3.0))
        return np.stack([(middle + side) / 2, (middle - side) / 2])


def check_formats(formats: Sequence[str]) -> tuple[AudioFormat, ...]:
    """Sorts and deduplicates formats.

    Raises:
        ValueError: a format is none of foa, mic and stereo, or none is given.
    """
    known: tuple[AudioFormat, ...] = ("foa", "mic", "stereo")
    if not formats or set(formats) - set(known):
        raise ValueError(
            f"Expected: some of the formats foa, mic, stereo. Received: {list(formats)}."
        )
    return tuple(name for name in known if name in formats)
