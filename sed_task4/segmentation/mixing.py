"""From the list of mixtures to their audio: events and scene side by side, at a given level."""

from typing import Any


def run(task: Any, overwrite: bool = False) -> None:
    """Makes what is missing of the list of mixtures and of their audio.

    Args:
        task: settings; `dataset_dir`, `dataset` and `parallel` are used.
        overwrite: make all of it again.

    Raises:
        DataError: sounds or scenes are not there or cannot be used, or the mixtures there are of other settings.
    """
    raise NotImplementedError
