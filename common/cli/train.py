"""The command lines: training, extraction and simulation for every family, and what all of them
share."""

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

from common.cli.advice import as_called_here, demo_command
from common.cli.resources import packaged_file
from common.data.provenance import is_absent
from common.errors import ConfigError, DataError, UserError
from common.family import load
from common.io import terminal
from common.io.files import STORAGE_ERRORS, file_crc32, storage_error
from common.io.locks import only_one
from common.runtime import multi_host
from common.runtime.backend import start_backend
from common.runtime.parallel import require_engine
from common.settings.tasks import BaseTask, load_task, read_tasks, resolve
from common.simulation.dataset_folder import is_annotated
from common.training.run_directory import open_run, record_data

PARAMS = "params.yaml"


def base_parser(description: str, usage: str | None = None) -> argparse.ArgumentParser:
    """A parser with the options that every script takes: --params and --set."""
    parser = argparse.ArgumentParser(description=description, usage=usage)
    parser.add_argument(
        "--params", type=Path, help=f"settings file; default: ./{PARAMS}, or the installed one"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        type=terminal.typed_text,
        help="override a setting",
    )
    return parser


def params_path(given: Path | None) -> Path:
    """The settings file to use: the one given, else the one in the current folder, else the
    installed one."""
    if given is not None:
        return given
    return Path(PARAMS) if Path(PARAMS).is_file() else packaged_file(PARAMS)


def task_lines(path: Path) -> list[str]:
    """Lists the tasks of a settings file: id, description, and below it published scores with their
    origin."""
    tasks = read_tasks(path)
    width = max(map(len, tasks))
    lines = []
    for name in tasks:
        task = resolve(tasks, name)
        lines.append(f"{name:<{width}}  {task.get('description', '')}")
        if published := task.get("published"):
            scores = ", ".join(f"{score} {value:g}" for score, value in published.items())
            lines.append(
                f"{'':<{width}}    published: {scores}; on"
                f" {task.get('published_on') or '(not said)'}"
            )
    return lines


def run_safely(
    main: Callable[[Sequence[str]], None], arguments: Sequence[str] | None, *, goes_on: bool = False
) -> int:
    """Runs a command; a user's mistake becomes one message on stderr and its status, Ctrl-C status
    130.

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


def _status_of(
    main: Callable[[Sequence[str]], None], arguments: Sequence[str], goes_on: bool
) -> int:
    """Runs a command, and says on stderr why it failed where that is the user's to mend."""
    try:
        main(arguments)
    except UserError as error:
        print(f"error: {as_called_here(str(error))}", file=sys.stderr)
        return error.status
    except UnicodeEncodeError as error:
        print(f"error: {terminal.unwritable(error)}", file=sys.stderr)
        return ConfigError.status
    except OSError as error:  # of a library; own files have their message already
        if error.errno not in STORAGE_ERRORS:
            raise
        print(
            f"error: {storage_error(error.filename or 'a file', error, 'read or write')}",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print(
            "\nstopped" + ("; the same command goes on from here" if goes_on else ""),
            file=sys.stderr,
        )
        return 130
    return 0


def do_each(recordings: Sequence[Any], work: Callable[[Any], None]) -> None:
    """Does the same with each of several recordings; those that cannot be used do not keep the
    others from it.

    Raises:
        DataError: once all are done, with what is wrong with each; at once where the disk is full
            or the like.
    """
    failures: list[DataError] = []
    for recording in recordings:
        try:
            work(recording)
        except DataError as error:
            if isinstance(error.__cause__, OSError) and error.__cause__.errno in STORAGE_ERRORS:
                raise
            failures.append(error)
    if len(failures) == 1:
        raise failures[0]
    if failures:
        told = "\n".join(map(str, failures))
        raise DataError(f"{len(failures)} of {len(recordings)} recordings cannot be used:\n{told}")


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
    return run_safely(
        lambda given: _train(given, description, default_task), arguments, goes_on=True
    )


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
    experiment = load(task.family, "experiment").Experiment.prepare(
        task
    )  # checks the network before any work
    with multi_host.own_folder(folder) as own, only_one(own, "use another job id"):
        open_run(own, task.model_dump(mode="json"), command_line(), distribution.describe(task.run))
        stores = prepare_data(task)
        record_data(own, *data_of(task, stores))
        scores = experiment.run(stores, own)
    if multi_host.place().first:
        print(scores)
        importlib.import_module("common.reports.run").report_finished_run(folder, task)


def data_of(
    task: BaseTask, stores: Sequence[Any]
) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """Fingerprints of what a run of a task depends on beside its settings, for `record_data`.

    Args:
        task: the task's settings.
        stores: its features, in the order of `task.set_names`.
    """
    named = dict(zip(task.set_names, stores, strict=True))
    return (
        {name: store.fingerprint for name, store in named.items()},
        {name: store.splits_fingerprint for name, store in named.items()},
        {
            stage: f"{file_crc32(path):08x}"
            for stage, path in task.start_models.items()
            if path.is_file()
        },
    )


def _train_parser(description: str, default_task: str) -> argparse.ArgumentParser:
    parser = base_parser(description)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "task_id",
        nargs="?",
        default=default_task,
        help=f"id in params.yaml (default {default_task})",
    )
    parser.add_argument("job_id", nargs="?", default="1", help="any name for this run (default 1)")
    parser.add_argument("--list", action="store_true", help="show all task ids and end")
    parser.add_argument(
        "--write-params", action="store_true", help=f"copy the standard {PARAMS} here and end"
    )
    return parser


