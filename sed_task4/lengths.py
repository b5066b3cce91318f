"""How long clips are: only their own time is scored, not what fills them up to `dataset.clip_s`.

Lengths are read from the headers of the sound files while features are extracted, and kept in the
facts of the store; a run writes them beside its events, where clips are shorter.
"""

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common.audio.files import read_header
from common.errors import DataError
from common.io.notes import collected
from common.io.tables import parse_table, read_text, to_number

if TYPE_CHECKING:  # it loads TensorFlow, which scoring files does without
    from common.data.feature_store import FeatureStore

logger = logging.getLogger(__name__)

SAMPLES, RATE = "samples", "sample_rate_hz"  # in the facts of a store: of the sound file
_SECONDS = "duration_s"  # column of the list of clips that a run writes beside its events
_AGAIN = "Run the same command again, or delete the file."
_SLACK_FRAMES = 1e-6  # a length this close to a frame boundary is on it
_NAMES_SHOWN = 3


def length_facts(path: Path) -> dict[str, int]:
    """Samples and rate by a sound file's header; empty where it cannot be read, which is told where
    it is decoded."""
    try:
        with collected():  # reading it will tell
            header = read_header(path)
    except DataError:
        return {}
    return {SAMPLES: header.samples, RATE: header.sample_rate_hz}


def seconds_of(facts: Mapping[str, int | None]) -> float | None:
    """Length in seconds by the facts of a clip; None where they do not say it."""
    samples, rate_hz = facts.get(SAMPLES), facts.get(RATE)
    return samples / rate_hz if samples and rate_hz else None


def lengths_of_store(store: "FeatureStore", clip_s: float) -> dict[str, float]:
    """Seconds of each clip that a store knows the length of, at most `clip_s`."""
    known = {name: seconds_of(facts) for name, facts in store.facts.items()}
    return {name: min(seconds, clip_s) for name, seconds in known.items() if seconds is not None}


def frames_within(duration_s: float, hop_s: float) -> int:
    """Frames that begin within so many seconds, at least one."""
    return max(1, math.ceil(duration_s / hop_s - _SLACK_FRAMES))


def cut_to_length(events: np.ndarray, duration_s: float) -> np.ndarray:
    """Cuts events (n, 3) = class_index, onset_s, offset_s at the end of a clip; drops those that
    begin later."""
    kept = np.array(events, np.float64).reshape(-1, 3)
    kept = kept[kept[:, 1] < duration_s]
    kept[:, 2] = np.minimum(kept[:, 2], duration_s)
    return kept


def log_cut(
    names: Sequence[str], events: Sequence[np.ndarray], durations_s: Iterable[float]
) -> None:
    """Says how many true events reach past the end of their clip, which is where they are scored up
    to."""
    clips = zip(names, events, durations_s, strict=True)
    late = [name for name, rows, end_s in clips for offset in rows[:, 2] if offset > end_s]
    if late:
        shown = ", ".join(list(dict.fromkeys(late))[:_NAMES_SHOWN])
        logger.info(
            "%d true event(s) reach past the end of their clips, where they are cut: %s.",
            len(late),
            shown,
        )


def read_lengths(path: Path) -> dict[str, float]:
    """Reads the lengths of clips beside the events of a run, see
    `sed_task4.submission.write_run_files`.

    Returns:
        Seconds by name; empty where the file names clips alone, as earlier versions wrote it.

    Raises:
        DataError: the file cannot be read, or a length is no number of seconds above 0.
    """
    table = parse_table(
        read_text(path, f"There is no {path}.", _AGAIN),
        ("filename",),
        str(path),
        optional=(_SECONDS,),
    )
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
    """Seconds of the sound files of these names in a folder, or in folders below it.

    Raises:
        DataError: there is no such folder, or none of the files.
    """
    if not folder.is_dir():
        raise DataError(
            f"--audio: expected the folder of the clips. Received: {folder}, which is none."
        )
    places = {path.name: path for path in sorted(folder.rglob("*")) if path.is_file()}
    known = {name: seconds_of(length_facts(places[name])) for name in names if name in places}
    lengths = {name: seconds for name, seconds in known.items() if seconds is not None}
    if not lengths:
        raise DataError(
            f"--audio: {folder} holds none of the {len(names)} clips, e.g. {names[0]}. Correct the"
            " folder."
        )
    return lengths
