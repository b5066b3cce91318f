"""Runs a demo with several seeds, each with its own simulated recordings; table in BENCHMARKS.md.

python -m benchmarks.demo_seeds [SEED ...] [--task TASK] [--folder runs/seeds] [--set KEY=VALUE ...]
"""

import argparse
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measure import ROOT, machine, replace_between, table
from benchmarks.run import machine_text
from benchmarks.seed_runs import Scores, minutes_of, options_of, scores_of, train
from common.io import terminal


@dataclass(frozen=True)
class Demo:
    """Rows and columns of a demo's table.

    Attributes:
        script: program that runs it.
        columns: headings, with the digits behind the decimal point.
        aims: goal of each column.
        lines: labels of the run's own lines; those of only the first seed follow.
        baselines: labels of the baselines.
        numbers: from the scores in a line of the run's table to the numbers of the columns.
        recordings: name of the recordings that demos share; None: of the demo alone.
    """

    script: str
    columns: dict[str, int]
    aims: tuple[str, ...]
    lines: tuple[str, ...]
    baselines: tuple[str, ...]
    numbers: Callable[[Scores], list[float | None]]
    recordings: str | None = None


def seld_numbers(scores: Scores) -> list[float | None]:
    """Official scores, and the DOA error of matched pairs."""
    official, corrected = scores["dcase2019"], scores["corrected"]
    values = [official["er"], official["f"], official["doa_error_deg"], corrected["doa_error_deg"]]
    return [*values, official["frame_recall"], official["seld_error"]]


def location_numbers(scores: Scores) -> list[float | None]:
    """Official scores of 2023: means over classes, then of all sources together."""
    macro, micro = scores["dcase2023"]["macro"], scores["dcase2023"]["micro"]
    names = ("f", "doa_error_deg", "recall")
    return [macro[name] for name in ("er", *names, "seld_score")] + [micro[name] for name in names]


def task4_numbers(scores: Scores) -> list[float | None]:
    """Means over classes of tags, events and segments."""
    names = ("map", "clip_macro_f", "event_macro_f", "segment_macro_f", "psds1", "psds2")
    return [scores.get(name) for name in names]


def teacher_numbers(scores: Scores) -> list[float | None]:
    """Means over classes of events and tags."""
    names = ("event_macro_f", "intersection_macro_f", "psds1", "psds2", "map")
    return [scores.get(name) for name in names]


def segmentation_numbers(scores: Scores) -> list[float | None]:
    """Means over classes of tags, frames, masks and separated sounds."""
    return [scores.get(name) for name in ("tag_ap", "sed_f", "mask_f", "gain_db", "event_gain_db")]


SELD_COLUMNS = {"ER": 2, "F": 3} | {"DOA error, all estimates": 1, "DOA error, matched pairs": 1}
SELD_COLUMNS |= {"frame recall": 3, "SELD": 3}
LOCATION_COLUMNS = {"ER20": 2, "F20": 3, "LE": 1, "LR": 3, "SELD": 3}
LOCATION_COLUMNS |= {"micro F20": 3, "micro LE": 1, "micro LR": 3}
TASK4_COLUMNS = {name: 2 for name in ("mAP", "clip F", "event F", "segment F", "PSDS 1", "PSDS 2")}
TEACHER_COLUMNS = dict.fromkeys(("event F", "intersection F", "PSDS 1", "PSDS 2", "mAP"), 3)
SEGMENTATION_COLUMNS = {name: 2 for name in ("mAP", "SED F", "mask F")}
SEGMENTATION_COLUMNS |= {"SI-SDR gain, dB": 1, "gain in events, dB": 1}
EVERYWHERE = ("all classes everywhere", "true tags, everywhere")
SEGMENTATION_BASELINES = (*EVERYWHERE, "true times, all bands", "ideal binary mask")
SELD_BASELINES = ("always silent", "labels of another recording")
MOVING_DEMOS = (
    "multi-accdoa-demo",
    "accdoa-demo",
    "multi-accdoa-demo-attention",
    "einv2-demo",
    "salsa-demo",
)
MOVING = Demo(
    "seld.py",
    LOCATION_COLUMNS,
    ("", ">= 0.45", "<= 18", ">= 0.60", "", "", "", ""),
    ("all", "sources of one class at once"),
    SELD_BASELINES,
    location_numbers,
    "moving",
)
TASK4_BASELINES = ("always silent", "always active", "true tags, whole clip")
DEMOS = {
    "demo": Demo(
        "seld.py",
        SELD_COLUMNS,
        ("<= 0.40", ">= 0.72", "", "<= 28", ">= 0.72", "<= 0.25"),
        ("all",),
        SELD_BASELINES,
        seld_numbers,
    ),
    "two-stage-demo": Demo(
        "seld.py",
        SELD_COLUMNS,
        ("< 1.00", "> 0", "", "", "> 0.315", "< 0.671"),
        ("all", "joint"),
        SELD_BASELINES,
        seld_numbers,
    ),
    "crnn-demo": Demo(
        "task4_crnn.py",
        TASK4_COLUMNS,
        (">= 0.66", ">= 0.55", ">= 0.34", ">= 0.55", "", ""),
        ("pass1", "pass2", "pass1, tags over the clip"),
        TASK4_BASELINES,
        task4_numbers,
    ),
    "cnn9-demo": Demo(
        "task4_cnn.py",
        TASK4_COLUMNS,
        (">= 0.70", ">= 0.65", ">= 0.36", ">= 0.62", "", ""),
        ("cnn", "cnn, tags over the clip"),
        TASK4_BASELINES,
        task4_numbers,
    ),
    "mean-teacher-demo": Demo(
        "task4_crnn.py",
        TEACHER_COLUMNS,
        ("", "", "", "", ""),
        ("mean_teacher", "mean_teacher, teacher"),
        TASK4_BASELINES,
        teacher_numbers,
        "teacher",
    ),
    "crnn-supervised-demo": Demo(
        "task4_crnn.py",
        TEACHER_COLUMNS,
        ("", "", "", "", ""),
        ("supervised",),
        TASK4_BASELINES,
        teacher_numbers,
        "teacher",
    ),
    "segmentation-demo": Demo(
        "task4_segmentation.py",
        SEGMENTATION_COLUMNS,
        (">= 0.70", ">= 0.52", ">= 0.20", ">= 8", ">= 2"),
        ("gwrp", "gmp", "gap"),
        SEGMENTATION_BASELINES,
        segmentation_numbers,
    ),
    **dict.fromkeys(MOVING_DEMOS, MOVING),
}


