"""Rotations and reflections of recordings, applied to their features; labels follow.

First-order Ambisonics (FOA) can be turned by any exchange and reflection of the axes, the
tetrahedron of the DCASE recordings by those that map its microphones onto each other.
"""

import itertools
from collections.abc import Callable, Sequence

import numpy as np

from common.features.channel_transforms import ChannelTransforms, LagReversal, Tables

SwapTables = Callable[[np.ndarray, np.ndarray], Tables]  # from those of the audio

AZIMUTH_OFFSETS_DEG = (0.0, 90.0, 180.0, 270.0)
W, Y, Z, X = range(4)  # order of the channels of the FOA recordings
_CHANNEL_OF_AXIS = (X, Y, Z)
# Azimuth and elevation of the microphones in degrees, on a sphere.
TETRAHEDRON_DEG = ((45.0, 35.0), (-45.0, -35.0), (135.0, -35.0), (-135.0, 35.0))
# Microphones taken for M1 to M4, and the move of the sources: sign and offset of the azimuth in
# degrees, sign of the elevation.
MICROPHONE_MOVES: tuple[tuple[tuple[int, ...], tuple[float, float, float]], ...] = (
    ((0, 1, 2, 3), (1.0, 0.0, 1.0)),
    ((1, 0, 3, 2), (-1.0, 0.0, -1.0)),
    ((2, 3, 0, 1), (-1.0, 180.0, -1.0)),
    ((3, 2, 1, 0), (1.0, 180.0, 1.0)),
    ((0, 2, 1, 3), (-1.0, 90.0, 1.0)),
    ((2, 0, 3, 1), (1.0, -90.0, -1.0)),
    ((1, 3, 0, 2), (1.0, 90.0, -1.0)),
    ((3, 1, 2, 0), (-1.0, -90.0, 1.0)),
)


def foa_transforms(tables: SwapTables, lowest_azimuth_deg: float = -180.0) -> ChannelTransforms:
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
        "elevation_deg", and the axes.

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
    axes = np.stack([axes_of_move(*move) for move in moves])
    lowest_deg = {"azimuth_deg": lowest_azimuth_deg}
    return _transforms(tables(permutation, sign), axes, angles, lowest_deg)


def foa_transforms_of_axes(tables: SwapTables, axes: np.ndarray | None = None) -> ChannelTransforms:
    """Lists transforms of the FOA channels by the axes that they exchange and reflect.

    The channels Y, Z, X are figures of eight along the axes, so they follow the axes. With z among
    the exchanged axes, azimuth and elevation have no rule of their own: labels must be vectors.

    Args:
        tables: see `foa_transforms`.
        axes: float32 (R, 3, 3), see `signed_axes`; None: all 48, the first of which changes
            nothing.

    Returns:
        R rows over the channels of the features, without rules for angles.
    """
    axes = all_axes() if axes is None else axes
    order = np.abs(axes).argmax(axis=2)  # (R, 3), the old axis of each new one
    signs = np.take_along_axis(axes, order[..., None], axis=2)[..., 0]
    permutation, sign = np.tile(np.arange(4), (len(axes), 1)), np.ones((len(axes), 4), np.float32)
    permutation[:, _CHANNEL_OF_AXIS] = np.array(_CHANNEL_OF_AXIS)[order]
    sign[:, _CHANNEL_OF_AXIS] = signs
    return _transforms(tables(permutation, sign), axes)


