"""Trainings that end early on request: a small file in the folder of each stage under way.

A training looks for the file at the end of each epoch, and when it is started. It stays until the
stage is finished, so that a request outlives a killed job.
"""

from collections.abc import Iterator
from pathlib import Path

from common.errors import CheckpointError, ConfigError
from common.io.files import write_text
from common.training.run_directory import EVALUATIONS, FINISHED

REQUEST = "finish.request"
STATES = "resume"  # folder of the states of a stage, made when its training begins
MODELS = "models"  # folder of the models that `training.checkpoint_every_epochs` keeps
_CONTENT = "The training of this stage ends after the epoch under way. Delete this file to go on.\n"


def stages_under_way(run: Path) -> Iterator[Path]:
    """Yields the folders of stages whose training has begun and is not finished."""
    for states in sorted(run.glob(f"**/{STATES}")):
        folder = states.parent
        is_own = EVALUATIONS not in folder.relative_to(run).parts
        if is_own and states.is_dir() and not (folder / FINISHED).exists():
            yield folder


def finished_epochs_of(stage: Path) -> int:
    """Number of the last epoch of a stage that has a complete state; 0: none has."""
    complete = sorted((stage / STATES).glob("epoch-*"))
    number = complete[-1].name.removeprefix("epoch-") if complete else "0"
    return int(number) if number.isdecimal() else 0


def is_requested(stage: Path) -> bool:
    """True if the training of a stage shall end."""
    return (stage / REQUEST).exists()


def withdraw(stage: Path) -> None:
    """Removes the request of a stage."""
    (stage / REQUEST).unlink(missing_ok=True)


def request_of_running(run: Path, holder: str) -> str:
    """Asks the training of a run that another process works on to end after its epoch.

    Args:
        run: its directory.
        holder: that process.

    Returns:
        What will happen, in one line for each stage.

    Raises:
        ConfigError: no training is under way there, as before the first stage or in a test.
    """
    found = list(stages_under_way(run))
    if not found:
        raise ConfigError(
            f"--finish: no training is under way in {run}, which is in use by {holder}. Expected: a"
            " stage whose training has begun. Its data are prepared, or its models are tested: ask"
            " again later, if there is a further stage or fold."
        )
    lines = [f"{run} is in use by {holder}."]
    for stage in found:
        write_text(stage / REQUEST, _CONTENT)
        number = finished_epochs_of(stage) + 1
        lines.append(f"{stage}: ends after the epoch under way, number {number}, and is scored.")
    lines.append("Stages and folds that have not begun are trained as always.")
    return "\n".join(lines)


def request_of_stopped(run: Path) -> list[str]:
    """Asks a run that was stopped to train no further the stages that it has begun.

    Args:
        run: its directory.

    Returns:
        Lines on what will happen; none if all stages that have begun are finished.

    Raises:
        CheckpointError: there is no run, or no epoch has ended in it.
    """
    if not (run / "settings.yaml").exists():
        raise CheckpointError(
            f"--finish: there is no run in {run}. Expected: one that was begun. Start it without"
            " --finish, or check task and job id."
        )
    found = {stage: finished_epochs_of(stage) for stage in stages_under_way(run)}
    if not any(found.values()) and not any(run.glob(f"**/{FINISHED}")):
        raise CheckpointError(
            f"--finish: no epoch has ended in {run}, so that there is no model to score. Start it"
            " without --finish."
        )
    lines = []
    for stage, epochs in found.items():
        if epochs:
            write_text(stage / REQUEST, _CONTENT)
            lines.append(f"{stage}: ends after epoch {epochs}, its last one; trains no further.")
        else:
            lines.append(f"{stage}: no epoch has ended, so that it is trained as always.")
    return lines
