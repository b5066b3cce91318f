"""Cases of decoding, event files and scores of sound event detection."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.golden.recipes import Arrays


def kong_vad(inputs: Arrays, settings: dict) -> dict[str, object]:
    from common.events.postprocess import detect_published

    pairs = []
    for number, curve in enumerate(
        np.split(inputs["curves_flat"], np.cumsum(inputs["curve_lengths"])[:-1])
    ):
        for index, each in enumerate(inputs["params_json"]):
            found = detect_published(
                curve,
                each["thres"],
                each["low_thres"],
                smooth_frames=each["n_smooth"],
                salt_frames=each["n_salt"],
            )
            pairs += [(number, index, *pair) for pair in found.tolist()]
    return {"pairs": np.array(pairs).reshape(-1, 4)}


def _kong_decoding(parameters: dict) -> Any:
    from sed_task4.decoding import DecodingConfig

    return DecodingConfig(
        decoder="kong2019",
        tag_threshold=parameters["sed_high_threshold"],
        high_threshold=parameters["sed_high_threshold"],
        low_threshold=parameters["sed_low_threshold"],
        smooth_frames=parameters["n_smooth"],
        salt_frames=parameters["n_salt"],
    )


def kong_submission(inputs: Arrays, settings: dict) -> dict[str, object]:
    from common.metrics.event_based import event_based_scores
    from common.metrics.segment_based import segment_based_scores
    from common.metrics.tagging import tag_scores
    from sed_task4.dataset import parse_strong
    from sed_task4.decoding import decode_clip
    from sed_task4.submission import format_submission
    from tests.event_tables import table_of

    names, classes = inputs["names"].tolist(), inputs["labels"].tolist()
    outputs: dict[str, object] = {}
    for suffix in ("", "2"):
        decoding = _kong_decoding(inputs[f"sed_params{suffix}_json"])
        clips = [
            decode_clip(frames, clip, decoding, 1 / 64)
            for frames, clip in zip(
                inputs["framewise_output"], inputs["clipwise_output"], strict=True
            )
        ]
        outputs[f"submission{suffix}_csv"] = format_submission(names, clips, classes)
    tables = [
        table_of(parse_strong(str(text), classes, strict=False)[0], names, classes)
        for text in (inputs["reference_tsv"], outputs["submission_csv"])
    ]
    tags = tag_scores(inputs["weak_target"], inputs["clipwise_output"])
    return outputs | {
        "average_precision": tags.average_precision,
        "mAP": tags.map_published,
        "event_based_json": event_based_scores(*tables).main(),
        "segment_based_json": segment_based_scores(*tables, 0.2).main(),
    }


def dcase2018_f_measure(inputs: Arrays, settings: dict) -> dict[str, object]:
    from common.metrics.tagging import class_f_scores, search_thresholds, tag_scores

    steps = int(inputs["steps"])
    y, p, p3 = (
        inputs[name][:steps].reshape(-1, *inputs[name].shape[2:]) for name in ("y", "p", "p3")
    )
    return {
        "f_default": class_f_scores(y, p),
        "f_thresholds": class_f_scores(y, p, inputs["thresholds_given"]),
        "f_strong": class_f_scores(y, p3),
        "best_thresholds": search_thresholds(y, p, inputs["threshold_grid"], without_positives=0.0),
        "mAP": tag_scores(y, p).map_published,
    }


def dcase2018_postprocessing(inputs: Arrays, settings: dict) -> dict[str, object]:
    from common.events.postprocess import binarize, median_filter, regions
    from common.events.table import events_frame
    from sed_task4.decoding import DecodingConfig, decode_clip

    probabilities, classes = inputs["probabilities"], inputs["labels"].tolist()
    active = binarize(probabilities, 0.5)
    by_class = binarize(probabilities, inputs["class_thresholds"])
    outputs: dict[str, object] = {
        "global_0_5": active,
        "class_bin": by_class,
        "regions_class_bin": regions(by_class),
    }
    for frames in range(1, 152, 2):  # the windows are only known by the names of the outputs
        outputs[f"median_{frames}"] = median_filter(active, frames)
        outputs[f"regions_{frames}"] = regions(median_filter(active, frames))
    events = decode_clip(
        probabilities, None, DecodingConfig(decoder="median", median_frames=51), 0.02
    )
    rows = events_frame([""], [events], classes)[["onset", "offset", "event_label"]].to_dict(
        "records"
    )
    return outputs | {"events_51_json": rows}


def _tables(inputs: Arrays, names: list[str] | None, classes: list[str] | None) -> Any:
    from sed_task4.dataset import DatasetConfig, parse_strong
    from tests.event_tables import table_of

    known = classes or DatasetConfig().classes
    (reference, files), (estimate, _) = (
        parse_strong(str(inputs[key]), known, strict=False)
        for key in ("reference_tsv", "estimated_tsv")
    )
    return [table_of(events, names or files, known) for events in (reference, estimate)]


def dcase2018_event_eval(inputs: Arrays, settings: dict) -> dict[str, object]:
    from common.metrics.event_based import event_based_scores

    scores = event_based_scores(*_tables(inputs, None, None), empty_estimate_is_zero=True)
    return {"results_json": scores.main()}


def sed_eval_metrics(inputs: Arrays, settings: dict) -> dict[str, object]:
    from common.metrics.event_based import event_based_scores
    from common.metrics.segment_based import segment_based_scores

    tables = _tables(inputs, inputs["files"].tolist(), inputs["labels"].tolist())
    return {
        "event_collar02_pct02_optimal_json": event_based_scores(*tables).main(),
        "segment_0.2_json": segment_based_scores(*tables, 0.2).main(),
        "segment_1.0_json": segment_based_scores(*tables, 1.0).main(),
    }


CASES: dict[str, Callable[[Arrays, dict], dict[str, object]]] = {
    "kong_vad": kong_vad,
    "kong_submission": kong_submission,
    "dcase2018_f_measure": dcase2018_f_measure,
    "dcase2018_postprocessing": dcase2018_postprocessing,
    "dcase2018_event_eval": dcase2018_event_eval,
    "sed_eval_metrics": sed_eval_metrics,
}
