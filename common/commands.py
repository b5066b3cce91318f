"""The command lines: training, extraction and simulation for every family, and what all of them share."""

import argparse
import importlib
import logging
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from common import processes, terminal
from common.backend import start_backend
from common.config import load_task, read_tasks, resolve
from common.errors import ConfigError, DataError, UserError
from common.files import STORAGE_ERRORS, storage_error
from common.locks import only_one
from common.parallel import require_engine
from common.resources import packaged_file
from common.run_directory import open_run, record_data

PARAMS = "params.yaml"


def base_parser(description: str, usage: str | None = None) -> argparse.ArgumentParser:
    """A parser with the options that every script takes: --params and --set."""
    parser = argparse.ArgumentParser(description=description, usage=usage)
    parser.add_argument("--params", type=Path, help=f"settings file; default: ./{PARAMS}, or the installed one")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", type=terminal.typed_text,
        help="override a setting",
    )  # fmt: skip
    return parser


def params_path(given: Path | None) -> Path:
    """The settings file to use: the one given, else the one in the current folder, else the installed one."""
    if given is not None:
        return given
    return Path(PARAMS) if Path(PARAMS).is_file() else packaged_file(PARAMS)


def task_lines(path: Path) -> list[str]:
    """One line for each task of a settings file: id and description."""
    tasks = read_tasks(path)
    width = max(map(len, tasks))
    return [f"{name:<{width}}  {resolve(tasks, name).get('description', '')}" for name in tasks]


def run_safely(
    main: Callable[[Sequence[str]], None], arguments: Sequence[str] | None, *, goes_on: bool = False
) -> int:
    """Runs a command; a user's mistake becomes one message on stderr and its status, Ctrl-C status 130.

    Args:
        main: what it does.
        arguments: of the command line; None: those of this process.
        goes_on: whether the same command goes on where it was stopped.
    """
    terminal.prepare()
    try:
        try:
            return _status_of(main, sys.argv[1:] if arguments is None else arguments, goes_on)
        finally:
            terminal.flush()  # a reader that has gone away is noticed here, not at the exit
    except BrokenPipeError:
        if not terminal.reader_is_gone():
            raise
        terminal.discard_output()
        return terminal.BROKEN_PIPE_STATUS


def _status_of(main: Callable[[Sequence[str]], None], arguments: Sequence[str], goes_on: bool) -> int:
    """Runs a command, and says on stderr why it failed where that is the user's to mend."""
    try:
        main(arguments)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.status
    except UnicodeEncodeError as error:
        print(f"error: {terminal.unwritable(error)}", file=sys.stderr)
        return ConfigError.status
    except OSError as error:  # of a library; own files have their message already
        if error.errno not in STORAGE_ERRORS:
            raise
        print(f"error: {storage_error(error.filename or 'a file', error, 'read or write')}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped" + ("; the same command goes on from here" if goes_on else ""), file=sys.stderr)
        return 130
    return 0


def command_line() -> list[str]:
    """The command as typed, for the run's record; bytes that are no UTF-8 are escaped."""
    parts = (os.fsencode(part).decode("utf-8", "backslashreplace") for part in sys.argv)
    return [shlex.quote(part) for part in parts]


def train(arguments: Sequence[str] | None, description: str, default_task: str) -> int:
    """Runs a training script, `seld.py` and its like: <task-id> <job-id>; returns its exit status.

    Args:
        arguments: of the command line; None: those of this process.
        description: what the script is for.
        default_task: task id when none is given.
    """
    return run_safely(lambda given: _train(given, description, default_task), arguments, goes_on=True)


def _train(arguments: Sequence[str], description: str, default_task: str) -> None:
    parser = _train_parser(description, default_task)
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
        print(f"No ids given: task {default_task}, job 1. --list shows all tasks.\n")
    task = load_task(path, options.task_id, options.overrides)
    folder = run_folder(task, options.task_id, options.job_id)
    _announce(task, options.task_id, options.job_id, folder)
    distribution = start_backend(task.run, task.batch_sizes)
    experiment = _in_family(task, "experiment").Experiment.prepare(task)  # checks the network before any work
    with processes.own_folder(folder) as own, only_one(own, "use another job id"):
        open_run(own, task.model_dump(mode="json"), command_line(), distribution.describe(task.run))
        stores = prepare_data(task)
        record_data(own, {name: store.fingerprint for name, store in zip(task.set_names, stores, strict=True)})
        scores = experiment.run(stores, own)
    if processes.place().first:
        print(scores)
        importlib.import_module("common.report").report_finished_run(folder, task)


def _train_parser(description: str, default_task: str) -> argparse.ArgumentParser:
    parser = base_parser(description)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "task_id", nargs="?", default=default_task, help=f"id in params.yaml (default {default_task})"
    )
    parser.add_argument("job_id", nargs="?", default="1", help="any name for this run (default 1)")
    parser.add_argument("--list", action="store_true", help="show all task ids and end")
    parser.add_argument("--write-params", action="store_true", help=f"copy the standard {PARAMS} here and end")
    return parser


def _announce(task: Any, task_id: str, job_id: str, folder: Path) -> None:
    """Prints every setting, and what will be read and written."""
    print(f"Task {task_id}, job {job_id}: {task.description}")
    print(yaml.safe_dump(task.model_dump(mode="json"), sort_keys=False, allow_unicode=True, default_flow_style=None))
    print(f"Reads features from {task.feature_dir}/, writes to {folder}/.", flush=True)


