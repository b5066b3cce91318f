"""Labels of a clip as arrays: tags, frame-level activity and events, and their conversions.

tags: (K,), 1 for each class that occurs in the clip.
activity: (T, K), 1 while a class is active.
events: float64 (n, 3) = index of the class, onset and offset in seconds.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

Rule = Literal["half_open", "kong2018", "kong2019", "dcase2019", "desed"]
Rounding = Literal["floor", "ceil"]
_STEPWISE: Mapping[Rule, Rounding] = {"dcase2019": "floor", "desed": "ceil"}  # of offsets
TIME_SLACK_FRAMES = 1e-6  # a time this close to a frame boundary is on it

# Classes of MAESTRO Real that have a counterpart among those of DESED, as in the baseline of 2024.
MAESTRO_TO_DESED: Mapping[str, str] = MappingProxyType(
    {
        "people talking": "Speech",
        "children voices": "Speech",
        "announcement": "Speech",
        "cutlery and dishes": "Dishes",
        "dog_bark": "Dog",
    }
)


@dataclass(frozen=True)
class LabelGrid:
    """Frames of labels in samples, for rules that round in steps.

    Attributes:
        sample_rate_hz: sample rate of the features' audio.
        hop_samples: hop length of the features.
        pooling: feature frames of one label frame.
    """

    sample_rate_hz: int
    hop_samples: int
    pooling: int = 1

    @property
    def frame_s(self) -> float:
        """Length of a label frame in seconds."""
        return self.pooling * self.hop_samples / self.sample_rate_hz

    def n_frames(self, clip_s: float) -> int:
        """Whole label frames of the whole hops in a clip: 156 for ten seconds of DESED."""
        return int(clip_s * self.sample_rate_hz / self.hop_samples) // self.pooling

    def times_s(self, frames: np.ndarray, clip_s: float) -> np.ndarray:
        """Beginnings of label frames in seconds, float64, cut to the clip."""
        begins = np.asarray(frames) * self.pooling * self.hop_samples / self.sample_rate_hz
        return np.clip(begins, 0.0, clip_s)

    def positions(self, times_s: np.ndarray, rule: Rule) -> np.ndarray:
        """Times in label frames, float64; whole feature frames for the rule `dcase2019`."""
        samples = np.asarray(times_s, np.float64) * self.sample_rate_hz
        if rule == "dcase2019":
            return samples // self.hop_samples / self.pooling
        return samples / self.hop_samples / self.pooling


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


def events_of_classes(events: np.ndarray, classes: Sequence[int]) -> np.ndarray:
    """Keeps the events (n, 3) of some classes, by number and rising, and numbers these anew."""
    rows = np.asarray(events, np.float64).reshape(-1, 3)
    kept = rows[np.isin(rows[:, 0], classes)]
    return np.column_stack([np.searchsorted(np.asarray(classes), kept[:, 0]), kept[:, 1:]])


def event_frames(
    events: np.ndarray,
    frames: float | LabelGrid,
    rule: Rule,
    offset_rounding: Rounding | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the first frame of each event and the frame after its last, int64 (n,) each.

    Args:
        events: (n, 3).
        frames: frame rate, or the frames in samples.
        rule: "half_open": [floor(onset), ceil(offset)), all frames that the event touches;
            "kong2019": from round(onset) to round(offset), both in, halves to the even frame, as
            the published CNNs are trained; "kong2018": from floor(onset) to floor(offset), both in,
            as the published segmentation is scored. An event that ends before it begins, as one of
            the published evaluation set does, covers no frame. "dcase2019": [floor(onset),
            floor(offset)) of whole feature frames, so that an event within one label frame covers
            none, as the mean teacher of 2019 is trained; "desed": [floor(onset), ceil(offset)) of
            exact times, as the baselines since 2021 are.
        offset_rounding: of the last two rules, in place of the published one; None: that one.

    Raises:
        ValueError: unknown rule.

    References:
        Kong et al., "Cross-task learning for audio tagging, sound event detection and spatial
        localization: DCASE 2019 baseline systems", arXiv:1904.03476. Kong et al., "Sound event
        detection and time-frequency segmentation from weakly labelled data", IEEE/ACM Trans. Audio
        Speech Lang. Process. 27(4), 2019, arXiv:1804.04715. Turpault et al., "Sound event detection
        in domestic environments with weakly labeled data and soundscape synthesis", DCASE 2019.
    """
    if rule not in get_args(Rule):
        known = ", ".join(get_args(Rule))
        raise ValueError(f"Unknown label rule. Expected: one of {known}. Received: {rule!r}.")
    rows = np.asarray(events, np.float64).reshape(-1, 3)
    if isinstance(frames, LabelGrid):
        onset, offset = (frames.positions(rows[:, column], rule) for column in (1, 2))
    else:
        onset, offset = rows[:, 1] * frames, rows[:, 2] * frames
    if rule in _STEPWISE:
        rounded = np.ceil if (offset_rounding or _STEPWISE[rule]) == "ceil" else np.floor
        first, end = np.floor(onset), rounded(offset)
        return np.maximum(first, 0).astype(np.int64), np.maximum(end, 0).astype(np.int64)
    if rule == "kong2019":
        return np.rint(onset).astype(np.int64), np.rint(offset).astype(np.int64) + 1
    if rule == "kong2018":
        return np.floor(onset).astype(np.int64), np.floor(offset).astype(np.int64) + 1
    first = np.floor(onset + TIME_SLACK_FRAMES).astype(np.int64)
    end = np.ceil(offset - TIME_SLACK_FRAMES).astype(np.int64)
    return first, np.where(offset < onset, np.minimum(first, end), end)