def microphone_transforms(
    tables: SwapTables,
    lowest_azimuth_deg: float = -180.0,
    lag_reversal: LagReversal = "exact",
    permutations: np.ndarray | None = None,
) -> ChannelTransforms:
    """Lists the 8 transforms that map the tetrahedron of the DCASE recordings onto itself.

    Args:
        tables: such as `FeatureKind.microphone_swaps`, or `audio_tables`.
        lowest_azimuth_deg: see `foa_transforms`.
        lag_reversal: see `common.features.channel_transforms.reversed_bands`.
        permutations: int64 (R, 4), the microphones taken for M1 to M4; None: all 8, the first of
            which changes nothing.

    Returns:
        R rows over the channels of the features, with the signs and offsets of "azimuth_deg" and
        "elevation_deg", and the axes.

    Raises:
        ValueError: a permutation that turns the tetrahedron into another one.

    References:
        Nguyen et al., "SALSA: Spatial cue-augmented log-spectrogram features for polyphonic sound
        event localization and detection", IEEE/ACM Trans. Audio Speech Lang. Process. 30, 2022,
        arXiv:2110.00275. Wang et al., "A four-stage data augmentation approach to ResNet-Conformer
        based acoustic modeling for sound event localization and detection", 2021,
        arXiv:2101.02919.
    """
    known = dict(MICROPHONE_MOVES)
    rows = list(known) if permutations is None else [tuple(map(int, row)) for row in permutations]
    if unknown := [row for row in rows if row not in known]:
        raise ValueError(
            f"The microphones cannot be exchanged so. Expected: rows among {list(known)}."
            f" Received: {unknown[0]}."
        )
    moves = [known[row] for row in rows]
    azimuth_sign, azimuth_offset_deg, elevation_sign = np.array(moves, np.float32).T  # (R,) each
    angles = {
        "azimuth_deg": (azimuth_sign, azimuth_offset_deg),
        "elevation_deg": (elevation_sign, np.zeros_like(elevation_sign)),
    }
    taken = tables(np.array(rows), np.ones((len(rows), 4), np.float32))
    axes = np.stack([axes_of_move(*move) for move in moves])
    lowest_deg = {"azimuth_deg": lowest_azimuth_deg}
    return _transforms(taken, axes, angles, lowest_deg, lag_reversal)


def _transforms(
    tables: Tables,
    axes: np.ndarray,
    angles: dict[str, tuple[np.ndarray, np.ndarray]] | None = None,
    lowest_deg: dict[str, float] | None = None,
    lag_reversal: LagReversal = "exact",
) -> ChannelTransforms:
    return ChannelTransforms(
        tables.permutation,
        tables.sign,
        tables.shift_rad,
        tables.periodic,
        angles or {},
        lowest_deg or {},
        tables.subtracted,
        tables.reversed_lags,
        lag_reversal,
        axes,
    )


def signed_axes(order: Sequence[int], signs: Sequence[float]) -> np.ndarray:
    """Matrix of an exchange and reflection of axes.

    Args:
        order: for the new x, y, z, the old axis that each is taken from.
        signs: for the new x, y, z, 1 or -1.

    Returns:
        float32 (3, 3), from old to new vectors.
    """
    axes = np.zeros((3, 3), np.float32)
    axes[np.arange(3), list(order)] = signs
    return axes


def all_axes() -> np.ndarray:
    """All 48 exchanges and reflections of the axes, float32 (48, 3, 3); the first is none."""
    orders = itertools.permutations(range(3))
    signs = list(itertools.product((1.0, -1.0), repeat=3))
    return np.stack([signed_axes(order, each) for order in orders for each in signs])


def axes_of_move(
    azimuth_sign: float, azimuth_offset_deg: float, elevation_sign: float
) -> np.ndarray:
    """Matrix of a move by angles, float32 (3, 3); arguments as for `audio_transform`."""
    taken, signs = audio_transform(azimuth_sign, azimuth_offset_deg, elevation_sign)
    order = [_CHANNEL_OF_AXIS.index(taken[channel]) for channel in _CHANNEL_OF_AXIS]
    return signed_axes(order, [signs[channel] for channel in _CHANNEL_OF_AXIS])


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
    return Tables(
        np.concatenate([permutation, permutation + 4], axis=1),
        np.ones((len(sign), 8), dtype=np.float32),
        np.concatenate([np.zeros_like(shift_rad), shift_rad], axis=1),
        np.repeat([False, True], 4),
    )


