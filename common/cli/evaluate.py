"""Scores a run on labelled recordings, its own test data or any others of its family.

    python -m common.cli.evaluate RUN [--set dataset_dir=...] [--task ID] [--splits 1,2] [--name X]
    python -m common.cli.evaluate RUN --checkpoint best|last|N
    python -m common.cli.evaluate RUN --data home=recordings/home --data office=recordings/office

The run may be finished or in training. Nothing is trained and it is not changed: results are in
RUN/evaluations/<name>/, of the form of a run.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from common.cli.base import (
    add_checkpoint,
    add_overrides,
    base_parser,
    command_line,
    params_path,
    run_safely,
)
from common.errors import ConfigError

_DESCRIPTION = "Scores a run on labelled recordings, its own test data or any others."
_EPILOG = (
    "Classes of the recordings that the run does not know need a class that they count as, or null:"
    " --set dataset.class_map='{dog: Dog, rain: null}'. --set takes settings of the dataset and of"
    " the scores; all others are those of the run."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    return run_safely(_run, arguments)


def _parser() -> argparse.ArgumentParser:
    parser = base_parser(_DESCRIPTION, settings=False)
    parser.epilog = _EPILOG
    parser.add_argument("run", type=Path, metavar="RUN", help="directory of a run")
    parser.add_argument("--task", metavar="ID", help="task of the settings file with the dataset")
    parser.add_argument("--params", type=Path, help="settings file of --task")
    add_overrides(parser, "a setting of the dataset or the scores, e.g. dataset_dir=...")
    parser.add_argument(
        "--splits", metavar="A,B", default="", help="splits or subsets; default: see the pages"
    )
    parser.add_argument("--fold", help="fold whose models predict; default: all")
    add_checkpoint(parser)
    parser.add_argument("--name", help="folder of the results; default: name of the dataset's")
    parser.add_argument(
        "--data",
        action="append",
        default=[],
        metavar="NAME=DIR",
        help="several datasets of the same settings, compared at the end; in place of --name",
    )
    return parser


def _run(arguments: Sequence[str]) -> None:
    options = _parser().parse_args(arguments)
    # Loaded once the arguments are understood, so that --help is there at once.
    from common.inference.loading import checked_checkpoint
    from common.reports.evaluation import Evaluation, Request, comparison, tasks_of
    from common.runtime.backend import start_backend

    data = _settings(options)
    checkpoint = options.checkpoint and checked_checkpoint(options.checkpoint)
    splits = tuple(filter(None, options.splits.split(",")))
    requests = [
        Request(options.run, data, overrides, name, options.fold, splits, checkpoint)
        for name, overrides in _datasets(options)
    ]
    start_backend(tasks_of(requests[0])[0].run)
    evaluations = [Evaluation.prepare(request) for request in requests]  # all before any work
    for evaluation in evaluations:
        print(f"{evaluation.run(command_line())}\nResults: {evaluation.folder}/", flush=True)
    if len(evaluations) > 1:
        print(f"\n{comparison([each.folder for each in evaluations])}")


def _settings(options: argparse.Namespace) -> Mapping[str, Any] | None:
    """Settings of the task with the dataset; None: those of the run."""
    from common.settings.tasks import read_task

    return None if options.task is None else read_task(params_path(options.params), options.task)


def _datasets(options: argparse.Namespace) -> Iterator[tuple[str | None, tuple[str, ...]]]:
    """Name and overrides of each dataset."""
    if not options.data:
        yield options.name, tuple(options.overrides)
    for given in options.data:
        name, equals, folder = given.partition("=")
        if not (name and equals and folder) or options.name:
            received = f"{given!r} beside --name" if options.name else repr(given)
            raise ConfigError(f"--data expects NAME=DIR. Received: {received}.")
        yield name, (*options.overrides, f"dataset_dir={folder}")


if __name__ == "__main__":
    raise SystemExit(main())
