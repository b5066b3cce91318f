"""Curves of a run's scores over all thresholds, kept in its folder for reports.

They are those that PSDS and the best F were computed from, in as many points as a figure shows.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common.io.files import write_json
from common.metrics.psds import PsdsScore
from common.metrics.threshold_curves import FCurves
from common.training.run_directory import read_form
from sed_task4.threshold_scores import SweptCurves

if TYPE_CHECKING:
    from sed_task4.score import ScoreRow

CURVES = "curves.json"
MOST_POINTS = 201  # of a curve of PSDS
_DECIMALS = 5
_Number = float | None


@dataclass(frozen=True)
class PsdsCurve:
    """Curve of one scenario of PSDS, of all classes together.

    Attributes:
        psds: area under the curve, divided by `max_rate`; None: undefined.
        rates: effective false positives per hour at which the curve steps, rising.
        found: effective rate of events found from each of `rates` on.
        max_rate: of the area, per hour.
    """

    psds: _Number
    rates: list[float]
    found: list[float]
    max_rate: float


@dataclass(frozen=True)
class FCurve:
    """F-scores against a threshold, those of classes with true events.

    Attributes:
        macro: mean over these classes, at each threshold; None: there are none.
        classes: by class, F at each threshold.
        best: by class, its best threshold and F there, over all thresholds.
    """

    macro: list[_Number]
    classes: dict[str, list[float]]
    best: dict[str, list[float]]


@dataclass(frozen=True)
class SystemCurves:
    """Curves of one row of the tables of scores.

    Attributes:
        label: of the row.
        threshold: in use: the decoder's, at which scores above it are events; None: unknown.
        psds: by scenario.
        thresholds: of the curves of F, rising.
        f: "event", and "intersection" where that is scored.
    """

    label: str
    threshold: _Number
    psds: dict[str, PsdsCurve]
    thresholds: list[float]
    f: dict[str, FCurve]


@dataclass(frozen=True)
class _File:
    rows: list[SystemCurves]


def write_curves(path: Path, rows: Iterable["ScoreRow"], classes: Sequence[str]) -> None:
    """Writes the curves of the systems among the rows of a report that have any.

    Args:
        path: the file; without any curve it is removed, as it would be of an earlier start.
        rows: of a report.
        classes: class names.

    Raises:
        DataError: the file cannot be written.
    """
    systems = [
        system_curves(row.label, row.curves, classes)
        for row in rows
        if row.group == "system" and row.curves is not None
    ]
    if systems:
        write_json(path, {"rows": [asdict(each) for each in systems]})
    else:
        path.unlink(missing_ok=True)


def system_curves(label: str, curves: SweptCurves, classes: Sequence[str]) -> SystemCurves:
    """Returns the curves of a row, in fewer points and by the names of the classes."""
    thresholds = curves.f["event"].thresholds.tolist()
    psds = {name: _psds_curve(*each) for name, each in curves.psds.items()}
    f = {kind: _f_curve(each, classes) for kind, each in curves.f.items()}
    return SystemCurves(label, curves.threshold, psds, thresholds, f)


def _psds_curve(score: PsdsScore, max_rate: float) -> PsdsCurve:
    rates, found = score.rates, score.effective
    if len(rates) > MOST_POINTS:
        rates = np.linspace(0, max_rate, MOST_POINTS)
        found = score.effective_at(rates)
    return PsdsCurve(score.psds, _rounded(rates), _rounded(found), max_rate)


def _f_curve(curves: FCurves, classes: Sequence[str]) -> FCurve:
    best, known = curves.best, np.flatnonzero(~np.isnan(curves.best.f)).tolist()
    return FCurve(
        _rounded(curves.macro_f),
        {classes[k]: _rounded(curves.f[:, k]) for k in known},
        {classes[k]: _rounded([best.thresholds[k], best.f[k]]) for k in known},
    )


def _rounded(values: Any) -> list[Any]:
    return np.round(np.asarray(values, np.float64), _DECIMALS).tolist()


def read_curves(folder: Path) -> list[SystemCurves] | None:
    """Reads the curves of a run; None: it has none.

    Args:
        folder: the run's directory.

    Raises:
        CheckpointError: the file is damaged.
    """
    path = folder / CURVES
    if not path.exists():
        return None
    return [_system(row) for row in read_form(path, _File)["rows"]]


def _system(row: Mapping[str, Any]) -> SystemCurves:
    psds = {name: PsdsCurve(**each) for name, each in row["psds"].items()}
    f = {kind: FCurve(**each) for kind, each in row["f"].items()}
    return SystemCurves(row["label"], row["threshold"], psds, row["thresholds"], f)
