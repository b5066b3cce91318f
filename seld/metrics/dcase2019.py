"""Scores of sound event localization and detection (SELD), under two definitions.

`dcase2019` is the official scorer of DCASE 2019 task 3 with its quirks, for comparison with
published numbers; `corrected` fixes them. `DEFINITIONS` is the one place where they differ. Both
sum counts over recordings; the scores of a set are those of its sums.

References:
    Adavanne, Politis, Nikunen, Virtanen, IEEE J. Sel. Topics Signal Process. 13(1), 2019,
    arXiv:1807.00129. Mesaros, Heittola, Virtanen, "Metrics for polyphonic sound event detection",
    Appl. Sci. 6(6), 2016.
"""

import math
from dataclasses import asdict, dataclass, field, fields

import numpy as np

from common.metrics.segment_based import SegmentCounts, count_frames, count_segments
from seld.dataset import DatasetConfig, Events
from seld.geometry import (
    AngleGrid,
    cartesian_distance,
    spherical_distances_of_pairs,
    spherical_to_cartesian,
)
from seld.labels import Rule, check_rows, reference_rows, rows_to_classification
from seld.metrics.matching import MAX_ASSIGNMENTS, assignments, problems_by_size
from seld.recordings.rows import spans


@dataclass(frozen=True)
class Definition:
    """Rules of one definition of the scores.

    Attributes:
        label_rule: which frames an event covers, see `seld.labels.event_frames`.
        skip_last_frame: one-second blocks use 49 of their 50 frames.
        on_grid: directions are brought onto the grid's circle (clipped on the published grid, see
            `seld.geometry.AngleGrid`), cut to whole degrees and lowered to the grid;
            equal (frame, class, direction) count once.
        per_pair: DOA error is divided by the matched pairs, and undefined without any; otherwise by
            all estimated directions, also those in frames without reference, and 0 without any.
        exact_distance: angles through Cartesian vectors; otherwise by the arc cosine, off by up to
            1e-6 degrees near 0.
        f_of_silence: F where neither reference nor estimate is ever active.
    """

    label_rule: Rule
    skip_last_frame: bool
    on_grid: bool
    per_pair: bool
    exact_distance: bool
    f_of_silence: float


DEFINITIONS: dict[str, Definition] = {
    "dcase2019": Definition(
        "dcase2019", True, on_grid=True, per_pair=False, exact_distance=False, f_of_silence=0.0
    ),
    "corrected": Definition(
        "half_open", False, on_grid=False, per_pair=True, exact_distance=True, f_of_silence=1.0
    ),
}


def needs_grid(scorer: str) -> bool:
    """True for a scorer that only knows directions on a grid."""
    return scorer in DEFINITIONS and DEFINITIONS[scorer].on_grid


def _rules(definition: str) -> Definition:
    if definition not in DEFINITIONS:
        known = ", ".join(DEFINITIONS)
        raise ValueError(f"Unknown scorer. Expected: one of {known}. Received: {definition!r}.")
    return DEFINITIONS[definition]


@dataclass(frozen=True)
class DirectionCounts:
    """Counts behind DOA error and frame recall; `+` joins recordings.

    Attributes:
        n_frames: frames scored.
        good_frames: frames with as many estimated as true directions, none in either included.
        n_reference: true directions, summed over frames.
        n_estimate: estimated directions.
        n_pairs: matched pairs: in each frame the smaller of the two numbers.
        n_missed: true directions beyond the number of estimated ones in their frame.
        n_extra: estimated directions beyond the number of true ones in their frame.
        frames_with_missed: frames with fewer estimated than true directions.
        frames_with_extra: frames with more.
        distance_sum_deg: sum of the great-circle distances of matched pairs, in degrees.
    """

    n_frames: int = 0
    good_frames: int = 0
    n_reference: int = 0
    n_estimate: int = 0
    n_pairs: int = 0
    n_missed: int = 0
    n_extra: int = 0
    frames_with_missed: int = 0
    frames_with_extra: int = 0
    distance_sum_deg: float = 0.0

    def __add__(self, other: "DirectionCounts") -> "DirectionCounts":
        sums = {f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)}
        return DirectionCounts(**sums)


