"""Labels of a recording in four forms, and conversions between them.

- description: `Events`, as in the metadata.
- regression: dict of activity, azimuth_deg, elevation_deg, each (T, K): one direction per class
  and frame.
- output format: "rows", float64 (n, 4) = frame, class, azimuth_deg, elevation_deg, as in
  submission files.
- classification: int64 (n, 3), a row (frame, class, index in the grid of directions) for each 1
  of a sparse tensor (T, K, directions).

No function changes its input.
"""

from fractions import Fraction
from typing import Literal, get_args

import numpy as np

from seld.dataset import Events
from seld.geometry import AngleGrid, snapped_deg
from seld.recordings.frames import frame_rate
from seld.recordings.rows import AZIMUTH, ELEVATION, spans

Rule = Literal["dcase2019", "half_open", "dcase2019_files", "two_stage"]
INACTIVE_AZIMUTH_DEG = 180  # value in the labels published for SELDnet where a class is silent
INACTIVE_ELEVATION_DEG = 50
TIME_SLACK_FRAMES = 1e-6  # a time this close to a frame boundary is on it


def event_frames(events: Events, hop_s: float, rule: Rule) -> tuple[np.ndarray, np.ndarray]:
    """Returns the first frame of each event and the frame after its last, int64 (n,) each.

    Args:
        events: onsets and offsets in seconds.
        hop_s: hop length of the labels in seconds.
        rule: "half_open": [floor(onset), ceil(offset)), all frames that the event touches;
            "dcase2019": one frame more, since the published labels count the frame ceil(offset) in;
            "dcase2019_files": floor(onset) to floor(offset), both in, by division instead of
            multiplication, as the published converter of metadata into submission files;
            "two_stage": floor(onset) to floor(offset), which is out, of times rounded to float32,
            as the published two-stage code stores them.

    Raises:
        ValueError: unknown rule.
    """
    if rule not in get_args(Rule):
        raise ValueError(
            f"Unknown label rule. Expected: one of {', '.join(get_args(Rule))}. Received: {rule!r}."
        )
    if rule == "dcase2019_files":
        # 4.26 / 0.02 is 212.99..., 4.26 * 50 is 213.0: the published codes differ here.
        times = events.onset_s, events.offset_s
        first, last = (np.floor(each / hop_s).astype(np.int64) for each in times)
        return first, last + 1
    if rule == "two_stage":
        return _frames_of_float32(events.onset_s, hop_s), _frames_of_float32(events.offset_s, hop_s)
    # 0.14 * 50 is 7.000000000000001: the published rule takes the next frame then, the other not.
    slack = TIME_SLACK_FRAMES if rule == "half_open" else 0.0
    frames_per_s = frame_rate(hop_s)
    first = np.floor(events.onset_s * frames_per_s + slack).astype(np.int64)
    end = np.ceil(events.offset_s * frames_per_s - slack).astype(np.int64)
    return first, end + (rule == "dcase2019")


