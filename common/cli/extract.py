"""Extracts the features of a task's recordings into TFRecord shards.

python batch_feature_extraction.py [<task-id>] [--sets dev|eval|both] [--overwrite]
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from common.cli.base import base_parser, params_path, run_safely
from common.errors import ConfigError
from common.family import load

if TYPE_CHECKING:  # pydantic takes a third of the time of --help
    from common.settings.tasks import BaseTask


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    return run_safely(_run, arguments, resumes=True)


def _run(arguments: Sequence[str]) -> None:
    parser = base_parser("Extracts the features of a task's recordings into TFRecord shards.")
    meaning = "id in params.yaml (default seldnet-foa)"
    parser.add_argument("task_id", nargs="?", default="seldnet-foa", help=meaning)
    known = "dev, eval or both, or subsets of task 4; default: those that the task reads"
    parser.add_argument("--sets", nargs="+", metavar="SET", help=known)
    parser.add_argument("--overwrite", action="store_true", help="extract finished shards again")
    options = parser.parse_args(arguments)
    # Loaded once the arguments are understood, so that --help is there at once.
    from common.cli.steps import prepare
    from common.runtime.parallel import require_engine
    from common.settings.tasks import load_task

    task = load_task(params_path(options.params), options.task_id, options.overrides)
    require_engine(task.parallel)
    sets = _chosen_sets(task, options.sets)
    prepare.require_recordings(task)
    prepare.check_simulation(task)
    prepare.log_extraction(task)
    load(task.family, "extraction").run(task, sets, overwrite=options.overwrite)


def _chosen_sets(task: "BaseTask", asked: Sequence[str] | None) -> list[str]:
    """The sets to extract.

    Raises:
        ConfigError: the dataset has no such set.
    """
    if asked is None:
        return task.set_names
    wanted = [name for each in asked for name in (task.known_sets if each == "both" else [each])]
    unknown = [name for name in wanted if name not in task.known_sets]
    if unknown:
        known, received = ", ".join(task.known_sets), ", ".join(unknown)
        raise ConfigError(f"--sets: expected some of {known}, or both. Received: {received}.")
    return list(dict.fromkeys(wanted))


if __name__ == "__main__":
    raise SystemExit(main())
