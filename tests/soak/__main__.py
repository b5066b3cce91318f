"""python -m tests.soak [--kills 50] [--cases 20500] [--seed 0] [--only ...]: kills and damage.

Kills extraction, simulation, mixing and training so many times each, compares what they leave with
uninterrupted runs, and gives damaged files to all readers. Two of these run at a time, each on a
core.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.soak.kills import MOMENTS, ROOT
from tests.soak.targets import REPORT, TARGETS

GROUPS = ("training", "extraction", "simulation", "mixing")  # the longest first
FUZZ = "fuzz"
AT_ONCE = 2


def main() -> int:
    """Runs what is asked for; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=50, help="of each kind of job (default 50)")
    parser.add_argument("--cases", type=int, default=20500, help="damaged files (default 20500)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=[*GROUPS, FUZZ], default=[*GROUPS, FUZZ])
    given = parser.parse_args()
    started = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="soak_"))
    commands = commands_for(given.only, given.kills, given.cases, given.seed, folder)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        results = pool.map(
            lambda command: subprocess.run(command, cwd=ROOT, check=False), commands.values()
        )
        failed = [name for name, result in zip(commands, results, strict=True) if result.returncode]
    print(summary(folder))
    print(f"{(time.monotonic() - started) / 60:.1f} minutes, seed {given.seed}.")
    if failed:
        print(
            f"FAILED: {', '.join(failed)}. Again: python -m tests.soak --seed {given.seed}."
            f" Folders: {folder}/"
        )
        return 1
    print("Nothing was lost.")
    shutil.rmtree(folder)
    return 0


def commands_for(
    only: list[str], kills: int, cases: int, seed: int, folder: Path
) -> dict[str, list[str]]:
    """The commands by name; the targets of a kind share its kills."""
    commands: dict[str, list[str]] = {}
    if FUZZ in only:  # among the longest, like training: they begin
        commands[FUZZ] = [
            sys.executable,
            "-m",
            "tests.fuzz",
            "--cases",
            str(cases),
            "--seed",
            str(seed),
        ]
    for group in [name for name in GROUPS if name in only]:
        names = [name for name in TARGETS if name.startswith(group)]
        for number, name in enumerate(names):
            # A job needs two: one before its first file, one after it.
            share = max(kills // len(names) + (number < kills % len(names)), 2)
            options = ["--kills", str(share), "--seed", str(seed), "--folder", str(folder / name)]
            commands[name] = [sys.executable, "-m", "tests.soak.targets", name, *options]
    return commands


def summary(folder: Path) -> str:
    """A table of what each target survived."""
    paths = [folder / name / REPORT for name in TARGETS]
    reports = [json.loads(path.read_text()) for path in paths if path.exists()]
    head = (
        "",
        "kills",
        *MOMENTS,
        "workers orphaned",
        "runs",
        "compared equal",
        "seconds of one run",
    )
    lines = [f"{head[0]:<34}" + "".join(f"{name:>{len(name) + 3}}" for name in head[1:])]
    for report in reports:
        moments = [report["moments"].get(name, 0) for name in MOMENTS]
        values = [
            report["kills"],
            *moments,
            report["orphaned"],
            report["runs"],
            report["compared"],
            report["whole_s"],
        ]
        cells = [
            f"{value:>{len(name) + 3}.4g}" for name, value in zip(head[1:], values, strict=True)
        ]
        lines.append(f"{report['name']:<34}" + "".join(cells))
        if report["places"]:
            lines.append(
                "    " + "; ".join(f"{place}: {n}" for place, n in sorted(report["places"].items()))
            )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
