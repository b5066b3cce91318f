"""Location-aware scores as they are computed today: frame by frame, class by class, in Python.

Written anew from the description of the official scorers of 2020 to 2025: rows are sorted into
dictionaries, each frame and class is an assignment by scipy, and an interval scores all recordings
but one again and again.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

TINY = np.finfo(np.float64).eps
Pair = tuple[np.ndarray, np.ndarray]  # rows (n, 7) of reference and estimate
Source = list[float]  # azimuth_deg, elevation_deg, source, distance_m, onscreen


def law_of_cosines_deg(first: Source, second: Source) -> float:
    """Angle between two directions, 2020 to 2023."""
    (azimuth1, elevation1), (azimuth2, elevation2) = (
        (each[0] * math.pi / 180, each[1] * math.pi / 180) for each in (first, second)
    )
    cosine = math.sin(elevation1) * math.sin(elevation2)
    cosine += math.cos(elevation1) * math.cos(elevation2) * math.cos(abs(azimuth1 - azimuth2))
    return math.acos(min(max(cosine, -1.0), 1.0)) * 180 / math.pi


def vectors_deg(first: Source, second: Source) -> float:
    """Angle between two directions, 2024."""
    units = []
    for azimuth_deg, elevation_deg, *_ in (first, second):
        azimuth, elevation = azimuth_deg * math.pi / 180, elevation_deg * math.pi / 180
        vector = np.array(
            [
                math.cos(elevation) * math.cos(azimuth),
                math.cos(elevation) * math.sin(azimuth),
                math.sin(elevation),
            ]
        )
        units.append(vector / np.sqrt((vector**2).sum() + 1e-10))
    return math.acos(min(max(float((units[0] * units[1]).sum()), -1.0), 1.0)) * 180 / math.pi


def folded_deg(first: Source, second: Source) -> float:
    """Difference of azimuths after those of the back are mirrored to the front, 2025."""
    folded = []
    for azimuth_deg in (first[0], second[0]):
        azimuth_deg = (azimuth_deg + 180) % 360 - 180
        if azimuth_deg > 90:
            azimuth_deg = 180 - azimuth_deg
        elif azimuth_deg < -90:
            azimuth_deg = -180 - azimuth_deg
        folded.append(azimuth_deg)
    return abs(folded[0] - folded[1])


def by_frame(rows: np.ndarray) -> dict[int, dict[int, list[Source]]]:
    """Sources by frame and class, in the order of the rows."""
    frames: dict[int, dict[int, list[Source]]] = {}
    for frame, klass, *source in rows.tolist():
        frames.setdefault(int(frame), {}).setdefault(int(klass), []).append(source)
    return frames


def matched(
    truth: list[Source], guess: list[Source], angle_deg: Callable[[Source, Source], float]
) -> list[tuple[int, int, float]]:
    """Pairs of a frame at the least total angle: numbers of both sources, angle in degrees."""
    costs = np.array([[angle_deg(one, other) for other in guess] for one in truth])
    rows, columns = linear_sum_assignment(costs)
    return [(r, c, costs[r, c]) for r, c in zip(rows.tolist(), columns.tolist(), strict=True)]


class BlockScorer:
    """Rules of 2020 to 2023, blocks of one second.

    Args:
        year: 2020 to 2023.
        n_classes: K.
    """

    def __init__(self, year: int, n_classes: int) -> None:
        self.year, self.n_classes = year, n_classes
        self.sums: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(n_classes))
        self.errors = 0

    def update(self, reference: np.ndarray, estimate: np.ndarray, n_frames: int = 600) -> None:
        """Adds a recording; from 2022 on the reference's last frame ends it."""
        truth, guess = by_frame(reference), by_frame(estimate)
        if self.year >= 2022:
            n_frames = max(truth, default=0)
        for block in range(math.ceil(n_frames / 10)):
            misses = extras = 0
            for klass in range(self.n_classes):
                of_class = [
                    [
                        side.get(frame, {}).get(klass, [])
                        for frame in range(10 * block, 10 * block + 10)
                    ]
                    for side in (truth, guess)
                ]
                count = self._once if self.year == 2020 else self._tracks
                missed, extra = count(klass, *of_class)
                misses, extras = misses + missed, extras + extra
            self.errors += max(misses, extras)

    def _once(
        self, k: int, truth: list[list[Source]], guess: list[list[Source]]
    ) -> tuple[int, int]:
        in_truth, in_guess = any(truth), any(guess)
        self.sums["reference"][k] += in_truth
        self.sums["estimate"][k] += in_guess
        if not (in_truth and in_guess):
            return int(in_truth), int(in_guess)
        totals = [
            sum(angle for _, _, angle in matched(one, other, law_of_cosines_deg))
            for one, other in zip(truth, guess, strict=True)
            if one and other
        ]
        if not totals:
            return 1, 0
        mean = sum(totals) / len(totals)
        self.sums["angle"][k] += mean
        self.sums["pairs"][k] += 1
        self.sums["found"][k] += mean <= 20
        return int(mean > 20), 0

    def _tracks(
        self, k: int, truth: list[list[Source]], guess: list[list[Source]]
    ) -> tuple[int, int]:
        n_truth, n_guess = max(map(len, truth)), max(map(len, guess))
        self.sums["reference"][k] += n_truth
        angles: dict[int, list[float]] = {}
        for one, other in zip(truth, guess, strict=True):
            if one and other:
                for track, _, angle in matched(one, other, law_of_cosines_deg):
                    angles.setdefault(track, []).append(angle)
        missed, extra, far = max(0, n_truth - n_guess), max(0, n_guess - n_truth), 0
        if n_truth and n_guess and not angles:
            missed, extra = n_guess, 0
        for of_track in angles.values():
            mean = sum(of_track) / len(of_track)
            self.sums["angle"][k] += mean
            self.sums["pairs"][k] += 1
            self.sums["found"][k] += mean <= 20
            far += mean > 20
        self.sums["missed"][k] += missed
        self.sums["extra"][k] += extra
        self.sums["far"][k] += far
        return missed, extra + far

    def result(self, micro: bool = False) -> np.ndarray:
        """ER, F, LE, LR, SELD score."""
        sums = defaultdict(lambda: np.zeros(self.n_classes), self.sums)
        er = self.errors / (sums["reference"].sum() + TINY)
        if micro:
            sums = defaultdict(
                lambda: np.zeros(1), {n: v.sum(keepdims=True) for n, v in sums.items()}
            )
        found, pairs = sums["found"], sums["pairs"]
        if self.year == 2020:
            f, recall = (
                _f_measure(count, sums["estimate"], sums["reference"]) for count in (found, pairs)
            )
        else:
            weight = 0.5 if self.year == 2021 else 1.0
            wrong = weight * sums["far"] + 0.5 * (sums["missed"] + sums["extra"])
            f, recall = found / (TINY + found + wrong), pairs / (TINY + pairs + sums["missed"])
        angle = np.where(pairs > 0, sums["angle"] / (pairs + TINY), 180.0)
        total = np.mean([np.full_like(f, er), 1 - f, angle / 180, 1 - recall], axis=0)
        return np.array([er, f.mean(), angle.mean(), recall.mean(), total.mean()])


