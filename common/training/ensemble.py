"""The trained models of a run: which stages answer together, and what the folds say on average."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from common.errors import ConfigError
from common.models.layers import STATISTICS
from common.settings.tasks import BaseTask
from common.training.answers import parts
from common.training.stage import finished_epochs, load_trained
from common.training.system import Stage

Outputs = dict[str, np.ndarray]
Average = Callable[[Sequence[Outputs]], Outputs]


@dataclass(frozen=True)
class TrainedFold:
    """The models of one fold that answer together; the last one for all outputs that no other
    answers for."""

    stages: tuple[tuple[Stage, keras.Model], ...]

    def __call__(self, batch: np.ndarray) -> Outputs:
        """From features (B, T, F, C), or audio (B, S, C), to outputs (B, ...)."""
        *earlier, (_, last) = self.stages
        outputs = _predicted(last, batch)
        for stage, model in earlier:
            of_stage = _predicted(model, batch)
            outputs |= {name: of_stage[name] for name in stage.answers}
        return outputs


@dataclass(frozen=True)
class TrainedModels:
    """The models of one fold, or of several.

    Attributes:
        folds: at least one.
        average: of the outputs of several folds.
    """

    folds: tuple[TrainedFold, ...]
    average: Average

    def __call__(self, batch: np.ndarray) -> Outputs:
        """From features (B, T, F, C), or audio (B, S, C), to outputs (B, ...)."""
        answers = [fold(batch) for fold in self.folds]
        return answers[0] if len(answers) == 1 else self.average(answers)

    @property
    def mean(self) -> np.ndarray:
        """Mean of the training features of the first fold, float32 (F, C)."""
        return self.folds[0].stages[-1][1].get_layer(STATISTICS).get_weights()[0]


def mean_outputs(answers: Sequence[Outputs]) -> Outputs:
    """The mean of each output."""
    return {name: np.mean([answer[name] for answer in answers], axis=0) for name in answers[0]}


def load_models(
    run: Path,
    task: BaseTask,
    stages: Sequence[Stage],
    fold: str | None = None,
    average: Average = mean_outputs,
) -> TrainedModels:
    """Loads the models of a run that are scored.

    Args:
        run: its directory.
        task: its settings.
        stages: those that answer, see `answering`.
        fold: name of a fold; None: all folds of the run.
        average: of the outputs of several folds.

    Raises:
        CheckpointError: a model is not there, not finished, or damaged.
        ConfigError: there is no such fold.
    """
    folders = [run / name for name in chosen_folds(task, fold)]
    for folder in folders:
        for stage in stages:
            finished_epochs(folder / stage.name)
    models = [
        [(stage, load_trained(folder / stage.name)) for stage in stages] for folder in folders
    ]
    return TrainedModels(tuple(TrainedFold(tuple(of_fold)) for of_fold in models), average)


def answering(stages: Sequence[Stage]) -> list[Stage]:
    """The stages whose outputs are the answer of a system: of its main part the last one, and those
    it relies on."""
    *earlier, last = next(iter(parts(stages).values()))
    return [*(stage for stage in earlier if stage.answers), last]


def chosen_folds(task: BaseTask, fold: str | None) -> list[str]:
    """Folders of the folds wanted, within that of the run: the one named, or all; "" where a run
    has no folds.

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


def _predicted(model: keras.Model, batch: np.ndarray) -> Outputs:
    outputs: Mapping[str, Any] = model.predict_on_batch(batch)
    return {name: np.asarray(value) for name, value in outputs.items()}
