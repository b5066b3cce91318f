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
from seld.config import TaskConfig
from seld.dataset import Events
from seld.metrics.dcase2019 import SeldScorer, reference_for
from seld.submission import as_submitted

_COUNTS = ("n_reference", "n_estimate", "n_pairs")


class ValidationScorer(Scorer):
    """Scores recordings by the rows of their submission files, and detection also by probability.

    Args:
        task: classes, frames and the definition of the scores.
        stage: gets no scores of directions if only its detection is used.
        earlier: outputs used of the earlier stages.
        decode: turns outputs into rows of the submission, of so many label frames.
        n_frames: label frames of each recording by its name; padding is not scored.
    """

    def __init__(
        self,
        task: TaskConfig,
        stage: Stage,
        earlier: EarlierOutputs,
        decode: Callable[[Prediction, Stage, int], np.ndarray],
        n_frames: Mapping[str, int],
    ):
        self.task, self.stage, self.earlier = task, stage, earlier
        self.decode, self.n_frames = decode, n_frames
        self.scorer = SeldScorer.of(task.scoring.scorer, task.dataset)
        self._active: list[np.ndarray] = []  # (T, K) each, bool
        self._probabilities: list[np.ndarray] = []  # (T, K) each

    def update(self, prediction: Prediction) -> None:
        """Adds one recording; recordings without labels are ignored."""
        if not prediction.labelled:
            return
        dataset, joined = self.task.dataset, self.earlier.joined(prediction)
        n_frames, events = self.n_frames[prediction.name], Events.from_array(prediction.events)
        reference = reference_for(
            self.scorer.definition, events, n_frames, dataset.label_hop_s, dataset.grid
        )
        estimate = as_submitted(self.decode(joined, self.stage, n_frames))
        self.scorer.update(reference, estimate, n_frames)
        both = joined.targets["sed"], joined.outputs["sed"]
        frames = min(*map(len, both), self._output_frames(n_frames))
        self._active.append(joined.targets["sed"][:frames] > 0)
        self._probabilities.append(joined.outputs["sed"][:frames])

    def _output_frames(self, n_frames: int) -> int:
        """Maximum number of outputs for label frames; unpadded features end with the recording."""
        dataset, features = self.task.dataset, self.task.features
        if features.counts_the_end:
            return sys.maxsize
        hop_s = features.hop_s * self.stage.target_stride
        return math.ceil(n_frames * dataset.label_hop_s / hop_s - 1e-6)

    def result(self) -> dict[str, float]:
        """Returns ER, F, frame recall and mAP; also DOA and SELD error if directions are used."""
        scores = self.scorer.result()
        found = {
            "er": scores.er,
            "f": scores.f,
            "frame_recall": scores.frame_recall,
            "sed_error": (scores.er + 1.0 - scores.f) / 2.0,
            **self._mean_average_precision(),
        }
        if detects_only(self.stage):
            return found
        counts = {name: float(getattr(scores.directions, name)) for name in _COUNTS}
        return found | {
            "doa_error_deg": scores.doa_error_deg,
            "seld_error": scores.seld_error,
            **counts,
        }

    def _mean_average_precision(self) -> dict[str, float]:
        if not self._active:
            return {}
        active, probabilities = map(np.concatenate, (self._active, self._probabilities))  # (N, K)
        present = active.any(axis=0)
        if not present.any():
            return {"map_macro": float("nan"), "map_micro": float("nan")}
        macro = average_precision(active[:, present], probabilities[:, present]).mean()
        micro = average_precision(active.reshape(-1, 1), probabilities.reshape(-1, 1))[0]
        return {"map_macro": float(macro), "map_micro": float(micro)}


def detects_only(stage: Stage) -> bool:
    """True if only the detection of a stage is used, not its directions."""
    return stage.outputs_used == ("sed",)