@dataclass(frozen=True)
class SeldScores:
    """The scores of a set of recordings.

    Attributes:
        er: error rate over one-second blocks, 0 is best. Without a single reference entry: 0 if
            nothing is estimated either, else infinity.
        f: F-score over one-second blocks, [0, 1]. Without any entry in both: 0 (dcase2019) or 1
            (corrected).
        doa_error_deg: mean great-circle distance in degrees; without estimated directions 0
            (dcase2019), without matched pairs NaN (corrected).
        frame_recall: share of frames with the right number of directions, [0, 1].
        seld_error: mean of er, 1 - f, doa_error_deg / 180 (1 where undefined) and 1 - frame_recall;
            0 is best.
        frame_er: error rate frame by frame.
        frame_f: F-score frame by frame.
        detection: counts over blocks.
        directions: counts over frames.
    """

    er: float
    f: float
    doa_error_deg: float
    frame_recall: float
    seld_error: float
    frame_er: float
    frame_f: float
    detection: SegmentCounts = field(default_factory=SegmentCounts)
    directions: DirectionCounts = field(default_factory=DirectionCounts)

    def to_dict(self) -> dict[str, object]:
        """Returns plain numbers and, nested, the counts; undefined numbers stay NaN or infinite."""
        return asdict(self)


def seld_error(er: float, f: float, doa_error_deg: float, frame_recall: float) -> float:
    """Mean of four errors, [0, 1] for er <= 1, 0 is best; an undefined DOA error counts as 1."""
    doa = 1.0 if math.isnan(doa_error_deg) else doa_error_deg / 180.0
    return (er + (1.0 - f) + doa + (1.0 - frame_recall)) / 4.0


