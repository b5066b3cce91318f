"""Event-based F-score and error rate of whole sets, equal to sed_eval's to the last digit.

An estimated event is a hit if its class is right, its onset within the collar, and its offset
within the collar or a share of the reference event's length, whichever is wider; each event is used
once, in a maximum matching.

References:
    Mesaros, Heittola, Virtanen, "Metrics for polyphonic sound event detection", Appl. Sci. 6(6),
    2016. sed_eval 0.2.1, https://tut-arg.github.io/sed_eval.
"""

import warnings

import numpy as np
from pydantic import Field

from common.events.table import EventTable
from common.metrics.detection import DetectionCounts, DetectionScores
from common.settings.section import Section

COLLAR_S = 0.2
OFFSET_SHARE = 0.2


class CollarConfig(Section):
    """Collar of event-based scores."""

    collar_s: float = Field(
        COLLAR_S, gt=0, description="Collar of onsets, and of offsets of short events, in seconds."
    )
    offset_share: float = Field(
        OFFSET_SHARE,
        ge=0,
        le=1,
        description="Collar of offsets as a share of the event's length, if wider than collar_s.",
    )


def event_based_scores(
    reference: EventTable,
    estimate: EventTable,
    *,
    collar_s: float = COLLAR_S,
    offset_share: float = OFFSET_SHARE,
    evaluate_offset: bool = True,
    empty_estimate_is_zero: bool = False,
) -> DetectionScores:
    """Computes the event-based scores of a set; see `count_events` for the arguments.

    Args:
        empty_estimate_is_zero: see `common.metrics.detection.DetectionCounts.scores`.
    """
    counts = count_events(
        reference,
        estimate,
        collar_s=collar_s,
        offset_share=offset_share,
        evaluate_offset=evaluate_offset,
    )
    return counts.scores(empty_estimate_is_zero=empty_estimate_is_zero)


def count_events(
    reference: EventTable,
    estimate: EventTable,
    *,
    collar_s: float = COLLAR_S,
    offset_share: float = OFFSET_SHARE,
    evaluate_offset: bool = True,
) -> DetectionCounts:
    """Counts hits and errors of a set, recording by recording.

    Args:
        reference: reference events.
        estimate: estimated events of the same recordings.
        collar_s: largest difference of onsets, and of offsets of short events, in seconds.
        offset_share: offsets may differ by this share of the reference event's length where that is
            wider.
        evaluate_offset: compare offsets too.

    Raises:
        ValueError: the tables are of different sets.
    """
    check_tables(reference, estimate)
    left, right = near_pairs(
        reference,
        estimate,
        collar_s=collar_s,
        offset_share=offset_share,
        evaluate_offset=evaluate_offset,
    )
    hit_left, hit_right = _match(reference, estimate, left, right)
    return DetectionCounts(
        true_positives=np.bincount(reference.class_index[hit_left], minlength=reference.n_classes),
        n_reference=reference.counts(),
        n_estimate=estimate.counts(),
        substitutions=_count_substitutions(left, right, hit_left, hit_right),
        evaluated_s=float(last_offsets(reference).sum()),
        n_recordings=reference.n_recordings,
    )


def near_pairs(
    reference: EventTable,
    estimate: EventTable,
    *,
    collar_s: float = COLLAR_S,
    offset_share: float = OFFSET_SHARE,
    evaluate_offset: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the pairs of rows that agree in times, whatever their class; see `count_events`."""
    left, right = pairs_within_recordings(reference, estimate)
    near = np.abs(reference.onset_s[left] - estimate.onset_s[right]) <= collar_s
    left, right = left[near], right[near]
    if not evaluate_offset:
        return left, right
    allowed_s = np.maximum(collar_s, offset_share * (reference.offset_s - reference.onset_s))[left]
    near = np.abs(reference.offset_s[left] - estimate.offset_s[right]) <= allowed_s
    return left[near], right[near]


def check_tables(reference: EventTable, estimate: EventTable) -> None:
    """Raises ValueError unless both tables are of the same set."""
    expected, received = ((table.n_recordings, table.n_classes) for table in (reference, estimate))
    if expected != received:
        raise ValueError(
            "`estimate` must be of the same recordings and classes as `reference`. "
            f"Expected: {expected}. Received: {received}."
        )


def pairs_within_recordings(
    reference: EventTable, estimate: EventTable
) -> tuple[np.ndarray, np.ndarray]:
    """Returns sorted index pairs (reference, estimate) of all events that share a recording."""
    starts = np.searchsorted(estimate.recording, reference.recording, side="left")
    lengths = np.searchsorted(estimate.recording, reference.recording, side="right") - starts
    left = np.repeat(np.arange(len(reference)), lengths)
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return left, np.repeat(starts, lengths) + within


def _match(
    reference: EventTable, estimate: EventTable, left: np.ndarray, right: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Matches events that agree in times and class; returns the matched indices of both sides.

    With at most one partner each, the pairs are the matching. Elsewhere it must be the very one
    that sed_eval finds, since the unmatched events decide the substitutions: its function is used.
    """
    same = reference.class_index[left] == estimate.class_index[right]
    left, right = left[same], right[same]
    partners = np.bincount(left, minlength=len(reference))[left]
    several = (partners > 1) | (np.bincount(right, minlength=len(estimate))[right] > 1)
    if not several.any():
        return left, right
    unclear = np.isin(reference.recording[left], reference.recording[left[several]])
    matched = [np.stack([left[~unclear], right[~unclear]], axis=1)]
    numbers = reference.recording[left[unclear]]
    bounds = np.flatnonzero(np.diff(numbers)) + 1
    for block in np.split(np.stack([left[unclear], right[unclear]], axis=1), bounds):
        matched.append(maximum_matching(block))
    pairs = np.concatenate(matched)
    return pairs[:, 0], pairs[:, 1]


def maximum_matching(pairs: np.ndarray) -> np.ndarray:
    """Returns a maximum matching of the pairs (n, 2) = (reference, estimate), as sed_eval does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its dependencies
        from sed_eval.util import bipartite_match

    partners: dict[int, list[int]] = {}
    for reference, estimate in pairs.tolist():
        partners.setdefault(estimate, []).append(reference)
    return np.array(sorted(bipartite_match(partners).items()), dtype=np.int64).reshape(-1, 2)


def _count_substitutions(
    left: np.ndarray, right: np.ndarray, hit_left: np.ndarray, hit_right: np.ndarray
) -> int:
    """Counts pairs of unmatched events that agree in times only, each event used once, in order."""
    free = ~np.isin(left, hit_left) & ~np.isin(right, hit_right)
    used_left: set[int] = set()
    used_right: set[int] = set()
    for reference, estimate in zip(left[free].tolist(), right[free].tolist(), strict=True):
        if reference not in used_left and estimate not in used_right:
            used_left.add(reference)
            used_right.add(estimate)
    return len(used_left)


def last_offsets(events: EventTable) -> np.ndarray:
    """Last offset of each recording in seconds, 0 without events, (recordings,)."""
    last = np.zeros(events.n_recordings)
    np.maximum.at(last, events.recording, events.offset_s)
    return last
