"""Callbacks: scores into `logs`, curves on disk, and the state from which a job resumes."""

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np

from common.display.plotting import learning_curves, save_figure
from common.errors import CheckpointError, TrainingError
from common.io.archives import read_arrays, write_arrays
from common.io.files import atomic_path, load_json, write_json
from common.runtime.multi_host import agreed
from common.training.early_finish import is_requested
from common.training.evaluation import Prediction, predict_recordings

History = dict[str, list[float]]
VARIABLES, STATE_BEST = "variables.npz", "best.keras"  # of a state
TIMES = ("training_s", "scoring_s")  # the only values that differ in a repeated run


class Scorer(Protocol):
    """Scores the predictions of a set of recordings."""

    def update(self, prediction: Prediction) -> None:
        """Takes in one recording."""

    def result(self) -> dict[str, float]:
        """Returns the scores by name."""


class ScoreOnValidation(keras.callbacks.Callback):
    """Writes losses and scores of whole recordings into `logs` after each epoch.

    Those of the validation set are `val_loss`, `val_<output>_loss` and `val_<score>`; those of
    recordings of the training set `train_loss`, `train_<output>_loss` and `train_<score>`, by the
    model that the epoch ended with, where Keras's `loss` is the mean over the epoch's batches, with
    dropout. `training_s` and `scoring_s` are the seconds that the epoch's batches and these scores
    took.

    The sets are predicted and reduced recording by recording, so that not all outputs are held.
    List it before the callbacks that monitor one of these values.

    Args:
        sets_of: from the number of an epoch, the first one 0, to its recordings by the prefix of
            their scores, "val" and perhaps "train", from `common.data.pipeline.evaluation_stream`.
        new_scorer: makes the scorer of one set.
        losses: by output.
        loss_weights: by output.
    """

    def __init__(
        self,
        sets_of: Callable[[int], Mapping[str, Any]],
        new_scorer: Callable[[], Scorer],
        losses: Mapping[str, Callable],
        loss_weights: Mapping[str, float],
    ):
        super().__init__()
        self.sets_of = sets_of
        self.new_scorer, self.losses, self.loss_weights = new_scorer, losses, loss_weights
        self._start_s = time.perf_counter()

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._start_s = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        logs, trained_s = {} if logs is None else logs, time.perf_counter()
        if not np.isfinite(logs.get("loss", 0.0)):
            raise TrainingError(
                f"The loss of epoch {epoch + 1} is {logs['loss']}: training has diverged. Lower "
                "`training.learning_rate` or set `training.clip_norm`, and use another job id."
            )
        for prefix, recordings in self.sets_of(epoch).items():
            scores = self._scores(recordings).items()
            logs.update({f"{prefix}_{name}": value for name, value in scores})
        scored_s = time.perf_counter()
        logs.update(zip(TIMES, (trained_s - self._start_s, scored_s - trained_s), strict=True))
        logs.update(agreed(logs))  # all processes must decide alike on the scores

    def _scores(self, recordings: Any) -> dict[str, float]:
        """Mean loss, mean loss of each output, and scores of a set of recordings."""
        scorer = self.new_scorer()
        loss_sums, weights = dict.fromkeys(self.losses, 0.0), dict.fromkeys(self.losses, 0)
        for prediction in predict_recordings(self.model, recordings):
            scorer.update(prediction)
            for name, loss in self.losses.items():
                target, output = _common_frames(prediction.targets[name], prediction.outputs[name])
                # Called as a Loss, it would divide by the devices that share a batch in training.
                value = getattr(loss, "call", loss)(target[None], output[None])
                weight = _loss_weight(target, prediction.frames)
                loss_sums[name] += float(keras.ops.convert_to_numpy(keras.ops.mean(value))) * weight
                weights[name] += weight
        means = dict.fromkeys(self.losses, float("nan"))
        means |= {name: loss_sums[name] / weight for name, weight in weights.items() if weight}
        total = sum(self.loss_weights[name] * value for name, value in means.items())
        losses = {f"{name}_loss": value for name, value in means.items()}
        return {"loss": total, **losses, **scorer.result()}


