"""Runs the demo with several seeds, each on simulated recordings of its own, and writes the table into BENCHMARKS.md.

python -m benchmarks.demo_seeds [SEED ...] [--task demo] [--folder runs/seeds] [--set KEY=VALUE ...]
"""

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measure import ROOT, machine, replace_between, table, wall_s
from benchmarks.run import machine_text

Scores = dict[str, float]
HEADER = ("seed", "ER", "F", "DOA error, all estimates", "DOA error, matched pairs", "frame recall", "SELD", "minutes")
AIM = ("aim", "<= 0.40", ">= 0.72", "", "<= 28", ">= 0.72", "<= 0.25", "< 10")


def run_seed(task_id: str, seed: int, folder: Path, overrides: Sequence[str]) -> Path:
    """Runs one seed from simulation to scores; a finished one is not run again. Returns the run's folder."""
    places = [f"dataset_dir={folder}/data_s{seed}", f"feature_dir={folder}/features_s{seed}", f"output_dir={folder}"]
    settings = [f"seed={seed}", *places, *overrides]
    options = [option for setting in settings for option in ("--set", setting)]
    run = folder / f"{task_id}_s{seed}"
    fresh = not run.exists()
    if not (run / "scores.json").exists():
        command = [sys.executable, "seld.py", task_id, f"s{seed}", *options]
        seconds = wall_s(lambda: subprocess.run(command, cwd=ROOT, check=True))
        if fresh:  # the time of a run that went on after a stop says nothing
            (run / "minutes.json").write_text(f"{seconds / 60:.2f}\n")
    return run


def scores_of(run: Path, label: str) -> dict[str, Scores]:
    """The scores in one line of a run's table, by definition."""
    rows = json.loads((run / "scores.json").read_text(encoding="utf-8"))["rows"]
    return next(row["scores"] for row in rows if row["label"] == label)


def numbers(scores: dict[str, Scores]) -> list[float]:
    """What the table shows of one line: official scores, and the DOA error of matched pairs."""
    official, corrected = scores["dcase2019"], scores["corrected"]
    values = [official["er"], official["f"], official["doa_error_deg"], corrected["doa_error_deg"]]
    values += [official["frame_recall"], official["seld_error"]]
    return [float("nan") if value is None else value for value in values]


def cells(values: Sequence[float]) -> list[str]:
    """Numbers as text: degrees with one decimal, the others with two or three."""
    digits = (2, 3, 1, 1, 3, 3)
    return ["-" if value != value else f"{value:.{places}f}" for value, places in zip(values, digits, strict=True)]


def seeds_table(runs: dict[int, Path]) -> str:
    """One line for each seed, their mean, and what needs no skill."""
    values = {seed: numbers(scores_of(run, "all")) for seed, run in runs.items()}
    lines = [[str(seed), *cells(row), _minutes(runs[seed])] for seed, row in values.items()]
    lines.append(["mean", *cells([statistics.fmean(column) for column in zip(*values.values(), strict=True)]), ""])
    first = next(iter(runs.values()))
    for label in ("always silent", "labels of another recording"):
        lines.append([label, *cells(numbers(scores_of(first, label))), ""])
    return table(HEADER, [*lines, list(AIM)])


def _minutes(run: Path) -> str:
    path = run / "minutes.json"
    return f"{json.loads(path.read_text()):.1f}" if path.exists() else ""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs all seeds, then writes the table."""
    parser = argparse.ArgumentParser(description="Runs the demo with several seeds.")
    parser.add_argument("seeds", type=int, nargs="*", default=[0, 1, 2], help="default: 0 1 2")
    parser.add_argument("--task", default="demo", help="task id (default demo)")
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "seeds", help="where everything is written")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides")
    parser.add_argument("--markdown", type=Path, default=ROOT / "BENCHMARKS.md")
    options = parser.parse_args(arguments)
    folder = options.folder.resolve()
    runs = {seed: run_seed(options.task, seed, folder, options.overrides) for seed in options.seeds}
    command = f"    python -m benchmarks.demo_seeds {' '.join(map(str, options.seeds))}"
    content = f"{seeds_table(runs)}\n\n{command}\n\n{machine_text(machine())}"
    text = options.markdown.read_text(encoding="utf-8")
    options.markdown.write_text(replace_between(text, "demo", content), encoding="utf-8")
    print(content)


if __name__ == "__main__":
    main()
