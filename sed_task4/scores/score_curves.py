"""Curves of a run's scores over all thresholds, kept in its folder for reports.

They are those that PSDS and the best F were computed from, in as many points as a figure shows.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field, TypeAdapter

from common.errors import CheckpointError
from common.io.files import write_json
from common.metrics.psds import PsdsScore
from common.metrics.threshold_curves import FCurves
from common.training.run_directory import read_form
from sed_task4.scores.tables import ScoreRow
from sed_task4.scores.threshold_scores import SweptCurves

CURVES = "curves.json"
MOST_POINTS = 201  # of a curve of PSDS
_DECIMALS = 5
_Share = Annotated[float, Field(ge=0, le=1)]
_Rate = Annotated[float, Field(ge=0, le=1e15)]  # per hour
_Threshold = Annotated[float, Field(ge=-1e6, le=1e6)]


@dataclass(frozen=True)
class PsdsCurve:
    """Curve of one scenario of PSDS, of all classes together.

    Attributes:
        psds: area under the curve, divided by `max_rate`; None: undefined.
        rates: effective false positives per hour at which the curve steps, rising.
        found: effective rate of events found from each of `rates` on.
        max_rate: of the area, per hour.
    """

    psds: _Share | None
    rates: list[_Rate]
    found: list[_Share]
    max_rate: Annotated[float, Field(gt=0, le=1e15)]


@dataclass(frozen=True)
class FCurve:
    """F-scores against a threshold, those of classes with true events.

    Attributes:
        macro: mean over these classes, at each threshold; None: there are none.
        classes: by class, F at each threshold.
        best: by class, its best threshold and F there, over all thresholds.
    """

    macro: list[_Share | None]
    classes: dict[str, list[_Share]]
    best: dict[str, tuple[_Threshold, _Share]]


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
    threshold: _Threshold | None
    psds: Annotated[dict[str, PsdsCurve], Field(min_length=1)]
    thresholds: Annotated[list[_Threshold], Field(min_length=1)]
    f: Annotated[dict[str, FCurve], Field(min_length=1)]

    @property
    def is_whole(self) -> bool:
        """True if curves have as many values as thresholds, or rates."""
        lengths = {len(curve.macro) for curve in self.f.values()}
        lengths |= {len(each) for curve in self.f.values() for each in curve.classes.values()}
        named = all(curve.best.keys() == curve.classes.keys() for curve in self.f.values())
        pairs = all(len(curve.rates) == len(curve.found) for curve in self.psds.values())
        return lengths == {len(self.thresholds)} and named and pairs


@dataclass(frozen=True)
class _File:
    rows: Annotated[list[SystemCurves], Field(min_length=1)]


def write_curves(path: Path, rows: Iterable[ScoreRow], classes: Sequence[str]) -> None:
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
        {classes[k]: tuple(_rounded([best.thresholds[k], best.f[k]])) for k in known},
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
    rows = TypeAdapter(_File).validate_python(read_form(path, _File)).rows
    if not all(row.is_whole for row in rows):
        raise CheckpointError(
            f"{path} is damaged: curves of different lengths. Delete it and run the same command"
            " again."
        )
    return rows
