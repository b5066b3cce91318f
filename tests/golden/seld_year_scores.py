"""Cases of the scorers of DCASE 2020 to 2025, and of their jackknife."""

import re
from collections.abc import Callable, Iterator
from typing import Any

from tests.golden.recipes import Arrays

FORMATS = {  # of the reference and of the prediction; the 7th column of 2023 is a distance here
    2020: ("metadata2020", "submission2020"),
    2021: ("metadata2021", "submission2021"),
    2022: ("metadata2022", "submission2022"),
    2023: ("metadata2023", "submission2024"),
    2024: ("metadata2024", "submission2024"),
    2025: ("stereo2025", "stereo2025"),
}


def _recordings(inputs: Arrays, prefix: str, year: int) -> Iterator[dict[str, Any]]:
    from seld.recordings.csv_formats import parse_rows_and_vectors

    n_classes = int(inputs["n_classes"])
    for number in range(len(inputs[f"{prefix}files"])):
        (reference, _), (estimate, vectors) = (
            parse_rows_and_vectors(str(inputs[f"{prefix}{side}{number}_csv"]), fmt, n_classes)
            for side, fmt in zip(("ref", "pred"), FORMATS[year], strict=True)
        )
        yield {"reference": reference, "estimate": estimate, "estimate_vectors": vectors}


def _scorer(
    recordings: list[dict[str, Any]], rules: Any, inputs: Arrays, with_vectors: bool = False
) -> Any:
    from seld.metrics.location_aware import LocationScorer

    scorer = LocationScorer(rules, int(inputs["n_classes"]))
    n_frames = int(inputs["max_frames"]) if "max_frames" in inputs else None
    for each in recordings:
        vectors = each["estimate_vectors"] if with_vectors else None
        scorer.update(each["reference"], each["estimate"], n_frames, estimate_vectors=vectors)
    return scorer


def _block_metrics(inputs: Arrays, year: int) -> dict[str, object]:
    from seld.metrics.years import year_rules

    outputs: dict[str, object] = {}
    threshold = float(inputs["doa_threshold"])
    for case in inputs["cases"].tolist():
        recordings = list(_recordings(inputs, f"{case}__", year))
        for kind, angles in (("polar", "arccos"), ("xyz", "offset")):
            rules = year_rules(f"dcase{year}", angles=angles, angle_threshold_deg=threshold)
            scorer = _scorer(recordings, rules, inputs, kind == "xyz")
            if year < 2022:
                outputs[f"{case}__{kind}_result"] = scorer.result().values()
                continue
            outputs[f"{case}__{kind}_macro_result"] = scorer.result("macro").values()
            outputs[f"{case}__{kind}_micro_result"] = scorer.result("micro").values()
            if kind == "polar":
                outputs[f"{case}__classwise"] = scorer.result("macro").class_wise()
    return outputs


def _frame_metrics(inputs: Arrays, year: int) -> dict[str, object]:
    from seld.metrics.years import year_rules

    threshold = {"angle_threshold_deg": float(inputs["doa_threshold"])}
    if year == 2024:
        strict = {
            "distance_threshold_m": float(inputs["strict_dist_threshold_m"]),
            "relative_threshold": float(inputs["strict_reldist_threshold"]),
        }
        modes = {
            "frame": year_rules("dcase2024", **threshold),
            "strict": year_rules("dcase2024", **threshold, **strict),
            "nodist": year_rules("dcase2024_no_distance", **threshold),
            "segment": year_rules("dcase2024_blocks", **threshold),
        }
    else:
        threshold["relative_threshold"] = float(inputs["reldist_threshold"])
        modes = {
            "audio": year_rules("dcase2025", **threshold),
            "onscreen": year_rules("dcase2025_onscreen", **threshold),
        }
    outputs: dict[str, object] = {}
    for case in inputs["cases"].tolist():
        recordings = list(_recordings(inputs, f"{case}__", year))
        for mode, rules in modes.items():
            scorer = _scorer(recordings, rules, inputs)
            for average in ("macro", "micro"):
                outputs[f"{case}__{mode}_{average}_result"] = scorer.result(average).values()
            outputs[f"{case}__{mode}_classwise"] = scorer.result("macro").class_wise()
    return outputs


def _year_of(settings: dict) -> int:
    return int(re.search(r"seld(202\d)", settings["reference"]).group(1))


def seld_metrics(inputs: Arrays, settings: dict) -> dict[str, object]:
    year = _year_of(settings)
    return (_block_metrics if year < 2024 else _frame_metrics)(inputs, year)


def seld_jackknife(inputs: Arrays, settings: dict) -> dict[str, object]:
    from seld.metrics.jackknife import jackknife, score_intervals

    year = _year_of(settings)
    outputs: dict[str, object] = {}
    for name in sorted({key.split("__")[0] for key in inputs if key.startswith("raw")}):
        found = jackknife(
            float(inputs[f"{name}__global"]),
            inputs[f"{name}__partial"],
            float(inputs[f"{name}__significance"]),
        )
        for part in ("estimate", "bias", "std_err", "interval"):
            outputs[f"{name}__{part}"] = getattr(found, part)
    modes = {"segment": "dcase2022"}
    if year == 2024:
        modes = {"frame": "dcase2024", "segment": "dcase2024_blocks"}
    recordings = list(_recordings(inputs, "", year))
    for mode, rules in modes.items():
        scorer = _scorer(recordings, rules, inputs)
        for average in ("macro", "micro"):
            found = score_intervals(scorer, average)
            outputs[f"{mode}_{average}__global"] = found.scores.values()
            outputs[f"{mode}_{average}__interval"] = found.values()
            if average == "macro":
                outputs[f"{mode}_macro__classwise"] = found.scores.class_wise()
                outputs[f"{mode}_macro__classwise_interval"] = found.class_wise()
    return outputs


CASES: dict[str, Callable[[Arrays, dict], dict[str, object]]] = {
    r"seld202[0-5]_metrics": seld_metrics,
    r"seld202[24]_jackknife": seld_jackknife,
}
