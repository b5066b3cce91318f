"""Rows: one entry for each source in each label frame, the form in which all systems answer.

Files of every year are read into rows and written from them, see `seld.recordings.csv_formats`; the
scorers of 2020 to 2025 take nothing else. The first four columns are the output format of 2019.
"""

import numpy as np

FRAME, CLASS, AZIMUTH, ELEVATION, SOURCE, DISTANCE, ONSCREEN = range(7)
COLUMNS = ("frame", "class", "azimuth_deg", "elevation_deg", "source", "distance_m", "onscreen")


def no_rows() -> np.ndarray:
    """Returns float64 (0, 7)."""
    return np.zeros((0, len(COLUMNS)))


def make_rows(
    frame: np.ndarray,
    klass: np.ndarray,
    azimuth_deg: np.ndarray,
    elevation_deg: np.ndarray | float = 0.0,
    **others: np.ndarray | float,
) -> np.ndarray:
    """Joins columns to rows, float64 (n, 7); columns that are not given are unknown, NaN.

    Args:
        frame: label frame of each source, whole numbers (n,).
        klass: its class (n,).
        azimuth_deg: counter-clockwise from the front (n,).
        elevation_deg: upwards from the horizon (n,).
        others: some of source, distance_m (metres) and onscreen (0 or 1).

    Raises:
        ValueError: there is no such column.
    """
    unknown = sorted(set(others) - set(COLUMNS[SOURCE:]))
    if unknown:
        raise ValueError(f"Expected: some of {COLUMNS[SOURCE:]}. Received: {unknown}.")
    rows = np.full((len(frame), len(COLUMNS)), np.nan)
    rows[:, FRAME], rows[:, CLASS] = frame, klass
    rows[:, AZIMUTH], rows[:, ELEVATION] = azimuth_deg, elevation_deg
    for name, values in others.items():
        rows[:, COLUMNS.index(name)] = values
    return rows


def wide_rows(rows: np.ndarray) -> np.ndarray:
    """Rows (n, 7) from rows (n, 4), whose other columns are unknown; others stay."""
    missing = len(COLUMNS) - rows.shape[1]
    if missing <= 0:
        return rows
    return np.concatenate([rows, np.full((len(rows), missing), np.nan)], axis=1)


def spans(begin: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lists the numbers of many ranges one after the other.

    Args:
        begin: int (n,), first number of each range.
        end: int (n,), the number after its last; empty where it is not above `begin`.

    Returns:
        Range that each number is of, and the number, int64 (m,) each.
    """
    counts = np.maximum(end - begin, 0)
    owner = np.repeat(np.arange(len(counts)), counts)
    return owner, np.arange(len(owner)) + np.repeat(begin - np.cumsum(counts) + counts, counts)


def ranks(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rank of each entry among those of its key, in their order, and their number, (n,) each."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    first = np.flatnonzero(np.diff(ordered, prepend=ordered[:1] - 1))  # entries that begin a key
    counts = np.diff(first, append=len(keys))
    rank, count = np.empty(len(keys), np.int64), np.empty(len(keys), np.int64)
    rank[order] = np.arange(len(keys)) - np.repeat(first, counts)
    count[order] = np.repeat(counts, counts)
    return rank, count


def check_wide_rows(rows: np.ndarray, n_classes: int | None = None) -> np.ndarray:
    """Checks rows; returns them as float64 (n, 7), without a copy where possible.

    Raises:
        ValueError: not seven columns, an angle that is not finite, or a frame or class that is
            negative, not whole or out of range.
    """
    checked = np.asarray(rows, np.float64)
    if checked.size == 0:
        return no_rows()
    if checked.ndim != 2 or checked.shape[1] != len(COLUMNS):
        raise ValueError(
            f"Rows are {', '.join(COLUMNS)}. Expected: (n, {len(COLUMNS)}). Received:"
            f" {checked.shape}."
        )
    if not np.isfinite(checked[:, : ELEVATION + 1]).all():
        raise ValueError(
            "Frames, classes and angles must be finite numbers. Received: NaN or infinity."
        )
    whole = checked[:, : CLASS + 1]
    high = np.inf if n_classes is None else n_classes - 1
    if (whole < 0).any() or (whole != np.floor(whole)).any() or checked[:, CLASS].max() > high:
        wanted = "" if n_classes is None else f", classes below {n_classes}"
        raise ValueError(
            f"Frames and classes must be whole numbers from 0 on{wanted}. Received: frames from"
            f" {whole[:, 0].min():g}, classes {whole[:, 1].min():g} to {whole[:, 1].max():g}."
        )
    return checked
