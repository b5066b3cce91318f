"""Table of measured room responses: `metadata.csv` in their folder, one row for each file.

Angles are degrees, azimuth counter-clockwise from the front, elevation upwards; distances metres.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from common.audio.formats import is_sound, shown
from common.errors import DataError
from common.io.files import stays_inside
from common.io.tables import number_hint, parse_table, read_text, to_number
from common.simulation.dataset_folder import text_digest

logger = logging.getLogger(__name__)

TABLE = "metadata.csv"
SOFA_SUFFIX = ".sofa"
MICROPHONES = "mic"
CONVENTIONS = ("acn", "fuma", MICROPHONES)
NORMALISATIONS = ("sn3d", "n3d", "fuma")
AZIMUTHS_DEG, ELEVATIONS_DEG = (-180.0, 360.0), (-90.0, 90.0)
_OPTIONAL = ("azimuth", "elevation", "distance", "place", "convention", "normalisation")
# Other names of columns that tables in use have.
_ALIASES = {
    "filename": "file",
    "azimuth_deg": "azimuth",
    "direct_azimuth_deg": "azimuth",
    "elevation_deg": "elevation",
    "direct_elevation_deg": "elevation",
    "distance_m": "distance",
    "normalization": "normalisation",
}


@dataclass(frozen=True)
class ResponseRow:
    """One row of the table.

    Attributes:
        where: table and line, for errors.
        path: the file.
        place: room or site in which it was measured; None: the table has no such column.
        azimuth_deg: direction of the direct sound; None: in the file itself (SOFA).
        elevation_deg: see `azimuth_deg`.
        distance_m: from the source to the microphones; None: unknown.
        convention: of the channels: acn (W, Y, Z, X), fuma (W, X, Y, Z) or mic (microphones).
        normalisation: of ambisonic channels; None: not given.
    """

    where: str
    path: Path
    place: str | None
    azimuth_deg: float | None
    elevation_deg: float | None
    distance_m: float | None
    convention: str
    normalisation: str | None

    @property
    def is_sofa(self) -> bool:
        """True if the file has responses of several directions, and these as well."""
        return self.path.suffix.lower() == SOFA_SUFFIX


def read_response_table(folder: Path) -> list[ResponseRow]:
    """Reads `metadata.csv` with the columns file, azimuth, elevation and others that may be absent.

    Returns:
        Rows in the order of their files' names.

    Raises:
        DataError: there is no table, it has no row, or a row names a file that is not there or is
            listed before, lacks a direction, or has one that is not on the sphere.
    """
    path = Path(folder) / TABLE
    text = _text_of(path)
    table = parse_table(text, ("file",), str(path), optional=_OPTIONAL, aliases=_ALIASES)
    rows = [_row(path, line, row) for line, row in table.rows()]
    if not rows:
        raise DataError(
            f"{path} lists no room response. Expected: one row for each file. Add the rows, or set"
            " `simulation.rir_dir` to null."
        )
    _check_files(path, rows)
    return sorted(rows, key=lambda row: row.path)


def response_digest(folder: Path | None) -> str | None:
    """SHA-256 of the table and of the names and sizes of its files; None without a folder.

    Raises:
        DataError: see `read_response_table`.
    """
    if folder is None:
        return None
    rows = read_response_table(folder)
    sizes = [f"{row.path.relative_to(folder).as_posix()} {row.path.stat().st_size}" for row in rows]
    return text_digest([_text_of(Path(folder) / TABLE), *sizes])


def report_unlisted(folder: Path, rows: list[ResponseRow]) -> None:
    """Counts the sound files of the folder that the table does not list, which are not used."""
    listed = {row.path for row in rows}
    found = [
        path.relative_to(folder).as_posix()
        for path in sorted(Path(folder).rglob("*"))
        if (is_sound(path) or path.suffix.lower() == SOFA_SUFFIX) and path not in listed
    ]
    if found:
        text = "%s: %d file(s) without a row in %s are not used: %s."
        logger.warning(text, folder, len(found), TABLE, shown(found))


def _text_of(path: Path) -> str:
    missing = (
        f"There is no table of room responses {path}. Expected: the columns file, azimuth and"
        " elevation, see docs/own-data.md. Write it, or correct `simulation.rir_dir`."
    )
    return read_text(path, missing, "Write it again.")


def _check_files(table: Path, rows: list[ResponseRow]) -> None:
    absent = [row for row in rows if not row.path.is_file()]
    if absent:
        names = shown([row.path.name for row in absent])
        raise DataError(
            f"{absent[0].where}: there is no file {absent[0].path}. Expected: paths below"
            f" {table.parent}, with / between folders. Received: {len(absent)} row(s) without a"
            f" file ({names}). Correct the column file, or remove the rows."
        )
    first: dict[Path, ResponseRow] = {}
    for row in rows:
        earlier = first.setdefault(row.path, row)
        if earlier is not row:
            raise DataError(
                f"{row.where}: {row.path.name} is listed before, in"
                f" {earlier.where.rpartition(', ')[2]}. Expected: one row a file. Remove one of"
                " them."
            )


def _row(table: Path, line: int, row: Mapping[str, str]) -> ResponseRow:
    where = f"{table}, line {line}"
    file = row["file"].replace("\\", "/")
    if not file or not stays_inside(file):
        raise DataError(
            f"{where}: the column file is not usable. Expected: a path below {table.parent}."
            f" Received: {row['file'][:80]!r}. Correct the row."
        )
    if "place" in row and not row["place"]:
        raise DataError(
            f"{where}: the column place is empty. Expected: the room or site, whose responses are"
            " all in one split. Correct the row, or leave the column out: each file is then a place"
            " of its own."
        )
    path = table.parent / file
    is_sofa = path.suffix.lower() == SOFA_SUFFIX
    azimuth_deg = _angle(row, "azimuth", where, AZIMUTHS_DEG, is_sofa)
    elevation_deg = _angle(row, "elevation", where, ELEVATIONS_DEG, is_sofa)
    convention = _word(row, "convention", where, CONVENTIONS) or CONVENTIONS[0]
    normalisation = _word(row, "normalisation", where, NORMALISATIONS)
    if normalisation and convention == MICROPHONES:
        raise DataError(
            f"{where}: {row['file']} has a normalisation, and its convention is {MICROPHONES}."
            f" Expected: none, as it is of ambisonics. Received: {normalisation}. Correct the row."
        )
    return ResponseRow(
        where,
        path,
        row.get("place"),
        azimuth_deg,
        elevation_deg,
        _distance(row, where),
        convention,
        normalisation,
    )


def _angle(
    row: Mapping[str, str], column: str, where: str, limits: tuple[float, float], is_sofa: bool
) -> float | None:
    text = row.get(column, "")
    if is_sofa:
        if text:
            raise DataError(
                f"{where}: {column} is given for {row['file']}. Expected: empty, since a SOFA file"
                f" has its own directions. Received: {text[:80]!r}. Remove it."
            )
        return None
    if not text:
        raise DataError(
            f"{where}: the room response {row['file']} has no {column}. Expected: the direction of"
            " the direct sound, azimuth and elevation in degrees, azimuth counter-clockwise from"
            " the front. Add it, or remove the row."
        )
    value = to_number(text)
    if value is None or not limits[0] <= value <= limits[1]:
        raise DataError(
            f"{where}: {column} is outside the circle. Expected: degrees from {limits[0]:g} to"
            f" {limits[1]:g}. Received: {text[:80]!r}.{number_hint(text)} Correct the row."
        )
    return value


def _distance(row: Mapping[str, str], where: str) -> float | None:
    text = row.get("distance", "")
    value = to_number(text)
    if text and (value is None or value <= 0):
        raise DataError(
            f"{where}: distance is not usable. Expected: metres above 0, or empty where it is"
            f" unknown. Received: {text[:80]!r}.{number_hint(text)} Correct the row."
        )
    return value


def _word(row: Mapping[str, str], column: str, where: str, known: tuple[str, ...]) -> str | None:
    word = row.get(column, "").lower()
    if word and word not in known:
        raise DataError(
            f"{where}: unknown {column}. Expected: {', '.join(known)}, or empty. Received:"
            f" {row[column][:80]!r}. Correct the row."
        )
    return word or None
