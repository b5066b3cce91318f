"""Trains the system of a task over its folds and scores it on unseen recordings.

    python -m common.cli.train [<task-id> [<job-id>]] [--finish] [--list] [--write-params]

The scripts `seld.py`, `task4_crnn.py` ... are this command with a default task.
"""

import argparse
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.cli.base import (
    PARAMS,
    base_parser,
    command_line,
    packaged_file,
    params_path,
    run_safely,
)
from common.errors import DataError
from common.family import load

if TYPE_CHECKING:  # pydantic takes a third of the time of --help
    from common.settings.tasks import BaseTask

logger = logging.getLogger(__name__)
DESCRIPTION = "Trains the system of a task over its folds and scores it on unseen recordings."
RUNS = "A run is kept in <output_dir>/<task-id>_<job-id>/; started again with its ids, it resumes."


def main(
    arguments: Sequence[str] | None = None,
    description: str = DESCRIPTION,
    default_task: str | None = None,
) -> int:
    """Runs the command, or a script such as `seld.py`; returns its exit status.

    Args:
        arguments: of the command line; None: those of this process.
        description: of the command.
        default_task: task id when none is given; None: one must be given.
    """
    return run_safely(lambda given: _run(given, description, default_task), arguments, resumes=True)


def _run(arguments: Sequence[str], description: str, default_task: str | None) -> None:
    parser = _parser(description, default_task)
    options = parser.parse_args(arguments)
    if options.write_params:
        _write_params()
    elif options.list:
        print("\n".join(task_lines(params_path(options.params))))
    elif options.task_id is None:
        parser.error("expected a task id; --list shows all of them")
    else:
        if not arguments:
            print(parser.format_usage().strip())
            print(f"No ids given: task {default_task}, job 1. --list shows all tasks.\n")
        train(options.task_id, options.job_id, options.overrides, options.params, options.finish)


def _parser(description: str, default_task: str | None) -> argparse.ArgumentParser:
    parser = base_parser(description)
    parser.epilog = RUNS
    default = "" if default_task is None else f" (default {default_task})"
    meaning = f"id in params.yaml{default}"
    parser.add_argument("task_id", nargs="?", default=default_task, help=meaning)
    parser.add_argument("job_id", nargs="?", default="1", help="any name for this run (default 1)")
    finish = "end a training: after the epoch under way if it runs, else where it was stopped"
    parser.add_argument("--finish", action="store_true", help=f"{finish}; then score it")
    parser.add_argument("--list", action="store_true", help="show all task ids and end")
    write = f"copy the standard {PARAMS} here and end"
    parser.add_argument("--write-params", action="store_true", help=write)
    return parser


def _write_params() -> None:
    target = Path(PARAMS)
    if target.exists():
        raise DataError(f"{target.resolve()} exists and is not overwritten. Move it away first.")
    shutil.copyfile(packaged_file(PARAMS), target)
    print(f"Wrote {target.resolve()}.")


def task_lines(path: Path) -> list[str]:
    """Lists the tasks of a settings file: id, description, aliases, and published scores below."""
    from common.settings.tasks import read_aliases, read_tasks, resolve  # see `train`

    tasks, aliases = read_tasks(path), read_aliases(path)
    width = max(map(len, tasks))
    lines = []
    for name in tasks:
        task = resolve(tasks, name)
        also = ", ".join(alias for alias, task_id in aliases.items() if task_id == name)
        about = task.get("description", "") + (f" (alias {also})" if also else "")
        lines.append(f"{name:<{width}}  {about}")
        if published := task.get("published"):
            scores = ", ".join(f"{score} {value:g}" for score, value in published.items())
            data = task.get("published_on") or "(not said)"
            lines.append(f"{'':<{width}}    published: {scores}; on {data}")
    return lines


def train(
    task_id: str,
    job_id: str = "1",
    overrides: Sequence[str] = (),
    params: Path | None = None,
    finish: bool = False,
) -> Path:
    """Trains the system of a task and scores it; a run that was stopped resumes.

    Args:
        task_id: in the settings file.
        job_id: any name for the run.
        overrides: `key=value` texts of settings.
        params: settings file; None: `params.yaml` of the current folder, or the installed one.
        finish: end a training that runs or was stopped, see `--finish`.

    Returns:
        The run's directory.

    Raises:
        UserError: settings, data or the run that exists do not fit.
    """
    # Loaded once the arguments are understood: with these, --help would take seconds.
    from common.cli.steps.lengths import check_goes_on, log_changes, request_end
    from common.cli.steps.prepare import data_of, prepare_data, run_folder
    from common.io.locks import only_one
    from common.runtime import multi_host
    from common.runtime.backend import start_backend
    from common.settings.tasks import load_task
    from common.training.run_directory import accepted_changes, open_run, record_data

    task = load_task(params_path(params), task_id, overrides)
    folder = run_folder(task, task_id, job_id)
    settings = task.model_dump(mode="json")
    print(f"Task {task_id}, job {job_id}: {task.description}", flush=True)
    if finish:
        what_happens, goes_on = request_end(task, folder)
        print(what_happens, flush=True)
        if not goes_on:
            return folder
    changes = accepted_changes(folder, settings)  # before TensorFlow is loaded
    check_goes_on(folder, changes)
    distribution = start_backend(task.run, task.batch_sizes)
    # The network is checked before any work.
    experiment = load(task.family, "experiment").Experiment.prepare(task)
    computing = distribution.describe(task.run)
    if multi_host.world().is_coordinator:
        stages = [stage.name for stage in experiment.system.stages(task)]
        print("\n".join(plan_lines(task, stages, computing, folder)), flush=True)
    with multi_host.own_folder(folder) as own, only_one(own, "use another job id"):
        log_changes(own, settings, changes)
        open_run(own, settings, command_line(), computing, extends=True)
        stores = prepare_data(task)
        record_data(own, *data_of(task, stores))
        scores = experiment.run(stores, own)
    if multi_host.world().is_coordinator:
        print(scores)
        from common.reports.run import report_finished_run  # with matplotlib

        report_finished_run(folder, task)
    return folder


def plan_lines(
    task: "BaseTask", stages: Sequence[str], computing: Mapping[str, Any], folder: Path
) -> Iterator[str]:
    """Yields the plan of a run, one screen at most: data, system, length, devices, settings.

    Args:
        task: the task's settings.
        stages: names of the stages that are trained.
        computing: see `common.runtime.distribution.describe`.
        folder: the run's directory.
    """
    own_epochs = getattr(task.training, "stage_epochs", {})
    epochs = ", ".join(f"{name} {own_epochs[name]}" for name in stages if name in own_epochs)
    devices = ", ".join(computing["devices"])
    lines = {
        "reads": f"recordings in {task.dataset_dir}/, features in {task.feature_dir}/",
        "sets": ", ".join(task.set_names),
        "writes": f"{folder}/",
        "system": f"{task.system} ({task.family}), stages: {', '.join(stages)}",
        "folds": ", ".join(task.fold_names) or "one",
        "epochs": f"at most {epochs or task.training.epochs}",
        "batch size": task.batch_text,
        "computes": f"{computing['backend']} on {devices}, {computing['precision']}",
        "settings": f"all of them in {folder / 'settings.yaml'}; --set KEY=VALUE changes one",
    }
    for name, text in lines.items():
        yield f"  {name:<10}  {text}"


if __name__ == "__main__":
    raise SystemExit(main())
