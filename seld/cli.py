"""python seld.py <task-id> <job-id>: the command line of sound event localization and detection."""

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from common.commands import (
    PARAMS,
    base_parser,
    choose_backend,
    command_line,
    params_path,
    prepare_data,
    run_safely,
    task_lines,
)
from common.config import load_task
from common.errors import ConfigError, DataError
from common.resources import packaged_file
from common.run_directory import open_run

DESCRIPTION = """Trains a SELD system over the folds of a task and scores it on unseen recordings.

A run is kept in <output_dir>/<task-id>_<job-id>/. Killed and started again with the same ids, it goes on where it was.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    return run_safely(_run, arguments)


def _run(arguments: Sequence[str]) -> None:
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.write_params:
        _write_params()
        return
    path = params_path(options.params)
    if options.list:
        print("\n".join(task_lines(path)))
        return
    if not arguments:
        print(parser.format_usage().strip())
        print("No ids given: task 1, job 1. `python seld.py --list` shows all tasks.\n")
    task = load_task(path, options.task_id, options.overrides)
    _announce(task, options.task_id, options.job_id)
    choose_backend(task.run)
    _train_and_score(task, options.task_id, options.job_id)


def _parser() -> argparse.ArgumentParser:
    parser = base_parser(DESCRIPTION)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("task_id", nargs="?", default="1", help="id in params.yaml (default 1)")
    parser.add_argument("job_id", nargs="?", default="1", help="any name for this run (default 1)")
    parser.add_argument("--list", action="store_true", help="show all task ids and end")
    parser.add_argument("--write-params", action="store_true", help=f"copy the standard {PARAMS} here and end")
    return parser


def _announce(task: Any, task_id: str, job_id: str) -> None:
    """Prints every setting, and what will be read and written."""
    print(f"Task {task_id}, job {job_id}: {task.description}")
    print(yaml.safe_dump(task.model_dump(mode="json"), sort_keys=False, allow_unicode=True, default_flow_style=None))
    print(f"Reads features from {task.feature_dir}/, writes to {run_folder(task, task_id, job_id)}/.", flush=True)


def run_folder(task: Any, task_id: str, job_id: str) -> Path:
    """The run's directory, `<output_dir>/<task-id>_<job-id>`.

    Raises:
        ConfigError: the ids cannot be a folder's name.
    """
    name = f"{task_id}_{job_id}"
    if not job_id.strip() or set(name) & set("/\\\0"):
        raise ConfigError(f"Task and job id name a folder: no slashes, no empty job id. Received: {name!r}.")
    return task.output_dir / name


def _train_and_score(task: Any, task_id: str, job_id: str) -> None:
    from seld.experiment import Experiment  # keras is imported here, when its backend is chosen

    experiment = Experiment.prepare(task)  # checks the network before any work
    folder = open_run(run_folder(task, task_id, job_id), task.model_dump(mode="json"), command_line())
    stores = prepare_data(task)
    print(experiment.run(stores, folder))


def _write_params() -> None:
    target = Path(PARAMS)
    if target.exists():
        raise DataError(f"{target.resolve()} exists already; it is not overwritten. Move it away first.")
    shutil.copyfile(packaged_file(PARAMS), target)
    print(f"Wrote {target.resolve()}.")
