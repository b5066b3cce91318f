"""Data of a task before training: simulated, extracted, compared with their origin."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.cli.base import params_path, training_command
from common.data.provenance import is_absent
from common.errors import ConfigError, DataError, UserError
from common.family import load
from common.io.files import file_crc32
from common.io.locks import only_one
from common.runtime import multi_host
from common.runtime.parallel import require_engine
from common.settings.tasks import BaseTask, read_tasks, resolve
from common.simulation.dataset_folder import is_annotated
from common.training.run_directory import fingerprints

logger = logging.getLogger(__name__)


def run_folder(task: BaseTask, task_id: str, job_id: str) -> Path:
    """Directory of a run, `<output_dir>/<task-id>_<job-id>`.

    Raises:
        ConfigError: the ids cannot be a folder's name.
    """
    name = f"{task_id}_{job_id}"
    if not job_id.strip() or set(name) & set("/\\\0"):
        problem = "Task and job id name a folder: no slashes, no empty job id."
        raise ConfigError(f"{problem} Received: {name!r}.")
    return task.output_dir / name


def demo_command(task: BaseTask, params: Path) -> str | None:
    """Command that needs no dataset: the first task of the same system that simulates its own.

    Args:
        task: settings of a task that lacks its dataset.
        params: the settings file that the command would read.

    Returns:
        The command; None where the file has no such task.
    """
    try:
        tasks = read_tasks(params)
        resolved = {name: resolve(tasks, name) for name in tasks}
    except UserError:
        return None
    demos = [n for n, each in resolved.items() if each.get("simulate_missing_dataset") is True]
    own = [name for name in demos if resolved[name].get("family") == task.family]
    same = [name for name in own if resolved[name].get("system") == task.system]
    chosen = next(iter([*same, *own]), None)
    return chosen and f"{training_command(task.family, str(resolved[chosen]['system']))} {chosen} a"


def simulate_task(task: BaseTask, annotations: Path | None = None, overwrite: bool = False) -> None:
    """Writes the dataset of a task."""
    require_engine(task.parallel)
    logger.info("Writes a simulated dataset to %s/.", task.dataset_dir)
    with only_one(task.dataset_dir, "set another `dataset_dir`"):
        simulator = load(task.family, "simulation.simulator")
        simulator.run(task, annotations=annotations, overwrite=overwrite)


def check_simulation(task: BaseTask) -> None:
    """Refuses simulated recordings of other settings than the task's.

    Raises:
        DataError: they were simulated otherwise.
    """
    if task.simulate_missing_dataset:
        load(task.family, "simulation.simulator").check(task)


def require_recordings(task: BaseTask) -> None:
    """Refuses a task without a dataset.

    Raises:
        DataError: its folder is not there; names the demo of the task's own system.
    """
    if task.dataset_dir.is_dir():
        return
    demo = demo_command(task, params_path(None))
    remedy = "Download the dataset (README, section 'Real data') and"
    if task.simulate_missing_dataset:
        remedy = "Write them with `python simulate.py <task-id>`, or"
    remedy += " give their folder with --set dataset_dir=..."
    remedy += f", or try the demo: {demo}" if demo else "."
    raise DataError(
        f"There are no recordings in {task.dataset_dir}/ to make the features in"
        f" {task.feature_dir}/ of. {remedy}"
    )


def log_extraction(task: BaseTask) -> None:
    """Logs the folders that an extraction reads and writes."""
    folders = task.dataset_dir, task.feature_dir
    logger.info("Reads recordings from %s/, writes features to %s/.", *folders)


def prepare_data(task: BaseTask) -> list[Any]:
    """Opens the features of a task; simulates and extracts before that what is missing.

    Features that are there are compared with the recordings, labels, splits and settings of the
    task. Nothing of another dataset is replaced here, unless `overwrite` names the extraction.

    Args:
        task: the task's settings.

    Returns:
        A `FeatureStore` for each set the task reads.

    Raises:
        DataError: neither features nor recordings, or features of other recordings.
    """
    family = load(task.family, "extraction")
    again = "extraction" in task.overwrite
    missing = [name for name in task.set_names if again or not family.is_extracted(task, name)]
    check_simulation(task)
    if missing:
        if multi_host.world().size > 1:
            raise DataError(
                f"The features in {task.feature_dir}/ are not complete, and of several processes"
                " none extracts them. Run `python batch_feature_extraction.py <task-id>` first, on"
                " one machine or with `parallel.backend`."
            )
        if task.simulate_missing_dataset and not is_annotated(task.dataset_dir):
            simulate_task(task)
        require_recordings(task)
        log_extraction(task)
        for name in task.set_names:
            if name not in missing:  # before anything is written: it may be of another dataset
                family.open_store(task, name)
        family.run(task, missing, overwrite=again)
    if is_absent(task.dataset_dir):
        remark = "There are no recordings in %s/ to compare the features in %s/ with."
        logger.info(remark, task.dataset_dir, task.feature_dir)
    return [family.open_store(task, set_name) for set_name in task.set_names]


def all_items(task: BaseTask) -> list[Any]:
    """Lists all that a task can extract; simulates, and mixes, before that what is missing.

    Raises:
        DataError: there are no recordings, or these cannot be used.
    """
    check_simulation(task)
    if task.simulate_missing_dataset and not is_annotated(task.dataset_dir):
        simulate_task(task)
    return list(load(task.family, "extraction").all_items(task, task.set_names))


def data_of(
    task: BaseTask, stores: Sequence[Any]
) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """Fingerprints of the data that a run depends on, for `record_data`.

    Args:
        task: the task's settings.
        stores: its features, in the order of `task.set_names`.
    """
    named = dict(zip(task.set_names, stores, strict=True))
    features, splits = fingerprints(named)
    models = {stage: path for stage, path in task.start_models.items() if path.is_file()}
    return features, splits, {stage: f"{file_crc32(path):08x}" for stage, path in models.items()}
