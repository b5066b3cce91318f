"""Comparison of runs of one family: scores, settings that differ, learning curves."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from common.display.page import Block, Chapter, Note, Page, Table, write_page
from common.display.plotting import (
    Curve,
    Panel,
    draw_panel,
    figure_picture,
    new_figure,
    save_figure,
    tidy,
)
from common.errors import CheckpointError, ConfigError
from common.family import load
from common.io.files import write_text
from common.io.tables import to_csv
from common.reports.run import SCORES, ScoresForm, flat_scores, named_sections
from common.settings.tasks import flat_settings
from common.training.run_directory import finished_stages, read_form, read_settings

History = Mapping[str, Sequence[float | None]]
_PLACES = ("description", "output_dir", "feature_dir", "parallel", "overwrite")  # not compared
_COLUMNS, _MOST_BARS = 3, 9  # of the figure
_MOST_SCORES = 12  # side by side in a table
BASELINE = "baseline"  # group of the lines of what learns nothing


@dataclass(frozen=True)
class Run:
    """A run to compare.

    Attributes:
        folder: its directory.
        family: of its system.
        settings: all of them.
        scores: of one line of its table, by name.
        baselines: scores of what learns nothing, by label; they depend on the labels alone.
        histories: of each stage, by its place in the run.
    """

    folder: Path
    family: str
    settings: Mapping[str, Any]
    scores: Mapping[str, float | None]
    baselines: Mapping[str, Mapping[str, float | None]]
    histories: Mapping[str, History]

    @classmethod
    def read(cls, folder: Path, line: str | None = None) -> "Run":
        """Reads a run.

        Args:
            folder: its directory.
            line: label of the line of its table; None: the first, the system itself.

        Raises:
            CheckpointError: there is no run, no scores, or no such line.
        """
        settings = read_settings(folder)
        histories = {name: stage["history"] for name, stage in finished_stages(folder)}
        family = str(settings.get("family"))
        rows = read_form(folder / SCORES, ScoresForm)["rows"]
        nothing = [row for row in rows if row.get("group") == BASELINE]
        baselines = {row["label"]: flat_scores(row["scores"]) for row in nothing}
        return cls(folder, family, settings, _scores_of(rows, folder, line), baselines, histories)


def scores_of(run: Path, line: str | None) -> dict[str, float | None]:
    """Reads one line of a run's table.

    Args:
        run: a run's directory.
        line: label of the line; None: the first, the system itself.

    Returns:
        Scores by name; those of several definitions as "<definition> <name>".

    Raises:
        CheckpointError: the run has no scores, or no such line.
    """
    return _scores_of(read_form(run / SCORES, ScoresForm)["rows"], run, line)


def _scores_of(
    rows: Sequence[Mapping[str, Any]], run: Path, line: str | None
) -> dict[str, float | None]:
    found = next((row for row in rows if line in (None, row["label"])), None)
    if found is None:
        labels = ", ".join(row["label"] for row in rows)
        raise CheckpointError(f"{run}: no line {line!r} in the table. There are: {labels}.")
    return flat_scores(found["scores"])


def read_runs(folders: Sequence[Path], line: str | None = None) -> dict[str, Run]:
    """Reads runs of one family, by the names of their folders, or else by their paths.

    Raises:
        CheckpointError: see `Run.read`.
        ConfigError: they belong to different families.
    """
    runs = [Run.read(folder, line) for folder in folders]
    families = {run.family: run.folder for run in runs}
    if len(families) > 1:
        received = ", ".join(f"{folder} of {family}" for family, folder in families.items())
        raise ConfigError(f"Only runs of one family have common scores. Received: {received}.")
    names = [run.folder.resolve().name for run in runs]
    unique = len(set(names)) == len(names)
    return {name if unique else str(run.folder): run for name, run in zip(names, runs, strict=True)}


def unequal_tests(runs: Mapping[str, Run]) -> list[str]:
    """Finds runs that were not scored on the same labels in the same way.

    What learns nothing, such as "always silent", has the same scores wherever labels, classes and
    rules are the same.

    Returns:
        One sentence for each run that differs from the first one.
    """
    (first, base), *others = runs.items()
    sentences = []
    for name, run in others:
        common = base.baselines.keys() & run.baselines.keys()
        if any(base.baselines[label] != run.baselines[label] for label in common):
            sentences.append(
                f"{name} was scored on other recordings, classes or rules than {first}, as the"
                " baselines differ: their scores do not say which is better."
            )
        elif not common:
            sentences.append(f"Whether {name} and {first} were scored on the same is not known.")
    return sentences


def score_table(runs: Mapping[str, Run]) -> list[list[str]]:
    """Makes the table: a row for each run, a column for each score that any of them has.

    Many scores, such as those of several scorers and averages, get a row each, and runs a column.
    """
    columns = _score_names(runs)
    rows = [["run", *columns]]
    for label, run in runs.items():
        values = [run.scores.get(name) for name in columns]
        rows.append([label, *("-" if value is None else f"{value:.3f}" for value in values)])
    if len(columns) <= _MOST_SCORES:
        return rows
    (_, *heading), *turned = map(list, zip(*rows, strict=True))
    return [["score", *heading], *turned]


def _score_names(runs: Mapping[str, Run]) -> list[str]:
    return list(dict.fromkeys(name for run in runs.values() for name in run.scores))


def differing_settings(runs: Mapping[str, Run]) -> dict[str, list[Any]]:
    """Finds the settings that differ between runs: by dotted key, the value in each, or None.

    Sections in a list, such as parts of a batch, are compared by their names.
    """
    flat = [flat_settings(named_sections(run.settings)) for run in runs.values()]
    every = dict.fromkeys(key for settings in flat for key in settings)
    keys = [key for key in every if key.split(".")[0] not in _PLACES]
    values = {key: [settings.get(key) for settings in flat] for key in keys}
    return {key: each for key, each in values.items() if any(value != each[0] for value in each)}


def setting_table(runs: Mapping[str, Run]) -> list[list[str]]:
    """Makes the table of settings that differ: a row for each, a column for each run."""
    rows = [["setting", *runs]]
    for key, values in differing_settings(runs).items():
        rows.append([key, *("-" if value is None else str(value) for value in values)])
    return rows


def overlaid_curves(runs: Mapping[str, Run]) -> list[tuple[Panel, History]]:
    """Lays the curves of validation over each other.

    Returns:
        For each curve that any run has, a panel, and by label the line of each run, or of each of
        its stages; those of another network than the one that decides are dotted beside it.
    """
    panels = load(next(iter(runs.values())).family, "figures").LEARNING_PANELS
    found: list[tuple[Panel, History]] = []
    for panel, curve in [(each, curve) for each in panels for curve in each.curves]:
        if curve.beside or not curve.name.startswith("val_"):
            continue
        lines: dict[str, Sequence[float | None]] = {}
        curves = []
        for each in [curve, *(other for other in panel.curves if other.beside == curve.name)]:
            for label, number, values in _lines(runs, each):
                lines[label] = values
                drawn = Curve(label, label, curve.scale, colour=number, beside=each.beside)
                curves.append(drawn)
        if lines:
            title = f"{panel.title}: {curve.label}"
            found.append((replace(panel, title=title, curves=tuple(curves), best=None), lines))
    return found


def _lines(
    runs: Mapping[str, Run], curve: Curve
) -> Iterator[tuple[str, int, Sequence[float | None]]]:
    """Yields label, number of the run, and values of each stage that has a curve."""
    network = f", {curve.label}" if curve.beside else ""
    for number, (name, run) in enumerate(runs.items()):
        stages = {stage: each for stage, each in run.histories.items() if curve.name in each}
        for stage, history in stages.items():
            label = name if len(stages) == 1 else f"{name}, {stage}"
            yield f"{label}{network}", number, history[curve.name]


def write_comparison(path: Path, runs: Mapping[str, Run]) -> None:
    """Writes a comparison as a page, a table or a figure, by the suffix of the file.

    Raises:
        ConfigError: another suffix.
        DataError: the file cannot be written.
    """
    writers = {".html": _write_html, ".csv": _write_csv, ".png": _write_png}
    if path.suffix not in writers:
        endings = ", ".join(writers)
        raise ConfigError(f"--out: expected a name that ends in {endings}. Received: {path}.")
    writers[path.suffix](path, runs)


def _write_html(path: Path, runs: Mapping[str, Run]) -> None:
    differing = setting_table(runs)
    settings: Block = Note("They are the same.")
    if len(differing) > 1:
        settings = Table("Settings that differ", differing)
    titles = [panel.title for panel, _ in overlaid_curves(runs)]
    alt = f"Scores of each run as bars, and its learning curves: {', '.join(titles)}"
    picture = figure_picture(comparison_figure(runs), "One colour for each run", alt)
    warnings = [Note(sentence) for sentence in unequal_tests(runs)]
    chapters = [
        Chapter("Scores", [*warnings, Table("Scores by run", score_table(runs))]),
        Chapter("Settings", [settings]),
        Chapter("Scores and learning curves", [picture]),
    ]
    write_page(path, Page(f"{len(runs)} runs compared", ", ".join(runs), chapters=chapters))


def _write_csv(path: Path, runs: Mapping[str, Run]) -> None:
    """Scores, and the settings that differ, in the columns of one row for each run."""
    names = _score_names(runs)
    settings = differing_settings(runs)
    rows: list[list[Any]] = [["run", *names, *settings]]
    for number, (label, run) in enumerate(runs.items()):
        values: list[Any] = [run.scores.get(name) for name in names]
        values += [of_runs[number] for of_runs in settings.values()]
        rows.append([label, *("" if value is None else value for value in values)])
    write_text(path, to_csv(rows))


def _write_png(path: Path, runs: Mapping[str, Run]) -> None:
    save_figure(comparison_figure(runs), path)


def comparison_figure(runs: Mapping[str, Run]) -> Figure:
    """Draws the first scores as bars, a colour for each run, and the curves of validation."""
    names = _score_names(runs)[:_MOST_BARS]
    cells: list[Callable[[Axes], None] | None] = []
    cells += [partial(_draw_score, runs=runs, name=name) for name in names]
    cells += [None] * (-len(cells) % _COLUMNS)
    curves = overlaid_curves(runs)
    cells += [partial(draw_panel, history=history, panel=panel) for panel, history in curves]
    rows = -(-len(cells) // _COLUMNS)
    figure = new_figure(4.2 * _COLUMNS, 0.6 + 3.0 * rows, ", ".join(runs))
    for axes, draw in zip_longest(figure.subplots(rows, _COLUMNS, squeeze=False).flat, cells):
        if draw is None:
            axes.set_axis_off()
        else:
            draw(axes)
    return figure


def _draw_score(axes: Axes, runs: Mapping[str, Run], name: str) -> None:
    values = [run.scores.get(name) for run in runs.values()]
    heights = [0.0 if value is None else value for value in values]
    colours = [f"C{number}" for number in range(len(runs))]
    bars = axes.bar(list(runs), heights, color=colours, width=0.6)
    axes.bar_label(bars, ["-" if value is None else f"{value:.3g}" for value in values], fontsize=8)
    axes.set_title(name, fontsize=10, loc="left")
    axes.margins(y=0.15)
    tidy(axes)
