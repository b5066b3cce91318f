"""Trains one stage of a system: fit with scores, early stopping, checkpoints, logs and resume."""

import csv
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from common.data.pipeline import guard_stream
from common.errors import CheckpointError, ConfigError, TrainingError
from common.features.frontend import Frontend
from common.io.files import write_json, write_text
from common.io.tables import to_csv
from common.models.audio_features import FRONTEND, AudioFeatures
from common.models.layers import STATISTICS, copy_weights, with_statistics
from common.models.optimizer import build_optimizer
from common.models.saving import load_model
from common.runtime.distribution import devices, jit_setting
from common.runtime.multi_host import world
from common.settings.tasks import AtIteration, RunConfig, TrainingConfig
from common.training.callbacks import (
    FinishOnRequest,
    KeepBest,
    KeepEpoch,
    KeepModels,
    LearningCurves,
    ResumeRun,
    ResumeState,
    ScoreOnValidation,
    Scorer,
    finish_requested,
    latest_state,
    remove_older_states,
    save_model,
)
from common.training.early_finish import MODELS, STATES, is_requested, withdraw
from common.training.mean_teacher import chosen_network
from common.training.progress import ProgressLines, score_names
from common.training.run_directory import FINISHED, Finished, read_form, stop_text
from common.training.system import ModelParts, Stage

logger = logging.getLogger(__name__)
BEST = "best.keras"  # the best by the score that decides
CHOSEN = "chosen.keras"  # the one that is scored, unless `training.choose` is "best"


@dataclass
class ScoredSets:
    """Recordings that are scored after each epoch: always the same, or drawn for each epoch.

    Attributes:
        draw: from the number of a draw to streams, see `common.data.pipeline.evaluation_stream`, by
            the prefix of their scores: "val" and perhaps "train".
        redrawn: True if each epoch has a draw of its own; else all have the first one.
        current: streams of the latest epoch; empty before the first.
    """

    draw: Callable[[int], Mapping[str, Any]]
    redrawn: bool = False
    current: Mapping[str, Any] = field(default_factory=dict)

    def of_epoch(self, epoch: int) -> Mapping[str, Any]:
        """Returns the streams for an epoch, the first one 0; the same for the same epoch."""
        if self.redrawn or not self.current:
            self.current = self.draw(epoch if self.redrawn else 0)
        return self.current


@dataclass(frozen=True)
class StageData:
    """Training batches and scored recordings of a stage.

    Attributes:
        batches: from the number of batches trained so far to an endless (features, targets) stream.
        batches_per_pass: batches in one pass over the training splits.
        sets: recordings that are scored after each epoch.
        shape: frames (None: any number), bands and channels of the features.
        mean: mean of the training features, (bands, channels).
        std: their standard deviation, (bands, channels).
        frontend: features that the model computes of audio; None: batches hold features.
        levels: makes the layers between raw features and statistics, see
            `common.models.layers.with_statistics`.
    """

    batches: Callable[[int], Any]
    batches_per_pass: int
    sets: ScoredSets
    shape: tuple[int | None, int, int]
    mean: np.ndarray
    std: np.ndarray
    frontend: Frontend | None = None
    levels: Callable[[], Sequence[keras.layers.Layer]] = tuple


@dataclass(frozen=True)
class Goal:
    """Score that decides.

    Attributes:
        monitor: name in `logs`, e.g. "val_seld_error".
        mode: "min" or "max".
        new_scorer: makes the scorer of one validation.
        panels: learning curves, see `common.display.plotting.learning_curves`.
    """

    monitor: str
    mode: str
    new_scorer: Callable[[], Scorer]
    panels: Sequence


