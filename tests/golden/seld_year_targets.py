"""Targets and decoders of SELD from 2020 on, on the golden vectors."""

import numpy as np

from tests.golden.recipes import Arrays

AXES = {
    **dict.fromkeys(("2020", "2021", "2022", "2023"), ("x", "y", "z")),
    "2024": ("x", "y", "z", "distance"),
    "2025": ("x", "y", "distance", "onscreen"),
}
METADATA = {"2025": "stereo2025"}


def seld_targets(inputs: Arrays, settings: dict) -> dict[str, object]:
    from seld.recordings.csv_formats import parse_rows
    from seld.targets import TargetForm

    outputs: dict[str, object] = {}
    for year in sorted({name[1:5] for name in inputs}):
        n_classes, n_frames = (
            int(inputs[f"y{year}__{name}"]) for name in ("n_classes", "n_frames")
        )
        fmt = METADATA.get(year, f"metadata{year}")
        rows = parse_rows(str(inputs[f"y{year}__csv"]), fmt, n_classes)

        scale = 100.0 if year == "2024" else 1.0  # centimetres there
        form = TargetForm("classwise", n_classes, AXES[year], distance_scale=scale)
        single = form.whole(rows, n_frames)[:, 0]  # (T, 1 + axes, K)
        vectors = single[:, 1:].reshape(n_frames, -1)
        if year in ("2020", "2021"):
            outputs |= {f"y{year}__sed": single[:, 0].astype(np.uint8), f"y{year}__doa": vectors}
        else:
            form = TargetForm("multi", n_classes, AXES[year])
            outputs[f"y{year}__adpit"] = form.whole(rows, n_frames)
        outputs[f"y{year}__accdoa"] = vectors
    return outputs


def ein_targets(inputs: Arrays, settings: dict) -> dict[str, object]:
    from seld.recordings.csv_formats import parse_rows
    from seld.targets import SeldTargets, TargetForm

    outputs: dict[str, object] = {}
    for name in inputs:
        key = name.removesuffix("__csv")
        n_frames, n_tracks, n_classes = 600, 2, 14  # fixed there
        form = TargetForm("tracks", n_classes, n_tracks=n_tracks)
        targets = SeldTargets(form, 0.1, 0.1)
        rows = parse_rows(str(inputs[name]), "metadata2020", n_classes)
        table = targets.table_of_rows(rows, n_frames)
        made = targets.make(table, np.arange(n_frames))["tracks"]
        outputs[f"{key}__sed"] = made[..., :n_classes].astype(np.uint8)
        outputs[f"{key}__doa"] = made[..., n_classes:]
    return outputs


def table_of(vectors, n_columns: int) -> np.ndarray:
    columns = [vectors.frame, vectors.klass, np.zeros(len(vectors)), *vectors.xyz.T]
    return np.stack([*columns, vectors.distance_m][:n_columns], axis=1)


def seld_decode(inputs: Arrays, settings: dict) -> dict[str, object]:
    from seld.decoding import decode_accdoa, decode_multi_accdoa

    outputs: dict[str, object] = {}
    for name in (key.removesuffix("__output") for key in inputs if key.endswith("__output")):
        n_classes = int(inputs[f"{name}__n_classes"])
        flat = inputs[f"{name}__output"].reshape(-1, inputs[f"{name}__output"].shape[-1])
        if name.startswith("multi"):
            values = flat.reshape(len(flat), 3, -1, n_classes)
            found = decode_multi_accdoa(values, unify_deg=float(inputs[f"{name}__thresh_unify"]))
        else:
            found = decode_accdoa(flat.reshape(len(flat), -1, n_classes))
        outputs[f"{name}__rows"] = table_of(found, 7 if "2024" in name else 6)
    return outputs


def seld2025_decode(inputs: Arrays, settings: dict) -> dict[str, object]:
    from seld.decoding import decode_accdoa, decode_multi_accdoa, to_rows
    from seld.recordings.csv_formats import format_rows

    n_classes, unify_deg = int(inputs["n_classes"]), float(inputs["thresh_unify"])
    outputs: dict[str, object] = {}
    for key in (name for name in inputs if name.endswith("__output")):
        name, values = key.removesuffix("__output"), inputs[key]
        onscreen = "visual" in name
        for letter, of_recording in zip("cd" if "single" in name else "ab", values, strict=True):
            if "single" in name:
                shaped = of_recording.reshape(len(of_recording), -1, n_classes)
                found = decode_accdoa(shaped, 2, onscreen=onscreen)
            else:
                shaped = of_recording.reshape(len(of_recording), 3, -1, n_classes)
                found = decode_multi_accdoa(shaped, 2, unify_deg=unify_deg, onscreen=onscreen)
            outputs[f"{name}__{letter}_csv"] = format_rows(to_rows(found, 1.0), "stereo2025")
    return outputs


def seld_decode_classwise(inputs: Arrays, settings: dict) -> dict[str, object]:
    from seld.decoding import (
        decode_accdoa,
        decode_classwise,
        decode_tracks,
        mean_of_tracks,
        to_rows,
    )
    from seld.recordings.csv_formats import format_rows

    one, two = ((inputs[f"ein__sed{n}"][0], inputs[f"ein__doa{n}"][0]) for n in ("", "2"))
    outputs: dict[str, object] = {}
    for name, (sed, doa) in {"one": one, "two": mean_of_tracks([one, two], aligned=False)}.items():
        outputs[f"ein__{name}_csv"] = format_rows(to_rows(decode_tracks(sed, doa)), "track2020")
    sed, doa = inputs["y2020__sed"], inputs["y2020__doa"]
    found = decode_classwise(sed, doa.reshape(len(doa), 3, -1))
    outputs["y2020__rows"] = table_of(found, 6)
    doa = inputs["y2021__doa"]
    outputs["y2021__rows"] = table_of(decode_accdoa(doa.reshape(len(doa), 3, -1)), 6)
    return outputs


CASES = {
    "seld_targets": seld_targets,
    "ein_targets": ein_targets,
    "seld_decode": seld_decode,
    "seld2025_decode": seld2025_decode,
    "seld_decode_classwise": seld_decode_classwise,
}
