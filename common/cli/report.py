"""Writes the report of runs again, `report.html` in the folder of each.

python -m common.cli.report RUN ... [--set KEY=VALUE]
"""

from collections.abc import Sequence
from pathlib import Path

from common.cli.base import add_overrides, base_parser, run_safely


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    return run_safely(_run, arguments)


def _run(arguments: Sequence[str]) -> None:
    parser = base_parser("Writes the report of runs again.", settings=False)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run directories")
    add_overrides(parser, "override a setting, e.g. dataset_dir of recordings that were moved")
    options = parser.parse_args(arguments)
    # Loaded once the arguments are understood, so that --help is there at once.
    from common.reports.run import stored_task, write_report
    from common.runtime.backend import start_backend

    for run in options.runs:
        task = stored_task(run, options.overrides)
        start_backend(task.run)
        print(write_report(run, task))


if __name__ == "__main__":
    raise SystemExit(main())
