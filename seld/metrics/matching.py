"""Pairs of true and estimated sources of one class, frame by frame, at the least total angle.

All frames of a recording are paired together: those with the same numbers of sources at once.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from seld.geometry import cartesian_distance, spherical_to_cartesian
from seld.recordings.rows import AZIMUTH, CLASS, ELEVATION, FRAME

MAX_ASSIGNMENTS = 120  # up to this many, all assignments of a frame are tried, vectorised
_TIE_DEG = 1e-7  # totals closer than this are left to scipy, so that ties fall as the official ones


@dataclass(frozen=True)
class Cells:
    """Rows of one side, sorted into cells, one for each frame and class.

    Attributes:
        rows: (n, 7), sorted by cell, in the order of the file within one.
        cell: int (n,), frame * K + class.
        counts: int (T * K,), rows in each cell.
        first: int (T * K,), first row of each cell.
        directions: (n, D), see `directions_of`.
    """

    rows: np.ndarray
    cell: np.ndarray
    counts: np.ndarray
    first: np.ndarray
    directions: np.ndarray


@dataclass(frozen=True)
class Pairs:
    """Matched sources.

    Attributes:
        reference: int (pairs,), row of the sorted reference.
        estimate: int (pairs,), row of the sorted estimate.
        angle_deg: (pairs,), angle between them.
    """

    reference: np.ndarray
    estimate: np.ndarray
    angle_deg: np.ndarray


def cells_of(
    rows: np.ndarray, size: tuple[int, int], angles: str, vectors: np.ndarray | None = None
) -> Cells:
    """Sorts rows into cells.

    Args:
        rows: (n, 7), see `seld.recordings.rows`, of frames below T.
        size: frames and classes, T and K.
        angles: kind of directions, see `directions_of`.
        vectors: (n, 3), directions as a file gives them; None: from the angles.
    """
    cell = (rows[:, FRAME] * size[1] + rows[:, CLASS]).astype(np.int64)
    order = np.argsort(cell, kind="stable")
    rows, cell = rows[order], cell[order]
    counts = np.bincount(cell, minlength=size[0] * size[1])
    directions = directions_of(rows, angles, None if vectors is None else vectors[order])
    return Cells(rows, cell, counts, np.cumsum(counts) - counts, directions)


def directions_of(rows: np.ndarray, angles: str, vectors: np.ndarray | None = None) -> np.ndarray:
    """Prepares directions for `angle_deg`, (n, D).

    Args:
        rows: (n, 7).
        angles: see `seld.metrics.years.YearRules`.
        vectors: (n, 3) of any length, used by "offset" and "exact" in place of the angles.
    """
    azimuth = rows[:, AZIMUTH] * np.pi / 180.0
    elevation = rows[:, ELEVATION] * np.pi / 180.0
    if angles == "folded":
        return folded_azimuth(rows[:, AZIMUTH])[:, None]
    if angles == "arccos":
        return np.stack([azimuth, np.sin(elevation), np.cos(elevation)], axis=1)
    if vectors is None:
        vectors = spherical_to_cartesian(azimuth, elevation)
    if angles == "offset":
        vectors = vectors / np.sqrt((vectors**2).sum(axis=1, keepdims=True) + 1e-10)
    return vectors


def folded_azimuth(azimuth_deg: np.ndarray) -> np.ndarray:
    """Mirrors azimuths of the back to the front, [-90, 90] degrees: stereo cannot tell them."""
    azimuth_deg = (azimuth_deg + 180.0) % 360.0 - 180.0
    back = np.abs(azimuth_deg) > 90.0
    return np.where(back, np.copysign(180.0, azimuth_deg) - azimuth_deg, azimuth_deg)


def angle_deg(first: np.ndarray, second: np.ndarray, angles: str) -> np.ndarray:
    """Angles in degrees between directions (..., D) from `directions_of`, broadcast."""
    if angles == "folded":
        return np.abs(first - second)[..., 0]
    if angles == "exact":
        # The origin has no direction: as far as possible from any.
        distance = cartesian_distance(*np.broadcast_arrays(first, second))
        return np.degrees(np.nan_to_num(distance, nan=np.pi))
    if angles == "arccos":
        sines = first[..., 1] * second[..., 1]
        cosines = first[..., 2] * second[..., 2]
        cosine = sines + cosines * np.cos(np.abs(first[..., 0] - second[..., 0]))
    else:
        products = first * second
        cosine = products[..., 0] + products[..., 1] + products[..., 2]
    return np.arccos(np.clip(cosine, -1.0, 1.0)) * 180.0 / np.pi


def match(reference: Cells, estimate: Cells, angles: str) -> Pairs:
    """Pairs the sources of each cell, as many as the fewer ones, at the least total angle."""
    both = np.flatnonzero((reference.counts > 0) & (estimate.counts > 0))
    n_ref, n_est = reference.counts[both], estimate.counts[both]
    single = (n_ref == 1) & (n_est == 1)  # most cells, by far
    row, column = reference.first[both[single]], estimate.first[both[single]]
    angle = angle_deg(reference.directions[row], estimate.directions[column], angles)
    found = [(row, column, angle)]
    for chosen, size in problems_by_size(n_ref, n_est, ~single):
        found.append(_match_alike(reference, estimate, both[chosen], size, angles))
    return Pairs(*map(np.concatenate, zip(*found, strict=True)))


def problems_by_size(
    n_rows: np.ndarray, n_columns: np.ndarray, wanted: np.ndarray
) -> Iterator[tuple[np.ndarray, tuple[int, int]]]:
    """Groups problems that have as many rows and columns, to be solved together.

    Args:
        n_rows: int (N,).
        n_columns: int (N,).
        wanted: bool (N,); others are left out.

    Yields:
        Numbers of the problems of a group, int (n,), and their rows and columns.
    """
    shape = n_rows * (int(n_columns.max(initial=0)) + 1) + n_columns  # one number for each pair
    for number in np.flatnonzero(np.bincount(shape[wanted])):
        chosen = np.flatnonzero(wanted & (shape == number))
        yield chosen, (int(n_rows[chosen[0]]), int(n_columns[chosen[0]]))


def _match_alike(
    reference: Cells, estimate: Cells, cells: np.ndarray, size: tuple[int, int], angles: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, columns and angles of the pairs of cells with the same numbers of sources."""
    rows = reference.first[cells][:, None] + np.arange(size[0])  # (n, R)
    columns = estimate.first[cells][:, None] + np.arange(size[1])  # (n, E)
    left, right = reference.directions[rows][:, :, None], estimate.directions[columns][:, None]
    costs = angle_deg(left, right, angles)  # (n, R, E)
    problem = np.arange(len(costs))[:, None]
    row, column = assign(costs)  # (n, min(R, E)) each
    found = rows[problem, row], columns[problem, column], costs[problem, row, column]
    return found[0].ravel(), found[1].ravel(), found[2].ravel()


