"""Rotations and reflections of first-order Ambisonics (FOA), applied to features; labels follow."""

from collections.abc import Callable

import numpy as np

from common.features.channel_transforms import ChannelTransforms

Tables = tuple[np.ndarray, ...]  # permutation, sign and shift, and which channels are phases

AZIMUTH_OFFSETS_DEG = (0.0, 90.0, 180.0, 270.0)
W, Y, Z, X = range(4)  # order of the channels of the FOA recordings


def foa_transforms(
    tables: Callable[[np.ndarray, np.ndarray], Tables], lowest_azimuth_deg: float = -180.0
) -> ChannelTransforms:
    """Lists the 16 transforms of the FOA channels that need no interpolation.

    A source at azimuth a and elevation e moves to (+-a + {0, 90, 180, 270} degrees, +-e). Its FOA
    channels W, Y, Z, X, whose gains are 1, sin a cos e, sin e, cos a cos e, are only swapped and
    negated by that, so the features of the moved source follow from those of the recording. The
    first row changes nothing.

    Args:
        tables: from the tables of W, Y, Z, X to those of the features, such as
            `FeatureKind.channel_swaps`, or `audio_tables` where audio itself is transformed.
        lowest_azimuth_deg: lowest azimuth of the labels. Rotated azimuths stay on the same circle,
            so that one direction is one number in training and validation.

    Returns:
        16 rows over the channels of the features, with the signs and offsets of "azimuth_deg" and
        "elevation_deg".

    References:
        Mazzon, Koizumi, Yasuda, Harada, "First order Ambisonics domain spatial augmentation for
        DNN-based direction of arrival estimation", DCASE 2019, arXiv:1910.04388.
    """
    moves = [(a, o, e) for e in (1.0, -1.0) for a in (1.0, -1.0) for o in AZIMUTH_OFFSETS_DEG]
    audio = [audio_transform(*move) for move in moves]
    permutation = np.array([taken for taken, _ in audio])  # (16, 4)
    sign = np.array([signs for _, signs in audio], dtype=np.float32)  # (16, 4)
    columns = np.array(moves, dtype=np.float32).T  # (3, 16)
    azimuth_sign, azimuth_offset_deg, elevation_sign = columns
    angles = {
        "azimuth_deg": (azimuth_sign, azimuth_offset_deg),
        "elevation_deg": (elevation_sign, np.zeros_like(elevation_sign)),
    }
    of_features = tables(permutation, sign)  # permutation, sign, shift (16, C), periodic (C,)
    return ChannelTransforms(*of_features, angles, {"azimuth_deg": lowest_azimuth_deg})


def audio_transform(
    azimuth_sign: float, azimuth_offset_deg: float, elevation_sign: float
) -> tuple[list, list]:
    """Source channels and signs of W, Y, Z, X for one move of the sources.

    With azimuth s a + o: sin(s a + o) = sin(o) cos(a) + s cos(o) sin(a) and
    cos(s a + o) = cos(o) cos(a) - s sin(o) sin(a). For multiples of 90 degrees one of the two terms
    is zero.

    Args:
        azimuth_sign: 1, or -1 for the mirror image left to right.
        azimuth_offset_deg: added after it, a multiple of 90 degrees.
        elevation_sign: 1, or -1 for upside down.

    Returns:
        For W, Y, Z, X: the channels taken and their signs, four of each.
    """
    cosine = round(np.cos(np.deg2rad(azimuth_offset_deg)))
    sine = round(np.sin(np.deg2rad(azimuth_offset_deg)))
    if sine == 0:
        return [W, Y, Z, X], [1.0, azimuth_sign * cosine, elevation_sign, cosine]
    return [W, X, Z, Y], [1.0, sine, elevation_sign, -azimuth_sign * sine]


def magnitude_phase_tables(permutation: np.ndarray, sign: np.ndarray) -> Tables:
    """Tables of four magnitudes and four phases from those (R, 4) of W, Y, Z, X.

    A minus sign is a shift by pi.

    Returns:
        Permutation, sign and shift in radians, (R, 8) each, and true for phases, (8,).
    """
    shift_rad = np.where(sign < 0.0, np.pi, 0.0).astype(np.float32)
    return (
        np.concatenate([permutation, permutation + 4], axis=1),
        np.ones((len(sign), 8), dtype=np.float32),
        np.concatenate([np.zeros_like(shift_rad), shift_rad], axis=1),
        np.repeat([False, True], 4),
    )


def logmel_intensity_tables(permutation: np.ndarray, sign: np.ndarray) -> Tables:
    """Tables of four log-mel spectra and the intensities x, y, z from those (R, 4) of W, Y, Z, X.

    Levels have no sign. The intensity along an axis is Re(conj(W) X), so it moves with its channel.

    Returns:
        Permutation, sign and shift (all 0), (R, 7) each, and true for phases (none), (7,).
    """
    place = np.array([-1, 5, 6, 4])  # feature channel of the intensity of W (none), Y, Z, X
    intensity = place[permutation[:, [X, Y, Z]]]  # (R, 3)
    return (
        np.concatenate([permutation, intensity], axis=1),
        np.concatenate([np.ones_like(sign), sign[:, [X, Y, Z]]], axis=1),
        np.zeros((len(sign), 7), dtype=np.float32),
        np.zeros(7, dtype=bool),
    )


def audio_tables(permutation: np.ndarray, sign: np.ndarray) -> Tables:
    """Tables of the audio itself: nothing is shifted, and no channel is a phase."""
    return permutation, sign, np.zeros_like(sign), np.zeros(4, dtype=bool)
