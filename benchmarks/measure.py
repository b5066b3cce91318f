"""What the benchmarks share: a measured figure, the machine it was measured on, command line and tables."""

import argparse
import json
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from common.config import load_task
from common.run_directory import git_revision

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("tensorflow", "keras", "jax", "numpy", "scipy", "librosa", "soundfile")


@dataclass(frozen=True)
class Figure:
    """One measured number.

    Attributes:
        name: what was measured.
        value: the number.
        unit: its unit.
        aim: what the project holds itself to, in words; empty without.
    """

    name: str
    value: float
    unit: str
    aim: str = ""


Benchmark = Callable[[bool, Path], list[Figure]]


def wall_s(work: Callable[[], object]) -> float:
    """Seconds that `work` takes once."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def median_wall_s(work: Callable[[], object], repeats: int) -> float:
    """Median of the seconds that `work` takes, after one run that is not counted."""
    work()
    return statistics.median(wall_s(work) for _ in range(repeats))


def peak_megabytes() -> float:
    """Peak of the memory held by this program, without that of the process that started it."""
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if "VmHWM" in line) / 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def task(task_id: str, folder: Path, *overrides: str):
    """A task of params.yaml whose three folders lie below `folder`, in one process."""
    folders = [f"{name}_dir={folder / name}" for name in ("dataset", "feature", "output")]
    return load_task(ROOT / "params.yaml", task_id, [*folders, "parallel.jobs=1", *overrides])


def machine() -> dict[str, object]:
    """Describes the machine and the versions that a figure belongs to."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "revision": git_revision(),
        "date": time.strftime("%Y-%m-%d"),
    }


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown; columns of numbers are aligned to the right."""
    cells = [[str(cell) for cell in row] for row in rows]
    numeric = [bool(cells) and all(_is_number(row[column]) for row in cells) for column in range(len(header))]
    rule = ["---:" if right else "---" for right in numeric]
    return "\n".join("| " + " | ".join(line) + " |" for line in [list(header), rule, *cells])


def _is_number(cell: str) -> bool:
    return cell.replace(".", "").replace("-", "").replace(",", "").isdigit()


def short(value: float) -> str:
    """Three significant digits, thousands separated."""
    if value >= 1000:
        digits = 3 - len(str(round(value)))
        return f"{round(value, digits):,.0f}"
    return f"{value:.3g}"


def figures_table(figures: Iterable[Figure]) -> str:
    """The table of a benchmark in Markdown."""
    rows = [(figure.name, short(figure.value), figure.unit, figure.aim) for figure in figures]
    return table(("figure", "value", "unit", "aim"), rows)


def pivot_table(figures: Iterable[Figure], heading: str) -> str:
    """A table in Markdown with one row for each name before a colon, and one column for each after it.

    Args:
        figures: named "<row>: <column>"; those without a unit are counts and written with all digits.
        heading: of the column of names.
    """
    rows: dict[str, dict[str, str]] = {}
    columns: dict[str, None] = {}
    for figure in figures:
        row, _, column = figure.name.partition(": ")
        column = f"{column}, {figure.unit}" if figure.unit else column
        rows.setdefault(row, {})[column] = short(figure.value) if figure.unit else f"{figure.value:,.0f}"
        columns[column] = None
    lines = [[row, *(cells.get(column, "-") for column in columns)] for row, cells in rows.items()]
    return table([heading, *columns], lines)


def replace_between(text: str, name: str, content: str) -> str:
    """Puts `content` between the markers `<!-- name:begin -->` and `<!-- name:end -->`, which stay.

    Raises:
        ValueError: a marker is missing.
    """
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    head, found, rest = text.partition(begin)
    _, found_end, tail = rest.partition(end)
    if not found or not found_end:
        raise ValueError(f"Expected: the markers {begin} and {end}, in this order. Received: a text without them.")
    return f"{head}{begin}\n{content.strip()}\n{end}{tail}"


def run_alone(
    title: str,
    benchmark: Benchmark,
    arguments: Sequence[str] | None = None,
    to_table: Callable[[Sequence[Figure]], str] = figures_table,
) -> None:
    """The command line of one benchmark: `python -m benchmarks.<name> [--quick] [--json FILE]`."""
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--quick", action="store_true", help="least amount of data: only shows that it works")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        figures = benchmark(options.quick, Path(folder))
    print(f"{title}\n\n{to_table(figures)}")
    if options.json:
        content = {
            "title": title,
            "figures": [asdict(figure) for figure in figures],
            "table": to_table(figures),
            "machine": machine(),
        }
        options.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