def assign(costs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs rows with columns at the minimum total cost, all of the fewer ones.

    Args:
        costs: (N, R, E), cost of pairing row r with column e, for N problems.

    Returns:
        Rows and columns, int (N, min(R, E)) each. Among equal totals the choice is that of
        `scipy.optimize.linear_sum_assignment`.
    """
    if costs.shape[1] > costs.shape[2]:
        chosen, tied = _assign_few(costs.transpose(0, 2, 1))
        columns = np.broadcast_to(np.arange(costs.shape[2]), chosen.shape).copy()
        rows = chosen
    else:
        columns, tied = _assign_few(costs)
        rows = np.broadcast_to(np.arange(costs.shape[1]), columns.shape).copy()
    if tied.any():
        from scipy.optimize import linear_sum_assignment  # slow to import and rarely needed

        for number in np.flatnonzero(tied):
            rows[number], columns[number] = linear_sum_assignment(costs[number])
    return rows, columns


def _assign_few(costs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Column of each row, int (N, R) with R <= E; and bool (N,), True where it is not settled."""
    n_problems, n_rows, n_columns = costs.shape
    if math.perm(n_columns, n_rows) > MAX_ASSIGNMENTS:
        return np.zeros((n_problems, n_rows), np.int64), np.ones(n_problems, bool)
    candidates = assignments(n_rows, n_columns)  # (assignments, R)
    if len(candidates) == 1:
        return np.zeros((n_problems, n_rows), np.int64), np.zeros(n_problems, bool)
    totals = costs[:, 0, candidates[:, 0]]
    for row in range(1, n_rows):
        totals = totals + costs[:, row, candidates[:, row]]
    best = totals.argmin(axis=1)
    lowest = totals[np.arange(n_problems), best]
    tied = (totals <= lowest[:, None] + _TIE_DEG).sum(axis=1) > 1
    return candidates[best], tied


@lru_cache(maxsize=64)
def assignments(n_rows: int, n_columns: int) -> np.ndarray:
    """All ways to give each row a column of its own, int (assignments, rows)."""
    return np.array(list(itertools.permutations(range(n_columns), n_rows)))
