"""Trainings that end early or go on longer: what is checked and said before the work."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.errors import CheckpointError
from common.io.locks import InUseError, only_one
from common.settings.tasks import BaseTask
from common.training.early_finish import (
    STATES,
    finished_epochs_of,
    request_of_running,
    request_of_stopped,
)
from common.training.run_directory import accepted_changes, finished_stages
from common.training.setting_changes import EPOCHS, PATIENCE, Difference, is_length, remarks

logger = logging.getLogger(__name__)
SCORES = ("scores.json", "scores.txt")
EARLIER = "earlier-"  # before the names of the scores of a run that goes on


def request_end(task: BaseTask, folder: Path) -> tuple[str, bool]:
    """Asks the training of a run to end.

    Args:
        task: the task's settings.
        folder: of the run.

    Returns:
        What will happen, in words, and True if this process goes on with the run, on which no
        other one works.

    Raises:
        CheckpointError: there is no run, it has other settings, or no epoch of it has ended.
        ConfigError: another process works on it, but trains nothing at the moment.
    """
    if not folder.is_dir():
        request_of_stopped(folder)  # says so
    try:
        with only_one(folder, "use another job id"):
            accepted_changes(folder, task.model_dump(mode="json"))
            lines = request_of_stopped(folder)
    except InUseError as error:
        return request_of_running(folder, error.holder), False
    nothing = "No training is under way: what has begun is finished, the rest is trained as always."
    goes_on = task.run.distribution != "multi_host"
    if not goes_on:
        lines.append("Start all processes again, without --finish: they score the run together.")
    return "\n".join(lines or [nothing]), goes_on


def check_goes_on(folder: Path, changes: Sequence[Difference]) -> None:
    """Refuses a run that shall become longer but has lost the states to go on from.

    Args:
        folder: of the run.
        changes: its settings that differ.

    Raises:
        CheckpointError: the state of the last epoch of a finished stage is not there.
    """
    if not any(change.key in (EPOCHS, PATIENCE) for change in changes):
        return
    for name, finished in finished_stages(folder):
        if finished_epochs_of(folder / name) != finished["epochs"]:
            state = folder / name / STATES / f"epoch-{finished['epochs']:05d}"
            raise CheckpointError(
                f"{folder / name} cannot go on. Expected: the state of its last epoch, {state}/."
                " Received: no such folder. Put it back, or use another job id for a longer run."
            )


def log_changes(folder: Path, settings: Mapping[str, Any], changes: Sequence[Difference]) -> None:
    """Logs with what a run goes on; puts the scores of a run that becomes longer aside.

    Args:
        folder: of the run.
        settings: those that it goes on with.
        changes: those that differ.
    """
    for change in changes:
        logger.info("The run goes on with another setting. %s.", change)
    for remark in remarks(settings, changes):
        logger.warning("%s", remark)
    if not any(is_length(change.key) for change in changes):
        return
    for path in [
        path for name in SCORES for path in (*folder.glob(name), *folder.glob(f"*/{name}"))
    ]:
        path.replace(path.with_name(EARLIER + path.name))
        logger.info("%s is now %s: it is of the shorter run.", path, EARLIER + path.name)
