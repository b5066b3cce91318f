"""Counts of recordings under the rules of a year, by number of overlapping sources and class.

Recordings are laid one after the other and counted together, which costs little more than one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from seld.geometry import vectors_of_angles
from seld.metrics.matching import Cells, Pairs, cells_of, match
from seld.metrics.years import YearRules
from seld.recordings.rows import AZIMUTH, DISTANCE, ELEVATION, FRAME, ONSCREEN, SOURCE, ranks

COUNTS = (
    "n_reference",  # true sources (or classes, tracks) in all blocks or frames
    "n_estimate",
    "n_found",  # pairs within all thresholds
    "n_far",  # pairs beyond one
    "n_missed",
    "n_extra",
    "n_pairs",
    "angle_sum_deg",
    "n_distances",  # pairs whose distances are known
    "distance_sum_m",
    "relative_sum",
    "n_onscreen",  # pairs whose true on-screen flag is known
    "onscreen_right",
)
MOST_OVERLAP = 4  # this many true sources at once, or more
# Groups of blocks or frames: by number of true sources at once, then the same once more for those
# in which sources of one class are among them.
N_GROUPS = 2 * (MOST_OVERLAP + 1)
_SLACK = 1e-9  # of relative distances and corrected scorers: rounding must not decide
_TINY = np.finfo(np.float64).eps


@dataclass(frozen=True)
class ScoredRows:
    """Rows of one recording.

    Attributes:
        reference: rows (n, 7), see `seld.recordings.rows`.
        estimate: rows (m, 7).
        n_frames: label frames of the recording; None: unknown, see `YearRules.n_frames`.
        vectors: (m, 3), the estimate's directions as a file gives them; None: unit vectors.
    """

    reference: np.ndarray
    estimate: np.ndarray
    n_frames: int | None = None
    vectors: np.ndarray | None = None


@dataclass(frozen=True)
class LocationCounts:
    """Counts of N recordings.

    Attributes:
        by_class: (N, N_GROUPS, counts, K): by group of blocks or frames, kind of count (`COUNTS`)
            and class.
        errors: (N, N_GROUPS), substitutions, deletions and insertions.
        n_units: (N, N_GROUPS), scored blocks or frames.
    """

    by_class: np.ndarray
    errors: np.ndarray
    n_units: np.ndarray

    @classmethod
    def joined(cls, parts: Sequence["LocationCounts"], n_classes: int) -> "LocationCounts":
        """Joins counts of recordings; those of none are (0, ...)."""
        none = np.zeros((0, N_GROUPS, len(COUNTS), n_classes)), *np.zeros((2, 0, N_GROUPS))
        all_parts = [cls(*none), *parts]
        return cls(
            np.concatenate([part.by_class for part in all_parts]),
            np.concatenate([part.errors for part in all_parts]),
            np.concatenate([part.n_units for part in all_parts]),
        )


def count_recordings(
    recordings: Sequence[ScoredRows], rules: YearRules, n_classes: int, frames_per_s: int = 10
) -> LocationCounts:
    """Counts recordings.

    Args:
        recordings: at least one, with checked rows.
        rules: of the scorer.
        n_classes: K.
        frames_per_s: label frames in a block.
    """
    block = frames_per_s if rules.unit == "block" else 1
    frames = [scored_frames(each, rules) for each in recordings]
    n_units = np.array([-(-number // block) for number in frames])
    ends = np.cumsum(n_units)
    size = int(ends[-1]) * block, n_classes
    starts = ((ends - n_units) * block).tolist()
    # The corrected scorers ignore what is beyond the end of a recording, in its last block too.
    limits = frames if rules.exact_zero else (n_units * block).tolist()
    reference, _ = _laid([each.reference for each in recordings], starts, limits)
    estimate, kept = _laid([each.estimate for each in recordings], starts, limits)
    vectors = _vectors(recordings, kept) if rules.angles in ("offset", "exact") else None
    sides = (
        cells_of(reference, size, rules.angles),
        cells_of(estimate, size, rules.angles, vectors),
    )
    pairs = match(*sides, rules.angles)
    recording = np.repeat(np.arange(len(recordings)), n_units)  # (U,)
    group = _groups(sides[0].counts.reshape(-1, block, n_classes))
    tally = _Tally(recording * N_GROUPS + group, len(recordings), n_classes)
    if rules.unit == "frame":
        return tally.of_frames(sides, pairs, rules)
    count = tally.of_classes if rules.one_per_class else tally.of_tracks
    return count(sides, pairs, rules, block)


def groups_with(overlap: int | None = None, of_one_class: bool = False) -> np.ndarray:
    """Groups of blocks or frames, bool (N_GROUPS,), see `LocationScorer.result`."""
    groups = np.arange(N_GROUPS)
    chosen = groups >= (MOST_OVERLAP + 1) * of_one_class
    return chosen if overlap is None else chosen & (groups % (MOST_OVERLAP + 1) == overlap)


def _groups(n_sources: np.ndarray) -> np.ndarray:
    """Groups of blocks or frames, int (U,), by their true sources, int (U, block, K)."""
    at_once = n_sources.sum(axis=2).max(axis=1, initial=0)  # (U,)
    of_one_class = (n_sources > 1).any(axis=(1, 2))
    return np.minimum(at_once, MOST_OVERLAP) + of_one_class * (MOST_OVERLAP + 1)


def _laid(
    parts: Sequence[np.ndarray], starts: Sequence[int], limits: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of all recordings one after the other, before their limits; bool (n,), rows kept."""
    rows = np.concatenate(parts)
    lengths = [len(part) for part in parts]
    kept = rows[:, FRAME] < np.repeat(limits, lengths)
    rows[:, FRAME] += np.repeat(starts, lengths)
    return (rows if kept.all() else rows[kept]), kept


