"""Lengths of clips: only their own time is scored, not the padding up to `dataset.clip_s`.

Extraction reads lengths from the headers of sound files and keeps them in the facts of the store;
a run writes them next to its events.
"""

import logging
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common.datasets.lengths import length_facts, seconds_of
from common.errors import DataError
from common.io.tables import parse_table, read_text, to_number

if TYPE_CHECKING:  # it loads TensorFlow, which scoring files does without
    from common.data.feature_store import FeatureStore

logger = logging.getLogger(__name__)

_SECONDS = "duration_s"  # column of the list of clips that a run writes next to its events
_AGAIN = "Run the same command again, or delete the file."
_SLACK_FRAMES = 1e-6  # a length this close to a frame boundary is on it
_NAMES_SHOWN = 3


def lengths_of_store(store: "FeatureStore", clip_s: float) -> dict[str, float]:
    """Returns the length in seconds, at most `clip_s`, of each clip with a known length."""
    known = {name: seconds_of(facts) for name, facts in store.facts.items()}
    return {name: min(seconds, clip_s) for name, seconds in known.items() if seconds is not None}


def frames_within(duration_s: float, hop_s: float) -> int:
    """Number of frames that begin within a duration, at least one."""
    return max(1, math.ceil(duration_s / hop_s - _SLACK_FRAMES))


def cut_to_length(events: np.ndarray, duration_s: float) -> np.ndarray:
    """Cuts events (n, 3) = class_index, onset_s, offset_s at the clip's end, drops later ones."""
    kept = np.array(events, np.float64).reshape(-1, 3)
    kept = kept[kept[:, 1] < duration_s]
    kept[:, 2] = np.minimum(kept[:, 2], duration_s)
    return kept


def log_cut(
    names: Sequence[str], events: Sequence[np.ndarray], durations_s: Iterable[float]
) -> None:
    """Logs how many reference events end after their clip; they are cut at its end."""
    clips = zip(names, events, durations_s, strict=True)
    late = [name for name, rows, end_s in clips for offset in rows[:, 2] if offset > end_s]
    if late:
        shown = ", ".join(list(dict.fromkeys(late))[:_NAMES_SHOWN])
        logger.info("%d reference event(s) are cut at the ends of: %s.", len(late), shown)


def read_lengths(path: Path) -> dict[str, float]:
    """Reads the lengths of clips: of a run, or the durations published with DESED.

    Returns:
        Seconds by name; empty if the file has names only, as earlier versions wrote it.

    Raises:
        DataError: the file cannot be read, or a length is no number of seconds above 0.
    """
    text, columns = read_text(path, f"There is no {path}.", _AGAIN), ("filename",)
    names = {"duration": _SECONDS}  # of DESED, and of sed_scores_eval
    table = parse_table(text, columns, str(path), optional=(_SECONDS,), aliases=names)
    lengths: dict[str, float] = {}
    for line, row in table.rows():
        seconds = to_number(row.get(_SECONDS, ""))
        if _SECONDS in row and (seconds is None or seconds <= 0):
            raise DataError(
                f"{path}, line {line}: expected seconds above 0 in the column {_SECONDS}. Received:"
                f" {row[_SECONDS][:80]!r}. {_AGAIN}"
            )
        lengths |= {} if seconds is None else {row["filename"]: seconds}
    return lengths


def lengths_of_files(folder: Path, names: Sequence[str]) -> dict[str, float]:
    """Returns the lengths in seconds of sound files by name, from a folder or its subfolders.

    Raises:
        DataError: there is no such folder, or none of the files.
    """
    if not folder.is_dir():
        raise DataError(f"--audio: expected the folder of the clips. Received: {folder}.")
    places = {path.name: path for path in sorted(folder.rglob("*")) if path.is_file()}
    known = {name: seconds_of(length_facts(places[name])) for name in names if name in places}
    lengths = {name: seconds for name, seconds in known.items() if seconds is not None}
    if not lengths:
        raise DataError(
            f"--audio: {folder} has none of the {len(names)} clips, e.g. {names[0]}. Correct it."
        )
    return lengths
