"""The report of a run, `report.html` in its folder: settings, scores, curves and recordings.

    python -m common.reports.run RUN_DIRECTORY ... [--set KEY=VALUE]

The page holds all that it shows and loads nothing from elsewhere. Parts of one family of systems
are made by `<family>/report.py`:

    chapters(task, folder)  scores, classes and recordings, as chapters of the page

and its learning curves are `LEARNING_PANELS` of `<family>/figures.py`.
"""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from common.display.page import Block, Chapter, Note, Page, Table, Tree, write_page
from common.errors import UserError
from common.family import load
from common.settings.tasks import BaseTask, check_task, merge, parse_overrides
from common.training.run_directory import (
    DATA,
    ENVIRONMENT,
    check_data,
    fingerprints,
    finished_stages,
    is_evaluation,
    read_environment,
    read_form,
    read_json,
    read_settings,
    scored_epoch,
    stop_text,
)

if TYPE_CHECKING:  # it loads TensorFlow, which a comparison of runs does not need
    from common.data.feature_store import FeatureStore

logger = logging.getLogger(__name__)
REPORT, SCORES = "report.html", "scores.json"
NO_SCORES = "There are no scores: the test recordings have no labels, or the run is unfinished."
Numbers = dict[str, float | None]


@dataclass(frozen=True)
class _Line:
    label: str
    scores: dict[str, float | Numbers | dict[str, Numbers] | None]  # by definition, by average
    classes: dict[str, Numbers] = field(default_factory=dict)


@dataclass(frozen=True)
class ScoresForm:
    """Scores of a run of any family: the rows of its table."""

    rows: Annotated[list[_Line], Field(min_length=1)]


def write_report(folder: Path, task: BaseTask) -> Path:
    """Writes the report of a run.

    Args:
        folder: the run's directory.
        task: the settings of the run, a `TaskConfig` of any family; its folders may be others than
            they were.

    Returns:
        Path of the page.

    Raises:
        CheckpointError: files of the run are missing or damaged.
        DataError: the page cannot be written.
    """
    report, figures = load(task.family, "report"), load(task.family, "figures")
    environment = read_environment(folder)
    stages = dict(finished_stages(folder))
    curves = [] if is_evaluation(folder) else curve_blocks(stages, figures.LEARNING_PANELS)
    chapters = [
        *report.chapters(task, folder),
        Chapter("Learning curves", curves),
        Chapter("Settings and versions", _setting_blocks(task, environment, folder)),
        *_numbers(folder),
    ]
    page = Page(
        title=folder.resolve().name,
        subtitle=task.description,
        facts=_facts(task, environment, stages, folder),
        command=" ".join(environment["command"]),
        chapters=[chapter for chapter in chapters if chapter.blocks],
    )
    write_page(folder / REPORT, page)
    return folder / REPORT


def stored_task(folder: Path, overrides: Sequence[str] = ()) -> BaseTask:
    """Reads the settings of a run; `key=value` texts replace some, e.g. a moved `dataset_dir`.

    Raises:
        CheckpointError: there is no run.
        ConfigError: its settings are not understood any more.
    """
    settings = merge(read_settings(folder), parse_overrides(overrides))
    return check_task(settings, f"the settings of {folder}")


def check_stores(folder: Path, stores: "Mapping[str, FeatureStore]") -> None:
    """Checks that features, by name of the set, are those of a run, see `check_data`.

    Raises:
        CheckpointError: they are others.
    """
    check_data(folder, *fingerprints(stores))


def report_finished_run(folder: Path, task: BaseTask) -> None:
    """Writes the report of a finished run; a failure is only logged."""
    try:
        logger.info("Report: %s", write_report(folder, task))
    except UserError as error:
        problem = "The run is complete, but its report cannot be written:"
        again = f"python -m common.cli.report {folder}"
        logger.warning("%s %s Once that is fixed: %s", problem, error, again)


def shown(what: str, make: Callable[[], list[Block]]) -> list[Block]:
    """Makes a part of the page, or a note with the reason why it cannot be shown."""
    try:
        return make()
    except UserError as error:
        return [not_shown(what, error)]


def not_shown(what: str, error: UserError) -> Note:
    """Note with the reason why a part of the page is missing."""
    return Note(f"{what} cannot be shown. {error}", problem=True)


def scores_if_any(folder: Path, form: Any = ScoresForm) -> dict[str, Any] | None:
    """Reads the scores of a run that must have some form; None: it has none.

    Raises:
        CheckpointError: the file is damaged or of another form.
    """
    return read_form(folder / SCORES, form) if (folder / SCORES).exists() else None


def curve_blocks(stages: Mapping[str, Mapping[str, Any]], panels: Sequence) -> list[Block]:
    """Draws the learning curves of each stage."""
    from common.display.plotting import figure_picture, learning_curves

    blocks: list[Block] = []
    for name, stage in stages.items():
        history = stage["history"]
        drawn = [panel for panel in panels if any(each.name in history for each in panel.curves)]
        titles = [panel.title for panel in drawn]
        if titles:
            figure = learning_curves(history, panels, stage["best_epoch"])
            alt = f"Learning curves of {name}: {', '.join(titles)}"
            blocks.append(figure_picture(figure, _training_title(name, stage), alt))
    return blocks or [Note("No training has come to its end yet.")]


