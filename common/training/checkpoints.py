"""Models of a stage that is finished or in training: the best, the last, those of epochs."""

import logging
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras

from common.errors import CheckpointError
from common.io.files import write_json
from common.training.callbacks import (
    STATE_BEST,
    VARIABLES,
    latest_state,
    model_name,
    restore_variables,
)
from common.training.early_finish import MODELS, STATES
from common.training.run_directory import FINISHED, read_form, scored_epoch
from common.training.stage import BEST, finished_epochs, load_model, scored_path

logger = logging.getLogger(__name__)
EARLIER = "earlier.json"  # epochs of the models of earlier stages that a stage learned from
_TRIES = 5  # a running training replaces its state after each epoch


@dataclass(frozen=True)
class Checkpoints:
    """Models that the folder of a stage holds.

    Attributes:
        folder: of the stage.
        is_finished: False while the stage is in training.
        epochs: that have ended.
        of_epochs: in the settings; None: not known.
        best_epoch: number of the epoch of the best model; None: not known.
        by_epoch: where the models are, a file, or the folder of a state.
        best: where the best one is.
        default: the model that is taken unless one is asked for.
    """

    folder: Path
    is_finished: bool
    epochs: int
    of_epochs: int | None
    best_epoch: int | None
    by_epoch: dict[int, Path]
    best: Path
    default: Path

    @classmethod
    def of(cls, folder: Path) -> "Checkpoints":
        """Looks for the models of a stage.

        Raises:
            CheckpointError: there is none, or a file of the stage is damaged.
        """
        state, models = latest_state(folder / STATES), dict(_kept(folder))
        if state.folder is not None:
            models[state.epochs] = state.folder
        if not (folder / FINISHED).exists():
            if state.folder is None:
                raise CheckpointError(
                    f"{folder} holds no finished training, and no epoch of one has ended. Run the"
                    " same command again, or wait for the first epoch."
                )
            best = state.folder / STATE_BEST
            if state.best_epoch is not None:
                models[state.best_epoch] = best
            epochs = state.epochs, state.of_epochs, state.best_epoch
            return cls(folder, False, *epochs, models, best, best)
        finished = finished_epochs(folder)
        best = folder / BEST
        models |= {finished["best_epoch"]: best, scored_epoch(finished): scored_path(folder)}
        epochs = finished["epochs"], None, finished["best_epoch"]
        return cls(folder, True, *epochs, models, best, scored_path(folder))

    def path(self, wanted: str | None) -> Path:
        """Place of a model.

        Args:
            wanted: "best", "last" or the number of an epoch; None: the one that is scored of a
                finished stage, the best so far of one in training.

        Raises:
            CheckpointError: it is not kept; the message lists those that are.
        """
        if wanted is None:
            return self.default
        if wanted == "best":
            return self.best
        number = self.epochs if wanted == "last" else int(wanted)
        if number in self.by_epoch:
            return self.by_epoch[number]
        best = "best" if self.best_epoch is None else f"best (epoch {self.best_epoch})"
        last = [f"last (epoch {self.epochs})"] if self.epochs in self.by_epoch else []
        raise CheckpointError(
            f"--checkpoint: {self.folder} keeps no model of epoch {number}. Expected:"
            f" {', '.join([best, *last, *map(str, sorted(self.by_epoch))])}. Received: {wanted}."
            " `training.checkpoint_every_epochs` keeps more of them."
        )

    def about(self, wanted: str | None) -> str:
        """One line on the model that is used; "" where it is that of a finished stage."""
        if self.is_finished:
            if wanted is None:
                return ""
            number = {"best": self.best_epoch, "last": self.epochs}.get(wanted, wanted)
            return f"model of epoch {number} of {self.epochs}"
        ended = f"epoch {self.epochs}" + (f" of {self.of_epochs}" if self.of_epochs else "")
        if wanted in (None, "best"):
            found = "" if self.best_epoch is None else f", that of epoch {self.best_epoch}"
            return f"run is in training: best model after {ended}{found}"
        number = self.epochs if wanted == "last" else wanted
        return f"run is in training: model of epoch {number}, after {ended}"


def load_checkpoint(folder: Path, wanted: str | None = None) -> keras.Model:
    """Loads a model of a stage, and logs which one unless it is that of a finished stage.

    Args:
        folder: of the stage.
        wanted: see `Checkpoints.path`.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    for number in range(_TRIES):
        found = Checkpoints.of(folder)
        path = found.path(wanted)
        try:
            model = _load(path)
        except CheckpointError:
            if path.exists() or number == _TRIES - 1:
                raise
        else:
            break
    if about := found.about(wanted):
        logger.info("%s: %s", folder, about)
    return model


def has_model(folder: Path) -> bool:
    """True if a stage is finished or an epoch of it has ended."""
    return (folder / FINISHED).exists() or any((folder / STATES).glob("epoch-*"))


def note_earlier_models(folder: Path, earlier: Sequence[str], later: Sequence[str]) -> None:
    """Notes with stages that have begun which models they learned from, before these can change.

    Args:
        folder: of the fold or the run.
        earlier: finished stages, the last of which goes on.
        later: stages of the same system behind them.
    """
    for name in later:
        path = folder / name / EARLIER
        if path.parent.exists() and not path.exists():
            write_json(path, _scored_epochs(folder, earlier))


def begin_anew_if_outdated(folder: Path, earlier: Sequence[str]) -> None:
    """Removes a stage that learned from other models than those that earlier stages have now.

    Args:
        folder: of the stage.
        earlier: finished stages of the same system.

    Raises:
        CheckpointError: a note of `note_earlier_models` is damaged.
    """
    path = folder / EARLIER
    known = read_form(path, dict[str, int]) if path.exists() else {}
    now = _scored_epochs(folder.parent, earlier)
    changed = [name for name, epoch in known.items() if now.get(name, epoch) != epoch]
    if not changed:
        return
    which = ", ".join(f"{name} (epoch {now[name]}, before {known[name]})" for name in changed)
    logger.info("%s: learned from another model of %s; it is trained anew.", folder, which)
    removed = folder.with_name(f".{folder.name}.tmp")  # whole or not at all, if killed meanwhile
    shutil.rmtree(removed, ignore_errors=True)
    folder.rename(removed)
    shutil.rmtree(removed, ignore_errors=True)


def _scored_epochs(folder: Path, stages: Sequence[str]) -> dict[str, int]:
    finished = (name for name in stages if (folder / name / FINISHED).exists())
    return {name: scored_epoch(finished_epochs(folder / name)) for name in finished}


def _load(path: Path) -> keras.Model:
    if not path.is_dir():
        return load_model(path)
    # The best model has the layers of the last one, and the state its variables.
    model = load_model(path / STATE_BEST)
    restore_variables(path / VARIABLES, model.variables, some=True)
    return model


def _kept(folder: Path) -> Iterator[tuple[int, Path]]:
    for path in (folder / MODELS).glob(model_name("*")):
        number = path.stem.rpartition("-")[2]
        if number.isdecimal():
            yield int(number), path
