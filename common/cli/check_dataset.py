"""Checks that the dataset of a task is complete and can be used, before hours of work.

    python -m common.cli.check_dataset TASK [--deep] [--json FILE]

It reads headers and labels; with --deep it decodes every recording. The status is 0 if the dataset
can be used, 1 if not.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

from common.cli.base import base_parser, params_path, run_safely
from common.datasets.checks import DatasetReport
from common.family import load
from common.io.files import write_json
from common.settings.tasks import BaseTask, load_task


def check_dataset(task: BaseTask, deep: bool = False) -> DatasetReport:
    """Runs the checks of the task's family, `<family>/check.py`.

    Args:
        task: the task's settings.
        deep: decode every recording, in parallel.

    Returns:
        The findings; nothing on the disk is changed.
    """
    report = DatasetReport()
    logging.disable(logging.WARNING)  # the readers' messages are in the report
    try:
        load(task.family, "check").check(task, report, deep)
    finally:
        logging.disable(logging.NOTSET)
    return report


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    usable: list[bool] = []
    status = run_safely(lambda given: usable.append(_run(given)), arguments)
    return status or int(not all(usable))


def _run(arguments: Sequence[str]) -> bool:
    parser = base_parser("Checks that the dataset of a task is complete and can be used.")
    parser.add_argument("task_id", help="id in params.yaml")
    parser.add_argument("--deep", action="store_true", help="decode recordings, not only headers")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the findings there too")
    options = parser.parse_args(arguments)
    task = load_task(params_path(options.params), options.task_id, options.overrides)
    print(f"Task {options.task_id}: {task.description}\nDataset: {task.dataset_dir}/\n", flush=True)
    report = check_dataset(task, options.deep)
    print(report.to_text())
    if options.json:
        write_json(options.json, report.to_dict())
    return report.usable


if __name__ == "__main__":
    raise SystemExit(main())
