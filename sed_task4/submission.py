"""Event files: one for a whole set, a row `filename onset offset event_label` for each event, tab-separated."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common.errors import DataError
from common.events import EVENT_COLUMNS, events_frame
from common.files import write_text
from sed_task4.dataset import parse_strong

if TYPE_CHECKING:  # pandas takes a second to import: settings are read without it
    import pandas as pd

EVENTS = "events.tsv"  # of a stage
HEADER = "\t".join(EVENT_COLUMNS)


def format_submission(names: Sequence[str], clips: Sequence[np.ndarray], classes: Sequence[str]) -> str:
    """Returns the text of an event file: header, then clips in their order, events in theirs, seconds unrounded.

    Args:
        names: file name of each clip.
        clips: its events (n, 3) = class_index, onset_s, offset_s.
        classes: class names.
    """
    frame = events_frame(names, clips, classes)
    rows = zip(*(frame[column].tolist() for column in EVENT_COLUMNS), strict=True)
    return "\n".join([HEADER, *(f"{name}\t{onset!r}\t{offset!r}\t{label}" for name, onset, offset, label in rows), ""])


def write_submission(path: Path, names: Sequence[str], clips: Sequence[np.ndarray], classes: Sequence[str]) -> None:
    """Writes an event file whole or not at all; without events it holds the header alone.

    Raises:
        DataError: the file cannot be written.
    """
    write_text(Path(path), format_submission(names, clips, classes))


def read_submission(path: Path, classes: Sequence[str]) -> "tuple[pd.DataFrame, list[str]]":
    """Reads an event file; a row with a name alone stands for a clip without events.

    Args:
        path: the file.
        classes: the labels that may occur.

    Returns:
        Events with the columns of `common.events.EVENT_COLUMNS` in the order of the file, and all file names in the
        order of their first row.

    Raises:
        DataError: the file is missing, lacks a column, or a row cannot be used; names file and line.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise DataError(f"There is no event file {path}. Predict the clips first, or correct the path.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} cannot be read as text ({type(error).__name__}: {error}). Write the file again."
        ) from error
    return parse_strong(text, classes, str(path))
