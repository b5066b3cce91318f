"""Event files: one for a whole set, a row `filename onset offset event_label` for each event, tab-separated."""

import io
import math
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from common.errors import DataError
from common.events import EVENT_COLUMNS, events_frame
from common.files import write_text

HEADER = "\t".join(EVENT_COLUMNS)
REMEDY = "Correct the row, or write the file again."


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


def read_submission(path: Path, classes: Collection[str]) -> tuple[pd.DataFrame, list[str]]:
    """Reads an event file.

    Args:
        path: tab- or comma-separated, with the header `filename onset offset event_label`. A row with a name alone
            stands for a clip without events.
        classes: known class names.

    Returns:
        events (columns of `common.events.EVENT_COLUMNS`, in the order of the file) and all file names in the order of
        their first row.

    Raises:
        DataError: the file is missing, has another header, or a row cannot be used.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise DataError(f"There is no event file {path}.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as text ({type(error).__name__}: {error}). {REMEDY}") from error
    return parse_submission(text, classes, str(path))


def parse_submission(text: str, classes: Collection[str], source: str = "event file") -> tuple[pd.DataFrame, list[str]]:
    """Reads the text of an event file; errors name `source` and the row. See `read_submission`."""
    lines = text.splitlines()
    header = lines[0].strip() if lines else ""
    separator = "\t" if "\t" in header else ","
    if [part.strip() for part in header.split(separator)] != list(EVENT_COLUMNS):
        raise DataError(
            f"{source}, row 1: expected the header {' '.join(EVENT_COLUMNS)}, tab-separated. "
            f"Received: {header!r}. {REMEDY}"
        )
    fast = _parse_fast(text, separator, classes)
    return fast if fast is not None else _parse_rows(lines, separator, classes, source)


def _parse_fast(text: str, separator: str, classes: Collection[str]) -> tuple[pd.DataFrame, list[str]] | None:
    """Reads a file in which every row is right; None where one needs a closer look."""
    types = {"filename": str, "onset": np.float64, "offset": np.float64, "event_label": str}
    try:
        frame = pd.read_csv(io.StringIO(text), sep=separator, dtype=types, quoting=3, float_precision="round_trip")
    except ValueError:
        return None
    times = frame[["onset", "offset"]].to_numpy()
    good = (
        list(frame.columns) == list(EVENT_COLUMNS)
        and isinstance(frame.index, pd.RangeIndex)
        and frame["filename"].notna().all()
        and frame["event_label"].isin(list(classes)).all()
        and np.isfinite(times).all()
        and (times[:, 0] >= 0).all()
        and (times[:, 0] <= times[:, 1]).all()
    )
    return (frame, list(dict.fromkeys(frame["filename"]))) if good else None


def _parse_rows(
    lines: Sequence[str], separator: str, classes: Collection[str], source: str
) -> tuple[pd.DataFrame, list[str]]:
    names: dict[str, None] = {}
    rows = []
    for number, line in enumerate(lines[1:], start=2):
        parts = [part.strip() for part in line.split(separator)]
        if parts == [""]:
            continue
        where = f"{source}, row {number}"
        if not parts[0] or len(parts) > 4 or (len(parts) < 4 and any(parts[1:])):
            raise DataError(
                f"{where}: expected filename, onset, offset and event_label, or a file name alone. "
                f"Received: {line!r}. {REMEDY}"
            )
        names[parts[0]] = None
        if any(parts[1:]):
            rows.append(_parse_row(parts, classes, where))
    return pd.DataFrame(rows, columns=list(EVENT_COLUMNS)).astype({"onset": float, "offset": float}), list(names)


def _parse_row(parts: Sequence[str], classes: Collection[str], where: str) -> tuple[str, float, float, str]:
    name, onset, offset, label = parts
    try:
        onset_s, offset_s = float(onset), float(offset)
    except ValueError as error:
        raise DataError(
            f"{where}: expected onset and offset in seconds. Received: {onset!r} and {offset!r}. {REMEDY}"
        ) from error
    if not (math.isfinite(onset_s) and math.isfinite(offset_s) and 0 <= onset_s <= offset_s):
        raise DataError(f"{where}: expected 0 <= onset <= offset. Received: {onset} and {offset}. {REMEDY}")
    if label not in classes:
        raise DataError(
            f"{where}: unknown class. Expected: one of {', '.join(classes)}. Received: {label!r}. {REMEDY} "
            "The classes are a setting: dataset.classes."
        )
    return name, onset_s, offset_s, label
