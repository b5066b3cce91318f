"""Cases of the scores of sound event detection, 2019 to 2024."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.golden.recipes import Arrays


def _truth(inputs: Arrays) -> tuple[list[str], list[np.ndarray]]:
    """File names of the clips, and their events (n, 3)."""
    from sed_task4.dataset import events_by_name, parse_strong
    from sed_task4.labels import event_array

    classes = inputs["labels"].tolist()
    names = [f"{name}.wav" for name in inputs["names"].tolist()]
    events, _ = parse_strong(str(inputs["ground_truth_tsv"]), classes, strict=False)
    rows = events_by_name(events, names).values()
    return names, [event_array(each, classes) for each in rows]


def _table(clips: list[np.ndarray], inputs: Arrays) -> Any:
    from common.events.table import EventTable

    return EventTable.from_recordings(clips, len(inputs["labels"]))


def _edges(inputs: Arrays) -> np.ndarray:
    n_frames = inputs["scores"].shape[1]
    return np.minimum(np.arange(n_frames + 1) * float(inputs["hop_s"]), float(inputs["clip_s"]))


def _named(labels: list[str], values: np.ndarray, **means: float) -> dict[str, float]:
    return dict(zip(labels, np.asarray(values, float).tolist(), strict=True)) | means


def _f(labels: list[str], scores: Any) -> dict[str, float]:
    means = {"macro_average": scores.macro_f, "micro_average": scores.micro_f}
    return _named(labels, scores.f, **means)


def _areas(labels: list[str], values: np.ndarray) -> dict[str, float]:
    return _named(labels, values, mean=float(np.nanmean(values)))


def sed_scores_metrics(inputs: Arrays, settings: dict) -> dict[str, object]:
    from common.metrics.median_sweep import median_independent_psds
    from common.metrics.psds import PsdsScenario, ThresholdSweep
    from common.metrics.segment_sweep import clip_entries, clip_maxima, score_segments
    from common.metrics.tagging import average_precision
    from common.metrics.threshold_curves import area_scores, best_f_scores, f_scores_at, mcclish

    config, labels = settings["config"], inputs["labels"].tolist()
    reference, durations_s = _table(_truth(inputs)[1], inputs), inputs["durations"]
    scores = list(inputs["scores"])
    sweep = ThresholdSweep(reference, scores, [_edges(inputs)] * len(scores), durations_s)
    scenarios = {
        name: PsdsScenario(
            each["dtc_threshold"],
            each["gtc_threshold"],
            each["cttc_threshold"],
            each["alpha_ct"],
            each["alpha_st"],
            each["max_efpr"],
        )
        for name, each in config["scenarios"].items()
    }
    found = {name: sweep.psds(scenario) for name, scenario in scenarios.items()}
    results: dict[str, object] = {
        name: {"psds": each.psds, "classes": _named(labels, each.class_psds)}
        for name, each in found.items()
    }
    one, two = scenarios["psds1"], scenarios["psds2"]
    kept = (sweep.totals.counts.sum(axis=1) > 0).astype(float)  # clips with events
    results["psds1_non_oracle"] = {"psds": sweep.psds(one, oracle=False).psds}
    results["psds1_without_empty_clips"] = {"psds": sweep.psds(one, weights=kept).psds}
    results["psds2_without_empty_clips"] = {"psds": sweep.psds(two, weights=kept).psds}
    windows = inputs["median_lengths_s"].tolist()
    free = median_independent_psds(sweep, windows, one)
    results["pi_psds1"] = {"psds": free.psds, "classes": _named(labels, free.class_psds)}
    segments = score_segments(
        reference, sweep.frames, sweep.scores, durations_s, config["segment_s"]
    )
    clips = clip_entries(reference, clip_maxima(sweep.frames, sweep.scores))
    collar, criteria = config["collar"], config["intersection_f"]
    curves = {
        "collar": sweep.collar_curves(collar["onset_collar"], collar["offset_collar_rate"]),
        "intersection": sweep.intersection_curves(PsdsScenario(criteria["dtc"], criteria["gtc"])),
        "segment": segments.curves(),
        "clip": clips.curves(),
    }
    for kind, each in curves.items():
        best = best_f_scores(each, len(labels))
        results[f"{kind}_best_f"] = _f(labels, best)
        results[f"{kind}_best_thresholds"] = _named(labels, best.thresholds)
        results[f"{kind}_f_at_0.5"] = _f(labels, f_scores_at(each, len(labels), 0.5))
    limit = config["max_fpr"]
    areas = area_scores(curves["segment"], len(labels), segments.counts, max_rate=limit)
    results["segment_auroc"] = _areas(labels, areas.auc)
    results[f"segment_pauroc_{limit}"] = _areas(labels, areas.pauc)
    results[f"segment_pauroc_{limit}_mcclish"] = _areas(labels, mcclish(areas.pauc, limit))
    tags = area_scores(curves["clip"], len(labels), clips.counts)
    results["clip_auroc"] = _areas(labels, tags.auc)
    for kind, entries in (("segment", segments), ("clip", clips)):
        precision = average_precision(entries.targets, entries.scores)
        results[f"{kind}_average_precision"] = _areas(labels, precision)
    resampled = _bootstrap(inputs, sweep, (one, two), curves, segments.counts, limit)
    results["bootstrap_interval_90"] = _intervals(resampled)
    return {f"bootstrap_{name}": each for name, each in resampled.items()} | {
        "results_json": results
    }


def _bootstrap(
    inputs: Arrays, sweep: Any, scenarios: Any, curves: dict, n_segments: np.ndarray, limit: float
) -> dict[str, np.ndarray]:
    from common.metrics.bootstrap import bootstrap, weights_of_draws
    from common.metrics.threshold_curves import area_scores, best_f_scores

    n_classes = len(inputs["labels"])
    swept = [sweep.intersection_curves(each) for each in scenarios]

    def score(weights: np.ndarray) -> dict[str, float]:
        pairs = zip(scenarios, swept, strict=True)
        one, two = (sweep.psds(each, curves=found, weights=weights) for each, found in pairs)
        areas = area_scores(curves["segment"], n_classes, n_segments, weights, limit)
        best = best_f_scores(curves["collar"], n_classes, weights)
        return {
            "psds1": one.psds,
            "psds2": two.psds,
            "segment_pauroc": areas.mean_pauc,
            "collar_best_f": best.macro_f,
        }

    draws = inputs["bootstrap_draws"]
    return bootstrap(score, weights_of_draws(draws, draws.shape[1]))


def _intervals(resampled: dict[str, np.ndarray]) -> dict[str, list[float]]:
    from common.metrics.bootstrap import interval

    found = {name: interval(each, 0.9) for name, each in resampled.items()}
    return {name: [each.mean, each.low, each.high] for name, each in found.items()}


def _decoded(inputs: Arrays, threshold: float) -> list[np.ndarray]:
    from sed_task4.decoding import DecodingConfig, decode_clip

    decoding = DecodingConfig(
        decoder="median",
        tag_threshold=None,
        threshold=threshold,
        threshold_rule="exceeded",
        median_frames=int(inputs["median_window"]),
        median_edges="reflect",
    )
    hop_s, clip_s = float(inputs["hop_s"]), float(inputs["clip_s"])
    return [decode_clip(each, None, decoding, hop_s, clip_s=clip_s) for each in inputs["scores"]]


def psds_operating_points(inputs: Arrays, settings: dict) -> dict[str, object]:
    from dataclasses import replace

    from common.events.table import EVENT_COLUMNS, events_frame
    from common.metrics.event_based import event_based_scores
    from common.metrics.operating_points import intersection_f_scores, psds_from_points
    from common.metrics.psds import SCENARIOS, PsdsScenario
    from common.metrics.segment_based import segment_based_scores

    names, truth = _truth(inputs)
    labels, durations_s = inputs["labels"].tolist(), inputs["durations"]
    reference = _table(truth, inputs)
    points = [_table(_decoded(inputs, each), inputs) for each in inputs["thresholds"].tolist()]
    clips = _decoded(inputs, 0.5)
    half = _table(clips, inputs)
    results: dict[str, object] = {
        name: psds_from_points(reference, points, replace(each, cttc=0.3), durations_s).psds
        for name, each in SCENARIOS.items()
    }

    def f(estimate: Any, share: float = 0.5) -> Any:
        return intersection_f_scores(reference, estimate, PsdsScenario(share, share), durations_s)

    # Three of the thresholds: the 11th, 21st and 31st.
    three = [f(points[number]).macro_f_of_hit for number in (10, 20, 30)]
    without = [rows[rows[:, 0] > 0] for rows in clips]
    results |= {
        "intersection_macro_f": f(half).macro_f_of_hit,
        "intersection_macro_f_0.7": f(half, 0.7).macro_f_of_hit,
        "intersection_macro_f_0.1": f(half, 0.1).macro_f_of_hit,
        "intersection_macro_f_three_thresholds": float(np.mean(three)),
        "intersection_macro_f_without_first_class": f(_table(without, inputs)).macro_f_of_hit,
        "intersection_class_f": _named(labels, f(half).f),
    }
    zero: dict[str, Any] = {"empty_estimate_is_zero": True}
    events, segments = (
        event_based_scores(reference, half, **zero),
        segment_based_scores(reference, half),
    )
    results |= {
        "event_based_2019_macro_f": events.macro_f,
        "event_based_2019_macro_er": events.macro_er,
        "event_based_2019_micro_f": events.f,
        "segment_based_2019_macro_f": segments.macro_f,
        "segment_based_2019_micro_f": segments.f,
    }
    kept = [number for number, rows in enumerate(truth) if len(rows)]
    both = [_table([each[number] for number in kept], inputs) for each in (truth, clips)]
    rows = events_frame(names, clips, labels)[list(EVENT_COLUMNS)].to_dict("records")
    return {
        "results_json": results,
        "event_based_json": event_based_scores(both[0], both[1], **zero).main(),
        "segment_based_json": segment_based_scores(both[0], both[1]).main(),
        "events_at_half_json": rows,
        "n_events": np.array([*map(len, points), len(half)]),
    }


def mt2019_weak_f(inputs: Arrays, settings: dict) -> dict[str, object]:
    from common.metrics.tagging import class_f_scores, tag_scores

    targets, scores = inputs["y"], inputs["p"]
    return {
        "f": class_f_scores(targets, scores),
        "f_thresholds": class_f_scores(targets, scores, inputs["thresholds"]),
        "macro_f": tag_scores(targets, scores).macro_f,
    }


def maestro_mpauc(inputs: Arrays, settings: dict) -> dict[str, object]:
    from common.events.table import EVENT_COLUMNS, events_frame
    from sed_task4.clips.layouts import SubsetPlace
    from sed_task4.dataset import parse_soft
    from sed_task4.scores.maestro import (
        certain_labels,
        maestro_scores,
        merged_truth,
        overlap_add,
        segment_edges,
    )

    classes, evaluated = inputs["labels"].tolist(), inputs["labels_eval"].tolist()
    files = inputs["files"].tolist()
    lengths_s = dict(zip(files, inputs["durations"].tolist(), strict=True))
    place = SubsetPlace("tsv", "audio", "soft", classes=tuple(classes))
    events, names = parse_soft(str(inputs["tsv"]), evaluated, place, np.inf, "tsv")
    labels = certain_labels(events, names, evaluated)
    truth = merged_truth(labels, files, len(evaluated))
    windows = dict(zip(inputs["clip_ids"].tolist(), inputs["scores"], strict=True))
    seconds = overlap_add(windows, inputs["frame_edges"], lengths_s, only=labels.windows)
    columns = [classes.index(label) for label in evaluated]
    chosen = [seconds[name][:, columns] for name in files]
    found = maestro_scores(truth, chosen, list(lengths_s.values()))
    events = [truth.of_recording(number) for number in range(len(files))]
    outputs: dict[str, object] = {
        "merged_events_json": events_frame(files, events, evaluated)[list(EVENT_COLUMNS)].to_dict(
            "records"
        ),
        "results_json": {
            "segment_best_f": _f(evaluated, found.best),
            "segment_best_thresholds": _named(evaluated, found.best.thresholds),
            "mauc": _areas(evaluated, found.areas.auc),
            "mpauc": _areas(evaluated, found.areas.pauc),
        },
    }
    for number, name in enumerate(files):
        outputs[f"segment_scores{number}"] = seconds[name]
        outputs[f"segment_edges{number}"] = segment_edges(lengths_s[name])
    return outputs


CASES: dict[str, Callable[[Arrays, dict], dict[str, object]]] = {
    "sed_scores_metrics": sed_scores_metrics,
    "psds_operating_points": psds_operating_points,
    "mt2019_weak_f": mt2019_weak_f,
    "maestro_mpauc": maestro_mpauc,
}
