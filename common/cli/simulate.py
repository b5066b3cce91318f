"""Writes a simulated dataset in the layout of a task's real one.

python simulate.py <task-id> [--preset P] [--annotations DIR] [--overwrite]
"""

from collections.abc import Sequence
from pathlib import Path

from common.cli.base import base_parser, params_path, run_safely


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    return run_safely(_run, arguments, resumes=True)


def _run(arguments: Sequence[str]) -> None:
    parser = base_parser("Writes a simulated dataset in the layout of the task's real one.")
    parser.add_argument("task_id", help="id in params.yaml")
    parser.add_argument("--preset", help="size: fixture, demo, gpu or full; default: the task's")
    parser.add_argument("--annotations", type=Path, help="folder of metadata files to render")
    parser.add_argument("--overwrite", action="store_true", help="write again, also what is there")
    options = parser.parse_args(arguments)
    # Loaded once the arguments are understood, so that --help is there at once.
    from common.cli.steps.prepare import simulate_task
    from common.settings.tasks import load_task

    preset = [f"simulation.preset={options.preset}"] if options.preset else []
    task = load_task(params_path(options.params), options.task_id, [*options.overrides, *preset])
    simulate_task(task, options.annotations, options.overwrite)


if __name__ == "__main__":
    raise SystemExit(main())
