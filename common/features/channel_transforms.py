"""Transforms that reorder, negate and shift channels, with the angles of the labels."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class ChannelTransforms:
    """R rotations and reflections of recordings in the domain of their features.

    Row r turns features x (T, F, C) into `channel_sign[r] * x[..., channel_permutation[r]] +
    channel_shift_rad[r]`; channels that hold a phase are then wrapped to (-pi, pi]. An angle
    becomes `sign[r] * angle + offset_deg[r]`, wrapped to the full circle from `lowest_deg` on,
    wherever its class is active.

    Attributes:
        channel_permutation: int64 (R, C), the channel that each new channel is taken from.
        channel_sign: float32 (R, C), 1 or -1.
        channel_shift_rad: float32 (R, C), added after the sign; radians where the channel is a
            phase, else 0.
        periodic: bool (C,), true for channels that are phases in radians.
        angles: by array name ("azimuth_deg", ...), the sign (R,) and the offset in degrees (R,),
            both float32.
        lowest_deg: by array name, the lowest angle of the labels; -180 if it is missing.
    """

    channel_permutation: np.ndarray
    channel_sign: np.ndarray
    channel_shift_rad: np.ndarray
    periodic: np.ndarray
    angles: Mapping[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    lowest_deg: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = self.channel_permutation.shape
        tables = {"channel_sign": self.channel_sign, "channel_shift_rad": self.channel_shift_rad}
        for name, table in tables.items():
            if table.shape != shape:
                expected = f"(rows, channels). Expected: {shape}"
                raise ValueError(f"`{name}` must be {expected}. Received: {table.shape}.")
        if self.periodic.shape != shape[1:]:
            expected = f"(channels,). Expected: {shape[1:]}"
            raise ValueError(f"`periodic` must be {expected}. Received: {self.periodic.shape}.")
        for name, pair in self.angles.items():
            if any(values.shape != shape[:1] for values in pair):
                raise ValueError(f"`angles[{name!r}]` must be two arrays of shape {shape[:1]}.")

    def __len__(self) -> int:
        """Returns the number of transforms, R."""
        return len(self.channel_permutation)

    def apply_to_features(self, features: np.ndarray, row: int) -> np.ndarray:
        """Applies one row to raw (not standardised) features.

        Args:
            features: (..., C), any float type.
            row: number of the transform, 0 to R - 1.

        Returns:
            Transformed features, same shape and type; computed in float32.
        """
        taken = features[..., self.channel_permutation[row]].astype(np.float32)
        moved = taken * self.channel_sign[row] + self.channel_shift_rad[row]
        wrapped = np.pi - np.mod(np.pi - moved, 2 * np.pi)  # (-pi, pi]
        return np.where(self.periodic, wrapped, moved).astype(features.dtype)

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
