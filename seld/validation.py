"""Scores of validation recordings during training, computed as those of test recordings."""

import math
import sys
from collections.abc import Callable, Mapping

import numpy as np

from common.metrics.tagging import average_precision
from common.training.callbacks import Scorer
from common.training.ensemble import EarlierOutputs
from common.training.evaluation import Prediction
from common.training.system import Stage
from seld.dataset import Events
from seld.decoding import activity_of
from seld.recordings.rows import wide_rows
from seld.scores.scoring import Scoring, activity_of_rows
from seld.submission import SubmissionFiles
from seld.targets import SeldTargets

MAP_NAMES = "map_macro", "map_micro"


class ValidationScorer(Scorer):
    """Scores recordings by the rows of their submission files, and detection also by probability.

    Args:
        scoring: scorer of the task.
        files: rounds rows as submission files do.
        stage: gets no scores of directions if only its detection is used.
        earlier: outputs used of the earlier stages.
        decode: turns outputs into rows of the submission, of so many label frames.
        n_frames: label frames of each recording by its name; padding is not scored.
    """

    def __init__(
        self,
        scoring: Scoring,
        files: SubmissionFiles,
        stage: Stage,
        earlier: EarlierOutputs,
        decode: Callable[[Prediction, Stage, int], np.ndarray],
        n_frames: Mapping[str, int],
    ):
        self.scoring, self.files, self.stage, self.earlier = scoring, files, stage, earlier
        self.decode, self.n_frames = decode, n_frames
        self.scorer = scoring.new_scorer()
        self._active: list[np.ndarray] = []  # (T, K) each, bool
        self._probabilities: list[np.ndarray] = []  # (T, K) each

    def update(self, prediction: Prediction) -> None:
        """Adds one recording; recordings without labels are ignored."""
        if not prediction.labelled:
            return
        joined, scoring = self.earlier.joined(prediction), self.scoring
        n_frames, events = self.n_frames[prediction.name], Events.from_array(prediction.events)
        reference = scoring.reference(events, n_frames)
        rows = self.files.as_written(self.decode(joined, self.stage, n_frames))
        self.scorer.update(reference, scoring.estimate(rows), n_frames)
        made = self.stage.event_targets
        n_axes = made.form.n_coordinates if isinstance(made, SeldTargets) else 3
        probabilities = activity_of(joined.outputs, n_axes)
        active = self._activity(joined, reference, n_frames, len(probabilities))
        self._active.append(active)
        self._probabilities.append(probabilities[: len(active)])

    def _activity(
        self, joined: Prediction, reference: np.ndarray, n_frames: int, n_outputs: int
    ) -> np.ndarray:
        """Activity of the classes in output frames, bool (T, K), without padding."""
        hop_s = self.scoring.task.features.hop_s * self.stage.target_stride
        n_kept = min(n_outputs, self._output_frames(n_frames))
        if "sed" in joined.targets:
            return joined.targets["sed"][:n_kept] > 0
        dataset = self.scoring.task.dataset
        active = activity_of_rows(reference, n_frames, dataset.n_classes)
        middles = (np.arange(n_kept) + 0.5) * hop_s / dataset.label_hop_s
        return active[np.minimum(middles.astype(int), n_frames - 1)]

    def _output_frames(self, n_frames: int) -> int:
        """Maximum number of outputs for label frames; unpadded features end with the recording."""
        dataset, features = self.scoring.task.dataset, self.scoring.task.features
        if features.counts_the_end:
            return sys.maxsize
        hop_s = features.hop_s * self.stage.target_stride
        return math.ceil(n_frames * dataset.label_hop_s / hop_s - 1e-6)

    def result(self) -> dict[str, float]:
        """Returns the scores of the task's scorer, and mAP."""
        scores = self.scoring.logged(self.scorer.result(), detects_only(self.stage))
        return scores | self._mean_average_precision()

    def _mean_average_precision(self) -> dict[str, float]:
        if not self._active:
            return {}
        active, probabilities = map(np.concatenate, (self._active, self._probabilities))  # (N, K)
        present = active.any(axis=0)
        if not present.any():
            return dict.fromkeys(MAP_NAMES, float("nan"))
        macro = average_precision(active[:, present], probabilities[:, present]).mean()
        micro = average_precision(active.reshape(-1, 1), probabilities.reshape(-1, 1))[0]
        return dict(zip(MAP_NAMES, (float(macro), float(micro)), strict=True))


def score_names(scoring: Scoring, stage: Stage) -> list[str]:
    """Names of the scores of a stage's `ValidationScorer`: those of a silent frame, and mAP."""
    scorer = scoring.new_scorer()
    nothing = scoring.estimate(wide_rows(np.zeros((0, 4))))
    scorer.update(nothing, nothing, 1)
    return [*scoring.logged(scorer.result(), detects_only(stage)), *MAP_NAMES]


def detects_only(stage: Stage) -> bool:
    """True if only the detection of a stage is used, not its directions."""
    return stage.outputs_used == ("sed",)