def train_stage(
    stage: Stage,
    data: StageData,
    goal: Goal,
    training: TrainingConfig,
    run: RunConfig,
    folder: Path,
    seed: int,
    start: keras.Model | None = None,
) -> keras.Model:
    """Trains a stage, or resumes it, or loads it if it is finished; see also `goes_on`.

    Args:
        stage: model, targets and losses.
        data: training batches and validation recordings.
        goal: score that decides.
        training: length, patience and learning rate.
        run: devices and precision.
        folder: holds the stage's weights and logs; made if missing.
        seed: of the initial weights and of dropout.
        start: a model whose weights this one starts from, in the layers that `stage.keeps`; None:
            fresh weights.

    Returns:
        The model that `training.choose` names, from raw features, or audio, to the outputs.

    Raises:
        CheckpointError: a file in `folder` is damaged or belongs to another model.
        ConfigError: `training.choose` names an iteration at which no epoch ends.
    """
    with devices(run):
        if goes_on(folder, training):
            logger.info("%s: goes on, to at most %d epochs.", folder, training.epochs)
            (folder / FINISHED).unlink()
            withdraw(folder)
        if not (folder / FINISHED).exists():
            _fit(stage, data, goal, training, run, folder, seed, start)
        else:
            stopped = stop_text(finished_epochs(folder))
            about = f" ({stopped})" if stopped else ""
            logger.info("%s: training is finished%s; its weights are used.", folder, about)
        return load_trained(folder)


def goes_on(folder: Path, training: TrainingConfig) -> bool:
    """True if a finished stage has not yet reached the length that the settings have since.

    That is so after more epochs than before, or more patience after an early stop. A stage that
    was ended on request goes on with more epochs than it had been asked to have.

    Args:
        folder: of the stage.
        training: its settings.

    Raises:
        CheckpointError: a file of the stage is damaged.
    """
    if not (folder / FINISHED).exists():
        return False
    finished = finished_epochs(folder)
    if training.epochs <= (finished.get("requested_of") or finished["epochs"]):
        return False
    state = latest_state(folder / STATES)
    if state.epochs != finished["epochs"]:
        text = "%s: finished after %d epochs, whose state is not there: it cannot go on."
        logger.info(text, folder, finished["epochs"])
        return False
    return not _stopped(state, training)