def _vectors(recordings: Sequence[ScoredRows], kept: np.ndarray) -> np.ndarray | None:
    """Vectors of the kept rows of the estimates, where files give any."""
    if all(each.vectors is None for each in recordings):
        return None
    parts = [
        vectors_of_angles(*each.estimate[:, [AZIMUTH, ELEVATION]].T)
        if each.vectors is None
        else each.vectors
        for each in recordings
    ]
    return np.concatenate(parts)[kept]


def scored_frames(recording: ScoredRows, rules: YearRules) -> int:
    """Number of frames from the first one that a scorer looks at."""
    last_true = int(recording.reference[:, FRAME].max(initial=-1))
    if not rules.whole_length:
        return max(last_true, 0)
    n_frames = rules.n_frames if recording.n_frames is None else recording.n_frames
    if n_frames is None:
        n_frames = 1 + max(last_true, int(recording.estimate[:, FRAME].max(initial=-1)))
    return n_frames


class _Tally:
    """Sums by group of units and class.

    Args:
        group: int (U,), of each block or frame: recording * N_GROUPS + its group.
        n_recordings: N.
        n_classes: K.
    """

    def __init__(self, group: np.ndarray, n_recordings: int, n_classes: int) -> None:
        self.group, self.n_classes = group, n_classes
        self.shape = n_recordings, N_GROUPS

    def of_frames(
        self, sides: tuple[Cells, Cells], pairs: Pairs, rules: YearRules
    ) -> LocationCounts:
        """Counts frame by frame, each source by itself."""
        n_ref, n_est = (side.counts.reshape(-1, self.n_classes) for side in sides)
        cell = sides[0].cell[pairs.reference]
        far, numbers = judge(sides, pairs, rules)
        missed, extra = np.maximum(n_ref - n_est, 0), np.maximum(n_est - n_ref, 0)
        far_in = np.bincount(cell[far], minlength=n_ref.size).reshape(n_ref.shape)
        numbers |= {
            "n_found": ~far,
            "n_far": far,
            "n_pairs": np.ones(len(far)),
            "angle_sum_deg": pairs.angle_deg,
        }
        maps = {"n_reference": n_ref, "n_estimate": n_est, "n_missed": missed, "n_extra": extra}
        return self._counts(maps, cell, numbers, missed, extra + far_in)

    def of_tracks(
        self, sides: tuple[Cells, Cells], pairs: Pairs, rules: YearRules, block: int
    ) -> LocationCounts:
        """Counts tracks in blocks: a true track is as far as its pairs in the mean."""
        n_ref, n_est = (self._at_once(side.counts, block) for side in sides)  # (U * K,)
        tracks, n_tracks = track_numbers(sides[0], rules.source_tracks)
        unit = self._unit_of(sides[0].cell, block)
        track = unit * n_tracks + tracks  # (n,)
        found, place = np.unique(track[pairs.reference], return_inverse=True)
        mean_deg = np.bincount(place, pairs.angle_deg) / np.bincount(place)
        cell = found // max(n_tracks, 1)
        n_matched = np.bincount(cell, minlength=len(n_ref))
        far = mean_deg > rules.angle_threshold_deg + _slack(rules)
        if rules.source_tracks:
            present = np.unique(track)
            n_ref = np.bincount(present // max(n_tracks, 1), minlength=len(n_ref))
        missed, extra = np.maximum(n_ref - n_est, 0), np.maximum(n_est - n_ref, 0)
        if rules.misaligned_is == "both":
            missed, extra = n_ref - n_matched, np.maximum(n_est - n_matched, 0)
        else:
            misaligned = (n_ref > 0) & (n_est > 0) & (n_matched == 0)
            missed, extra = np.where(misaligned, n_est, missed), np.where(misaligned, 0, extra)
        far_in = np.bincount(cell[far], minlength=len(n_ref))
        maps = {"n_reference": n_ref, "n_estimate": n_est, "n_missed": missed, "n_extra": extra}
        numbers = {
            "n_found": ~far,
            "n_far": far,
            "n_pairs": np.ones(len(far)),
            "angle_sum_deg": mean_deg,
        }
        return self._counts(maps, cell, numbers, missed, extra + far_in)

    def of_classes(
        self, sides: tuple[Cells, Cells], pairs: Pairs, rules: YearRules, block: int
    ) -> LocationCounts:
        """Counts classes in blocks, once each; a block's distance is the mean over its frames."""
        in_ref, in_est = (self._at_once(side.counts, block) > 0 for side in sides)  # (U * K,)
        shared = np.flatnonzero((sides[0].counts > 0) & (sides[1].counts > 0))
        n_frames = np.bincount(self._unit_of(shared, block), minlength=len(in_ref))
        unit = self._unit_of(sides[0].cell[pairs.reference], block)
        sums = np.bincount(unit, pairs.angle_deg, minlength=len(in_ref))
        cell = np.flatnonzero(n_frames)
        mean_deg = sums[cell] / n_frames[cell]
        far = mean_deg > rules.angle_threshold_deg + _slack(rules)
        missed = (in_ref & (n_frames == 0)).astype(np.int64)  # also where both are, never at once
        extra = in_est & ~in_ref
        far_in = np.bincount(cell[far], minlength=len(in_ref))
        maps = {"n_reference": in_ref, "n_estimate": in_est, "n_missed": missed, "n_extra": extra}
        numbers = {
            "n_found": ~far,
            "n_far": far,
            "n_pairs": np.ones(len(far)),
            "angle_sum_deg": mean_deg,
        }
        return self._counts(maps, cell, numbers, missed + far_in, extra)

    def _at_once(self, counts: np.ndarray, block: int) -> np.ndarray:
        """Largest number of sources in a frame of each block and class, int (U * K,)."""
        return counts.reshape(-1, block, self.n_classes).max(axis=1, initial=0).ravel()

    def _unit_of(self, cell: np.ndarray, block: int) -> np.ndarray:
        """Block and class, unit * K + class, of cells, frame * K + class."""
        frame, klass = np.divmod(cell, self.n_classes)
        return frame // block * self.n_classes + klass

    def _counts(
        self,
        maps: dict[str, np.ndarray],
        cell: np.ndarray,
        numbers: dict[str, np.ndarray],
        missed: np.ndarray,
        extra: np.ndarray,
    ) -> LocationCounts:
        """Sums maps (U, K) and numbers of pairs (n,) in cells; errors from the last two maps."""
        k, n_groups = self.n_classes, self.shape[0] * self.shape[1]
        by_class = np.zeros((len(COUNTS), n_groups * k))
        for name, values in maps.items():
            flat = values.ravel()
            filled = np.flatnonzero(flat)
            place = self.group[filled // k] * k + filled % k
            by_class[COUNTS.index(name)] = np.bincount(place, flat[filled], n_groups * k)
        place = self.group[cell // k] * k + cell % k
        for name, values in numbers.items():
            by_class[COUNTS.index(name)] = np.bincount(place, values, n_groups * k)
        # One false alarm and one miss in a block or frame are one substitution.
        each = np.maximum(missed.reshape(-1, k).sum(axis=1), extra.reshape(-1, k).sum(axis=1))
        return LocationCounts(
            by_class.reshape(len(COUNTS), *self.shape, k).transpose(1, 2, 0, 3),
            np.bincount(self.group, each, n_groups).reshape(self.shape),
            np.bincount(self.group, minlength=n_groups).reshape(self.shape).astype(np.float64),
        )


def _slack(rules: YearRules) -> float:
    return _SLACK if rules.exact_zero else 0.0


def judge(
    sides: tuple[Cells, Cells], pairs: Pairs, rules: YearRules
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Finds the pairs beyond a threshold, bool (pairs,), and the errors of all, by `COUNTS`."""
    far = pairs.angle_deg > rules.angle_threshold_deg + _slack(rules)
    numbers: dict[str, np.ndarray] = {}
    reference = sides[0].rows[pairs.reference]
    estimate = sides[1].rows[pairs.estimate]
    if rules.with_distance:
        true_m, error_m = reference[:, DISTANCE], estimate[:, DISTANCE] - reference[:, DISTANCE]
        error_m = np.abs(error_m)
        relative = error_m * rules.per_metre / (true_m * rules.per_metre + _TINY)
        known = ~np.isnan(error_m)
        # A comparison with an unknown distance is False: such pairs are judged by the angle.
        far |= error_m > rules.distance_threshold_m + _SLACK
        far |= relative > rules.relative_threshold + _SLACK
        numbers["n_distances"] = known
        numbers["distance_sum_m"] = np.where(known, error_m, 0.0)
        numbers["relative_sum"] = np.where(known, relative, 0.0)
    if "onscreen_accuracy" in rules.scores:
        known = ~np.isnan(reference[:, ONSCREEN])
        right = reference[:, ONSCREEN] == estimate[:, ONSCREEN]
        numbers["n_onscreen"], numbers["onscreen_right"] = known, known & right
        if rules.onscreen_required:
            far |= known & ~right
    return far, numbers


def track_numbers(side: Cells, by_source: bool) -> tuple[np.ndarray, int]:
    """Track of each sorted row, int (n,), and the number of tracks.

    Args:
        side: reference.
        by_source: tracks are source numbers (repeated ones in a frame: more tracks, unknown ones:
            one source); otherwise the n-th row of each cell is its n-th track.
    """
    n_rows = len(side.rows)
    if not n_rows:
        return np.zeros(0, np.int64), 0
    if not by_source:
        tracks = np.arange(n_rows) - side.first[side.cell]
        return tracks, int(tracks.max()) + 1
    _, source = np.unique(np.nan_to_num(side.rows[:, SOURCE]), return_inverse=True)
    repeats, _ = ranks(side.cell * (source.max() + 1) + source)
    n_repeats = int(repeats.max()) + 1
    return source * n_repeats + repeats, (int(source.max()) + 1) * n_repeats
