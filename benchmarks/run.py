"""Runs all benchmarks, each in a process of its own, and writes their tables into BENCHMARKS.md.

python -m benchmarks.run [--quick] [--only NAME ...] [--markdown FILE] [--json FILE]
"""

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.measure import ROOT, Goal, goals_table, replace_between
from common.io import terminal
from common.io.files import write_json, write_text

NAMES = (
    "simulation",
    "extraction",
    "gcc_features",
    "seld_features",
    "clip_features",
    "pipeline",
    "frontend",
    "windows",
    "memory",
    "large_stores",
    "scoring",
    "location_scores",
    "event_scores",
    "threshold_scores",
    "multi_accdoa",
    "training_steps",
    "lockstep",
    "inference",
    "recordings",
    "waiting",
    "startup",
)
ON_REQUEST = ("gpu", "gpu_runs", "learning_curves")  # two need a GPU; the last two take long


def measured(name: str, quick: bool) -> dict:
    """Runs one benchmark and returns its JSON; its own table is printed."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        options = ["--json", str(result), *(["--quick"] if quick else [])]
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *options], cwd=ROOT, check=True)
        return json.loads(result.read_text(encoding="utf-8"))


def machine_text(description: dict) -> str:
    """One sentence on machine and versions."""
    versions = ", ".join(
        f"{name} {version}" for name, version in description["versions"].items() if version
    )
    gpu = f"{description['gpu']}, " if description.get("gpu") else ""
    return (
        f"Measured on {description['date']} on {description['processor']}, {description['cores']}"
        f" cores, {description['memory_gb']} GB, {gpu}Python {description['python']}, {versions}."
    )


def section(name: str, result: dict) -> str:
    """Table, command and machine of one benchmark."""
    command = result.get("command", f"python -m benchmarks.{name}")
    return (
        f"{result['title']}.\n\n{result['table']}\n\n   "
        f" {command}\n\n{machine_text(result['machine'])}"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, then writes both files; with --quick only if they are named."""
    terminal.prepare()
    parser = argparse.ArgumentParser(description="Runs the benchmarks and writes their tables.")
    parser.add_argument(
        "--quick", action="store_true", help="minimal data: only shows that it works"
    )
    parser.add_argument(
        "--only",
        nargs="+",
        choices=(*NAMES, *ON_REQUEST),
        default=NAMES,
        help="default: all that need no GPU",
    )
    parser.add_argument("--markdown", type=Path, help="default: BENCHMARKS.md, none with --quick")
    parser.add_argument(
        "--json", type=Path, help="default: benchmarks/results.json, none with --quick"
    )
    options = parser.parse_args(arguments)
    markdown = options.markdown or (None if options.quick else ROOT / "BENCHMARKS.md")
    results_path = options.json or (None if options.quick else ROOT / "benchmarks" / "results.json")
    results = {name: measured(name, options.quick) for name in options.only}
    earlier = (
        json.loads(results_path.read_text(encoding="utf-8"))
        if results_path and results_path.exists()
        else {}
    )
    together = goals_of({name: (earlier | results).get(name, {}) for name in NAMES})
    print(goals_table(together))
    if markdown:
        text = replace_between(markdown.read_text(encoding="utf-8"), "goals", goals_table(together))
        for name, result in results.items():
            text = replace_between(text, name, section(name, result))
        write_text(markdown, text)
    if results_path:
        write_json(results_path, earlier | results)


def goals_of(results: Mapping[str, dict]) -> list[Goal]:
    """The goals of all results, in the order of these."""
    fields = [field.name for field in dataclasses.fields(Goal)]
    stored = [goal for result in results.values() for goal in result.get("goals", [])]
    return [Goal(**{name: goal[name] for name in fields}) for goal in stored]


if __name__ == "__main__":
    main()
