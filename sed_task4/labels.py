"""Labels of a clip as arrays: tags, frame-level activity and events, and their conversions.

tags: (K,), 1 for each class that occurs in the clip.
activity: (T, K), 1 while a class is active.
events: float64 (n, 3) = index of the class, onset and offset in seconds.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

Rule = Literal["half_open", "kong2018", "kong2019"]
TIME_SLACK_FRAMES = 1e-6  # a time this close to a frame boundary is on it


def multi_hot(labels: Iterable[str], classes: Sequence[str]) -> np.ndarray:
    """Makes tags of the names of classes, int8 (K,).

    Raises:
        ValueError: a name is not in the class list.
    """
    tags = np.zeros(len(classes), np.int8)
    tags[_indices(labels, classes)] = 1
    return tags


def _indices(labels: Iterable[str], classes: Sequence[str]) -> list[int]:
    index = {name: number for number, name in enumerate(classes)}
    given = list(labels)
    unknown = [name for name in given if name not in index]
    if unknown:
        raise ValueError(f"Unknown class {unknown[0]!r}. Expected: one of {', '.join(classes)}.")
    return [index[name] for name in given]


def event_array(events: "pd.DataFrame", classes: Sequence[str]) -> np.ndarray:
    """Makes events float64 (n, 3) of a table with the columns onset, offset and event_label.

    Raises:
        ValueError: a label is not in the class list.
    """
    times = events[["onset", "offset"]].to_numpy(np.float64).reshape(-1, 2)
    return np.column_stack([np.array(_indices(events["event_label"], classes), np.float64), times])


def check_events(events: np.ndarray, n_classes: int) -> np.ndarray:
    """Returns events as float64 (n, 3) after checking them.

    Raises:
        ValueError: not three columns, not finite, or a class out of range.
    """
    rows = np.asarray(events, np.float64)
    if rows.size == 0:
        return np.zeros((0, 3))
    if rows.ndim != 2 or rows.shape[1] != 3:
        raise ValueError(f"Events are (n, 3): class, onset, offset. Received: {rows.shape}.")
    classes_fit = np.isin(rows[:, 0], np.arange(n_classes)).all()
    if not (np.isfinite(rows).all() and classes_fit):
        raise ValueError(
            f"Events are finite, of classes 0 to {n_classes - 1}. Received: classes "
            f"{sorted(set(rows[:, 0].tolist()))[:12]}, smallest time {rows[:, 1:].min():g} s."
        )
    return rows


def event_frames(
    events: np.ndarray, frames_per_s: float, rule: Rule
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the first frame of each event and the frame after its last, int64 (n,) each.

    Args:
        events: (n, 3).
        frames_per_s: frame rate.
        rule: "half_open": [floor(onset), ceil(offset)), all frames that the event touches;
            "kong2019": from round(onset) to round(offset), both in, halves to the even frame, as
            the published CNNs are trained; "kong2018": from floor(onset) to floor(offset), both in,
            as the published segmentation is scored. An event that ends before it begins, as one of
            the published evaluation set does, covers no frame.

    Raises:
        ValueError: unknown rule.

    References:
        Kong et al., "Cross-task learning for audio tagging, sound event detection and spatial
        localization: DCASE 2019 baseline systems", arXiv:1904.03476. Kong et al., "Sound event
        detection and time-frequency segmentation from weakly labelled data", IEEE/ACM Trans. Audio
        Speech Lang. Process. 27(4), 2019, arXiv:1804.04715.
    """
    if rule not in get_args(Rule):
        known = ", ".join(get_args(Rule))
        raise ValueError(f"Unknown label rule. Expected: one of {known}. Received: {rule!r}.")
    rows = np.asarray(events, np.float64).reshape(-1, 3)
    onset, offset = rows[:, 1] * frames_per_s, rows[:, 2] * frames_per_s
    if rule == "kong2019":
        return np.rint(onset).astype(np.int64), np.rint(offset).astype(np.int64) + 1
    if rule == "kong2018":
        return np.floor(onset).astype(np.int64), np.floor(offset).astype(np.int64) + 1
    first = np.floor(onset + TIME_SLACK_FRAMES).astype(np.int64)
    end = np.ceil(offset - TIME_SLACK_FRAMES).astype(np.int64)
    return first, np.where(offset < onset, np.minimum(first, end), end)


def frame_activity(
    events: np.ndarray, n_frames: int, frames_per_s: float, n_classes: int, rule: Rule = "half_open"
) -> np.ndarray:
    """Makes the activity of each class in each frame.

    Args:
        events: (n, 3).
        n_frames: frames of the clip, T; events beyond are cut.
        frames_per_s: frame rate.
        n_classes: K.
        rule: the frames that an event covers, see `event_frames`.

    Returns:
        int8 (T, K).

    Raises:
        ValueError: the events or the rule cannot be used.
    """
    rows = check_events(events, n_classes)
    activity = np.zeros((n_frames, n_classes), np.int8)
    first_last = event_frames(rows, frames_per_s, rule)
    for k, first, end in zip(rows[:, 0].astype(int), *first_last, strict=True):
        activity[first:end, k] = 1
    return activity


def tags_of_events(events: np.ndarray, n_classes: int) -> np.ndarray:
    """Makes tags of events, int8 (K,): a class that is active at any time occurs in the clip."""
    tags = np.zeros(n_classes, np.int8)
    tags[check_events(events, n_classes)[:, 0].astype(int)] = 1
    return tags
