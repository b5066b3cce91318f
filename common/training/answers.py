"""What the stages of a system say together, where each answers for some of the outputs."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence

import keras
import numpy as np

from common.training.evaluation import Prediction, predict_recordings
from common.training.system import Stage


class Answers:
    """The outputs that earlier stages of a system answer for, by recording; computed when they are
    first asked for.

    Only those outputs are kept, not the recordings: some hundred kB each.

    Args:
        earlier: finished stages with their models, each with `Stage.answers`.
        recordings: gives the streams of the recordings that are asked for now, see
            `common.training.stage.ScoredSets`.
    """

    def __init__(
        self,
        earlier: Sequence[tuple[Stage, keras.Model]],
        recordings: Callable[[], Iterable[Iterable[Mapping]]],
    ):
        self._earlier, self._recordings = earlier, recordings
        self._by_name: dict[str, dict[str, np.ndarray]] = {}

    def joined(self, prediction: Prediction) -> Prediction:
        """Puts the earlier stages' outputs in place of those of the last stage."""
        if not self._earlier:
            return prediction
        if prediction.name not in self._by_name:  # other recordings may be drawn in each epoch
            self._by_name = self._predicted()
        return dataclasses.replace(
            prediction, outputs=prediction.outputs | self._by_name[prediction.name]
        )

    def _predicted(self) -> dict[str, dict[str, np.ndarray]]:
        found: dict[str, dict[str, np.ndarray]] = {}
        for stage, model in self._earlier:
            for stream in self._recordings():
                for prediction in predict_recordings(model, stream):
                    kept = {name: prediction.outputs[name] for name in stage.answers}
                    found.setdefault(prediction.name, {}).update(kept)
        return found


def parts(stages: Sequence[Stage]) -> dict[str, list[Stage]]:
    """Groups stages that answer together, by `Stage.part_of`, in their order."""
    grouped: dict[str, list[Stage]] = {}
    for stage in stages:
        grouped.setdefault(stage.part_of, []).append(stage)
    return grouped
