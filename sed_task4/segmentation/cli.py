"""python task4_segmentation.py <task-id> <job-id>: the command line of time-frequency
segmentation."""

from collections.abc import Sequence

from common.cli.train import train

SCRIPT, INSTALLED = "task4_segmentation.py", "task4-segmentation"  # in a checkout, and installed
SCRIPTS: dict[str, str] = {}  # of single systems
DESCRIPTION = """Trains networks that segment spectrograms of sound mixtures by class, from tags alone; scores how they
tag, detect and separate in unseen mixtures, and writes separated sounds.

A run is kept in <output_dir>/<task-id>_<job-id>/. Killed and started again with the same ids, it goes on where it was.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    return train(arguments, DESCRIPTION, "segmentation")


if __name__ == "__main__":
    raise SystemExit(main())