def _frames_of_float32(times_s: np.ndarray, hop_s: float) -> np.ndarray:
    """Frames that contain the times, int64 (n,), after rounding the times to float32.

    A time of 24 bits times a whole number is exact in float64, so that only this rounding
    counts: with hops as ratios of whole numbers, time x rate // hop in samples gives the same
    frames at any rate.
    """
    hop = Fraction(hop_s).limit_denominator(1_000_000)
    rounded_s = times_s.astype(np.float32).astype(np.float64)
    return (rounded_s * hop.denominator // hop.numerator).astype(np.int64)


def regression_labels(
    events: Events, n_frames: int, hop_s: float, n_classes: int, rule: Rule = "dcase2019"
) -> dict[str, np.ndarray]:
    """Makes activity and direction of each class in each frame.

    Where events of one class overlap, the later row of the metadata wins: this form holds one
    direction per class (the classification form keeps both).

    Args:
        events: the events of a recording.
        n_frames: label frames of the recording, T; later ones are cut.
        hop_s: hop length in seconds.
        n_classes: K.
        rule: which frames an event covers, see `event_frames`.

    Returns:
        `activity` uint8 (T, K); `azimuth_deg` int16 (T, K), 180 where inactive; `elevation_deg`
        int16 (T, K), 50 where inactive; both 0 there under the rule "two_stage", as published.
        Angles are rounded to whole degrees.
    """
    inactive_deg = (0, 0) if rule == "two_stage" else (INACTIVE_AZIMUTH_DEG, INACTIVE_ELEVATION_DEG)
    shape = n_frames, n_classes
    activity = np.zeros(shape, np.uint8)
    azimuth, elevation = (np.full(shape, angle_deg, np.int16) for angle_deg in inactive_deg)
    angles = np.stack([events.azimuth_deg, events.elevation_deg], axis=1)  # (n, 2)
    spans = event_frames(events, hop_s, rule)
    for first, end, k, (azimuth_deg, elevation_deg) in zip(
        *spans, events.class_index, np.rint(angles).astype(np.int16), strict=True
    ):
        activity[first:end, k] = 1
        azimuth[first:end, k] = azimuth_deg
        elevation[first:end, k] = elevation_deg
    return {"activity": activity, "azimuth_deg": azimuth, "elevation_deg": elevation}


def reference_rows(
    events: Events, n_frames: int | None, hop_s: float, rule: Rule = "half_open"
) -> np.ndarray:
    """Makes the output format of events, from description to output.

    Overlapping events of one class are rows of their own.

    Args:
        events: the events of a recording.
        n_frames: label frames of the recording; None keeps frames after its end.
        hop_s: hop length in seconds.
        rule: which frames an event covers, see `event_frames`.

    Returns:
        rows (n, 4), sorted by frame, within a frame in the order of the events.
    """
    return rows_of_events(events, n_frames, hop_s, rule)[:, : ELEVATION + 1]


def rows_of_events(
    events: Events, n_frames: int | None, hop_s: float, rule: Rule = "half_open"
) -> np.ndarray:
    """Rows (n, 7) of events, see `seld.recordings.rows`; otherwise as `reference_rows`."""
    first, end = event_frames(events, hop_s, rule)
    if n_frames is not None:
        first, end = np.minimum(first, n_frames), np.minimum(end, n_frames)
    event, frame = spans(first, end)
    names = "class_index", "azimuth_deg", "elevation_deg", "source", "distance_m", "onscreen"
    rows = np.column_stack([frame, *(getattr(events, name)[event] for name in names)])
    return rows[np.argsort(frame, kind="stable")].astype(np.float64)


def rows_to_classification(rows: np.ndarray, n_frames: int, grid: AngleGrid) -> np.ndarray:
    """Puts the output format on the grid of directions, as the published scorer does.

    Azimuths are brought onto the grid's circle (not on the published grid, see `AngleGrid`), angles
    cut to whole degrees, clipped to the grid's ranges and lowered to the next grid point; frames
    from `n_frames` on are dropped; equal rows become one.

    Args:
        rows: output format (n, 4).
        n_frames: label frames of the recording.
        grid: the directions.

    Returns:
        int64 (m, 3) = frame, class, index in the grid, sorted.
    """
    kept = check_rows(rows)
    kept = kept[kept[:, 0] < n_frames]
    kept = whole_degrees(rows_on_circle(kept, grid))
    index = grid.nearest_below(kept[:, 2], kept[:, 3])
    entries = np.column_stack([kept[:, :2].astype(np.int64), index])
    return unique_entries(entries)


def rows_on_circle(rows: np.ndarray, grid: AngleGrid) -> np.ndarray:
    """Brings the azimuths of rows onto the grid's circle.

    On the published grid they stay: regressions beyond the circle are written as they are, and
    the published scorer clips them.
    """
    if grid.is_published or not len(rows):
        return rows
    moved = rows.copy()
    moved[:, AZIMUTH] = grid.on_circle(rows[:, AZIMUTH])
    return moved


def whole_degrees(rows: np.ndarray) -> np.ndarray:
    """Cuts the angles of the output format (n, 4) towards zero, as submission files hold them."""
    return np.trunc(np.column_stack([rows[:, :2], snapped_deg(rows[:, 2:])])) + 0.0  # no -0


def unique_entries(entries: np.ndarray) -> np.ndarray:
    """Returns the different rows of a non-negative integer array (n, 3), sorted."""
    if not len(entries):
        return entries
    limits = entries.max(axis=0) + 1
    # One integer per row, nearly sorted: many times faster than np.unique on rows.
    keys = (entries[:, 0] * limits[1] + entries[:, 1]) * limits[2] + entries[:, 2]
    keys = np.sort(keys, kind="stable")
    keys = keys[np.concatenate([[True], keys[1:] != keys[:-1]])]
    keys, last = np.divmod(keys, limits[2])
    return np.stack([*np.divmod(keys, limits[1]), last], axis=1)


def check_rows(rows: np.ndarray, n_classes: int | None = None) -> np.ndarray:
    """Checks the output format; returns it as float64 (n, 4), without a copy where possible.

    Raises:
        ValueError: not four columns, a number that is not finite, a negative frame, or a class out
            of range.
    """
    checked = np.asarray(rows, np.float64)
    if checked.size == 0:
        return np.zeros((0, 4))
    shape = checked.shape
    if checked.ndim != 2 or shape[1] != 4:
        raise ValueError(
            f"Rows are frame, class, azimuth, elevation. Expected: (n, 4). Received: {shape}."
        )
    if not np.isfinite(checked).all():
        raise ValueError(
            "Rows must be finite numbers: frame, class, azimuth, elevation. Received: NaN or"
            " infinity."
        )
    frame, k = checked[:, 0], checked[:, 1]
    lowest, highest = (frame.min(), k.min()), k.max()
    if min(lowest) < 0 or (n_classes is not None and highest >= n_classes):
        wanted = "" if n_classes is None else f" and below {n_classes}"
        raise ValueError(
            f"Frames and classes must not be negative, classes whole{wanted}. Received: lowest"
            f" frame {lowest[0]:g}, classes {lowest[1]:g} to {highest:g}."
        )
    return checked
