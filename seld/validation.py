"""Scores of validation recordings while a stage is trained, computed as those of the test
recordings are."""

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
from seld.metrics import SeldScorer, reference_for
from seld.submission import as_submitted


class ValidationScorer(Scorer):
    """Scores recordings by the rows of their submission files, and detection by its probabilities
    too.

    Args:
        task: classes, frames and the definition of the scores.
        stage: gets no scores of directions if only its detection is used.
        earlier: outputs used of the earlier stages.
        decode: turns outputs into rows of the submission, of so many label frames.
        n_frames: label frames of each recording by its name: what fills it up is not scored.
    """

    def __init__(
        self,
        task: TaskConfig,
        stage: Stage,
        earlier: EarlierOutputs,
        decode: Callable[[Prediction, Stage, int], np.ndarray],
        n_frames: Mapping[str, int],
    ):
        self.task, self.stage, self.earlier, self.decode, self.n_frames = (
            task,
            stage,
            earlier,
            decode,
            n_frames,
        )
        dataset = task.dataset
        self.scorer = SeldScorer(
            task.scoring.scorer,
            dataset.n_classes,
            frames_per_s=dataset.frames_per_s,
            grid=dataset.grid,
        )
        self._active: list[np.ndarray] = []  # (T, K) each, bool
        self._probabilities: list[np.ndarray] = []  # (T, K) each

    def update(self, prediction: Prediction) -> None:
        """Takes in one recording; of recordings without labels nothing is learned."""
        if not prediction.labelled:
            return
        dataset, joined = self.task.dataset, self.earlier.joined(prediction)
        n_frames, events = self.n_frames[prediction.name], Events.from_array(prediction.events)
        reference = reference_for(
            self.scorer.definition, events, n_frames, dataset.label_hop_s, dataset.grid
        )
        self.scorer.update(
            reference, as_submitted(self.decode(joined, self.stage, n_frames)), n_frames
        )
        frames = min(
            len(joined.targets["sed"]), len(joined.outputs["sed"]), self._output_frames(n_frames)
        )
        self._active.append(joined.targets["sed"][:frames] > 0)
        self._probabilities.append(joined.outputs["sed"][:frames])

    def _output_frames(self, n_frames: int) -> int:
        """Outputs that so many label frames reach, at most; features without padding end with the
        recording."""
        dataset, features = self.task.dataset, self.task.features
        if features.counts_the_end:
            return sys.maxsize
        hop_s = features.hop_s * self.stage.target_stride
        return math.ceil(n_frames * dataset.label_hop_s / hop_s - 1e-6)

    def result(self) -> dict[str, float]:
        """Returns ER, F, frame recall and mean average precision; DOA and SELD error unless only
        detection counts."""
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
        return found | {
            "doa_error_deg": scores.doa_error_deg,
            "seld_error": scores.seld_error,
            "n_reference": float(scores.directions.n_reference),
            "n_estimate": float(scores.directions.n_estimate),
            "n_pairs": float(scores.directions.n_pairs),
        }

    def _mean_average_precision(self) -> dict[str, float]:
        if not self._active:
            return {}
        active, probabilities = (
            np.concatenate(self._active),
            np.concatenate(self._probabilities),
        )  # (N, K)
        present = active.any(axis=0)
        if not present.any():
            return {"map_macro": float("nan"), "map_micro": float("nan")}
        macro = average_precision(active[:, present], probabilities[:, present]).mean()
        micro = average_precision(active.reshape(-1, 1), probabilities.reshape(-1, 1))[0]
        return {"map_macro": float(macro), "map_micro": float(micro)}


def detects_only(stage: Stage) -> bool:
    """True if only the detection of a stage is used, not its directions."""
    return stage.outputs_used == ("sed",)
