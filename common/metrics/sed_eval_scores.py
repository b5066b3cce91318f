"""Scores by sed_eval itself: the reference of the fast versions, shown in reports."""

import warnings
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from common.events.table import EventTable
from common.metrics.detection import from_sed_eval
from common.metrics.event_based import COLLAR_S, OFFSET_SHARE


def import_sed_eval() -> ModuleType:
    """Imports sed_eval without the warnings of its dependencies."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import sed_eval
    return sed_eval


def event_based_by_sed_eval(
    reference: EventTable,
    estimate: EventTable,
    labels: Sequence[str],
    *,
    collar_s: float = COLLAR_S,
    offset_share: float = OFFSET_SHARE,
    empty_estimate_is_zero: bool = False,
) -> dict[str, float]:
    """Computes f, er, macro_f and macro_er; see `common.metrics.event_based.event_based_scores`."""
    metric = import_sed_eval().sound_event.EventBasedMetrics(
        event_label_list=list(labels),
        t_collar=float(collar_s),
        percentage_of_length=float(offset_share),
        **_handling(empty_estimate_is_zero),
    )
    return _evaluate(metric, reference, estimate, labels)


def segment_based_by_sed_eval(
    reference: EventTable,
    estimate: EventTable,
    labels: Sequence[str],
    segment_s: float = 1.0,
    *,
    empty_estimate_is_zero: bool = False,
) -> dict[str, float]:
    """Computes f, er, macro_f and macro_er; see `segment_based.segment_based_scores`."""
    metric = import_sed_eval().sound_event.SegmentBasedMetrics(
        event_label_list=list(labels), time_resolution=float(segment_s)
    )
    handling = _handling(empty_estimate_is_zero)
    metric.empty_system_output_handling = handling["empty_system_output_handling"]
    return _evaluate(metric, reference, estimate, labels)


def _handling(empty_estimate_is_zero: bool) -> dict[str, str | None]:
    return {"empty_system_output_handling": "zero_score" if empty_estimate_is_zero else None}


def _evaluate(
    metric: Any, reference: EventTable, estimate: EventTable, labels: Sequence[str]
) -> dict[str, float]:
    for number in range(reference.n_recordings):
        metric.evaluate(*(_event_list(table, number, labels) for table in (reference, estimate)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the mean over no defined class
        return from_sed_eval(metric.results())


def _event_list(table: EventTable, number: int, labels: Sequence[str]) -> list[dict[str, Any]]:
    rows = table.of_recording(number).tolist()
    keys = ("event_label", "onset", "offset")
    return [dict(zip(keys, (labels[int(k)], *times), strict=True)) for k, *times in rows]
