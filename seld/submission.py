"""Submission files, one per recording: lines `frame,class,azimuth,elevation`, whole numbers."""

from pathlib import Path

import numpy as np

from common.errors import DataError
from common.io.files import write_text
from common.io.tables import number_hint, read_text, split_row, to_whole
from seld.labels import check_rows, whole_degrees

SUBMISSIONS = "submissions"  # folder of a fold
_SEPARATORS = ("\t", ";", ",")
REMEDY = "Write the file again (`seld.submission.write_submission`) or correct the line."


def format_submission(rows: np.ndarray) -> str:
    """Returns the text of a submission file: no header, angles cut towards zero, rows in order.

    Args:
        rows: output format (n, 4) = frame, class, azimuth_deg, elevation_deg; not changed.

    Raises:
        ValueError: the rows are not (n, 4), not finite, or have a negative frame or class.
    """
    whole = as_submitted(rows).astype(np.int64)
    return "".join(
        f"{frame},{k},{azimuth},{elevation}\n" for frame, k, azimuth, elevation in whole.tolist()
    )


def as_submitted(rows: np.ndarray) -> np.ndarray:
    """Returns rows (n, 4) as they are after `write_submission` and `read_submission`."""
    return whole_degrees(check_rows(rows))


def write_submission(path: Path, rows: np.ndarray) -> None:
    """Writes a submission file whole or not at all; without rows it is empty.

    Raises:
        DataError: the file cannot be written.
        ValueError: the rows are not usable, see `format_submission`.
    """
    write_text(Path(path), format_submission(rows))


def read_submission(path: Path, n_classes: int) -> np.ndarray:
    """Reads a submission file.

    Args:
        path: the file.
        n_classes: classes are 0 to n_classes - 1.

    Returns:
        rows (n, 4), in the order of the file. Frames beyond a recording's end are kept; scorers
        ignore them.

    Raises:
        DataError: a line is not four whole numbers, or a frame or class is out of range.
    """
    path = Path(path)
    missing = f"There is no submission file {path}. Predict the recording again."
    return parse_submission(read_text(path, missing, REMEDY), n_classes, str(path))


def parse_submission(text: str, n_classes: int, source: str = "submission") -> np.ndarray:
    """Reads the text of a submission file; errors name `source`. See `read_submission`.

    The separator (comma, tab or semicolon) is that of the first line; empty lines are skipped.
    """
    separator = next((each for each in _SEPARATORS if each in text.lstrip().split("\n", 1)[0]), ",")
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        return np.zeros((0, 4))
    try:
        if not text.isascii():  # some characters make numpy's reader end the process
            raise ValueError
        rows = np.loadtxt(lines, np.int64, delimiter=separator, ndmin=2, comments=None)
        shaped = rows.shape == (len(lines), 4)
        usable = shaped and rows[:, :2].min() >= 0 and rows[:, 1].max() < n_classes
    except (ValueError, OverflowError):
        usable = False
    if not usable:
        rows = _parse_lines(text, separator, n_classes, source)
    return rows.astype(np.float64)


def _parse_lines(text: str, separator: str, n_classes: int, source: str) -> np.ndarray:
    """Reads rows one by one, such as those with quotes; errors name the line."""
    rows = [
        _parse_line(line, separator, n_classes, f"{source}, line {number}")
        for number, line in enumerate(text.splitlines(), start=1)
        if line.strip()
    ]
    return np.array(rows, np.int64).reshape(-1, 4)


def _parse_line(line: str, separator: str, n_classes: int, where: str) -> list[int]:
    try:
        parts = split_row(line, separator)
    except ValueError:
        parts = []
    while len(parts) > 4 and not parts[-1]:
        parts.pop()
    numbers = [number for part in parts if (number := to_whole(part)) is not None]
    if len(parts) != 4 or len(numbers) != 4:
        raise DataError(
            f"{where}: expected four whole numbers `frame,class,azimuth,elevation`. Received:"
            f" {line[:80]!r}.{number_hint(*parts)} {REMEDY}"
        )
    if numbers[0] < 0:
        raise DataError(
            f"{where}: the frame is negative. Expected: 0 or more. Received: {numbers[0]}. {REMEDY}"
        )
    if not 0 <= numbers[1] < n_classes:
        raise DataError(
            f"{where}: unknown class. Expected: 0 to {n_classes - 1}. Received: {numbers[1]}."
            f" {REMEDY} A submission for another list of classes needs its own `dataset.classes`."
        )
    return numbers
