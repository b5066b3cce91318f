"""Levels in dB: limited to a range below their peak, and made of linear magnitudes."""

from typing import Self

import numpy as np
from pydantic import Field, model_validator

from common.settings.section import Section


class LevelConfig(Section):
    """Levels of linear magnitudes, 20 log10, as the network gets them."""

    floor: float = Field(
        1e-5, gt=0, description="Smallest magnitude; 0.00001 is the level -100 dB."
    )
    top_db: float | None = Field(
        None,
        gt=0,
        description="Range of levels below the highest one of the clip in dB; null: no limit.",
    )
    lowest_db: float | None = Field(
        None, description="Levels below are raised to this; null: no limit."
    )
    highest_db: float | None = Field(
        None, description="Levels above are lowered to this; null: no limit."
    )

    @model_validator(mode="after")
    def _has_a_range(self) -> Self:
        lowest, highest = self.lowest_db, self.highest_db
        if lowest is not None and highest is not None and lowest >= highest:
            raise ValueError(
                "`lowest_db` must be below `highest_db`."
                f" Received: {lowest:g} dB and {highest:g} dB."
            )
        return self


def magnitude_db(magnitudes: np.ndarray, levels: LevelConfig) -> np.ndarray:
    """Levels of the magnitudes of one whole clip.

    Args:
        magnitudes: float (T, F, C), not negative.
        levels: floor and range; the peak that `top_db` refers to is that of the array.

    Returns:
        float32 (T, F, C) in dB.

    References:
        `librosa.amplitude_to_db` with ref 1; the clamped form is that of the DESED baselines.
    """
    floored = np.maximum(np.asarray(magnitudes, np.float32), np.float32(levels.floor))
    level_db = 20 * np.log10(floored)
    if levels.top_db is not None and level_db.size:
        level_db = np.maximum(level_db, level_db.max() - np.float32(levels.top_db))
    if levels.lowest_db is None and levels.highest_db is None:
        return level_db
    return np.clip(level_db, levels.lowest_db, levels.highest_db)


def limit_range(
    features: np.ndarray, n_levels: int, top_db: float | None, together: bool = False
) -> np.ndarray:
    """Raises levels that are more than `top_db` below the peak of the whole recording.

    The floor depends on the length of the recording: the same second has other features in a longer
    one. A stream, which does not know the peak yet, uses a `RunningPeak`.

    Args:
        features: float (T, F, C'), the first `n_levels` channels in dB.
        n_levels: number of those channels.
        top_db: range in dB; None: levels stay as they are.
        together: the peak of all levels counts for each channel; False: that of the channel.

    Returns:
        The features, changed in place.

    References:
        `librosa.power_to_db`, whose default is 80 dB.
    """
    levels = features[..., :n_levels]  # (T, F, n)
    if top_db is not None and levels.size:
        _raise_to(levels, _peaks_db(levels, together).max(axis=0), top_db)
    return features


class RunningPeak:
    """Range of levels below the highest one so far, for features that come block by block.

    The floor of a frame is `top_db` below the peak of the frames up to it, whatever the blocks are.
    Once the loudest frame has passed, it is that of `limit_range`; before, it is lower.

    Args:
        top_db: range in dB.
        together: the peak of all levels counts for each channel; False: that of the channel.
    """

    def __init__(self, top_db: float, together: bool = False) -> None:
        self.top_db, self.together = top_db, together
        self._peak_db: np.ndarray | None = None

    def limit(self, features: np.ndarray, n_levels: int) -> np.ndarray:
        """Limits the next block; arguments and result as for `limit_range`."""
        levels = features[..., :n_levels]  # (T, F, n)
        if not levels.size:
            return features
        peaks_db = _peaks_db(levels, self.together)
        if self._peak_db is not None:
            np.maximum(peaks_db[0], self._peak_db, out=peaks_db[0])
        peaks_db = np.maximum.accumulate(peaks_db, axis=0)
        self._peak_db = peaks_db[-1]
        _raise_to(levels, peaks_db, self.top_db)
        return features


def _peaks_db(levels: np.ndarray, together: bool) -> np.ndarray:
    """Peak of each frame of levels (T, F, n): (T, 1, n), or of all channels (T, 1, 1)."""
    return levels.max(axis=(1, 2) if together else 1, keepdims=True)


def _raise_to(levels: np.ndarray, peak_db: np.ndarray, top_db: float) -> None:
    np.maximum(levels, (peak_db - top_db).astype(levels.dtype), out=levels)