def run_folder(task: Any, task_id: str, job_id: str) -> Path:
    """The run's directory, `<output_dir>/<task-id>_<job-id>`.

    Raises:
        ConfigError: the ids cannot be a folder's name.
    """
    name = f"{task_id}_{job_id}"
    if not job_id.strip() or set(name) & set("/\\\0"):
        raise ConfigError(f"Task and job id name a folder: no slashes, no empty job id. Received: {name!r}.")
    return task.output_dir / name


def _write_params() -> None:
    target = Path(PARAMS)
    if target.exists():
        raise DataError(f"{target.resolve()} exists already; it is not overwritten. Move it away first.")
    shutil.copyfile(packaged_file(PARAMS), target)
    print(f"Wrote {target.resolve()}.")


def extract(arguments: Sequence[str] | None = None) -> int:
    """`batch_feature_extraction.py [<task-id>] [--sets dev|eval|both]`: recordings to shards and statistics."""
    return run_safely(_extract, arguments, goes_on=True)


def _extract(arguments: Sequence[str]) -> None:
    parser = base_parser("Extracts the features of a task's recordings into TFRecord shards.")
    parser.add_argument("task_id", nargs="?", default="1", help="id in params.yaml (default 1)")
    parser.add_argument(
        "--sets", nargs="+", metavar="SET", help="dev, eval or both, or subsets of task 4; default: what the task reads"
    )
    parser.add_argument("--overwrite", action="store_true", help="extract again, also what is there")
    options = parser.parse_args(arguments)
    task = load_task(params_path(options.params), options.task_id, options.overrides)
    require_engine(task.parallel)
    sets = _chosen_sets(task, options.sets)
    _say(f"Reads recordings from {task.dataset_dir}/, writes features to {task.feature_dir}/.")
    _in_family(task, "extraction").run(task, sets, overwrite=options.overwrite)


def _chosen_sets(task: Any, asked: Sequence[str] | None) -> list[str]:
    """The sets to extract.

    Raises:
        ConfigError: the dataset has no such set.
    """
    if asked is None:
        return task.set_names
    wanted = [name for each in asked for name in (task.known_sets if each == "both" else [each])]
    unknown = [name for name in wanted if name not in task.known_sets]
    if unknown:
        raise ConfigError(
            f"--sets: expected some of {', '.join(task.known_sets)}, or both. Received: {', '.join(unknown)}."
        )
    return list(dict.fromkeys(wanted))


def simulate(arguments: Sequence[str] | None = None) -> int:
    """`simulate.py <task-id> [--preset P] [--annotations DIR]`: a dataset in the real layout."""
    return run_safely(_simulate, arguments, goes_on=True)


def _simulate(arguments: Sequence[str]) -> None:
    parser = base_parser("Writes a simulated dataset in the layout of the task's real one.")
    parser.add_argument("task_id", help="id in params.yaml")
    parser.add_argument("--preset", help="size: fixture, demo, gpu or full; default: the task's")
    parser.add_argument("--annotations", type=Path, help="folder of metadata files to render")
    parser.add_argument("--overwrite", action="store_true", help="write again, also what is there")
    options = parser.parse_args(arguments)
    preset = [f"simulation.preset={options.preset}"] if options.preset else []
    task = load_task(params_path(options.params), options.task_id, [*options.overrides, *preset])
    simulate_task(task, options.annotations, options.overwrite)


def simulate_task(task: Any, annotations: Path | None = None, overwrite: bool = False) -> None:
    """Writes the dataset of a task."""
    require_engine(task.parallel)
    _say(f"Writes a simulated dataset to {task.dataset_dir}/.")
    with only_one(task.dataset_dir, "set another `dataset_dir`"):
        _in_family(task, "simulator").run(task, annotations=annotations, overwrite=overwrite)


def prepare_data(task: Any) -> list[Any]:
    """Opens the features of a task; extracts, and before that simulates, what is missing and can be made here.

    Args:
        task: the task's settings.

    Returns:
        A `FeatureStore` for each set the task reads.

    Raises:
        DataError: there are neither features nor recordings.
    """
    family = _in_family(task, "extraction")
    again = "extraction" in task.overwrite
    if again or not all(family.is_extracted(task, set_name) for set_name in task.set_names):
        if processes.place().n_processes > 1:
            raise DataError(
                f"The features in {task.feature_dir}/ are not complete, and of several processes none extracts them. "
                "Run `python batch_feature_extraction.py <task-id>` first, on one machine or with `parallel.backend`."
            )
        if task.simulate_missing_dataset:
            simulate_task(task)
        if not task.dataset_dir.is_dir():
            raise DataError(
                f"There are no features in {task.feature_dir}/ and no recordings in {task.dataset_dir}/. Download the "
                "dataset (see README, 'Real data') and give its folder with --set dataset_dir=..., or try the demo: "
                "python seld.py demo a"
            )
        _say(f"Reads recordings from {task.dataset_dir}/, writes features to {task.feature_dir}/.")
        family.run(task, task.set_names, overwrite=again)
    return [family.open_store(task, set_name) for set_name in task.set_names]


def _in_family(task: Any, module: str) -> Any:
    return importlib.import_module(f"{task.family}.{module}")


def _say(text: str) -> None:
    logging.getLogger(__name__).info(text)
