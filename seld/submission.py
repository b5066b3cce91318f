"""Submission files, one per recording.

Those of 2019 have lines `frame,class,azimuth,elevation`, whole numbers; later years' are those of
`seld.recordings.csv_formats`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import ConfigError, DataError
from common.io.files import write_text
from common.io.tables import number_hint, read_text, split_row, to_whole
from seld.dataset import DatasetConfig
from seld.labels import check_rows, whole_degrees
from seld.metrics.years import YEARS
from seld.recordings.csv_formats import (
    CsvFormat,
    csv_format,
    read_rows,
    rows_as_written,
    separator_of,
    write_rows,
)
from seld.recordings.layouts import Layout
from seld.recordings.rows import ELEVATION, wide_rows

SUBMISSIONS = "submissions"  # folder of a fold
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
    separator = separator_of(text.lstrip().split("\n", 1)[0])
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


@dataclass(frozen=True)
class SubmissionFiles:
    """Submission files of a dataset's year, written, read, and rounded as they would be.

    Attributes:
        layout: of the dataset.
        n_classes: K.
        has_distance: distances are predicted; without them files are those of the year before.
    """

    layout: Layout
    n_classes: int
    has_distance: bool = False

    @property
    def format(self) -> CsvFormat:
        """Format of the files from 2020 on.

        Raises:
            ConfigError: the year's files need a distance, and none is predicted.
        """
        declared = csv_format(self.layout.submission_format or "")
        if "distance" not in declared.columns or self.has_distance:
            return declared
        if not declared.is_cartesian:
            raise ConfigError(
                f"Submission files of the layout {self.layout.name} hold distances. Expected: a"
                " network that predicts them, `network.distance: true`. Received: one without."
            )
        return csv_format("submission2023")

    def check(self, scorer: str) -> None:
        """Compares files and scorer with what is predicted.

        Raises:
            ConfigError: one of them needs a distance, and none is predicted.
        """
        if self.layout.is_framewise:
            _ = self.format  # an error here, not after the training
        if scorer in YEARS and YEARS[scorer].with_distance and not self.has_distance:
            without = "dcase2024_no_distance"
            raise ConfigError(
                f"`scoring.scorer: {scorer}` scores distances. Expected: a network that predicts"
                f" them, `network.distance: true`, or `scoring.scorer: {without}`. Received: a"
                " network without."
            )

    def write(self, path: Path, rows: np.ndarray) -> None:
        """Writes a file whole or not at all; see `write_submission` and `write_rows`."""
        if self.layout.is_framewise:
            write_rows(path, wide_rows(rows), self.format)
        else:
            write_submission(path, rows[:, : ELEVATION + 1])

    def read(self, path: Path) -> np.ndarray:
        """Reads a file: rows (n, 4) of 2019, (n, 7) of later years.

        Raises:
            DataError: no such file, or a line cannot be used.
        """
        if self.layout.is_framewise:
            return read_rows(path, self.format, self.n_classes)
        return read_submission(path, self.n_classes)

    def as_written(self, rows: np.ndarray) -> np.ndarray:
        """Returns rows as they are after `write` and `read`."""
        if self.layout.is_framewise:
            return rows_as_written(wide_rows(rows), self.format)
        return as_submitted(rows[:, : ELEVATION + 1])


def submission_files(dataset: DatasetConfig, network: Mapping[str, Any]) -> SubmissionFiles:
    """Submission files of a task, with distances where its network predicts them."""
    has_distance = bool(network.get("distance", False))
    return SubmissionFiles(dataset.published, dataset.n_classes, has_distance)