def load_trained(folder: Path) -> keras.Model:
    """Loads the scored model of a finished stage: the chosen one, or else the best.

    Args:
        folder: of the stage.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    return load_model(scored_path(folder))


def scored_path(folder: Path) -> Path:
    """File of the model of a finished stage that is scored."""
    chosen = folder / CHOSEN
    return chosen if chosen.exists() else folder / BEST


def _fit(
    stage: Stage,
    data: StageData,
    goal: Goal,
    training: TrainingConfig,
    run: RunConfig,
    folder: Path,
    seed: int,
    start: keras.Model | None,
) -> None:
    steps = iterations_per_epoch(training, data.batches_per_pass)
    wanted = _wanted_epoch(training, steps)
    state = latest_state(folder / STATES)
    keras.utils.set_random_seed(seed)
    model = _new_model(stage, data, steps, start)
    model.compile(
        optimizer=build_optimizer(training, steps),
        loss=dict(stage.losses),
        loss_weights=dict(stage.loss_weights),
        metrics={output: [make()] for output, make in stage.metrics.items()},
        jit_compile=jit_setting(run),
    )
    # A state restores its variables, and those that the first step makes would have its graph
    # built twice.
    model.optimizer.build(model.trainable_variables)
    ends = state.epochs > 0 and finish_requested(folder)
    if state.folder is not None:
        logger.info("%s: %s after epoch %d.", folder, "ends" if ends else "resumes", state.epochs)
        remove_older_states(state.folder)
    callbacks = _callbacks(stage, data, goal, training, folder, state, wanted)
    *_, asked, resume = callbacks
    asked.seen = ends
    if ends:
        resume.restore(model)
        _take_chosen(model, training, state, folder, wanted)
    elif state.epochs < training.epochs and not _stopped(state, training):
        batches = data.batches(state.epochs * steps)
        if stage.join is None and run.distribution == "none":
            make_means(model, batches)
        with guard_stream():
            model.fit(
                batches,
                epochs=training.epochs,
                initial_epoch=state.epochs,
                steps_per_epoch=steps,
                callbacks=callbacks,
                shuffle=False,  # the stream is shuffled
                verbose=0,  # see `ProgressLines`
            )
        state.history = resume.history
    finished = _finished(state.history, goal, training, steps, wanted)
    if asked.seen and finished["epochs"] < training.epochs:
        finished["requested_of"] = training.epochs
        logger.info("%s: %s.", folder, stop_text(finished))
    write_json(folder / FINISHED, finished)
    withdraw(folder)


def _take_chosen(
    model: keras.Model,
    training: TrainingConfig,
    state: ResumeState,
    folder: Path,
    wanted: int | None,
) -> None:
    """Keeps the model that is scored of a training that ends where it was stopped.

    The file in place may be of a later, unfinished epoch.
    """
    if training.choose == "last":
        save_model(model, folder / CHOSEN)
    elif wanted is not None and wanted > state.epochs:
        (folder / CHOSEN).unlink(missing_ok=True)


def make_means(model: keras.Model, batches: Any) -> None:
    """Makes the means of losses and metrics; the first step would, and its graph be built twice.

    Without effect where batches do not tell the shapes of their targets, or their length is open.

    Args:
        model: compiled.
        batches: stream of (features, targets by output).
    """
    if not hasattr(batches, "element_spec"):
        return
    y, y_pred = {}, {}
    for name, target in batches.element_spec[1].items():
        sizes = target.shape[1:]
        # Outputs whose length is open have that of the targets.
        places = enumerate(model.output[name].shape[1:])
        outputs = [sizes[place] if size is None else size for place, size in places]
        if None in [*sizes, *outputs]:
            return
        y[name], y_pred[name] = keras.ops.zeros((1, *sizes)), keras.ops.zeros((1, *outputs))
    model.compute_loss(y=y, y_pred=y_pred)
    model.compute_metrics(None, y, y_pred)
    model.reset_metrics()


def _new_model(stage: Stage, data: StageData, steps: int, start: keras.Model | None) -> keras.Model:
    """Builds the model of a stage, from raw input, with the weights that it starts from."""
    frontend = None if data.frontend is None else AudioFeatures(data.frontend, name=FRONTEND)
    start = None if start is None else chosen_network(start)

    def build(frontend: keras.layers.Layer | None = None) -> keras.Model:
        inner, levels = stage.build(data.shape), data.levels()
        network = with_statistics(inner, data.mean, data.std, frontend, levels)
        if start is not None:
            # The statistics are those of this training's own data.
            copy_weights(start, network, lambda layer: layer != STATISTICS and stage.keeps(layer))
        return network

    if stage.join is None:
        return build(frontend)
    return stage.join(ModelParts(build, frontend, steps))


def _finished(
    history: dict[str, list[float]],
    goal: Goal,
    training: TrainingConfig,
    steps: int,
    wanted: int | None,
) -> dict[str, Any]:
    """Describes a finished training, see `common.training.run_directory.Finished`."""
    scores = history[goal.monitor]
    finished: dict[str, Any] = {"epochs": len(scores), "iterations_per_epoch": steps}
    chosen = {} if training.choose == "best" else {"chosen_epoch": wanted or len(scores)}
    if wanted is not None and wanted > len(scores):  # ended before it, on request
        text = "The chosen iteration %d was not reached; the best model after %d epochs is scored."
        logger.info(text, wanted * steps, len(scores))
        chosen = {}
    if not np.isnan(scores).all():
        best = int(np.nanargmin(scores) if goal.mode == "min" else np.nanargmax(scores))
        return finished | {"best_epoch": best + 1, **chosen, "history": history}
    if not chosen:
        raise TrainingError(
            f"{goal.monitor} could not be computed in any epoch, so there is no best model. Do the"
            " recordings that validate have labels? Choose others, another `training.monitor`"
            " where the task has one, or `training.choose: last`."
        )
    return finished | {"best_epoch": chosen["chosen_epoch"], **chosen, "history": history}


def _wanted_epoch(training: TrainingConfig, steps: int) -> int | None:
    """Number of the epoch that ends with the iteration that is chosen; None: no iteration is.

    Raises:
        ConfigError: no epoch ends there.
    """
    if not isinstance(training.choose, AtIteration):
        return None
    iteration = training.choose.iteration
    if iteration % steps or iteration > steps * training.epochs:
        raise ConfigError(
            f"`training.choose`: no epoch ends after {iteration} iterations. Expected: a multiple"
            f" of {steps}, the iterations of an epoch, up to {steps * training.epochs}. Received:"
            f" {iteration}. Change it, `training.iterations_per_epoch` or `training.epochs`."
        )
    return iteration // steps


def iterations_per_epoch(training: TrainingConfig, batches_per_pass: int) -> int:
    """Batches between two validations."""
    if training.iterations_per_epoch is not None:
        return training.iterations_per_epoch
    batches = min(training.batches_per_pass or batches_per_pass, batches_per_pass)
    return training.passes_per_epoch * batches


def _stopped(state: ResumeState, training: TrainingConfig) -> bool:
    """True if the job was killed between an early stop and the end of the stage."""
    wait = state.callbacks.get("EarlyStopping", {}).get("wait") or 0
    return bool(training.patience_epochs) and wait >= training.patience_epochs


def _callbacks(
    stage: Stage,
    data: StageData,
    goal: Goal,
    training: TrainingConfig,
    folder: Path,
    state: ResumeState,
    wanted: int | None,
) -> list[keras.callbacks.Callback]:
    (folder / STATES).mkdir(parents=True, exist_ok=True)
    _cut_history(folder / "history.csv", state.epochs)
    remembering: list[keras.callbacks.Callback] = [KeepBest(folder / BEST, goal.monitor, goal.mode)]
    if training.patience_epochs:
        remembering.append(_early_stopping(goal, training))
    kept: list[keras.callbacks.Callback] = []
    if training.choose != "best":
        kept.append(KeepEpoch(folder / CHOSEN, wanted))
    if training.checkpoint_every_epochs:
        kept.append(KeepModels(folder / MODELS, training.checkpoint_every_epochs))
    progress: list[keras.callbacks.Callback] = []
    if world().is_coordinator:
        names = score_names(goal.monitor, goal.panels)
        history = state.history
        title, is_asked = str(folder), partial(is_requested, folder)
        progress.append(ProgressLines(title, names, goal.monitor, goal.mode, history, is_asked))
    return [
        ScoreOnValidation(data.sets.of_epoch, goal.new_scorer, stage.losses, stage.loss_weights),
        *progress,
        *remembering,
        *kept,
        keras.callbacks.CSVLogger(folder / "history.csv", append=True),
        keras.callbacks.TensorBoard(folder / "tensorboard", write_graph=False),
        LearningCurves(folder / "curves.png", goal.panels, state.history),
        FinishOnRequest(folder),
        ResumeRun(folder / STATES, state, folder / BEST, remembering),
    ]


def _early_stopping(goal: Goal, training: TrainingConfig) -> keras.callbacks.EarlyStopping:
    patience = {"patience": training.patience_epochs, "min_delta": training.min_delta}
    patience["start_from_epoch"] = training.patience_from_epoch
    return keras.callbacks.EarlyStopping(goal.monitor, mode=goal.mode, **patience)


def _cut_history(path: Path, epochs: int) -> None:
    """Drops the rows of epochs after the last stored state, which are trained again."""
    if not path.exists():
        return
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CheckpointError(
            f"{path} is damaged: {error}. Delete it and run the same command again."
        ) from error
    write_text(path, to_csv(rows[: epochs + 1] if epochs else []))


def finished_epochs(folder: Path) -> dict[str, Any]:
    """Reads epochs, batches in each, best epoch and history of a finished stage.

    Raises:
        CheckpointError: the stage is unfinished, or the file damaged.
    """
    path = folder / FINISHED
    if not path.exists():
        raise CheckpointError(f"{folder} holds no finished training. Run the same command again.")
    return read_form(path, Finished)