def _announce(task: BaseTask, task_id: str, job_id: str, folder: Path) -> None:
    """Prints every setting, and what will be read and written."""
    print(f"Task {task_id}, job {job_id}: {task.description}")
    print(
        yaml.safe_dump(
            task.model_dump(mode="json"),
            sort_keys=False,
            allow_unicode=True,
            default_flow_style=None,
        )
    )
    print(f"Reads features from {task.feature_dir}/, writes to {folder}/.", flush=True)


def run_folder(task: BaseTask, task_id: str, job_id: str) -> Path:
    """The run's directory, `<output_dir>/<task-id>_<job-id>`.

    Raises:
        ConfigError: the ids cannot be a folder's name.
    """
    name = f"{task_id}_{job_id}"
    if not job_id.strip() or set(name) & set("/\\\0"):
        raise ConfigError(
            f"Task and job id name a folder: no slashes, no empty job id. Received: {name!r}."
        )
    return task.output_dir / name


def _write_params() -> None:
    target = Path(PARAMS)
    if target.exists():
        raise DataError(
            f"{target.resolve()} exists already; it is not overwritten. Move it away first."
        )
    shutil.copyfile(packaged_file(PARAMS), target)
    print(f"Wrote {target.resolve()}.")


def extract(arguments: Sequence[str] | None = None) -> int:
    """`batch_feature_extraction.py [<task-id>] [--sets dev|eval|both]`: recordings to shards and
    statistics."""
    return run_safely(_extract, arguments, goes_on=True)


def _extract(arguments: Sequence[str]) -> None:
    parser = base_parser("Extracts the features of a task's recordings into TFRecord shards.")
    parser.add_argument("task_id", nargs="?", default="1", help="id in params.yaml (default 1)")
    parser.add_argument(
        "--sets",
        nargs="+",
        metavar="SET",
        help="dev, eval or both, or subsets of task 4; default: what the task reads",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="extract again, also what is there"
    )
    options = parser.parse_args(arguments)
    task = load_task(params_path(options.params), options.task_id, options.overrides)
    require_engine(task.parallel)
    sets = _chosen_sets(task, options.sets)
    require_recordings(task)
    check_simulation(task)
    _say(f"Reads recordings from {task.dataset_dir}/, writes features to {task.feature_dir}/.")
    load(task.family, "extraction").run(task, sets, overwrite=options.overwrite)


def _chosen_sets(task: BaseTask, asked: Sequence[str] | None) -> list[str]:
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
            f"--sets: expected some of {', '.join(task.known_sets)}, or both. Received:"
            f" {', '.join(unknown)}."
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


def simulate_task(task: BaseTask, annotations: Path | None = None, overwrite: bool = False) -> None:
    """Writes the dataset of a task."""
    require_engine(task.parallel)
    _say(f"Writes a simulated dataset to {task.dataset_dir}/.")
    with only_one(task.dataset_dir, "set another `dataset_dir`"):
        load(task.family, "simulation.simulator").run(
            task, annotations=annotations, overwrite=overwrite
        )


def check_simulation(task: BaseTask) -> None:
    """Refuses simulated recordings of other settings, where a task says how its recordings are
    simulated.

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
    remedy = (
        "Write them with `python simulate.py <task-id>`, or give their folder with --set"
        " dataset_dir=..."
    )
    if not task.simulate_missing_dataset:
        remedy = (
            "Download the dataset (README, section 'Real data') and give its folder with --set"
            " dataset_dir=..."
        )
    raise DataError(
        f"There are no recordings in {task.dataset_dir}/ to make the features in"
        f" {task.feature_dir}/ of. {remedy}" + (f", or try the demo: {demo}" if demo else ".")
    )


def prepare_data(task: BaseTask) -> list[Any]:
    """Opens the features of a task; extracts, and before that simulates, what is missing and can be
    made here.

    Features that are there are compared with the recordings, labels, splits and settings of the
    task. Nothing of another dataset is replaced here, unless `overwrite` names the extraction.

    Args:
        task: the task's settings.

    Returns:
        A `FeatureStore` for each set the task reads.

    Raises:
        DataError: there are neither features nor recordings, or what is there was made of something
            else.
    """
    family = load(task.family, "extraction")
    again = "extraction" in task.overwrite
    missing = [name for name in task.set_names if again or not family.is_extracted(task, name)]
    check_simulation(task)
    if missing:
        if multi_host.place().n_processes > 1:
            raise DataError(
                f"The features in {task.feature_dir}/ are not complete, and of several processes"
                " none extracts them. Run `python batch_feature_extraction.py <task-id>` first, on"
                " one machine or with `parallel.backend`."
            )
        if task.simulate_missing_dataset and not is_annotated(task.dataset_dir):
            simulate_task(task)
        require_recordings(task)
        _say(f"Reads recordings from {task.dataset_dir}/, writes features to {task.feature_dir}/.")
        for name in task.set_names:
            if name not in missing:  # before anything is written: it may be of another dataset
                family.open_store(task, name)
        family.run(task, missing, overwrite=again)
    if is_absent(task.dataset_dir):
        _say(
            f"There are no recordings in {task.dataset_dir}/: the features in {task.feature_dir}/"
            " could not be compared with those that they were made of."
        )
    return [family.open_store(task, set_name) for set_name in task.set_names]


def all_items(task: BaseTask) -> list[Any]:
    """Lists what there is to extract of all sets of a task; simulates, and mixes, before that what
    is missing.

    Raises:
        DataError: there are no recordings, or these cannot be used.
    """
    check_simulation(task)
    if task.simulate_missing_dataset and not is_annotated(task.dataset_dir):
        simulate_task(task)
    return list(load(task.family, "extraction").all_items(task, task.set_names))


def _say(text: str) -> None:
    logging.getLogger(__name__).info(text)
