"""Transforms that reorder, negate and shift channels, with the directions of the labels."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

LagReversal = Literal["exact", "published"]


class Tables(NamedTuple):
    """Tables of R transforms of the channels of features; see `ChannelTransforms`.

    Attributes:
        permutation: int64 (R, C).
        sign: float32 (R, C).
        shift_rad: float32 (R, C).
        periodic: bool (C,).
        subtracted: int64 (R, C); None: nothing is subtracted.
        reversed_lags: bool (R, C); None: no bands are lags.
    """

    permutation: np.ndarray
    sign: np.ndarray
    shift_rad: np.ndarray
    periodic: np.ndarray
    subtracted: np.ndarray | None = None
    reversed_lags: np.ndarray | None = None


@dataclass(frozen=True)
class ChannelTransforms:
    """R rotations and reflections of recordings in the domain of their features.

    Row r turns features x (T, F, C) into `channel_sign[r] * x[..., channel_permutation[r]] -
    x[..., channel_subtracted[r]] + channel_shift_rad[r]`; channels that hold a phase are then
    wrapped to (-pi, pi], and those of `reversed_lags[r]` reversed along their bands. An angle
    becomes `sign[r] * angle + offset_deg[r]`, wrapped to the full circle from `lowest_deg` on,
    wherever its class is active; a vector along x, y, z is multiplied by `axes[r]`.

    Attributes:
        channel_permutation: int64 (R, C), the channel that each new channel is taken from.
        channel_sign: float32 (R, C), 1 or -1.
        channel_shift_rad: float32 (R, C), added after the sign; radians where the channel is a
            phase, else 0.
        periodic: bool (C,), true for channels that are phases in radians.
        angles: by array name ("azimuth_deg", ...), the sign (R,) and the offset in degrees (R,),
            both float32.
        lowest_deg: by array name, the lowest angle of the labels; -180 if it is missing.
        channel_subtracted: int64 (R, C), the channel subtracted from each new one, -1 for none:
            phases against another microphone are differences. None: nothing is subtracted.
        reversed_lags: bool (R, C), true for cross-correlations of pairs that change their order.
        lag_reversal: see `reversed_bands`.
        axes: float32 (R, 3, 3), the new x, y, z from the old, with one 1 or -1 in each row. None:
            the transforms have no such matrices.
    """

    channel_permutation: np.ndarray
    channel_sign: np.ndarray
    channel_shift_rad: np.ndarray
    periodic: np.ndarray
    angles: Mapping[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    lowest_deg: Mapping[str, float] = field(default_factory=dict)
    channel_subtracted: np.ndarray | None = None
    reversed_lags: np.ndarray | None = None
    lag_reversal: LagReversal = "exact"
    axes: np.ndarray | None = None

    def __post_init__(self) -> None:
        shape = self.channel_permutation.shape
        tables = {
            "channel_sign": self.channel_sign,
            "channel_shift_rad": self.channel_shift_rad,
            "channel_subtracted": self.channel_subtracted,
            "reversed_lags": self.reversed_lags,
        }
        for name, table in tables.items():
            if table is not None and table.shape != shape:
                expected = f"(rows, channels). Expected: {shape}"
                raise ValueError(f"`{name}` must be {expected}. Received: {table.shape}.")
        if self.periodic.shape != shape[1:]:
            expected = f"(channels,). Expected: {shape[1:]}"
            raise ValueError(f"`periodic` must be {expected}. Received: {self.periodic.shape}.")
        for name, pair in self.angles.items():
            if any(values.shape != shape[:1] for values in pair):
                raise ValueError(f"`angles[{name!r}]` must be two arrays of shape {shape[:1]}.")
        if self.axes is not None and self.axes.shape != (shape[0], 3, 3):
            expected = f"(rows, 3, 3). Expected: {(shape[0], 3, 3)}"
            raise ValueError(f"`axes` must be {expected}. Received: {self.axes.shape}.")

    def __len__(self) -> int:
        """Returns the number of transforms, R."""
        return len(self.channel_permutation)

    @property
    def matrices(self) -> np.ndarray:
        """Products with features that reorder, negate and subtract: float32 (R, old C, new C)."""
        identity = np.eye(self.channel_permutation.shape[1], dtype=np.float32)
        matrices = (
            identity[self.channel_permutation] * self.channel_sign[..., None]
        )  # (R, new, old)
        if self.channel_subtracted is not None:
            none = self.channel_subtracted < 0
            matrices = matrices - np.where(none[..., None], 0, identity[self.channel_subtracted])
        return matrices.transpose(0, 2, 1).astype(np.float32)

    def apply_to_features(self, features: np.ndarray, row: int) -> np.ndarray:
        """Applies one row to raw (not standardised) features.

        Args:
            features: (..., F, C), any float type.
            row: number of the transform, 0 to R - 1.

        Returns:
            Transformed features, same shape and type; computed in float32.
        """
        taken = features[..., self.channel_permutation[row]].astype(np.float32)
        moved = taken * self.channel_sign[row] + self.channel_shift_rad[row]
        if self.channel_subtracted is not None:
            subtracted = self.channel_subtracted[row]
            moved -= np.where(subtracted < 0, 0, features[..., subtracted].astype(np.float32))
        wrapped = np.pi - np.mod(np.pi - moved, 2 * np.pi)  # (-pi, pi]
        moved = np.where(self.periodic, wrapped, moved)
        if self.reversed_lags is not None:
            back = moved[..., reversed_bands(moved.shape[-2], self.lag_reversal), :]
            moved = np.where(self.reversed_lags[row], back, moved)
        return moved.astype(features.dtype)

    def apply_to_angles(
        self, name: str, angles_deg: np.ndarray, active: np.ndarray, row: int
    ) -> np.ndarray:
        """Applies one row to the angles of one array; arrays that are not in `angles` stay.

        Args:
            name: name of the array, a key of `angles`.
            angles_deg: (T, K), degrees, any number type.
            active: bool (T, K); angles of inactive classes are placeholders and stay.
            row: number of the transform, 0 to R - 1.

        Returns:
            Angles (T, K) in degrees, active ones within the circle from `lowest_deg` on, in the
            type received.
        """
        if name not in self.angles:
            return angles_deg
        (sign, offset_deg), lowest_deg = self.angles[name], self.lowest_deg.get(name, -180.0)
        turned = np.mod(sign[row] * angles_deg + offset_deg[row] - lowest_deg, 360.0) + lowest_deg
        return np.where(active, turned, angles_deg).astype(angles_deg.dtype)

    def apply_to_vectors(self, vectors: np.ndarray, row: int) -> np.ndarray:
        """Applies one row to vectors.

        Args:
            vectors: (..., 3) along x (front), y (left), z (up); zeros stay zeros.
            row: number of the transform, 0 to R - 1.

        Returns:
            Vectors of the same shape and type.

        Raises:
            ValueError: the transforms have no axes.
        """
        if self.axes is None:
            raise ValueError("These transforms have no `axes`. Expected: float32 (rows, 3, 3).")
        # Taken and negated, not multiplied: nothing is rounded.
        order = np.abs(self.axes[row]).argmax(axis=1)
        signs = np.take_along_axis(self.axes[row], order[:, None], axis=1)[:, 0]
        return (vectors[..., order] * signs).astype(vectors.dtype)


def reversed_bands(n_lags: int, reversal: LagReversal = "exact") -> np.ndarray:
    """Places of the lags of a pair whose microphones are exchanged: lag n becomes lag -n.

    Lags run from -ceil(n / 2) on, so that the first, or with odd numbers the first two, have no
    opposite among them. They stay.

    Args:
        n_lags: number of lags.
        reversal: "exact"; "published": all lags in reverse order, a quirk of SALSA's code that
            moves every lag by one, with odd numbers by two.

    Returns:
        int64 (n_lags,), the old place of each new lag.
    """
    places = np.arange(n_lags)
    if reversal == "published":
        return places[::-1].copy()
    opposite = 2 * -(-n_lags // 2) - places
    return np.where(opposite < n_lags, opposite, places)
