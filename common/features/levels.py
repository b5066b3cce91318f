"""Levels limited to a range below their peak, as the published baselines of SELD limit them."""

import numpy as np


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
    if top_db is not None:
        RunningPeak(top_db, together).limit(features, n_levels)
    return features


class RunningPeak:
    """Range of levels below the highest one so far, for features that come block by block.

    Once the loudest frame has passed, the floor is that of the whole recording; before, it is
    lower. One block with all frames gives the same as `limit_range`.

    Args:
        top_db: range in dB.
        together: the peak of all levels counts for each channel; False: that of the channel.
    """

    def __init__(self, top_db: float, together: bool = False) -> None:
        self.top_db, self.together = top_db, together
        self._peak_db: np.ndarray | None = None

    def limit(self, features: np.ndarray, n_levels: int) -> np.ndarray:
        """Limits one block, see `limit_range`; it counts for the peak as a whole."""
        levels = features[..., :n_levels]  # (T, F, n)
        if not levels.size:
            return features
        peak_db = np.max(levels) if self.together else np.max(levels, axis=(0, 1))
        if self._peak_db is not None:
            peak_db = np.maximum(self._peak_db, peak_db)
        self._peak_db = np.asarray(peak_db)
        np.maximum(levels, (self._peak_db - self.top_db).astype(features.dtype), out=levels)
        return features