def logmel_intensity_tables(
    permutation: np.ndarray, sign: np.ndarray, axes: Sequence[int] = (X, Y, Z)
) -> Tables:
    """Tables of four log spectra and three intensities from those (R, 4) of W, Y, Z, X.

    Levels have no sign. The intensity along an axis is Re(conj(W) X), so it moves with its channel.

    Args:
        permutation: source channels of the audio.
        sign: their signs.
        axes: channel of each intensity, in the order of the features.

    Returns:
        Permutation, sign and shift (all 0), (R, 7) each, and true for phases (none), (7,).
    """
    place = np.zeros(4, int)  # feature channel of the intensity of each channel
    place[list(axes)] = [4, 5, 6]
    intensity = place[permutation[:, list(axes)]]  # (R, 3)
    return Tables(
        np.concatenate([permutation, intensity], axis=1),
        np.concatenate([np.ones_like(sign), sign[:, list(axes)]], axis=1),
        np.zeros((len(sign), 7), dtype=np.float32),
        np.zeros(7, dtype=bool),
    )


def level_tables(permutation: np.ndarray, sign: np.ndarray) -> Tables:
    """Tables of log spectra, which have no sign."""
    shape = permutation.shape
    return Tables(permutation, np.ones(shape, np.float32), np.zeros(shape, np.float32), _no(shape))


def gcc_tables(permutation: np.ndarray, sign: np.ndarray) -> Tables:
    """Tables of log spectra and of the cross-correlations of all pairs.

    A pair that changes its order is reversed along its lags.
    """
    n_channels = permutation.shape[1]
    pairs = list(itertools.combinations(range(n_channels), 2))
    place = np.zeros((n_channels, n_channels), int)
    for number, (first, second) in enumerate(pairs):
        place[[first, second], [second, first]] = n_channels + number
    left, right = np.array(pairs).T
    of_pairs = place[permutation[:, left], permutation[:, right]]  # (R, pairs)
    reversed_lags = np.concatenate(
        [np.zeros_like(permutation, bool), permutation[:, left] > permutation[:, right]], axis=1
    )
    signs = np.concatenate([np.ones_like(sign), sign[:, left] * sign[:, right]], axis=1)
    taken, shape = np.concatenate([permutation, of_pairs], axis=1), reversed_lags.shape
    return Tables(
        taken, signs, np.zeros(shape, np.float32), _no(shape), reversed_lags=reversed_lags
    )


def phase_difference_tables(permutation: np.ndarray, sign: np.ndarray) -> Tables:
    """Tables of log spectra, and of phases of all microphones but the first against the first.

    The new phases are differences of the old ones. They are not wrapped, as published: below the
    frequency of spatial aliasing, where `fmax_doa_hz` should be, those of one source need not be.
    """
    n_rows, n_channels = permutation.shape
    taken, against = permutation[:, 1:], permutation[:, :1]
    place = n_channels - 1 + np.arange(n_channels)  # of the phase of each; the first one has none
    from_first, to_first = taken == 0, against == 0
    phases = np.where(from_first, place[against], place[taken])  # (R, C - 1)
    subtracted = np.where(from_first | to_first, -1, place[against])
    ones = np.ones((n_rows, n_channels), np.float32)
    shape = n_rows, 2 * n_channels - 1
    return Tables(
        np.concatenate([permutation, phases], axis=1),
        np.concatenate([ones, np.where(from_first, -1, 1)], axis=1).astype(np.float32),
        np.zeros(shape, np.float32),
        _no(shape),
        np.concatenate([np.full_like(permutation, -1), subtracted], axis=1),
    )


def audio_tables(permutation: np.ndarray, sign: np.ndarray) -> Tables:
    """Tables of the audio itself: nothing is shifted, and no channel is a phase."""
    return Tables(permutation, sign, np.zeros_like(sign), np.zeros(4, dtype=bool))


def _no(shape: tuple[int, int]) -> np.ndarray:
    """False for each channel of tables of a shape (R, C)."""
    return np.zeros(shape[1], bool)