def run_seed(task_id: str, seed: int, folder: Path, overrides: Sequence[str]) -> Path:
    """Runs one seed from simulation to scores unless it is finished; returns the run's folder."""
    stem = folder / (DEMOS[task_id].recordings or task_id)
    places = [f"{name}_dir={stem}_{name}_s{seed}" for name in ("dataset", "feature")]
    settings = [f"seed={seed}", *places, f"output_dir={folder}", *overrides]
    run = folder / f"{task_id}_s{seed}"
    train([DEMOS[task_id].script, task_id, f"s{seed}", *options_of(settings)], run)
    return run


def seeds_table(demo: Demo, runs: dict[int, Path]) -> str:
    """Rows of each seed and line of the run's table, their means, and the baselines."""
    lines = []
    for label in demo.lines:
        values = {seed: demo.numbers(scores_of(run, label)) for seed, run in runs.items()}
        for seed, row in values.items():
            minutes = _minutes(runs[seed]) if label == demo.lines[0] else ""
            lines.append([label, str(seed), *_cells(demo, row), minutes])
        lines.append([label, "mean", *_cells(demo, _means(values.values())), ""])
    first = min(runs)
    for label in demo.baselines:
        row = demo.numbers(scores_of(runs[first], label))
        lines.append([label, str(first), *_cells(demo, row), ""])
    return table(("", "seed", *demo.columns, "minutes"), [*lines, ["aim", "", *demo.aims, "< 10"]])


def _means(rows: Any) -> list[float | None]:
    columns = zip(*rows, strict=True)
    return [None if None in column else statistics.fmean(column) for column in columns]


def _cells(demo: Demo, values: Sequence[float | None]) -> list[str]:
    pairs = zip(values, demo.columns.values(), strict=True)
    return ["-" if value is None else f"{value:.{digits}f}" for value, digits in pairs]


def _minutes(run: Path) -> str:
    minutes = minutes_of(run)
    return "" if minutes is None else f"{minutes:.1f}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs all seeds, then writes the table."""
    terminal.prepare()
    parser = argparse.ArgumentParser(description="Runs a demo with several seeds.")
    parser.add_argument("seeds", type=int, nargs="*", default=[0, 1, 2], help="default: 0 1 2")
    parser.add_argument("--task", default="demo", choices=[*DEMOS], help="default: demo")
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "seeds", help="of all runs")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides")
    parser.add_argument("--markdown", type=Path, default=ROOT / "BENCHMARKS.md")
    options = parser.parse_args(arguments)
    folder = options.folder.resolve()
    runs = {seed: run_seed(options.task, seed, folder, options.overrides) for seed in options.seeds}
    seeds = " ".join(map(str, options.seeds))
    command = f"    python -m benchmarks.demo_seeds {seeds} --task {options.task}"
    content = f"{seeds_table(DEMOS[options.task], runs)}\n\n{command}\n\n{machine_text(machine())}"
    text = options.markdown.read_text(encoding="utf-8")
    options.markdown.write_text(replace_between(text, options.task, content), encoding="utf-8")
    print(content)


if __name__ == "__main__":
    main()