def _common_frames(target: np.ndarray, output: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cuts both to the shorter one; clip-level labels (K,) stay."""
    if target.ndim == 1:
        return target, output
    frames = min(len(target), len(output))
    return target[:frames], output[:frames]


def _loss_weight(target: np.ndarray, frames: int) -> int:
    """Weight of a recording in a mean loss: its frames; 1 for labels (K,); 0 if unlabelled."""
    if (target == -1).all():
        return 0
    return 1 if target.ndim == 1 else frames


class KeepBest(keras.callbacks.Callback):
    """Keeps the model with the best score.

    `keras.callbacks.ModelCheckpoint` writes over the best model in place: a job killed meanwhile
    would have none.

    Args:
        path: the file, finished at any moment; from the first epoch on there is one.
        monitor: name of the score in `logs`.
        mode: "min" or "max".
    """

    def __init__(self, path: Path, monitor: str, mode: str):
        super().__init__()
        self.path, self.monitor, self.sign = path, monitor, 1.0 if mode == "max" else -1.0
        self.best: float | None = None

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        score = float((logs or {})[self.monitor])
        if self.best is None or np.isnan(self.best) or self.sign * score > self.sign * self.best:
            save_model(self.model, self.path)
            self.best = score

    def epoch_in(self, history: Mapping[str, Sequence[float]]) -> int:
        """Number of the epoch of the best model, from the scores of all epochs."""
        scores = list(history[self.monitor])
        return scores.index(self.best) + 1 if self.best in scores else len(scores)


class KeepEpoch(keras.callbacks.Callback):
    """Keeps the model of one epoch, whatever its score.

    Args:
        path: the file; absent until that epoch has ended.
        epoch: its number, from 1 on; None: the latest one.
    """

    def __init__(self, path: Path, epoch: int | None):
        super().__init__()
        self.path, self.epoch = path, epoch

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if self.epoch in (None, epoch + 1):
            save_model(self.model, self.path)


class KeepModels(keras.callbacks.Callback):
    """Keeps the model of every so many epochs, as `epoch-<number>.keras`, whatever its score."""

    def __init__(self, folder: Path, every_epochs: int):
        super().__init__()
        self.folder, self.every_epochs = folder, every_epochs

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if (epoch + 1) % self.every_epochs == 0:
            save_model(self.model, self.folder / model_name(f"{epoch + 1:05d}"))


def model_name(number: str) -> str:
    """Name of the file of `KeepModels` with the model of an epoch."""
    return f"epoch-{number}.keras"


class FinishOnRequest(keras.callbacks.Callback):
    """Ends the training of a stage after the epoch in which it was asked to.

    Attributes:
        seen: True once a request was there.

    Args:
        folder: of the stage, see `common.training.early_finish`.
    """

    def __init__(self, folder: Path):
        super().__init__()
        self.folder = folder
        self.seen = False

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if finish_requested(self.folder):
            self.seen = self.model.stop_training = True


def finish_requested(folder: Path) -> bool:
    """True if the training of a stage shall end; the same in all processes that share it."""
    return bool(agreed({"finish": float(is_requested(folder))})["finish"])


def save_model(model: keras.Model, path: Path) -> None:
    """Saves a model whole or not at all."""
    with atomic_path(path, suffix=".keras") as temporary:
        model.save(temporary)


class LearningCurves(keras.callbacks.Callback):
    """Redraws the curves of the whole history after each epoch."""

    def __init__(self, path: Path, panels: Sequence, history: Mapping[str, Sequence[float]]):
        super().__init__()
        self.path, self.panels = path, panels
        self.history: History = {name: list(values) for name, values in history.items()}

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        append(self.history, logs or {})
        save_figure(learning_curves(self.history, self.panels), self.path)


def append(history: History, logs: Mapping[str, float]) -> None:
    """Adds the values of one epoch to a history."""
    for name, value in logs.items():
        history.setdefault(name, []).append(float(value))


@dataclass
class ResumeState:
    """State from which a killed job resumes, see `ResumeRun`.

    Older ones do not have the numbers of epochs in the settings, and of the best model.
    """

    folder: Path | None = None
    epochs: int = 0
    history: History = field(default_factory=dict)
    callbacks: dict[str, dict[str, Any]] = field(default_factory=dict)
    of_epochs: int | None = None
    best_epoch: int | None = None


# Attributes of callbacks that a restarted job must restore.
_MEMORY = {"EarlyStopping": ("best", "wait", "stopped_epoch", "best_epoch"), "KeepBest": ("best",)}


class ResumeRun(keras.callbacks.Callback):
    """Stores and restores weights, optimizer, epoch, history, best model and other callbacks.

    Each epoch is one folder, complete once it is renamed to `epoch-<number>`; the one before is
    then removed. So a job may be killed at any moment. List it last: it must see what the others
    wrote, and restore after they reset themselves in `on_train_begin`.

    Args:
        folder: folder of the states.
        state: result of `latest_state(folder)`.
        best_model: the file `KeepBest` writes.
        others: callbacks with a memory: EarlyStopping, KeepBest.
    """

    def __init__(
        self,
        folder: Path,
        state: ResumeState,
        best_model: Path,
        others: Sequence[keras.callbacks.Callback],
    ):
        super().__init__()
        self.folder, self.state, self.best_model = folder, state, best_model
        self.others = {type(other).__name__: other for other in others}
        self.history: History = {name: list(values) for name, values in state.history.items()}

    def on_train_begin(self, logs: dict | None = None) -> None:
        if self.state.folder is None:
            return
        restore_variables(self.state.folder / VARIABLES, self._variables())
        for name, memory in self.state.callbacks.items():
            if name in self.others:  # early stopping may be off since
                for attribute, value in memory.items():
                    setattr(self.others[name], attribute, value)
        restore_best(self.state.folder, self.best_model)

    def restore(self, model: keras.Model) -> None:
        """Gives a model the variables of the stored state, and puts its best model in place."""
        if self.state.folder is not None:
            self.set_model(model)
            restore_variables(self.state.folder / VARIABLES, self._variables())
            restore_best(self.state.folder, self.best_model)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        append(self.history, logs or {})
        target = self.folder / f"epoch-{epoch + 1:05d}"
        unfinished = target.with_name(f".{target.name}.tmp")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        save_variables(unfinished / VARIABLES, self._variables())
        if self.best_model.exists():
            _copy(self.best_model, unfinished / STATE_BEST)
        memory = {name: _memory_of(other) for name, other in self.others.items()}
        state = {"epochs": epoch + 1, "history": self.history, "callbacks": memory}
        state["of_epochs"] = self.params["epochs"]
        if isinstance(best := self.others.get("KeepBest"), KeepBest):
            state["best_epoch"] = best.epoch_in(self.history)
        write_json(unfinished / "state.json", state)
        unfinished.rename(target)
        remove_older_states(target)

    def _variables(self) -> list:
        return [*self.model.variables, *self.model.optimizer.variables]


def restore_best(state: Path, best_model: Path) -> None:
    """Puts the best model of a state in place: that there may be of a later, unfinished epoch."""
    if (state / STATE_BEST).exists():
        _copy(state / STATE_BEST, best_model)


def latest_state(folder: Path) -> ResumeState:
    """Reads the last complete state of `ResumeRun`; an empty one if there is none.

    Raises:
        CheckpointError: the state is damaged.
    """
    complete = sorted(folder.glob("epoch-*"))
    if not complete:
        return ResumeState()
    path = complete[-1] / "state.json"
    try:
        content = load_json(path)
        stored = content["history"].items()
        history = {name: [_number(value) for value in values] for name, values in stored}
        epochs, callbacks = content["epochs"], content["callbacks"]
        about = {name: content[name] for name in ("of_epochs", "best_epoch") if name in content}
        _check_state(complete[-1], epochs, history, callbacks)
        if any(type(number) is not int for number in about.values()):
            raise ValueError(f"expected numbers of epochs, received {about}")
        return ResumeState(complete[-1], epochs, history, callbacks, **about)
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        remedy = f"Delete the folder {folder} to train this fold again"
        raise CheckpointError(f"{path} is damaged: {error}. {remedy}.") from error


def remove_older_states(latest: Path) -> None:
    """Removes the states of earlier epochs, also those that a killed job left."""
    for older in latest.parent.glob("epoch-*"):
        if older != latest:
            shutil.rmtree(older, ignore_errors=True)


def _check_state(folder: Path, epochs: Any, history: History, callbacks: Any) -> None:
    """Raises ValueError if `ResumeRun` did not write a state: its values become attributes."""
    if type(epochs) is not int or folder.name != f"epoch-{epochs:05d}":
        raise ValueError(f"expected the number of epochs of {folder.name}, received {epochs!r}")
    if any(len(values) > epochs for values in history.values()):
        raise ValueError(f"expected a history of {epochs} epochs")
    for name, memory in callbacks.items():
        numbers = all(value is None or isinstance(value, int | float) for value in memory.values())
        if set(memory) != set(_MEMORY.get(name, ())) or not numbers:
            expected = ", ".join(_MEMORY)
            raise ValueError(f"expected the memory of {expected}, received {name}: {memory}")


def save_variables(path: Path, variables: Sequence) -> None:
    """Writes variables in their order, as arrays of an `.npz`."""
    arrays = map(keras.ops.convert_to_numpy, variables)
    write_arrays(path, {f"{number:04d}": array for number, array in enumerate(arrays)})


def restore_variables(path: Path, variables: Sequence, some: bool = False) -> None:
    """Restores variables from a file of `save_variables`.

    Args:
        path: the file.
        variables: all of them, in their order.
        some: the file may have more of them behind, as those of the optimizer are behind a model's.

    Raises:
        CheckpointError: the file is damaged, or belongs to another model.
    """
    try:
        arrays = [array for _, array in sorted(read_arrays(path).items())]
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} is damaged: {error}. Delete its folder and run the same command again."
        ) from error
    arrays = arrays[: len(variables)] if some else arrays
    expected = [tuple(variable.shape) for variable in variables]
    received = [array.shape if array.dtype.kind in "fiub" else str(array.dtype) for array in arrays]
    if expected != received:
        pairs = zip(expected, received, strict=False)
        difference = next((pair for pair in pairs if pair[0] != pair[1]), "their number")
        raise CheckpointError(
            f"{path} holds the weights of another model. Expected: {len(expected)} arrays."
            f" Received: {len(received)}; first difference: {difference}."
            " Choose another job id, or delete the run directory."
        )
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)


def _memory_of(callback: keras.callbacks.Callback) -> dict[str, Any]:
    values = {name: getattr(callback, name) for name in _MEMORY[type(callback).__name__]}
    return {name: value if value is None else float(value) for name, value in values.items()}


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _copy(source: Path, target: Path) -> None:
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)
