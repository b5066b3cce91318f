"""Trains the system of a task over its folds and scores it on unseen recordings.

    python -m common.cli.train [<task-id> [<job-id>]] [--finish] [--list] [--write-params]

The scripts `seld.py`, `task4_crnn.py` ... are this command with a default task.
"""

import argparse
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.cli.base import (
    PARAMS,
    as_called_here,
    base_parser,
    command_line,
    packaged_file,
    params_path,
    run_safely,
    training_command,
)
from common.errors import ConfigError, DataError
from common.family import load

if TYPE_CHECKING:  # pydantic takes a third of the time of --help
    from common.settings.tasks import BaseTask

logger = logging.getLogger(__name__)
DESCRIPTION = "Trains the system of a task over its folds and scores it on unseen recordings."
TIMES = (
    "Time of a training on two CPU cores: minutes for small networks on few recordings, the demos"
    " and what inherits them; hours, or days, for the others, which are for a GPU."
)
RUNS = "A run is kept in <output_dir>/<task-id>_<job-id>/; started again with its ids, it resumes."


@dataclass(frozen=True)
class Script:
    """A script such as `seld.py`; by default the command for all families.

    Attributes:
        description: of the command.
        family: the only one whose tasks it trains; None: all.
        default_task: task id when none is given; None: one must be given.
    """

    description: str = DESCRIPTION
    family: str | None = None
    default_task: str | None = None


def main(arguments: Sequence[str] | None = None, script: Script = Script()) -> int:
    """Runs the command, or a script; returns its exit status.

    Args:
        arguments: of the command line; None: those of this process.
        script: what it trains.
    """
    return run_safely(lambda given: _run(given, script), arguments, resumes=True)


def _run(arguments: Sequence[str], script: Script) -> None:
    parser = _parser(script.description, script.default_task)
    options = parser.parse_args(arguments)
    if options.write_params:
        _write_params()
    elif options.list:
        print("\n".join(task_lines(params_path(options.params), script.family)))
    elif options.task_id is None:
        parser.error("expected a task id; --list shows all of them")
    else:
        if not arguments:
            print(parser.format_usage().strip())
            print(f"No ids given: task {script.default_task}, job 1. --list shows all tasks.\n")
        given = options.task_id, options.job_id, options.overrides, options.params, options.finish
        train(*given, script.family)


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


def task_lines(path: Path, family: str | None = None) -> list[str]:
    """Lists the tasks of a settings file by system: id, time, description, published scores below.

    Args:
        path: settings file.
        family: the only one that is listed; None: all.
    """
    from common.settings.tasks import read_aliases, read_tasks, resolve  # see `train`

    settings, aliases = read_tasks(path), read_aliases(path)
    tasks = {name: resolve(settings, name) for name in settings}
    systems: dict[tuple[str, str], list[str]] = {}
    for name, task in tasks.items():
        if family in (None, task.get("family")):
            place = (str(task.get("family", "-")), str(task.get("system", "-")))
            systems.setdefault(place, []).append(name)
    width = max((len(name) for names in systems.values() for name in names), default=0)
    lines = [TIMES] if systems else []
    for (of_family, system), names in systems.items():
        lines += ["", f"{system} ({of_family}):"]
        for name in names:
            also = ", ".join(alias for alias, task_id in aliases.items() if task_id == name)
            lines += _task_lines(name, tasks[name], also, width)
    others = len(tasks) - sum(map(len, systems.values()))
    if others:
        all_tasks = as_called_here("python -m common.cli.train --list")
        lines += ["", f"{others} tasks of other families: {all_tasks}"]
    return lines


def _task_lines(name: str, task: Mapping[str, Any], also: str, width: int) -> Iterator[str]:
    about = task.get("description", "") + (f" (alias {also})" if also else "")
    yield f"  {name:<{width}}  {_time_on_a_cpu(task):<7}  {about}"
    if published := task.get("published"):
        scores = ", ".join(f"{score} {value:g}" for score, value in published.items())
        data = task.get("published_on") or "(not said)"
        yield f"  {'':<{width}}  published: {scores}; on {data}"


def _time_on_a_cpu(task: Mapping[str, Any]) -> str:
    """Order of the time that a training takes; small tasks are those that inherit the demos."""
    is_small = (task.get("simulation") or {}).get("preset") in ("demo", "fixture")
    is_cut = (task.get("training") or {}).get("batches_per_pass") is not None
    return "minutes" if is_small or is_cut else "hours"


def train(
    task_id: str,
    job_id: str = "1",
    overrides: Sequence[str] = (),
    params: Path | None = None,
    finish: bool = False,
    family: str | None = None,
) -> Path:
    """Trains the system of a task and scores it; a run that was stopped resumes.

    Args:
        task_id: in the settings file.
        job_id: any name for the run.
        overrides: `key=value` texts of settings.
        params: settings file; None: `params.yaml` of the current folder, or the installed one.
        finish: end a training that runs or was stopped, see `--finish`.
        family: the only one whose tasks are trained; None: any.

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
    if family not in (None, task.family):
        raise ConfigError(
            f"Task {task_id} is of the family {task.family}. Expected: one of the family {family};"
            f" --list shows them. To train {task_id}:"
            f" {training_command(task.family, task.system)} {task_id} {job_id}"
        )
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
