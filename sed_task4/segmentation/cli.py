"""python task4_segmentation.py <task-id> <job-id>: training of time-frequency segmentation."""

from collections.abc import Sequence

from common.cli import train

SCRIPT = "task4_segmentation.py"
SCRIPTS: dict[str, str] = {}  # of single systems
DESCRIPTION = (
    "Trains networks that segment spectrograms of sound mixtures by class, from tags only; scores"
    " tagging, detection and separation in unseen mixtures, and writes separated sounds."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    script = train.Script(DESCRIPTION, "sed_task4.segmentation", "segmentation")
    return train.main(arguments, script)


if __name__ == "__main__":
    raise SystemExit(main())
