"""Trained models of a run as one: stages joined by the outputs used of each, folds averaged."""

import dataclasses
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import keras
import numpy as np

from common.errors import ConfigError
from common.models.layers import STATISTICS
from common.settings.tasks import BaseTask
from common.training.checkpoints import Checkpoints, has_model, load_checkpoint
from common.training.evaluation import Prediction, predict_recordings
from common.training.mean_teacher import chosen_network
from common.training.system import Stage, parts

logger = logging.getLogger(__name__)
Outputs = dict[str, np.ndarray]
Average = Callable[[Sequence[Outputs]], Outputs]
TrainedStage = tuple[Stage, keras.Model]


def mean_outputs(of_folds: Sequence[Outputs]) -> Outputs:
    """The mean of each output."""
    return {name: np.mean([each[name] for each in of_folds], axis=0) for name in of_folds[0]}


class Ensemble:
    """Trained models that predict together, as if they were one model.

    Args:
        folds: at least one. Each is a sequence of trained stages: of the earlier ones come the
            outputs in `Stage.outputs_used`, of the last one all others.
        average: reduces the outputs of several folds to one.
    """

    def __init__(self, folds: Sequence[Sequence[TrainedStage]], average: Average = mean_outputs):
        self.folds, self._average = folds, average

    @property
    def stages(self) -> Sequence[TrainedStage]:
        """Trained stages of the first fold."""
        return self.folds[0]

    @property
    def mean(self) -> np.ndarray:
        """Mean of the training features of the first fold, float32 (F, C)."""
        return self.stages[-1][1].get_layer(STATISTICS).get_weights()[0]

    def predict_on_batch(self, batch: np.ndarray) -> Outputs:
        """From features (B, T, F, C), or audio (B, S, C), to outputs (B, ...)."""
        of_folds = [_joined(stages, batch) for stages in self.folds]
        return of_folds[0] if len(of_folds) == 1 else self._average(of_folds)


def _joined(stages: Sequence[TrainedStage], batch: np.ndarray) -> Outputs:
    """Outputs of the last stage, with those used of the earlier ones in their place."""
    *earlier, (_, last) = stages
    outputs = {name: np.asarray(value) for name, value in last.predict_on_batch(batch).items()}
    for stage, model in earlier:
        of_stage = model.predict_on_batch(batch)
        outputs |= {name: np.asarray(of_stage[name]) for name in stage.outputs_used}
    return outputs


class EarlierOutputs:
    """Outputs used of the stages before the one in training, by recording.

    The earlier models do not change, so they predict once for as long as the same recordings are
    scored. Only the outputs used are kept: some hundred kB a recording.

    Args:
        earlier: trained stages.
        recordings: gives the streams of the recordings that are scored in the current epoch, see
            `common.training.stage.ScoredSets`.
    """

    def __init__(
        self, earlier: Sequence[TrainedStage], recordings: Callable[[], Iterable[Iterable[Mapping]]]
    ):
        self._earlier = [(stage, model) for stage, model in earlier if stage.outputs_used]
        self._recordings = recordings
        self._by_name: dict[str, Outputs] = {}

    def joined(self, prediction: Prediction) -> Prediction:
        """Puts the outputs used of the earlier stages in place of those of the one in training."""
        if not self._earlier:
            return prediction
        if prediction.name not in self._by_name:  # other recordings may be drawn in each epoch
            self._by_name = self._predicted()
        outputs = prediction.outputs | self._by_name[prediction.name]
        return dataclasses.replace(prediction, outputs=outputs)

    def _predicted(self) -> dict[str, Outputs]:
        found: dict[str, Outputs] = {}
        for stage, model in self._earlier:
            for stream in self._recordings():
                for prediction in predict_recordings(model, stream):
                    used = {name: prediction.outputs[name] for name in stage.outputs_used}
                    found.setdefault(prediction.name, {}).update(used)
        return found


def load_models(
    run: Path,
    task: BaseTask,
    stages: Sequence[Stage],
    fold: str | None = None,
    average: Average = mean_outputs,
    checkpoint: str | None = None,
) -> Ensemble:
    """Loads trained models of a run, which may be in training.

    Args:
        run: its directory.
        task: its settings.
        stages: those that are scored, see `scored_stages`.
        fold: name of a fold; None: all folds of the run that have models.
        average: reduces the outputs of several folds to one.
        checkpoint: which models, see `common.training.checkpoints.Checkpoints.path`.

    Raises:
        CheckpointError: a model is missing or damaged, or no epoch of it has ended.
        ConfigError: there is no such fold, or the network takes more than a recording gives.
    """
    if further := stages[-1].inputs:
        raise ConfigError(
            f"The network of {run} takes {' and '.join(further)} beside its features. Expected: a"
            " network that takes features alone; others are trained and tested on a dataset, not"
            " exported, and predict no recordings of their own."
        )
    folders = [run / name for name in chosen_folds(task, fold)]
    trained = [each for each in folders if all(has_model(each / stage.name) for stage in stages)]
    if trained and len(trained) < len(folders):
        names = ", ".join(each.name for each in folders if each not in trained)
        logger.warning("Folds without a trained model are left out: %s.", names)
    folders = trained or folders
    for folder in folders:
        for stage in stages:  # all of them, before the first one is loaded
            Checkpoints.of(folder / stage.name).path(checkpoint)

    def load(folder: Path) -> keras.Model:
        return chosen_network(load_checkpoint(folder, checkpoint))

    loaded = [[(each, load(folder / each.name)) for each in stages] for folder in folders]
    return Ensemble(loaded, average)


def scored_stages(stages: Sequence[Stage]) -> list[Stage]:
    """Stages of a system's main part that are scored: the last one, and earlier ones it needs."""
    *earlier, last = next(iter(parts(stages).values()))
    return [*(stage for stage in earlier if stage.outputs_used), last]


def chosen_folds(task: BaseTask, fold: str | None) -> list[str]:
    """Folders of folds within a run: of the fold named, or of all; "" for a run without folds.

    Raises:
        ConfigError: there is no such fold.
    """
    if fold is None:
        return task.fold_names or [""]
    return [one_of(task.fold_names, fold, "--fold")]


def one_of(names: Sequence[str], wanted: str | None, option: str) -> str:
    """The wanted name, or the first.

    Raises:
        ConfigError: there is no such name.
    """
    if wanted is not None and wanted not in names:
        expected = f"one of {', '.join(names)}" if names else "nothing, since this run has none"
        raise ConfigError(f"{option}: expected {expected}. Received: {wanted}.")
    return names[0] if wanted is None else wanted