class SeldScorer:
    """Accumulates recordings and computes the scores of all of them.

    Args:
        definition: "dcase2019" or "corrected", see `DEFINITIONS`.
        n_classes: K.
        frames_per_s: label frames in a block of one second.
        grid: directions that `dcase2019` rounds angles to; unused by `corrected`.

    Raises:
        ValueError: unknown definition.
    """

    def __init__(
        self,
        definition: str = "dcase2019",
        n_classes: int = 11,
        *,
        frames_per_s: int = 50,
        grid: AngleGrid | None = None,
    ) -> None:
        _rules(definition)
        self.definition, self.n_classes = definition, n_classes
        self.frames_per_s, self.grid = frames_per_s, grid or AngleGrid()
        self.reset()

    @classmethod
    def of(cls, definition: str, dataset: DatasetConfig) -> "SeldScorer":
        """Makes a scorer with the classes, label frames and grid of a dataset."""
        n_classes, frames = dataset.n_classes, dataset.frames_per_s
        return cls(definition, n_classes, frames_per_s=frames, grid=dataset.grid)

    def reset(self) -> None:
        """Removes all recordings."""
        self.detection = self.detection_in_frames = SegmentCounts()
        self.directions = DirectionCounts()

    def update(self, reference: np.ndarray, estimate: np.ndarray, n_frames: int) -> None:
        """Adds a recording in the output format.

        Args:
            reference: rows (n, 4) = frame, class, azimuth_deg, elevation_deg, from `reference_for`:
                the definitions count an event's frames differently.
            estimate: rows (m, 4). Frames from `n_frames` on are ignored, in both.
            n_frames: label frames of the recording.

        Raises:
            ValueError: the rows are not (n, 4), not finite, or a frame or class is out of range.
        """
        rows_in = [check_rows(rows, self.n_classes) for rows in (reference, estimate)]
        if DEFINITIONS[self.definition].on_grid:
            entries = [rows_to_classification(rows, n_frames, self.grid) for rows in rows_in]
            self._add_entries(entries, n_frames)
            return
        kept = [rows[rows[:, 0] < n_frames] for rows in rows_in]
        frame_and_class = [rows[:, :2].astype(np.int64) for rows in kept]
        self._add(frame_and_class, [np.radians(rows[:, 2:]) for rows in kept], n_frames)

    def update_regression(
        self,
        reference_activity: np.ndarray,
        reference_doa_rad: np.ndarray,
        estimate_activity: np.ndarray,
        estimate_doa_rad: np.ndarray,
    ) -> None:
        """Adds a recording in the regression form, with directions as they are, on no grid.

        Args:
            reference_activity: (T, K), active where above 0.5.
            reference_doa_rad: (T, 2K), K azimuths, then K elevations, in radians.
            estimate_activity: (T, K).
            estimate_doa_rad: (T, 2K).

        Raises:
            ValueError: the shapes do not fit.
        """
        given_activity, given_doa = (
            (reference_activity, estimate_activity),
            (reference_doa_rad, estimate_doa_rad),
        )
        shapes = [np.shape(array) for array in (*given_activity, *given_doa)]
        n_frames, n_classes = shapes[0][0], self.n_classes
        expected = [(n_frames, n_classes)] * 2 + [(n_frames, 2 * n_classes)] * 2
        if shapes != expected:
            raise ValueError(
                f"Expected: activity (T, K) and directions (T, 2K), {expected}. Received: {shapes}."
            )
        activities, frames, angles = [], [], []
        for activity, doa in zip(given_activity, given_doa, strict=True):
            activities.append(_above_half(np.asarray(activity)))
            # Faster than np.nonzero, as is taking from one axis than from two.
            places = np.flatnonzero(activities[-1])
            frame = places // n_classes
            azimuths = places + n_classes * frame  # of 2K angles a frame
            frames.append(frame)
            angles.append(np.take(np.asarray(doa), [azimuths, azimuths + n_classes]).T)
        self._count(activities, frames, angles)

    def merge(self, other: "SeldScorer") -> "SeldScorer":
        """Adds the recordings of another scorer of the same definition; returns itself.

        Raises:
            ValueError: the definitions differ.
        """
        if other.definition != self.definition:
            both = f"{self.definition}, {other.definition}"
            raise ValueError(f"Only scorers of one definition can be joined. Received: {both}.")
        self.detection += other.detection
        self.detection_in_frames += other.detection_in_frames
        self.directions += other.directions
        return self

    def result(self) -> SeldScores:
        """Returns the scores of all recordings so far; `SeldScores` has the undefined cases.

        Raises:
            ValueError: no frame was scored.
        """
        rules, directions = DEFINITIONS[self.definition], self.directions
        if not directions.n_frames:
            raise ValueError(
                "No frame was scored yet: call `update` with a recording of at least one frame."
            )
        er, f = _defined(self.detection, rules)
        frame_er, frame_f = _defined(self.detection_in_frames, rules)
        divisor = directions.n_pairs if rules.per_pair else directions.n_estimate
        without = math.nan if rules.per_pair else 0.0
        doa_error_deg = directions.distance_sum_deg / divisor if divisor else without
        frame_recall = directions.good_frames / directions.n_frames
        total = seld_error(er, f, doa_error_deg, frame_recall)
        return SeldScores(
            er, f, doa_error_deg, frame_recall, total, frame_er, frame_f, self.detection, directions
        )

    def _add_entries(self, entries: list[np.ndarray], n_frames: int) -> None:
        degrees = [np.stack(self.grid.angles_of(each[:, 2]), axis=1) for each in entries]
        angles = [each * np.pi / 180.0 for each in degrees]
        self._add([each[:, :2] for each in entries], angles, n_frames)

    def _add(
        self, frame_and_class: list[np.ndarray], angles_rad: list[np.ndarray], n_frames: int
    ) -> None:
        activities = [np.zeros((n_frames, self.n_classes), bool) for _ in range(2)]
        for active, entries in zip(activities, frame_and_class, strict=True):
            active[entries[:, 0], entries[:, 1]] = True
        self._count(activities, [entries[:, 0] for entries in frame_and_class], angles_rad)

    def _count(
        self, activities: list[np.ndarray], frames: list[np.ndarray], angles_rad: list[np.ndarray]
    ) -> None:
        """Adds activity bool (T, K), and frame (n,) and angles (n, 2) of directions, of both."""
        rules, (reference, estimate) = DEFINITIONS[self.definition], activities
        self.detection += count_segments(
            reference, estimate, self.frames_per_s, skip_last_frame=rules.skip_last_frame
        )
        self.detection_in_frames += count_frames(reference, estimate)
        n_frames = len(reference)
        self.directions += count_directions(
            frames[0], angles_rad[0], frames[1], angles_rad[1], n_frames, exact=rules.exact_distance
        )


def _above_half(activity: np.ndarray) -> np.ndarray:
    """True where an activity exceeds 0.5; integers are not converted to floats for that."""
    return activity > (0 if activity.dtype.kind in "bui" else 0.5)


def _defined(counts: SegmentCounts, rules: Definition) -> tuple[float, float]:
    """Error rate and F-score, with values for sets where nothing is active."""
    er, f = counts.error_rate, counts.f_score
    return (0.0 if math.isnan(er) else er), (rules.f_of_silence if math.isnan(f) else f)


