"""python seld.py <task-id> <job-id>: the command line of sound event localization and detection."""

from collections.abc import Sequence

from common.cli.train import train

SCRIPT, INSTALLED = "seld.py", "seld"  # in a checkout, and installed
SCRIPTS: dict[str, str] = {}  # of single systems
DESCRIPTION = """Trains a SELD system over the folds of a task and scores it on unseen recordings.

A run is kept in <output_dir>/<task-id>_<job-id>/. Killed and started again with the same ids, it goes on where it was.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    return train(arguments, DESCRIPTION, default_task="seldnet-foa")


if __name__ == "__main__":
    raise SystemExit(main())
