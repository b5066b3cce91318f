"""Files of rows of DCASE 2020 to 2025: one table of formats, one reader, one writer.

A file has one line for each source in each label frame of 100 ms. The years differ in columns, in
the unit of distance (centimetres or metres) and in polar or Cartesian coordinates. A format is
always declared by its name in `FORMATS`, never guessed; a file that looks like another one is an
error that names it.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from common.errors import ConfigError, DataError
from common.io.files import write_text
from common.io.tables import number_hint, read_text, split_row, to_number
from seld.geometry import angles_of_vectors, vectors_of_angles
from seld.recordings.rows import (
    AZIMUTH,
    CLASS,
    DISTANCE,
    ELEVATION,
    FRAME,
    ONSCREEN,
    SOURCE,
    check_wide_rows,
    no_rows,
)

logger = logging.getLogger(__name__)

MOST_FRAMES = 864_000  # a day; a frame beyond it is an error, not hours of silence to be scored
MOST_SOURCES = 3  # of one class in a frame, as many as the tracks of multi-ACCDOA
_SEPARATORS = ("\t", ";", ",")
_POLAR = {"azimuth": AZIMUTH, "elevation": ELEVATION}
_OTHERS = {"source": SOURCE, "distance": DISTANCE, "onscreen": ONSCREEN}
_AXES = ("x", "y", "z")
_DECLARE = (
    "Declare the format of the file: `dataset.layout` of a task, `--ref-format` or `--pred-format`"
    " of a score."
)
_REMEDY = "Write the file again (`seld.recordings.csv_formats.write_rows`) or correct the line."


@dataclass(frozen=True)
class CsvFormat:
    """Columns and units of one kind of file.

    Attributes:
        name: key of `FORMATS`.
        columns: of the file: frame and class, then some of source, azimuth, elevation (degrees), x,
            y, z, distance, onscreen (0 or 1) and unused (written as 0, ignored on reading).
        metres: metres in one unit of distance; unused without that column.
        header: the first line names the columns.
        optional: the last column, distance, may be absent from a whole file: unknown.
        decimals: of distances on writing; None: all digits.
        is_reference: only for metadata, so that implausible distances are errors.
    """

    name: str
    columns: tuple[str, ...]
    metres: float = 1.0
    header: bool = False
    optional: bool = False
    decimals: int | None = None
    is_reference: bool = False

    @property
    def is_cartesian(self) -> bool:
        """True if directions are vectors x, y, z instead of angles."""
        return "x" in self.columns


def _formats() -> dict[str, CsvFormat]:
    place = ("frame", "class")
    metadata = CsvFormat(
        "metadata2020", (*place, "source", "azimuth", "elevation"), is_reference=True
    )
    distances = replace(
        metadata,
        name="metadata2023",
        columns=(*metadata.columns, "distance"),
        metres=0.01,
        optional=True,
        decimals=0,
    )
    vectors = CsvFormat("submission2020", (*place, "source", *_AXES))
    known = [
        metadata,
        replace(metadata, name="metadata2021"),
        replace(metadata, name="metadata2022"),
        distances,
        replace(distances, name="metadata2024"),
        replace(distances, name="spatialscaper", metres=1.0, optional=False, decimals=3),
        vectors,
        replace(vectors, name="submission2021"),
        replace(vectors, name="submission2022"),
        replace(vectors, name="submission2023", columns=(*vectors.columns, "unused")),
        replace(vectors, name="submission2024", columns=(*vectors.columns, "distance")),
        CsvFormat("track2020", (*place, "azimuth", "elevation")),
        CsvFormat(
            "stereo2025",
            (*place, "source", "azimuth", "distance", "onscreen"),
            metres=0.01,
            header=True,
            decimals=0,
        ),
    ]
    return {each.name: each for each in known}


FORMATS = _formats()


def csv_format(name: str | CsvFormat) -> CsvFormat:
    """Returns a format by its name.

    Raises:
        ConfigError: there is no such format.
    """
    if isinstance(name, CsvFormat):
        return name
    if name not in FORMATS:
        raise ConfigError(
            f"Unknown csv format. Expected: one of {', '.join(FORMATS)}. Received: {name!r}."
        )
    return FORMATS[name]


def read_rows(path: Path, fmt: str | CsvFormat, n_classes: int | None = None) -> np.ndarray:
    """Reads a file of rows.

    Args:
        path: the file.
        fmt: its format, declared: a name of `FORMATS`.
        n_classes: classes are 0 to n_classes - 1; None: any number.

    Returns:
        Rows (n, 7), see `seld.recordings.rows`, in the order of the file: degrees, distances in
        metres, NaN where the format has no such column; none for an empty file. The log counts
        oddities.

    Raises:
        ConfigError: unknown format.
        DataError: no such file, a line cannot be used, or the file looks like another format.
    """
    path = Path(path)
    missing = f"There is no file {path}. Predict the recording again, or check the folder."
    return parse_rows(read_text(path, missing, _REMEDY), fmt, n_classes, str(path))


def parse_rows(
    text: str, fmt: str | CsvFormat, n_classes: int | None = None, source: str = "rows"
) -> np.ndarray:
    """Reads the text of a file of rows; errors name `source`. See `read_rows`."""
    return parse_rows_and_vectors(text, fmt, n_classes, source)[0]


def parse_rows_and_vectors(
    text: str, fmt: str | CsvFormat, n_classes: int | None = None, source: str = "rows"
) -> tuple[np.ndarray, np.ndarray | None]:
    """Reads rows and, of Cartesian formats, the vectors (n, 3) as they stand in the file."""
    declared = csv_format(fmt)
    values, lines = _numbers(text, declared, source)
    if not len(values):
        return no_rows(), np.zeros((0, 3)) if declared.is_cartesian else None
    columns = declared.columns[: values.shape[1]]
    table = dict(zip(columns, values.T, strict=True))
    _check_places(table, lines, n_classes, source)
    _check_kind(table, declared, source)
    rows = np.full((len(values), no_rows().shape[1]), np.nan)
    rows[:, FRAME], rows[:, CLASS] = table["frame"], table["class"]
    rows[:, ELEVATION] = 0.0  # of formats with azimuths only
    for name, column in {**_POLAR, **_OTHERS}.items():
        if name in table:
            rows[:, column] = table[name]
    vectors = None
    if declared.is_cartesian:
        vectors = values[:, [columns.index(axis) for axis in _AXES]]
        rows[:, AZIMUTH], rows[:, ELEVATION] = angles_of_vectors(vectors)
    else:
        _check_angles(table, lines, source)
    _check_others(table, declared, lines, source)
    rows[:, DISTANCE] *= declared.metres
    _log_oddities(rows, table, declared, source)
    return rows, vectors


def write_rows(
    path: Path, rows: np.ndarray, fmt: str | CsvFormat, vectors: np.ndarray | None = None
) -> None:
    """Writes a file of rows whole or not at all; see `format_rows`.

    Raises:
        DataError: the file cannot be written.
        ValueError: the rows are not usable.
    """
    write_text(Path(path), format_rows(rows, fmt, vectors))


def rows_as_written(rows: np.ndarray, fmt: str | CsvFormat) -> np.ndarray:
    """Returns rows (n, 7) as they are after `write_rows` and `read_rows`."""
    declared, written = csv_format(fmt), check_wide_rows(rows).copy()
    for name, column in _OTHERS.items():
        if name not in declared.columns:
            written[:, column] = np.nan
        elif name != "distance":
            written[:, column] = np.nan_to_num(written[:, column])
    if not declared.is_cartesian:
        angles = [column for name, column in _POLAR.items() if name in declared.columns]
        written[:, angles] = np.rint(written[:, angles])
        written[:, ELEVATION] *= "elevation" in declared.columns
    if declared.decimals is not None:
        units = np.round(written[:, DISTANCE] / declared.metres, declared.decimals)
        written[:, DISTANCE] = units * declared.metres
    return written


def format_rows(rows: np.ndarray, fmt: str | CsvFormat, vectors: np.ndarray | None = None) -> str:
    """Returns the text of a file of rows.

    Angles and distances in centimetres are rounded to whole numbers, half to even; an unknown
    source or on-screen flag is written as 0.

    Args:
        rows: (n, 7), see `seld.recordings.rows`; order is kept.
        fmt: format to write.
        vectors: (n, 3), written as they are by Cartesian formats in place of unit vectors, so that
            the lengths of a network's output are kept. Ignored by polar formats.

    Raises:
        ConfigError: unknown format.
        ValueError: rows or vectors of another shape, or a distance that the format needs and that
            is unknown.
    """
    declared, rows = csv_format(fmt), check_wide_rows(rows)
    columns = declared.columns
    unknown = np.isnan(rows[:, DISTANCE])
    if "distance" in columns and unknown.any():
        if not (declared.optional and unknown.all()):
            raise ValueError(
                f"Format {declared.name} has distances. Expected: a distance in every row."
                f" Received: {int(unknown.sum())} of {len(rows)} rows without one. Choose a format"
                " without distances."
            )
        columns = columns[:-1]
    cells = _vector_cells(rows, vectors) if declared.is_cartesian else {}
    cells["frame"], cells["class"] = (_whole(rows[:, column]) for column in (FRAME, CLASS))
    cells["source"], cells["onscreen"] = (
        _whole(np.nan_to_num(rows[:, column])) for column in (SOURCE, ONSCREEN)
    )
    cells["azimuth"], cells["elevation"] = (
        _whole(rows[:, column]) for column in (AZIMUTH, ELEVATION)
    )
    cells["unused"] = [0] * len(rows)
    if "distance" in columns:
        cells["distance"] = _distances(rows[:, DISTANCE] / declared.metres, declared.decimals)
    header = ",".join(columns) + "\n" if declared.header else ""
    lines = zip(*(cells[name] for name in columns), strict=True)
    return header + "".join(",".join(map(str, line)) + "\n" for line in lines)


def _vector_cells(rows: np.ndarray, vectors: np.ndarray | None) -> dict[str, list]:
    if vectors is None:
        vectors = vectors_of_angles(rows[:, AZIMUTH], rows[:, ELEVATION])
    vectors = np.asarray(vectors, np.float64)
    if vectors.shape != (len(rows), 3) or not np.isfinite(vectors).all():
        raise ValueError(
            f"Expected: one finite vector x, y, z for each row, ({len(rows)}, 3). Received:"
            f" {vectors.shape}."
        )
    return dict(zip(_AXES, vectors.T.tolist(), strict=True))


def _whole(values: np.ndarray) -> list[int]:
    return np.rint(values).astype(np.int64).tolist()


def _distances(values: np.ndarray, decimals: int | None) -> list:
    if decimals is None:
        return values.tolist()
    return [f"{value:.{decimals}f}" for value in values.tolist()] if decimals else _whole(values)


def _numbers(text: str, declared: CsvFormat, source: str) -> tuple[np.ndarray, Sequence[int]]:
    """Numbers of a file (n, columns), and the number of the line of each row."""
    lines = text.removeprefix("\ufeff").splitlines()
    kept = [number for number, line in enumerate(lines, start=1) if line.strip()]
    if not kept:
        return np.zeros((0, 0)), []
    first = lines[kept[0] - 1]
    separator = separator_of(first)
    if _is_header(first, separator) or declared.header:
        _check_header(first, separator, declared, f"{source}, line {kept[0]}")
        kept = kept[1:]
        if not kept:
            return np.zeros((0, 0)), []
    body = lines if len(kept) == len(lines) else [lines[number - 1] for number in kept]
    values = _fast_numbers(body, separator)
    if values is None:
        values = _slow_numbers(body, separator, kept, declared, source)
    if not _fits(values.shape[1], declared):
        raise DataError(_other_format(values, declared, f"{source}, line {kept[0]}"))
    return values, kept


def separator_of(line: str) -> str:
    """Finds the separator of a file by one of its lines: tab, semicolon or comma."""
    return next((each for each in _SEPARATORS if each in line), ",")


def _fits(n_columns: int, declared: CsvFormat) -> bool:
    return len(declared.columns) - declared.optional <= n_columns <= len(declared.columns)


def _fast_numbers(lines: Sequence[str], separator: str) -> np.ndarray | None:
    """Numbers (n, columns); None for lines that need a closer look."""
    if not all(map(str.isascii, lines)):  # some characters make numpy's reader end the process
        return None
    try:
        values = np.loadtxt(lines, np.float64, delimiter=separator, ndmin=2, comments=None)
    except (ValueError, OverflowError):
        return None
    return values if np.isfinite(values).all() and len(values) == len(lines) else None


def _slow_numbers(
    lines: Sequence[str], separator: str, numbers: Sequence[int], declared: CsvFormat, source: str
) -> np.ndarray:
    """Numbers read line by line, such as those with quotes; errors name the line."""
    rows: list[list[float]] = []
    for number, line in zip(numbers, lines, strict=True):
        parts = _parts(line, separator)
        values = [value for part in parts if (value := to_number(part)) is not None]
        if not parts or len(values) < len(parts):
            raise DataError(
                f"{source}, line {number}: expected numbers `{','.join(declared.columns)}`."
                f" Received: {line[:80]!r}.{number_hint(*parts)} {_REMEDY}"
            )
        if rows and len(values) != len(rows[0]):
            raise DataError(
                f"{source}, line {number}: expected as many numbers as in the lines before,"
                f" {len(rows[0])}. Received: {len(values)}, {line[:80]!r}. {_REMEDY}"
            )
        rows.append(values)
    return np.array(rows, np.float64)


def _parts(line: str, separator: str) -> list[str]:
    try:
        parts = split_row(line, separator)
    except ValueError:
        return []
    while parts and not parts[-1]:
        parts.pop()
    return parts


def _is_header(line: str, separator: str) -> bool:
    parts = _parts(line, separator)
    return bool(parts) and not any(character.isdigit() for part in parts for character in part)


def _check_header(line: str, separator: str, declared: CsvFormat, where: str) -> None:
    names = tuple(part.casefold() for part in _parts(line, separator))
    if declared.header and names == declared.columns:
        return
    other = next((each for each in FORMATS.values() if each.header and names == each.columns), None)
    looks = f" This looks like {other.name}." if other else ""
    wanted = f"the header `{','.join(declared.columns)}`" if declared.header else "no header"
    if declared.header and not _is_header(line, separator):
        numbers = [to_number(part) for part in _parts(line, separator)]
        if numbers and None not in numbers:
            looks = f" This looks like {_guess(np.array([numbers], np.float64))}."
    raise DataError(
        f"{where}: format {declared.name} has {wanted}. Received: {line[:80]!r}.{looks} Declare the"
        " format of the file, or correct the line."
    )


def _other_format(values: np.ndarray, declared: CsvFormat, where: str) -> str:
    n_columns = len(declared.columns)
    expected = f"{n_columns - 1} or {n_columns}" if declared.optional else str(n_columns)
    return (
        f"{where}: format {declared.name} is `{','.join(declared.columns)}`. Expected: {expected}"
        f" numbers in a line. Received: {values.shape[1]}. This looks like {_guess(values)}."
        f" {_DECLARE}"
    )


def _guess(values: np.ndarray) -> str:
    """Format that numbers (n, columns) without a header look like, in words for an error."""
    n_columns = values.shape[1]
    if n_columns == 4:
        return "track2020 (EINV2), or a submission of 2019"
    if n_columns == 5:
        return "metadata2020, metadata2021 or metadata2022"
    if n_columns == 6 and _look_like_vectors(values[:, 3:]):
        return "submission2020, submission2021 or submission2022"
    if n_columns == 6:
        flags = np.isin(values[:, 5], (0.0, 1.0)).all()
        return "stereo2025 without its header" if flags else "metadata2023 or metadata2024"
    if n_columns == 7:
        return "submission2024" if values[:, 6].any() else "submission2023"
    return "no known format"


def _look_like_vectors(values: np.ndarray) -> bool:
    """True for numbers (n, 3) that are coordinates x, y, z rather than angles and a distance."""
    return bool((np.abs(values) <= 2.0).all() and (values != np.rint(values)).any())


def _check_kind(table: dict[str, np.ndarray], declared: CsvFormat, source: str) -> None:
    """Refuses polar numbers in a Cartesian format and the other way round."""
    values = np.stack([each for name, each in table.items() if name not in ("frame", "class")], 1)
    wrong = False
    if declared.is_cartesian:
        axes = np.stack([table[axis] for axis in _AXES])
        wrong = bool((np.abs(axes) > 10.0).any())  # a network's coordinates are about 1 at most
        looks = _guess(np.column_stack([values[:, :2], values])) if values.shape[1] == 4 else ""
    elif values.shape[1] == 4 and "elevation" in table:
        wrong = _look_like_vectors(values[:, 1:])
        looks = "submission2020, submission2021 or submission2022"
    if wrong:
        kind = "vectors x, y, z" if declared.is_cartesian else "angles in degrees"
        hint = f" This looks like {looks}." if looks else ""
        raise DataError(
            f"{source}: the numbers do not fit format {declared.name}. Expected: {kind}. Received:"
            f" e.g. {values[0].tolist()} after frame and class.{hint}"
            f" {_DECLARE}"
        )


def _check_places(
    table: dict[str, np.ndarray], lines: Sequence[int], n_classes: int | None, source: str
) -> None:
    frame, klass = table["frame"], table["class"]
    wrong = (frame < 0) | (frame >= MOST_FRAMES) | (frame != np.rint(frame))
    _refuse(wrong, frame, lines, source, "frame", f"a whole number, 0 to {MOST_FRAMES - 1}")
    high = np.inf if n_classes is None else n_classes
    wanted = "a whole number" if n_classes is None else f"0 to {n_classes - 1}"
    wrong = (klass < 0) | (klass >= high) | (klass != np.rint(klass))
    _refuse(wrong, klass, lines, source, "class", wanted)


def _check_angles(table: dict[str, np.ndarray], lines: Sequence[int], source: str) -> None:
    for name, limit in (("azimuth", 360), ("elevation", 90)):
        if name in table:
            wrong = np.abs(table[name]) > limit
            _refuse(wrong, table[name], lines, source, name, f"-{limit} to {limit} degrees")


def _check_others(
    table: dict[str, np.ndarray], declared: CsvFormat, lines: Sequence[int], source: str
) -> None:
    """Checks on-screen flags, and that distances are in the unit of the format."""
    if "onscreen" in table:
        flags = table["onscreen"]
        _refuse(~np.isin(flags, (0.0, 1.0)), flags, lines, source, "onscreen", "0 or 1")
    if "distance" not in table:
        return
    distance = table["distance"]
    _refuse(distance < 0, distance, lines, source, "distance", "0 or more")
    if declared.metres == 1.0:
        _refuse(distance > 100, distance, lines, source, "distance", "metres, 100 at most")
        return
    # Whole numbers near 0 may be the output of a network that has learnt nothing yet.
    fractions = (distance != np.rint(distance)).any()
    if (distance < 10).all() and (fractions or (declared.is_reference and distance.any())):
        raise DataError(
            f"{source}: format {declared.name} has distances in centimetres. Expected: values of"
            f" 10 and more. Received: at most {distance.max():g}, as if in metres. Declare a format"
            " in metres, or write the file again."
        )


def _refuse(
    wrong: np.ndarray, values: np.ndarray, lines: Sequence[int], source: str, name: str, wanted: str
) -> None:
    if wrong.any():
        first = int(np.argmax(wrong))
        raise DataError(
            f"{source}, line {lines[first]}: {name} is not usable. Expected: {wanted}. Received:"
            f" {values[first]:g}; {int(wrong.sum())} such line(s). Correct the file, or declare its"
            " format and classes."
        )


def _log_oddities(
    rows: np.ndarray, table: dict[str, np.ndarray], declared: CsvFormat, source: str
) -> None:
    """Logs, once for a file, what is allowed but often a mistake."""
    frame, klass = rows[:, FRAME], rows[:, CLASS]
    if backward := int((np.diff(frame) < 0).sum()):
        logger.warning("%s: frames go backward at %d line(s).", source, backward)
    places = frame * (klass.max() + 1) + klass
    _, counts = np.unique(places, return_counts=True)
    if many := int((counts > MOST_SOURCES).sum()):
        text = "%s: more than %d sources of one class at once, %d time(s)."
        logger.warning(text, source, MOST_SOURCES, many)
    if declared.name == "submission2024" and not table["distance"].any():
        logger.warning("%s: all distances are 0, as in submission2023.", source)
    if "unused" in table and table["unused"].any():
        logger.warning("%s: the 7th column is ignored; submission2024 has distances.", source)
    if not declared.is_cartesian and "source" in table:
        # 0: sources that are no actors
        numbers = np.unique(rows[:, SOURCE] * (klass.max() + 1) + klass)
        sources = np.floor(numbers / (klass.max() + 1))
        sources = sources[sources != 0]
        # Not a warning: an actor of STARSS22 who speaks and claps has one number.
        if changing := len(sources) - len(np.unique(sources)):
            logger.info("%s: source numbers change their class %d time(s).", source, changing)
