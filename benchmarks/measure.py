"""Parts shared by the benchmarks: figures, goals, machine, command line and tables."""

import argparse
import json
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib import metadata
from pathlib import Path

from common.settings.tasks import load_task
from common.training.run_directory import git_revision

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("tensorflow", "keras", "jax", "numpy", "scipy", "librosa", "soundfile")


@dataclass(frozen=True)
class Figure:
    """One measured number.

    Attributes:
        name: name of the measurement.
        value: the number.
        unit: its unit.
        aim: goal in words; empty without.
    """

    name: str
    value: float
    unit: str
    aim: str = ""


@dataclass(frozen=True)
class Goal:
    """One row of the table of goals: a measured ratio or size and its limit.

    Attributes:
        work: name of the measurement.
        value: the number; None: it could not be measured here.
        aim: the number to reach.
        unit: of both, e.g. "times faster", "of its time", "MB", "%".
        at_least: True if more is better.
        details: basis of the number, e.g. medians and spreads of both routes.
        reason: why it is missed or not measured; shown only then.
    """

    work: str
    value: float | None
    aim: float
    unit: str
    at_least: bool
    details: str = ""
    reason: str = ""

    @property
    def verdict(self) -> str:
        """ "met", "missed: <reason>" or "not measured: <reason>"."""
        if self.value is None:
            return f"not measured: {self.reason}"
        if self.value >= self.aim if self.at_least else self.value <= self.aim:
            return "met"
        return f"missed: {self.reason or 'not known why'}"


@dataclass(frozen=True)
class Timing:
    """Repeated measurements of one route.

    Attributes:
        values: in the order in which they were taken, in seconds unless said otherwise.
    """

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.values)

    def text(self, unit: str = "s", scale: float = 1.0) -> str:
        """Median and spread, e.g. "0.21 s (0.20 to 0.23)"."""
        low, high = min(self.values) * scale, max(self.values) * scale
        return f"{short(self.median * scale)} {unit} ({short(low)} to {short(high)})"


Benchmark = Callable[[bool, Path], Sequence[Figure | Goal]]


def wall_s(work: Callable[[], object]) -> float:
    """Seconds that `work` takes once."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def median_wall_s(work: Callable[[], object], repeats: int) -> float:
    """Median of the seconds that `work` takes, after one run that is not counted."""
    work()
    return statistics.median(wall_s(work) for _ in range(repeats))


def in_turns(routes: Mapping[str, Callable[[], float]], repeats: int) -> dict[str, Timing]:
    """Measures routes in turns, so that other load of the machine affects all of them.

    Args:
        routes: functions that measure once and return the number, by name; see `timed`.
        repeats: rounds that count; with more than one, a first round does not.

    Returns:
        By name, the measurements.
    """
    rounds = [
        {name: route() for name, route in routes.items()} for _ in range(repeats + (repeats > 1))
    ]
    counted = rounds[1:] if repeats > 1 else rounds
    return {name: Timing(tuple(each[name] for each in counted)) for name in routes}


def timed(work: Callable[[], object]) -> Callable[[], float]:
    """Makes a route for `in_turns` that times the work."""
    return partial(wall_s, work)


def peak_megabytes() -> float:
    """Peak of the memory held by this program, without that of the process that started it."""
    status = Path("/proc/self/status")
    if status.exists():
        return (
            next(
                int(line.split()[1]) for line in status.read_text().splitlines() if "VmHWM" in line
            )
            / 1e3
        )
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        1e6 if sys.platform == "darwin" else 1e3
    )


def task(task_id: str, folder: Path, *overrides: str):
    """A task of params.yaml whose three folders lie below `folder`, in one process."""
    folders = [f"{name}_dir={folder / name}" for name in ("dataset", "feature", "output")]
    return load_task(ROOT / "params.yaml", task_id, [*folders, "parallel.jobs=1", *overrides])


def machine() -> dict[str, object]:
    """Describes the machine and the versions that a figure belongs to."""
    return {
        "processor": _processor(),
        "cores": (
            len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        ),
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
    numeric = [
        bool(cells) and all(_is_number(row[column]) for row in cells)
        for column in range(len(header))
    ]
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


def goals_table(goals: Iterable[Goal]) -> str:
    """The table of goals in Markdown: one row each, with its basis and a verdict."""
    rows = []
    for goal in goals:
        bound = "at least" if goal.at_least else "at most"
        value = "-" if goal.value is None else short(goal.value)
        rows.append(
            (
                goal.work,
                f"{bound} {goal.aim:g} {goal.unit}".strip(),
                value,
                goal.details,
                goal.verdict,
            )
        )
    return table(("work", "goal", "measured", "medians (min to max)", "verdict"), rows)


def result_tables(
    results: Iterable[Figure | Goal], to_table: Callable[[Sequence[Figure]], str] | None = None
) -> str:
    """The tables of a benchmark in Markdown: its goals, then its figures."""
    results = list(results)
    goals = [each for each in results if isinstance(each, Goal)]
    figures = [each for each in results if isinstance(each, Figure)]
    tables = [goals_table(goals)] if goals else []
    return "\n\n".join([*tables, *([(to_table or figures_table)(figures)] if figures else [])])


def figures_table(figures: Iterable[Figure]) -> str:
    """A table of figures in Markdown, one row each."""
    rows = [(figure.name, short(figure.value), figure.unit, figure.aim) for figure in figures]
    return table(("figure", "value", "unit", "aim"), rows)


def pivot_table(figures: Iterable[Figure], heading: str) -> str:
    """A table in Markdown: a row for each name before a colon, a column for each after it.

    Args:
        figures: named "<row>: <column>"; those without a unit are counts and written with all
            digits.
        heading: of the column of names.
    """
    rows: dict[str, dict[str, str]] = {}
    columns: dict[str, None] = {}
    for figure in figures:
        row, _, column = figure.name.partition(": ")
        column = f"{column}, {figure.unit}" if figure.unit else column
        rows.setdefault(row, {})[column] = (
            short(figure.value) if figure.unit else f"{figure.value:,.0f}"
        )
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
        raise ValueError(
            f"Expected: the markers {begin} and {end}, in this order. Received: a text without"
            " them."
        )
    return f"{head}{begin}\n{content.strip()}\n{end}{tail}"


def run_alone(
    title: str,
    benchmark: Benchmark,
    arguments: Sequence[str] | None = None,
    to_table: Callable[[Sequence[Figure]], str] | None = None,
) -> None:
    """The command line of one benchmark: `python -m benchmarks.<name> [--quick] [--json FILE]`."""
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument(
        "--quick", action="store_true", help="minimal data: only shows that it works"
    )
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        results = benchmark(options.quick, Path(folder))
    tables = result_tables(results, to_table)
    print(f"{title}\n\n{tables}")
    if options.json:
        content = {
            "title": title,
            "figures": [asdict(each) for each in results if isinstance(each, Figure)],
            "goals": [
                asdict(each) | {"verdict": each.verdict}
                for each in results
                if isinstance(each, Goal)
            ],
            "table": tables,
            "machine": machine(),
        }
        options.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