def _f_measure(found: np.ndarray, n_guess: np.ndarray, n_truth: np.ndarray) -> np.ndarray:
    precision, recall = found / (n_guess + TINY), found / (n_truth + TINY)
    return 2 * precision * recall / (precision + recall + TINY)


class FrameScorer:
    """Rules of 2024 and 2025, frame by frame.

    Args:
        year: 2024 or 2025.
        n_classes: K.
    """

    def __init__(self, year: int, n_classes: int) -> None:
        self.n_classes, self.errors = n_classes, 0
        self.angle_deg = vectors_deg if year == 2024 else folded_deg
        self.sums: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(n_classes))

    def update(self, reference: np.ndarray, estimate: np.ndarray) -> None:
        """Adds a recording; frames before the last one of the reference count."""
        truth, guess = by_frame(reference), by_frame(estimate)
        for frame in range(max(truth, default=0)):
            misses = extras = 0
            for klass in range(self.n_classes):
                one = truth.get(frame, {}).get(klass, [])
                other = guess.get(frame, {}).get(klass, [])
                far = self._pairs(klass, one, other) if one and other else 0
                missed, extra = max(0, len(one) - len(other)), max(0, len(other) - len(one))
                for name, count in (("reference", len(one)), ("missed", missed), ("extra", extra)):
                    self.sums[name][klass] += count
                misses, extras = misses + missed, extras + extra + far
            self.errors += max(misses, extras)

    def _pairs(self, k: int, truth: list[Source], guess: list[Source]) -> int:
        n_far = 0
        for row, column, angle in matched(truth, guess, self.angle_deg):
            true_m, error_m = truth[row][3], abs(truth[row][3] - guess[column][3])
            relative = error_m / (true_m + TINY)
            far = angle > 20 or relative > 1 + 1e-9
            numbers = {"angle": angle, "distance": error_m, "relative": relative, "pairs": 1}
            onscreen = truth[row][4] == guess[column][4]
            for name, value in (numbers | {"found": not far, "onscreen": onscreen}).items():
                self.sums[name][k] += value
            n_far += int(far)
        self.sums["far"][k] += n_far
        return n_far

    def result(self, micro: bool = False) -> dict[str, float]:
        """All scores by name."""
        sums = defaultdict(lambda: np.zeros(self.n_classes), self.sums)
        er = self.errors / (sums["reference"].sum() + TINY)
        if micro:
            sums = defaultdict(
                lambda: np.zeros(1), {n: v.sum(keepdims=True) for n, v in sums.items()}
            )
        found, pairs = sums["found"], sums["pairs"]
        wrong = sums["far"] + 0.5 * (sums["missed"] + sums["extra"])
        f = found / (TINY + found + wrong)
        with np.errstate(divide="ignore", invalid="ignore"):
            angle, distance, relative, onscreen = (
                sums[name] / pairs for name in ("angle", "distance", "relative", "onscreen")
            )
        total = np.nanmean([1 - f, angle / 180, relative], axis=0)
        scores: dict[str, Any] = {
            "er": er,
            "f": f.mean(),
            "doa_error_deg": _nanmean(angle),
            "distance_error_m": _nanmean(distance),
            "relative_distance_error": _nanmean(relative),
            "recall": (pairs / (TINY + pairs + sums["missed"])).mean(),
            "onscreen_accuracy": _nanmean(onscreen),
            "seld_score": total.mean(),
        }
        return {name: float(value) for name, value in scores.items()}


def _nanmean(values: np.ndarray) -> float:
    return math.nan if np.isnan(values).all() else float(np.nanmean(values))


def by_blocks(pairs: Sequence[Pair], n_classes: int) -> np.ndarray:
    """Macro scores of 2022: ER, F, LE, LR, SELD score."""
    scorer = BlockScorer(2022, n_classes)
    for pair in pairs:
        scorer.update(*pair)
    return scorer.result()


def by_frames(pairs: Sequence[Pair], n_classes: int) -> np.ndarray:
    """Macro scores of 2024: ER, F, DOA, distance and relative distance error, LR, SELD score."""
    scorer = FrameScorer(2024, n_classes)
    for pair in pairs:
        scorer.update(*pair)
    scores = scorer.result()
    del scores["onscreen_accuracy"]
    return np.array(list(scores.values()))


def partial_scores(
    score: Callable[[Sequence[Pair], int], np.ndarray], pairs: Sequence[Pair], n_classes: int
) -> np.ndarray:
    """Scores without each recording in turn, (N, scores), scoring all others again."""
    return np.stack(
        [score([*pairs[:number], *pairs[number + 1 :]], n_classes) for number in range(len(pairs))]
    )
