"""Counts of one recording under the rules of a year, by number of overlapping sources and class."""

from dataclasses import dataclass

import numpy as np

from seld.metrics.matching import Cells, Pairs, cells_of, match
from seld.metrics.years import YearRules
from seld.rows import DISTANCE, FRAME, ONSCREEN, SOURCE

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
_SLACK = 1e-9  # of relative distances and corrected scorers: rounding must not decide
_TINY = np.finfo(np.float64).eps


@dataclass(frozen=True)
class LocationCounts:
    """Counts of recordings; all arrays sum over the first axes.

    Attributes:
        by_class: (..., MOST_OVERLAP + 1, counts, K): by number of true sources at once in a block
            or frame (4: four or more), kind of count (`COUNTS`) and class.
        errors: (..., MOST_OVERLAP + 1), substitutions, deletions and insertions.
        n_units: int (..., MOST_OVERLAP + 1), scored blocks or frames.
    """

    by_class: np.ndarray
    errors: np.ndarray
    n_units: np.ndarray


def count_recording(
    reference: np.ndarray,
    estimate: np.ndarray,
    rules: YearRules,
    n_classes: int,
    *,
    n_frames: int | None = None,
    frames_per_s: int = 10,
    vectors: np.ndarray | None = None,
) -> LocationCounts:
    """Counts one recording.

    Args:
        reference: rows (n, 7), see `seld.rows`.
        estimate: rows (m, 7).
        rules: of the scorer.
        n_classes: K.
        n_frames: label frames of the recording; None: unknown, see `YearRules.n_frames`.
        frames_per_s: label frames in a block.
        vectors: (m, 3), the estimate's directions as a file gives them.
    """
    frames = scored_frames(reference, estimate, rules, n_frames)
    block = frames_per_s if rules.unit == "block" else 1
    n_units = -(-frames // block)
    size = n_units * block, n_classes
    if rules.whole_length and rules.exact_zero:  # nothing beyond the end, also in the last block
        reference, estimate, vectors = _within(reference, estimate, vectors, frames)
    sides = (
        cells_of(reference, *size, rules.angles),
        cells_of(estimate, *size, rules.angles, vectors),
    )
    pairs = match(*sides, rules.angles)
    per_frame = sides[0].counts.reshape(size).sum(axis=1)  # (T,): true sources at once
    overlap = np.minimum(per_frame.reshape(n_units, block).max(axis=1, initial=0), MOST_OVERLAP)
    if rules.unit == "frame":
        return _Tally(overlap, n_classes).of_frames(sides, pairs, rules)
    tally = _Tally(overlap, n_classes)
    count = tally.of_classes if rules.one_per_class else tally.of_tracks
    return count(sides, pairs, rules, block)


def scored_frames(
    reference: np.ndarray, estimate: np.ndarray, rules: YearRules, n_frames: int | None
) -> int:
    """Number of frames from the first one that a scorer looks at."""
    if not rules.whole_length:
        return int(reference[:, FRAME].max(initial=0))
    if n_frames is None:
        n_frames = rules.n_frames
    if n_frames is None:
        last = max(rows[:, FRAME].max(initial=-1) for rows in (reference, estimate))
        n_frames = int(last) + 1
    return n_frames


def _within(
    reference: np.ndarray, estimate: np.ndarray, vectors: np.ndarray | None, n_frames: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    keep = estimate[:, FRAME] < n_frames
    kept = reference[reference[:, FRAME] < n_frames], estimate[keep]
    return *kept, None if vectors is None else vectors[keep]


class _Tally:
    """Sums by group of units and class.

    Args:
        overlap: int (U,), group of each block or frame.
        n_classes: K.
    """

    def __init__(self, overlap: np.ndarray, n_classes: int) -> None:
        self.overlap, self.n_classes = overlap, n_classes
        self.n_groups = MOST_OVERLAP + 1
        self.groups = (overlap == np.arange(self.n_groups)[:, None]).astype(np.float64)  # (G, U)

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
        matched = track[pairs.reference]
        n_frames = np.bincount(matched, minlength=len(n_ref) * n_tracks)
        found = np.flatnonzero(n_frames)
        sums = np.bincount(matched, pairs.angle_deg, minlength=len(n_frames))
        mean_deg = sums[found] / n_frames[found]
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
        k = self.n_classes
        by_class = np.zeros((self.n_groups, len(COUNTS), k))
        for name, values in maps.items():
            by_class[:, COUNTS.index(name)] = self.groups @ values.reshape(-1, k)
        unit, klass = np.divmod(cell, k)
        place = self.overlap[unit] * k + klass
        for name, values in numbers.items():
            sums = np.bincount(place, values, minlength=self.n_groups * k)
            by_class[:, COUNTS.index(name)] = sums.reshape(self.n_groups, k)
        each = np.maximum(missed.reshape(-1, k).sum(axis=1), extra.reshape(-1, k).sum(axis=1))
        # One false alarm and one miss in a block or frame are one substitution.
        return LocationCounts(by_class, self.groups @ each, self.groups.sum(axis=1))


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
    order = np.lexsort((source, side.cell))
    key = side.cell[order] * (source.max() + 1) + source[order]
    starts = np.flatnonzero(np.diff(key, prepend=-1))
    lengths = np.diff(np.append(starts, n_rows))
    repeats = np.empty(n_rows, np.int64)
    repeats[order] = np.arange(n_rows) - np.repeat(starts, lengths)
    n_repeats = int(repeats.max()) + 1
    return source * n_repeats + repeats, (int(source.max()) + 1) * n_repeats