def count_directions(
    reference_frame: np.ndarray,
    reference_rad: np.ndarray,
    estimate_frame: np.ndarray,
    estimate_rad: np.ndarray,
    n_frames: int,
    *,
    exact: bool = True,
) -> DirectionCounts:
    """Pairs directions of each frame at the minimum total distance, whatever their class.

    Args:
        reference_frame: int (n,), frame of each true direction.
        reference_rad: float (n, 2), azimuth and elevation in radians.
        estimate_frame: int (m,).
        estimate_rad: float (m, 2).
        n_frames: frames of the recording, above every frame given.
        exact: distances through Cartesian vectors instead of the arc cosine.
    """
    frames, angles = [], []
    for frame, direction in ((reference_frame, reference_rad), (estimate_frame, estimate_rad)):
        frames.append(np.bincount(frame, minlength=n_frames))  # (T,): number of directions
        in_order = (frame[1:] >= frame[:-1]).all()
        angles.append(direction if in_order else direction[np.argsort(frame, kind="stable")])
    n_ref, n_est = frames
    n_pairs = int(np.minimum(n_ref, n_est).sum())
    distance_sum_rad = _sum_distances(n_ref, angles[0], n_est, angles[1], exact)
    return DirectionCounts(
        n_frames=n_frames,
        good_frames=int(np.count_nonzero(n_ref == n_est)),
        n_reference=len(reference_frame),
        n_estimate=len(estimate_frame),
        n_pairs=n_pairs,
        n_missed=len(reference_frame) - n_pairs,
        n_extra=len(estimate_frame) - n_pairs,
        frames_with_missed=int(np.count_nonzero(n_ref > n_est)),
        frames_with_extra=int(np.count_nonzero(n_est > n_ref)),
        distance_sum_deg=distance_sum_rad * 180.0 / math.pi,
    )


def _sum_distances(
    n_ref: np.ndarray,
    reference_rad: np.ndarray,
    n_est: np.ndarray,
    estimate_rad: np.ndarray,
    exact: bool,
) -> float:
    """Sums the matched distances in radians, jointly for frames with the same numbers."""
    n_costs = n_ref * n_est  # (T,): numbers in the matrix of each frame
    starts = np.cumsum(n_costs) - n_costs
    costs = _distances(n_ref, reference_rad, n_est, estimate_rad, exact)
    total = 0.0
    for frames, size in problems_by_size(n_ref, n_est, n_costs > 0):
        places = starts[frames][:, None] + np.arange(size[0] * size[1])
        matrices = costs[places].reshape(-1, *size)  # (frames, R, E)
        total += float(minimum_total(matrices).sum())
    return total


def _distances(
    n_ref: np.ndarray,
    reference_rad: np.ndarray,
    n_est: np.ndarray,
    estimate_rad: np.ndarray,
    exact: bool,
) -> np.ndarray:
    """Distances in radians of all pairs in a frame: concatenated matrices (R, E) of all frames."""
    first_est = np.cumsum(n_est) - n_est  # index of a frame's first direction
    partners = np.repeat(n_est, n_ref)  # (n,): of each true direction
    first = np.repeat(first_est, n_ref)  # (n,)
    left, right = spans(first, first + partners)
    if exact:
        both = reference_rad, estimate_rad
        reference, estimate = (spherical_to_cartesian(*angles.T) for angles in both)
        return cartesian_distance(reference[left], estimate[right])
    return spherical_distances_of_pairs(reference_rad, estimate_rad, left, right)


def minimum_total(costs: np.ndarray) -> np.ndarray:
    """Computes the minimum total cost of pairing rows with columns, of all the fewer ones.

    Args:
        costs: (N, R, E), cost of pairing row r with column e, for N problems.

    Returns:
        (N,). Problems with few assignments are solved by trying all of them, vectorised; others
        by the Hungarian method one by one.
    """
    if costs.shape[1] > costs.shape[2]:
        costs = costs.transpose(0, 2, 1)
    n_rows, n_columns = costs.shape[1:]
    if math.perm(n_columns, n_rows) <= MAX_ASSIGNMENTS:
        chosen = assignments(n_rows, n_columns)  # (assignments, rows)
        totals = np.zeros((len(costs), len(chosen)))
        for row in range(n_rows):
            totals += costs[:, row, chosen[:, row]]
        return totals.min(axis=1)
    from scipy.optimize import linear_sum_assignment  # slow to import and rarely needed

    return np.array([each[linear_sum_assignment(each)].sum() for each in costs])


def reference_for(
    definition: str,
    events: Events,
    n_frames: int,
    hop_s: float = 0.02,
    grid: AngleGrid | None = None,
) -> np.ndarray:
    """Makes the reference rows (n, 4) of a definition.

    Raises:
        DataError: under `dcase2019`, an event's direction is off the grid.
        ValueError: unknown definition.
    """
    rules = _rules(definition)
    if rules.on_grid:
        (grid or AngleGrid()).index_of(events.azimuth_deg, events.elevation_deg)
    return reference_rows(events, n_frames, hop_s, rules.label_rule)
