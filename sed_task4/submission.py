"""Event files of whole sets: tab-separated rows filename, onset, offset, event_label."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common.audio.formats import stem_of
from common.errors import DataError
from common.events.table import EVENT_COLUMNS, events_frame
from common.io.files import write_text
from common.io.tables import parse_table, read_text, to_csv, to_number
from sed_task4.dataset import parse_strong

if TYPE_CHECKING:  # pandas takes a second to import: settings are read without it
    import pandas as pd

EVENTS = "events.tsv"  # of a stage
CLIPS = "clips.tsv"  # next to it: the predicted clips and their lengths
HEADER = "\t".join(EVENT_COLUMNS)


def format_submission(
    names: Sequence[str], clips: Sequence[np.ndarray], classes: Sequence[str]
) -> str:
    """Formats an event file: header, then clips in their order, events in theirs, times unrounded.

    Args:
        names: file name of each clip.
        clips: its events (n, 3) = class_index, onset_s, offset_s.
        classes: class names.
    """
    frame = events_frame(names, clips, classes)
    rows = zip(*(frame[column].tolist() for column in EVENT_COLUMNS), strict=True)
    lines = [f"{name}\t{onset!r}\t{offset!r}\t{label}\n" for name, onset, offset, label in rows]
    return "".join([f"{HEADER}\n", *lines])


def write_submission(
    path: Path, names: Sequence[str], clips: Sequence[np.ndarray], classes: Sequence[str]
) -> None:
    """Writes an event file as a whole or not at all; without events, only the header.

    Raises:
        DataError: the file cannot be written.
    """
    write_text(Path(path), format_submission(names, clips, classes))


def write_run_files(
    folder: Path,
    names: Sequence[str],
    clips: Sequence[np.ndarray],
    classes: Sequence[str],
    durations_s: Sequence[float],
) -> None:
    """Writes the events of a stage, and the list of predicted clips, silent ones included.

    Args:
        folder: of the stage.
        names: see `format_submission`, as are `clips` and `classes`.
        durations_s: length of each clip, see `sed_task4.clips.lengths.read_lengths`.

    Raises:
        DataError: a file cannot be written.
    """
    lengths = zip(names, durations_s, strict=True)
    rows = [f"{name}\t{float(duration_s)!r}\n" for name, duration_s in lengths]
    write_text(Path(folder) / CLIPS, "".join(["filename\tduration_s\n", *rows]))
    write_submission(Path(folder) / EVENTS, names, clips, classes)


def read_submission(
    path: Path, classes: Sequence[str], *, strict: bool = True
) -> "tuple[pd.DataFrame, list[str]]":
    """Reads an event file; a row with only a name is a clip without events.

    Args:
        path: the file.
        classes: the labels that may occur.
        strict: see `sed_task4.dataset.parse_strong`.

    Returns:
        Events with the columns of `common.events.table.EVENT_COLUMNS` in the order of the file, and
        deduplicated file names.

    Raises:
        DataError: a file or column is missing, or a row cannot be used; names file and line.
    """
    return parse_strong(read_text_of(Path(path)), classes, str(path), strict=strict)


def read_predictions(
    folder: Path, names: Sequence[str], classes: Sequence[str], *, strict: bool = True
) -> "tuple[pd.DataFrame, list[str]]":
    """Reads what predict.py wrote: onset, offset, label, `a.tsv` for `a.wav`.

    Event lists of sed_eval, `a.txt` without a header, are read where there is no table.

    Args:
        folder: of the tables.
        names: the recordings; tables of others are not read.
        classes: the labels that may occur.
        strict: see `sed_task4.dataset.parse_strong`.

    Returns:
        Events and names as `read_submission`, of the recordings that have a table.

    Raises:
        DataError: the folder has no table of any of them, or a row cannot be used.
    """
    import pandas as pd

    folder = Path(folder)
    endings = (".txt", ".tsv")  # the latter takes precedence
    candidates = [(name, folder / f"{stem_of(name)}{end}") for end in endings for name in names]
    found = {name: path for name, path in candidates if path.is_file()}
    paths = {name: found[name] for name in names if name in found}
    if not paths:
        example = f"{stem_of(names[0])}.tsv"
        raise DataError(f"{folder} has no table of any of the {len(names)} clips, e.g. {example}.")
    tables = [pd.DataFrame({column: [] for column in EVENT_COLUMNS})]
    for name, path in paths.items():
        rows = _events_of(read_text_of(path), str(path))
        text = to_csv([EVENT_COLUMNS, *((name, *row) for row in rows)])
        tables.append(parse_strong(text, classes, str(path), strict=strict)[0])
    return pd.concat([table for table in tables if len(table)] or tables[:1]), list(paths)


def _events_of(text: str, source: str) -> list[tuple[str, ...]]:
    """Onset, offset and label of the rows of a table, or of an event list without a header."""
    if not text.strip():
        return []
    columns = ("onset", "offset", "label")

    def headerless(row: Sequence[str]) -> Sequence[str] | None:
        is_list = len(row) == len(columns) and to_number(row[0]) is not None
        return columns if is_list else None

    table = parse_table(text, columns, source, headerless=headerless)
    return [*zip(*table.columns.values(), strict=True)]


def read_text_of(path: Path) -> str:
    """Reads the text of an event file.

    Raises:
        DataError: it is missing, or no text.
    """
    path = Path(path)
    missing = f"There is no event file {path}. Predict the clips first, or correct the path."
    return read_text(path, missing, "Write the file again.")