def frame_activity(
    events: np.ndarray,
    n_frames: int,
    frames: float | LabelGrid,
    n_classes: int,
    rule: Rule = "half_open",
    offset_rounding: Rounding | None = None,
) -> np.ndarray:
    """Makes the activity of each class in each frame.

    Args:
        events: (n, 3).
        n_frames: frames of the clip, T; events beyond are cut.
        frames: frame rate, or the frames in samples.
        n_classes: K.
        rule: the frames that an event covers, see `event_frames`, as is `offset_rounding`.
        offset_rounding: as well.

    Returns:
        int8 (T, K).

    Raises:
        ValueError: the events or the rule cannot be used.
    """
    rows = check_events(events, n_classes)
    activity = np.zeros((n_frames, n_classes), np.int8)
    first_last = event_frames(rows, frames, rule, offset_rounding)
    for k, first, end in zip(rows[:, 0].astype(int), *first_last, strict=True):
        activity[first:end, k] = 1
    return activity


def soft_activity(
    events: np.ndarray,
    confidences: np.ndarray,
    n_frames: int,
    frames: float | LabelGrid,
    n_classes: int,
    rule: Rule = "desed",
) -> np.ndarray:
    """Makes soft labels: the confidence of each event in its frames, 0 elsewhere.

    Args:
        events: (n, 3).
        confidences: (n,) in [0, 1]; where events of a class overlap, the later row counts.
        n_frames: see `frame_activity`, as are the others.
        frames: as well.
        n_classes: as well.
        rule: as well.

    Returns:
        float32 (T, K).

    Raises:
        ValueError: the events cannot be used, or a confidence is missing or outside [0, 1].
    """
    rows, given = check_events(events, n_classes), np.asarray(confidences, np.float64).reshape(-1)
    if len(given) != len(rows) or not ((given >= 0) & (given <= 1)).all():
        raise ValueError(
            f"Confidences are numbers from 0 to 1, one for each of {len(rows)} events. Received:"
            f" {len(given)}, from {given.min(initial=np.inf):g} to {given.max(initial=-np.inf):g}."
        )
    activity = np.zeros((n_frames, n_classes), np.float32)
    first_last = event_frames(rows, frames, rule)
    for k, first, end, value in zip(rows[:, 0].astype(int), *first_last, given, strict=True):
        activity[first:end, k] = value
    return activity


def held(activity: np.ndarray, pooling: int, n_frames: int) -> np.ndarray:
    """Holds labels (T', K) of label frames for `pooling` feature frames each: (n_frames, K)."""
    return np.repeat(activity, pooling, axis=0)[:n_frames]


def weak_activity(
    tags: np.ndarray, n_frames: int, place: Literal["all", "first"] = "all"
) -> np.ndarray:
    """Writes the tags of a weakly labelled clip into frames, of which their maximum gives them.

    Args:
        tags: (K,).
        n_frames: frames of the clip, T.
        place: "all" frames, as in the baseline of 2019, or the "first", as since 2021.

    Returns:
        (T, K), of the type of `tags`.
    """
    activity = np.zeros((n_frames, len(tags)), np.asarray(tags).dtype)
    activity[: n_frames if place == "all" else 1] = tags
    return activity


def joined_classes(*lists: Sequence[str]) -> tuple[str, ...]:
    """Concatenates class lists of several datasets; a name that returns keeps its first place."""
    return tuple(dict.fromkeys(name for each in lists for name in each))


def class_mask(known: Iterable[str], classes: Sequence[str]) -> np.ndarray:
    """Classes that a dataset annotates among those of all datasets: bool (K,); others are unknown.

    Raises:
        ValueError: a known class is not in the class list.
    """
    mask = np.zeros(len(classes), bool)
    mask[_indices(known, classes)] = True
    return mask


def with_aliases(
    events: "pd.DataFrame", aliases: Mapping[str, str] = MAESTRO_TO_DESED
) -> "pd.DataFrame":
    """Adds the events of some classes once more under the name that another dataset gives them.

    Args:
        events: table with a column event_label; other columns are copied.
        aliases: other name by label, as `MAESTRO_TO_DESED`.

    Returns:
        The table, then the renamed rows in the order of `aliases`.
    """
    import pandas as pd

    added = [
        events[events["event_label"] == label].assign(event_label=alias)
        for label, alias in aliases.items()
    ]
    return pd.concat([events, *(rows for rows in added if len(rows))])


def tags_of_events(events: np.ndarray, n_classes: int) -> np.ndarray:
    """Makes tags of events, int8 (K,): a class that is active at any time occurs in the clip."""
    tags = np.zeros(n_classes, np.int8)
    tags[check_events(events, n_classes)[:, 0].astype(int)] = 1
    return tags
