"""Scoring of a task: one interface to the scorer of 2019 and to those of the years after.

The scorer of 2019 takes rows (n, 4) on a grid of directions and finds one direction for each class;
the later ones take rows (n, 7) with sources and distances. Training, tests and reports know
neither: they ask `scoring_of`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from common.metrics.score_table import ScoreTables, format_score
from seld.config import TaskConfig
from seld.dataset import Events
from seld.labels import rows_of_events
from seld.metrics.dcase2019 import SeldScorer, reference_for
from seld.metrics.jackknife import score_intervals
from seld.metrics.location_aware import LocationScorer
from seld.metrics.years import YEARS, year_rules
from seld.recordings.rows import CLASS, ELEVATION, wide_rows
from seld.score import SCORES, ScoredRecording, score_report
from seld.scores.location_score import (
    HEADINGS,
    INTERVALS_EXPLAINED,
    LocationRecording,
    class_cells,
    described,
    location_report,
)

_HEADINGS_2019 = {
    "er": "ER",
    "f": "F",
    "doa_error_deg": "DOA error / °",
    "frame_recall": "Frame recall",
    "seld_error": "SELD error",
}
_TITLES_2019 = {"dcase2019": "Official scorer of DCASE 2019", "corrected": "Corrected scorer"}
_COUNTS = ("n_reference", "n_estimate", "n_pairs")


class Scoring(ABC):
    """Scorer of a task.

    Attributes:
        task: its settings.
        headings: of the official scores, by name, in order.
        explained: the scores in a sentence or two.
        class_note: sentence on the scores of the classes; empty: none is needed.
    """

    headings: Mapping[str, str]
    explained: str
    class_note: str = ""

    def __init__(self, task: TaskConfig) -> None:
        self.task = task

    @abstractmethod
    def new_scorer(self) -> Any:
        """Makes a scorer: `update(reference, estimate, n_frames)`, `result()`."""

    @abstractmethod
    def reference(self, events: Events, n_frames: int) -> np.ndarray:
        """Rows of the true events that the scorer takes."""

    @abstractmethod
    def estimate(self, rows: np.ndarray) -> np.ndarray:
        """Rows of an estimate, (n, 4) or (n, 7), as the scorer takes them."""

    @abstractmethod
    def logged(self, scores: Any, detects_only: bool) -> dict[str, float]:
        """Scores of `result()` by the names under which they are logged after each epoch."""

    @abstractmethod
    def decisive(self) -> tuple[str, str]:
        """Name of the logged score that chooses the model, and "min" or "max"."""

    @abstractmethod
    def report(
        self,
        recordings: Sequence[ScoredRecording],
        compared: Mapping[str, Sequence[ScoredRecording]],
    ) -> ScoreTables:
        """Tables of scores, with those of compared systems by the label of their line."""

    @abstractmethod
    def views(self, scores: Mapping[str, Any]) -> dict[str, Mapping[str, float]]:
        """Scores of one line of `scores.json` by the title of their table, the official first."""

    @abstractmethod
    def class_rows(self, recordings: Sequence[ScoredRecording]) -> list[list[str]]:
        """Scores of each class separately: a heading, then a line for each class."""

    def score(self, recording: ScoredRecording) -> Any:
        """Scores of one recording."""
        scorer = self.new_scorer()
        scorer.update(*self.both(recording), recording.n_frames)
        return scorer.result()

    def both(self, recording: ScoredRecording) -> tuple[np.ndarray, np.ndarray]:
        """Reference and estimate of a recording as the scorer takes them."""
        reference = self.reference(recording.events, recording.n_frames)
        return reference, self.estimate(recording.estimate)


class Scoring2019(Scoring):
    """Scorer of DCASE 2019 task 3, or the corrected one beside it."""

    headings = _HEADINGS_2019
    explained = (
        "ER and F: blocks of 1 s. DOA error: mean angle between estimated and true directions. SELD"
        " error: mean of ER, 1 - F, DOA error / 180 and 1 - frame recall; 0 is best. Published"
        " values are of real recordings."
    )

    def new_scorer(self) -> SeldScorer:
        """Makes a scorer."""
        return SeldScorer.of(self.task.scoring.scorer, self.task.dataset)

    def reference(self, events: Events, n_frames: int) -> np.ndarray:
        """Rows (n, 4); DataError if the scorer has a grid and a direction is off it."""
        dataset = self.task.dataset
        definition = self.task.scoring.scorer
        return reference_for(definition, events, n_frames, dataset.label_hop_s, dataset.grid)

    def estimate(self, rows: np.ndarray) -> np.ndarray:
        """Rows (n, 4)."""
        return rows[:, : ELEVATION + 1]

    def logged(self, scores: Any, detects_only: bool) -> dict[str, float]:
        """ER, F, frame recall; also DOA and SELD error if directions are used."""
        found = {
            "er": scores.er,
            "f": scores.f,
            "frame_recall": scores.frame_recall,
            "sed_error": (scores.er + 1.0 - scores.f) / 2.0,
        }
        if detects_only:
            return found
        counts = {name: float(getattr(scores.directions, name)) for name in _COUNTS}
        directions = {"doa_error_deg": scores.doa_error_deg, "seld_error": scores.seld_error}
        return found | directions | counts

    def decisive(self) -> tuple[str, str]:
        """The SELD error."""
        return "seld_error", "min"

    def report(
        self,
        recordings: Sequence[ScoredRecording],
        compared: Mapping[str, Sequence[ScoredRecording]],
    ) -> ScoreTables:
        """Tables under both definitions, see `seld.score.score_report`."""
        published = self.task.published
        return score_report(
            recordings, self.task.dataset, published=published, compared=dict(compared)
        )

    def views(self, scores: Mapping[str, Any]) -> dict[str, Mapping[str, float]]:
        """A table for each definition, the deciding one first."""
        names = sorted(_TITLES_2019, key=lambda name: name != self.task.scoring.scorer)
        return {f"{_TITLES_2019[name]} ({name})": scores[name] for name in names if name in scores}

    def class_rows(self, recordings: Sequence[ScoredRecording]) -> list[list[str]]:
        """ER, F, DOA error and frame recall of each class, and its number of events."""
        classes, names = self.task.dataset.classes, SCORES[:4]
        scorers = [self.new_scorer() for _ in classes]
        for each in recordings:
            rows_in = self.both(each)
            for k, scorer in enumerate(scorers):
                reference, estimate = (rows[rows[:, CLASS] == k] for rows in rows_in)
                scorer.update(reference, estimate, each.n_frames)
        events = np.concatenate([each.events.class_index for each in recordings])
        lines = [["", *(self.headings[name] for name in names), "events"]]
        for k, (label, scorer) in enumerate(zip(classes, scorers, strict=True)):
            scores = scorer.result()
            values = {name: getattr(scores, name) for name in names}
            if not scores.directions.n_pairs:  # the definition of 2019 has 0 degrees here
                values["doa_error_deg"] = None
            known = scores.detection.n_reference or scores.detection.n_estimate
            numbers = [format_score(n, values[n] if known else None) for n in names]
            lines.append([label, *numbers, str(np.count_nonzero(events == k))])
        return lines


class LocationScoring(Scoring):
    """Location-aware scorer of one of the years from 2020 on."""

    def __init__(self, task: TaskConfig) -> None:
        super().__init__(task)
        self.rules = year_rules(task.scoring.scorer)
        self.headings = {name: HEADINGS[name] for name in self.rules.scores}
        self.explained = f"{self.rules.name}: {described(self.rules)}"
        if task.scoring.intervals:
            self.class_note = INTERVALS_EXPLAINED

    def new_scorer(self) -> LocationScorer:
        """Makes a scorer."""
        dataset = self.task.dataset
        return LocationScorer(self.rules, dataset.n_classes, frames_per_s=dataset.frames_per_s)

    def reference(self, events: Events, n_frames: int) -> np.ndarray:
        """Rows (n, 7)."""
        return rows_of_events(events, n_frames, self.task.dataset.label_hop_s)

    def estimate(self, rows: np.ndarray) -> np.ndarray:
        """Rows (n, 7)."""
        return wide_rows(rows)

    def logged(self, scores: Any, detects_only: bool) -> dict[str, float]:
        """The year's scores that training logs under the names of all years."""
        names = {"seld_score": "seld_error", "recall": "localization_recall"}
        return {names.get(name, name): float(getattr(scores, name)) for name in self.rules.scores}

    def decisive(self) -> tuple[str, str]:
        """The SELD score to 2023, F from 2024 on, as published."""
        if self.rules.unit == "block":
            return "seld_error", "min"
        return "f", "max"

    def report(
        self,
        recordings: Sequence[ScoredRecording],
        compared: Mapping[str, Sequence[ScoredRecording]],
    ) -> ScoreTables:
        """Tables by the year's scorer and the corrected one, see `seld.scores.location_score`."""
        dataset = self.task.dataset
        return location_report(
            self._recordings(recordings),
            self.rules,
            classes=dataset.classes,
            intervals=self.task.scoring.intervals,
            frames_per_s=dataset.frames_per_s,
            published=self.task.published,
            compared={label: self._recordings(of) for label, of in compared.items()},
        )

    def views(self, scores: Mapping[str, Any]) -> dict[str, Mapping[str, float]]:
        """A table for each scorer and average, the year's official one first."""
        official = self.rules.name, self.rules.average
        places = [(scorer, average) for scorer in scores for average in scores[scorer]]
        places.sort(key=lambda place: place != official)
        return {f"{scorer}, {average}": scores[scorer][average] for scorer, average in places}

    def class_rows(self, recordings: Sequence[ScoredRecording]) -> list[list[str]]:
        """The year's scores of each class, and its number of true sources that are counted."""
        scorer = self.new_scorer()
        for each in recordings:
            scorer.update(*self.both(each), each.n_frames)
        scores = scorer.result("macro")
        intervals = None
        if self.task.scoring.intervals:
            intervals = score_intervals(scorer, "macro").by_class
        lines = [["", *self.headings.values(), "sources"]]
        for k, label in enumerate(self.task.dataset.classes):
            cells = class_cells(scores.by_class, self.headings, k, intervals)
            lines.append([label, *cells, f"{scores.n_reference[k]:.0f}"])
        return lines

    def _recordings(self, recordings: Sequence[ScoredRecording]) -> list[LocationRecording]:
        return [
            LocationRecording(
                each.name, each.split, each.room, each.overlap, *self.both(each), each.n_frames
            )
            for each in recordings
        ]


def scoring_of(task: TaskConfig) -> Scoring:
    """Chooses the scoring of a task by `scoring.scorer`."""
    return LocationScoring(task) if task.scoring.scorer in YEARS else Scoring2019(task)


def activity_of_rows(rows: np.ndarray, n_frames: int, n_classes: int) -> np.ndarray:
    """Activity of rows, bool (n_frames, K)."""
    active = np.zeros((n_frames, n_classes), bool)
    frame, k = rows[rows[:, 0] < n_frames, : CLASS + 1].astype(np.int64).T
    active[frame, k] = True
    return active
