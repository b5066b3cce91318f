"""Scores predictions against the ground truth, by the score program of a task's family.

python -m common.cli.score --task ID PREDICTIONS REFERENCE ...
"""

import sys
from collections.abc import Sequence

from common.cli.base import base_parser, params_path, run_safely
from common.family import load
from common.settings.tasks import load_task


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    families: list[str] = []
    status = run_safely(lambda words: families.append(_family(words)), given)
    return status or load(families[0], "score").main(given)


def _family(arguments: Sequence[str]) -> str:
    description = "Scores predictions against the ground truth. Options are those of the family:"
    parser = base_parser(f"{description} give --task ID --help to see them.")
    parser.allow_abbrev = False
    parser.add_argument("--task", metavar="ID", required=True, help="id in params.yaml")
    if any(word.startswith("--task") for word in arguments):  # --help is that of the family
        arguments = [word for word in arguments if word not in ("-h", "--help")]
    options, _ = parser.parse_known_args(arguments)
    return load_task(params_path(options.params), options.task, options.overrides).family


if __name__ == "__main__":
    raise SystemExit(main())
