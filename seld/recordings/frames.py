"""Numbers of label frames in a second and in a recording.

Scores count in blocks of one second, so a second must be a whole number of label frames. A frame
belongs to a recording when it begins within it; padding is never scored.
"""

import math

MIN_PER_S = 2  # the published scorer skips the last frame of each block of a second
_HOP_TOLERANCE = 2e-5  # relative: 1/30 s may be written as 0.033333
_TIME_SLACK_FRAMES = 1e-6  # a time this close to a frame boundary is on it


def frame_rate(hop_s: float) -> float:
    """Frames in a second; a whole number for a rounded hop length such as 0.033333 s (30)."""
    rate = 1.0 / hop_s
    return float(round(rate)) if abs(rate - round(rate)) <= _HOP_TOLERANCE * rate else rate


def frames_per_s(hop_s: float) -> int:
    """Frames in a block of one second.

    Args:
        hop_s: hop length of the labels in seconds.

    Raises:
        ValueError: a second is no whole number of frames, or less than two.
    """
    rate = frame_rate(hop_s)
    if rate.is_integer() and rate >= MIN_PER_S:
        return int(rate)
    lower = max(MIN_PER_S, math.floor(rate))
    nearest = [f"{1.0 / count:.9g} ({count} frames a second)" for count in (lower, lower + 1)]
    raise ValueError(
        "scores count in blocks of one second, so `label_hop_s` must divide a second into whole"
        f" frames, at least {MIN_PER_S}. Received: {hop_s:g}, {rate:g} frames a second. Nearest:"
        f" {' or '.join(nearest)}."
    )


def frames_in_recording(duration_s: float, hop_s: float) -> int:
    """Label frames that begin within a recording of a length in seconds; 60 s at 20 ms are 3000."""
    return max(0, math.ceil(duration_s * frame_rate(hop_s) - _TIME_SLACK_FRAMES))
