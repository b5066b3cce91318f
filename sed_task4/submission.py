"""Event files of whole sets: tab-separated rows filename, onset, offset, event_label."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common.audio.formats import stem_of
from common.errors import DataError
from common.events.table import EVENT_COLUMNS, events_frame
from common.io.files import write_text
from common.io.tables import parse_table, read_text, to_csv
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
    """Reads the tables that predict.py wrote: onset, offset, label, `a.tsv` for `a.wav`.

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

    tables_of = {name: Path(folder) / f"{stem_of(name)}.tsv" for name in names}
    paths = {name: path for name, path in tables_of.items() if path.is_file()}
    if not paths:
        example = tables_of[names[0]].name
        raise DataError(f"{folder} has no table of any of the {len(names)} clips, e.g. {example}.")
    tables = [pd.DataFrame({column: [] for column in EVENT_COLUMNS})]
    for name, path in paths.items():
        table = parse_table(read_text_of(path), ("onset", "offset", "label"), str(path))
        rows = zip(*table.columns.values(), strict=True)
        text = to_csv([EVENT_COLUMNS, *((name, *row) for row in rows)])
        tables.append(parse_strong(text, classes, str(path), strict=strict)[0])
    return pd.concat([table for table in tables if len(table)] or tables[:1]), list(paths)


def read_text_of(path: Path) -> str:
    """Reads the text of an event file.

    Raises:
        DataError: it is missing, or no text.
    """
    path = Path(path)
    missing = f"There is no event file {path}. Predict the clips first, or correct the path."
    return read_text(path, missing, "Write the file again.")
