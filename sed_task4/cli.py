"""python task4_crnn.py, task4_cnn.py: training of sound event detection, DCASE task 4."""

from collections.abc import Sequence

from common.cli import train

SCRIPT = "task4_crnn.py"
SCRIPTS = {"cnn": "task4_cnn.py"}  # of single systems
DESCRIPTION = "Trains a sound event detection system of DCASE task 4 and scores it on unseen clips."


def main(arguments: Sequence[str] | None = None, default_task: str = "crnn") -> int:
    """Runs the command; returns its exit status."""
    return train.main(arguments, train.Script(DESCRIPTION, "sed_task4", default_task))


if __name__ == "__main__":
    raise SystemExit(main())
