"""Cases of labels and decoding of sound event detection of 2019 to 2024."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tests.golden.recipes import Arrays


def _events_by_name(
    tsv: object, classes: Sequence[str]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Events (n, 3) and confidences (n,), 1 without that column, of each clip of a strong file."""
    import pandas as pd

    from common.io.tables import parse_table
    from sed_task4.labels import event_array

    columns = ("filename", "onset", "offset", "event_label")
    table = parse_table(str(tsv), columns, "tsv", optional=("confidence",)).columns
    frame = pd.DataFrame(table)
    names, filled = frame["filename"].unique().tolist(), frame[frame["event_label"] != ""]
    filled = filled.astype({"onset": float, "offset": float})
    given = filled.get("confidence", pd.Series(1.0, filled.index)).astype(float)
    rows = {name: filled["filename"] == name for name in names}
    events = {name: event_array(filled[mine], classes) for name, mine in rows.items()}
    return events, {name: given[mine].to_numpy() for name, mine in rows.items()}


def _records(
    names: Sequence[str], clips: Sequence[np.ndarray], classes: Sequence[str]
) -> list[dict[Any, Any]]:
    from common.events.table import EVENT_COLUMNS, events_frame

    return events_frame(names, clips, classes)[list(EVENT_COLUMNS)].to_dict("records")


def mt2019_labels(inputs: Arrays, settings: dict) -> dict[str, object]:
    from sed_task4.dataset import parse_weak
    from sed_task4.labels import LabelGrid, frame_activity, multi_hot, weak_activity

    config, n_frames = settings["config"], int(inputs["n_frames"])
    classes = inputs["labels"].tolist()
    grid = LabelGrid(config["fs"], config["hop"], config["pooling"])
    events, _ = _events_by_name(inputs["tsv"], classes)
    strong = [
        frame_activity(events[name], n_frames, grid, len(classes), "dcase2019")
        for name in inputs["names"].tolist()
    ]
    by_name = parse_weak(str(inputs["weak_tsv"]), classes)
    weak = [multi_hot(by_name[name], classes) for name in inputs["weak_names"].tolist()]
    return {
        "strong_target": np.stack(strong),
        "weak_target": np.stack(weak),
        "weak_target_frames_first_clip": weak_activity(weak[0], n_frames, "all"),
    }


def desed_labels(inputs: Arrays, settings: dict) -> dict[str, object]:
    import pandas as pd

    from common.io.tables import parse_table
    from sed_task4.decoding import DecodingConfig, decode_clip
    from sed_task4.labels import (
        LabelGrid,
        frame_activity,
        soft_activity,
        tags_of_events,
        with_aliases,
    )

    classes, outputs = inputs["labels"].tolist(), dict[str, object]()
    plain = DecodingConfig(decoder="median", median_frames=1, tag_threshold=None)
    for number, config in enumerate(inputs["configs_json"]):
        grid = LabelGrid(config["fs"], config["frame_hop"], config["net_pooling"])
        clip_s = config["audio_len"]
        n_frames = grid.n_frames(clip_s)
        by_name, given = _events_by_name(inputs[f"tsv{number}"], classes)
        names = inputs[f"names{number}"].tolist()
        sizes = n_frames, grid, len(classes), "desed"
        binary = inputs[f"binary{number}"]
        clips = [decode_clip(each, None, plain, grid.frame_s, clip_s=clip_s) for each in binary]
        outputs |= {
            f"n_frames{number}": n_frames,
            f"strong{number}": np.stack([frame_activity(by_name[name], *sizes) for name in names]),
            f"soft{number}": np.stack(
                [soft_activity(by_name[name], given[name], *sizes) for name in names]
            ),
            f"weak{number}": np.stack(
                [tags_of_events(by_name[name], len(classes)) for name in names]
            ),
            f"decoded{number}_json": _records([str(i) for i in range(len(clips))], clips, classes),
            f"timestamps{number}": grid.times_s(np.arange(n_frames + 2), clip_s),
        }
    columns = ("filename", "onset", "offset", "event_label", "confidence")
    table = pd.DataFrame(parse_table(str(inputs["maestro_tsv"]), columns, "tsv").columns)
    mapped = with_aliases(table)[list(columns)]
    text = "\n".join("\t".join(row) for row in [columns, *mapped.to_numpy().tolist()])
    return outputs | {"maestro_mapped_tsv": text}


def mt2019_decode(inputs: Arrays, settings: dict) -> dict[str, object]:
    from common.events.postprocess import regions
    from sed_task4.decoding import DecodingConfig, decode_clip
    from sed_task4.labels import LabelGrid

    config = settings["config"]
    decoding = DecodingConfig(
        decoder="median",
        threshold=config["threshold"],
        median_frames=config["median_window"],
        median_edges="reflect",
        tag_threshold=None,
        cut_at_end=False,
    )
    frame_s = LabelGrid(config["fs"], config["hop"], config["pooling"]).frame_s
    clips = [decode_clip(each, None, decoding, frame_s, clip_s=10.0) for each in inputs["scores"]]
    found = [(clip, *row) for clip, each in enumerate(inputs["binary"]) for row in regions(each)]
    return {
        "events_json": _records(inputs["names"].tolist(), clips, inputs["labels"].tolist()),
        "regions_binary": np.array(found).reshape(-1, 4),
    }


def desed_decode(inputs: Arrays, settings: dict) -> dict[str, object]:
    from sed_task4.decoding import DecodingConfig, decode_clip, filtered_scores
    from sed_task4.labels import LabelGrid

    config, classes = settings["config"], inputs["labels"].tolist()
    frame_s = LabelGrid(config["fs"], config["hop"], config["pooling"]).frame_s
    one = int(inputs["median_window"])
    each = tuple(inputs["median_lengths"].tolist())
    rules: dict[str, dict[str, Any]] = {
        "y2021": {"median_frames": one},
        "y2023": {"median_frames": one, "median_of": "scores"},
        "y2024": {"median_frames": each, "median_of": "scores"},
        "fdy_mode0": {"median_frames": each},
        "fdy_mode1_alone": {"median_frames": each, "clip_masking": "same_threshold"},
        "fdy_mode2": {"median_frames": each, "clip_masking": "whole_clip"},
    }
    common = {"decoder": "median", "median_edges": "reflect", "threshold_rule": "exceeded"}
    outputs: dict[str, object] = {}
    for number, threshold in enumerate(inputs["thresholds"].tolist()):
        for name, rule in rules.items():
            values = common | rule | {"threshold": threshold, "tag_threshold": None}
            decoding = DecodingConfig(**values)
            clips = [
                decode_clip(frames, tags, decoding, frame_s, clip_s=config["audio_len"])
                for frames, tags in zip(inputs["scores"], inputs["weak_scores"], strict=True)
            ]
            events = _records(inputs["names"].tolist(), clips, classes)
            outputs[f"{name}_th{number}_json"] = events
    for name, windows in (("2023", one), ("2024", each)):
        decoding = DecodingConfig(**common, median_frames=windows)
        filtered = [filtered_scores(frames, decoding) for frames in inputs["scores"]]
        outputs[f"filtered_{name}"] = np.stack(filtered)
    return outputs


CASES = {
    "mt2019_labels": mt2019_labels,
    "desed_labels": desed_labels,
    "mt2019_decode": mt2019_decode,
    "desed_decode": desed_decode,
}
