"""python seld.py <task-id> <job-id>: training of sound event localization and detection."""

from collections.abc import Sequence

from common.cli import train

SCRIPT = "seld.py"
SCRIPTS: dict[str, str] = {}  # of single systems
DESCRIPTION = "Trains a SELD system over the folds of a task and scores it on unseen recordings."


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    return train.main(arguments, train.Script(DESCRIPTION, "seld", "seldnet-foa"))


if __name__ == "__main__":
    raise SystemExit(main())
