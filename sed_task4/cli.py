"""python task4_crnn.py <task-id> <job-id>, task4_cnn.py: the command line of sound event detection,
DCASE task 4."""

from collections.abc import Sequence

from common.cli.train import train

SCRIPT, INSTALLED = "task4_crnn.py", "task4"  # in a checkout, and installed
SCRIPTS = {"cnn": "task4_cnn.py"}  # of single systems
DESCRIPTION = """Trains a sound event detection system of DCASE task 4 and scores it on unseen clips.

A run is kept in <output_dir>/<task-id>_<job-id>/. Killed and started again with the same ids, it goes on where it was.
"""


def main(arguments: Sequence[str] | None = None, default_task: str = "crnn") -> int:
    """Runs the command; returns its exit status."""
    return train(arguments, DESCRIPTION, default_task)


if __name__ == "__main__":
    raise SystemExit(main())