def _training_title(name: str, stage: Mapping[str, Any]) -> str:
    title = f"{name}: {stage['epochs']} epochs, the best is number {stage['best_epoch']}"
    if stopped := stop_text(stage):
        title += f"; {stopped}"
    scored = scored_epoch(stage)
    if scored != stage["best_epoch"]:
        title += f"; the model of epoch {scored} is scored"
    return title


def confusion_table(
    counts: np.ndarray,
    classes: Sequence[str],
    caption: str,
    write: Callable[[float], str] = "{:.0f}".format,
) -> Table:
    """Makes a table of `common.metrics.confusion.count_confusions`, shaded by shares of rows.

    Args:
        counts: (K + 1, K + 1).
        classes: names of the K classes.
        caption: the counted quantity.
        write: from a count above 0 to its text.
    """
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    rows = [
        [name, *(write(count) if count else "" for count in row)]
        for name, row in zip([*classes, "(none of them)"], counts.tolist(), strict=True)
    ]
    heading = ["true \\ estimated", *classes, "(nothing)"]
    return Table(caption, [heading, *rows], shades=shares.tolist(), note=_CONFUSIONS_EXPLAINED)


_CONFUSIONS_EXPLAINED = (
    "Diagonal: found. Next to it: missed, while the class of the column was estimated without being"
    " there. Last row: estimated though nothing was missed. Shades are shares of a row."
)


def flat_scores(scores: Mapping[str, Any]) -> Numbers:
    """Scores by name; those of several definitions as "<definition> <name>"."""
    flat: Numbers = {}
    for name, value in scores.items():
        if isinstance(value, dict):
            flat |= {f"{name} {part}": score for part, score in flat_scores(value).items()}
        else:
            flat[name] = value
    return flat


def _facts(
    task: BaseTask,
    environment: Mapping[str, Any],
    stages: Mapping[str, Mapping[str, Any]],
    folder: Path,
) -> dict[str, str]:
    """System, date, duration, seed and versions of a run."""
    histories = [stage["history"] for stage in stages.values()]
    times = [each.get(name, []) for each in histories for name in ("training_s", "scoring_s")]
    trained_s = sum(value or 0.0 for values in times for value in values)
    duration = _duration(trained_s)
    written = datetime.fromtimestamp((folder / ENVIRONMENT).stat().st_mtime, UTC).isoformat()
    begun = [*environment["earlier"], environment][0]
    training = duration if len(stages) == 1 else f"{len(stages)} stages, {duration}"
    stopped = [f"{name}: {text}" for name, stage in stages.items() if (text := stop_text(stage))]
    parts = [*environment["earlier"], environment]
    changed = [change for part in parts for change in part.get("changed", [])]
    return {
        "System": f"{task.system} ({task.family})",
        "Date": f"{(begun.get('date') or written)[:16].replace('T', ' ')} UTC",
        **({"Training": training} if stages else {}),
        **({"Ended early": "; ".join(stopped)} if stopped else {}),
        **({"Settings changed": "; ".join(changed)} if changed else {}),
        "Seed": str(task.seed),
        "Code": environment["git_revision"] or "not from a checkout",
        "Python, platform": f"{environment['python']}, {environment['platform']}",
    }


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _setting_blocks(task: BaseTask, environment: Mapping[str, Any], folder: Path) -> list[Block]:
    settings = task.model_dump(mode="json", exclude={"description"})
    versions = {name: version for name, version in environment["versions"].items() if version}
    fingerprints = read_json(folder / DATA) if (folder / DATA).exists() else {}
    computing = {"computing": environment["computing"]} if environment["computing"] else {}
    about = {**computing, "versions": versions, "fingerprints of the data": fingerprints}
    return [Tree(_readable(named_sections({**settings, **about})))]


def named_sections(value: Any) -> Any:
    """Nested settings whose lists of sections have become sections by name or number."""
    if isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
        names = [str(each.get("name", number)) for number, each in enumerate(value)]
        unique = names if len(set(names)) == len(names) else range(len(names))
        value = dict(zip(map(str, unique), value, strict=True))
    if isinstance(value, Mapping):
        return {key: named_sections(each) for key, each in value.items()}
    return value


def _readable(value: Any) -> Any:
    """Nested settings as text by key."""
    if isinstance(value, dict):
        return {key: _readable(each) for key, each in value.items()}
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _numbers(folder: Path) -> list[Chapter]:
    """Everything in the file of scores, by the names it has there."""
    scores = scores_if_any(folder)
    if scores is None:
        return []
    flat = {row["label"]: flat_scores(row["scores"]) for row in scores["rows"]}
    tables = [_number_table("Lines of the table of scores", flat)]
    for row in scores["rows"]:
        if row.get("classes"):
            tables.append(_number_table(f"Classes: {row['label']}", row["classes"]))
    note = Note(f"By the names they have in {SCORES}.")
    return [Chapter("All scores", [note, *tables], folded=True)]


def _number_table(caption: str, lines: Mapping[str, Mapping[str, float | None]]) -> Table:
    names = list(dict.fromkeys(name for line in lines.values() for name in line))
    body = [[label, *(number_text(line.get(n)) for n in names)] for label, line in lines.items()]
    return Table(caption, [["", *names], *body])


def number_text(value: float | None) -> str:
    """Writes a number with four digits; "-" where it is unknown."""
    return "-" if value is None else f"{value:.4g}"
