"""Score tables of SELD: per split, overlap and room, by both definitions, with baselines.

`python -m seld.score PRED REF` scores a folder of submission files against a folder of metadata;
with `--scorer dcase2024` and so on, files of 2020 to 2025.
"""

import argparse
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from common.errors import ConfigError, DataError
from common.io.files import write_json
from common.metrics.score_table import (
    UNDEFINED,
    ScoreTable,
    ScoreTables,
    format_score,
    name_published,
    published_scores,
)
from common.settings.section import Section
from seld.dataset import DatasetConfig, Events, files_by_name, list_files, parse_name, read_labels
from seld.metrics.dcase2019 import DEFINITIONS, SeldScorer, SeldScores, reference_for, seld_error
from seld.metrics.years import YEARS
from seld.recording_list import Attributes, has_list, read_list
from seld.recordings.csv_formats import FORMATS
from seld.recordings.lengths import seconds_of, sounds_of
from seld.scores.location_score import LocationReport, published_rows
from seld.scores.year_folders import score_year_folder
from seld.submission import read_submission, submission_files

logger = logging.getLogger(__name__)

ScorerName = Literal[
    "dcase2019", "corrected", "dcase2020", "dcase2021", "dcase2022", "dcase2023", "dcase2024",
    "dcase2024_no_distance", "dcase2024_blocks", "dcase2025", "dcase2025_onscreen",
    "corrected2022", "corrected2024", "corrected2025",
]  # fmt: skip
SCORES = ("er", "f", "doa_error_deg", "frame_recall", "seld_error")
_HEADINGS = ("ER", "F", "DOA error", "FR", "SELD")


class ScoringConfig(Section):
    """Threshold of the estimates, and the scores that stop training and choose the model."""

    scorer: ScorerName = Field(
        "dcase2019",
        description="Definition of the scores that decides: the official one of a year, or a"
        " corrected one; the year's and the corrected one are always printed side by side."
        " dcase2024_no_distance: for networks that do not predict distances.",
    )
    threshold: float = Field(
        0.5,
        gt=0,
        lt=1,
        description="A class is active where its probability, or the length of its vector, exceeds"
        " this.",
    )
    intervals: bool = Field(
        False, description="Print jackknife intervals over recordings, of the scorers from 2020 on."
    )


@dataclass(frozen=True)
class ScoredRecording:
    """Ground truth and estimate of one recording.

    Attributes:
        name: e.g. split1_ir0_ov1_1.
        split: its split, 0 is the evaluation set.
        room: None where unknown.
        overlap: None where unknown.
        events: those of the metadata.
        estimate: output format, rows (n, 4).
        n_frames: label frames, without padding.
        length_known: False: the length is unknown, and `n_frames` are those of
            `dataset.recording_s`.
    """

    name: str
    split: int
    room: int | None
    overlap: int | None
    events: Events
    estimate: np.ndarray
    n_frames: int
    length_known: bool = True


@dataclass(frozen=True)
class ScoreRow:
    """One line of the table.

    Attributes:
        group: "all", "split", "overlap", "room", "system", "baseline" or "published".
        label: e.g. "split 1".
        n_recordings: number of scored recordings, None for published values.
        scores: by definition; unpublished ones are missing, undefined ones are NaN.
    """

    group: str
    label: str
    n_recordings: int | None
    scores: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class ScoreReport(ScoreTables):
    """The score table, its counts and notes.

    Attributes:
        rows: lines in the order of print.
        counts: by definition, the counts behind the first line.
        notes: sentences to print below.
    """

    rows: tuple[ScoreRow, ...]
    counts: Mapping[str, Mapping[str, Any]]
    notes: tuple[str, ...] = ()

    def score(self, definition: str, name: str, label: str = "all") -> float:
        """Returns one number of the table, e.g. `score("corrected", "er")`.

        Raises:
            KeyError: there is no such line or number.
        """
        return self.row(label).scores[definition][name]

    def tables(self) -> list[ScoreTable]:
        """Returns one table with both definitions."""
        heading = ["", "recordings", *_HEADINGS * len(DEFINITIONS)]
        groups = [(name, len(_HEADINGS)) for name in DEFINITIONS]
        return [ScoreTable("", [heading, *map(_cells, self.rows)], groups)]

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values for `write_json`, which writes undefined ones as null."""
        rows = [asdict(row) for row in self.rows]
        return {"rows": rows, "counts": dict(self.counts), "notes": list(self.notes)}

    def remarks(self) -> list[str]:
        """Returns the sentences below the table."""
        meaning = (
            "ER, F: segments of 1 s. DOA error: degrees. FR: frame recall. SELD: mean of ER, 1 - F,"
            " DOA error / 180 and 1 - FR."
        )
        first = next(iter(self.counts.values()), None)
        counted = []
        if first is not None:
            entries, directions = first["detection"]["n_reference"], first["directions"]
            counted.append(
                f"Reference of {self.rows[0].label!r}: {entries} classes in segments,"
                f" {directions['n_reference']} directions in {directions['n_frames']} frames."
            )
        return [meaning, *counted, *self.notes]


def score_report(
    recordings: Sequence[ScoredRecording],
    dataset: DatasetConfig,
    *,
    published: Mapping[str, float] | None = None,
    compared: Mapping[str, Sequence[ScoredRecording]] | None = None,
) -> ScoreReport:
    """Scores recordings under both definitions.

    Next to the estimate are baselines, "always silent" and "labels of another recording" (the
    reference of the next recording in sorted order, of the first for the last one), and published
    values. `dcase2019` is undefined, with a note, where a true direction is off the grid.

    Args:
        recordings: at least one; sorted here by name.
        dataset: classes, label hop and grid of directions.
        published: some of er, f, doa_error_deg, frame_recall and seld_error; f and frame_recall in
            [0, 1].
        compared: estimates of other systems for the same recordings, by the label of their line.

    Raises:
        DataError: no recordings.
        ValueError: `published` has an unknown name.
    """
    if not recordings:
        raise DataError(
            "There is no recording to score. Check that the test set has recordings with metadata."
        )
    recordings = sorted(recordings, key=lambda recording: recording.name)
    notes, off = _notes_on(recordings, dataset), _off_grid(recordings, dataset)
    defined = [name for name, rules in DEFINITIONS.items() if not (rules.on_grid and off)]
    references = {n: [_reference(n, each, dataset) for each in recordings] for n in defined}
    results = {name: _score_each(name, references[name], recordings, dataset) for name in defined}
    rows = [_row("all", "all", range(len(recordings)), results)]
    for group in ("split", "overlap", "room"):
        keys = [getattr(recording, group) for recording in recordings]
        for key in sorted({key for key in keys if key is not None}):
            members = [number for number, other in enumerate(keys) if other == key]
            rows.append(_row(group, f"{group} {key}", members, results))
    for label, others in (compared or {}).items():
        by_name = {other.name: other.estimate for other in others}
        estimates = [by_name[recording.name] for recording in recordings]
        scored = {
            name: _score_each(name, references[name], recordings, dataset, estimates)
            for name in defined
        }
        rows.append(_row("system", label, range(len(recordings)), scored))
    baselines, of_baselines = _baseline_rows(references, recordings, dataset)
    counts = {name: _counts(_merged(scorers)) for name, scorers in results.items()}
    return ScoreReport(
        (*rows, *baselines, *_published_rows(published)), counts, (*notes, *of_baselines)
    )


def _off_grid(
    recordings: Sequence[ScoredRecording], dataset: DatasetConfig
) -> list[tuple[str, int]]:
    """Recordings with events off the grid of directions, and the number of these events."""
    found = []
    for each in recordings:
        on_grid = dataset.grid.holds(each.events.azimuth_deg, each.events.elevation_deg)
        found += [] if on_grid.all() else [(each.name, int(np.sum(~on_grid)))]
    return found


def _notes_on(recordings: Sequence[ScoredRecording], dataset: DatasetConfig) -> list[str]:
    """Notes on undefined scores and unknown lengths."""
    notes, off = [], _off_grid(recordings, dataset)
    if off:
        notes.append(
            f"dcase2019: undefined, since {sum(count for _, count in off)} event(s) in {len(off)}"
            f" recording(s), the first in {off[0][0]}, are off its grid of directions,"
            f" {dataset.grid.describe()}."
        )
    unknown = sum(not each.length_known for each in recordings)
    if unknown:
        notes.append(
            f"Length of {unknown} recording(s): unknown, no sound file next to their metadata;"
            f" scored as if they lasted `dataset.recording_s`, {dataset.recording_s:g} s."
        )
    return notes


def score_folder(
    submission_dir: Path,
    metadata_dir: Path,
    dataset: DatasetConfig,
    *,
    splits: Iterable[int] | None = None,
    published: Mapping[str, float] | None = None,
) -> ScoreReport:
    """Scores a folder of submission files against the metadata.

    Args:
        submission_dir: one CSV file per recording, see `seld.submission`.
        metadata_dir: metadata files of the same names, or a dataset folder with a `recordings.csv`.
            Lengths are read from the sounds in the same folder, or in `foa_dev` next to
            `metadata_dev` and so on; a note names those without.
        dataset: classes, duration, angles.
        splits: score these splits only; None: all.
        published: see `score_report`.

    Raises:
        DataError: a folder is missing or empty, files are missing or too many, or a line cannot be
            used.
    """
    recordings = read_folder(submission_dir, metadata_dir, dataset, splits=splits)
    return score_report(recordings, dataset, published=published)


def read_folder(
    submission_dir: Path,
    metadata_dir: Path,
    dataset: DatasetConfig,
    *,
    splits: Iterable[int] | None = None,
) -> list[ScoredRecording]:
    """Reads the submissions and metadata of `score_folder`; same arguments and errors."""
    submissions = _csv_files(Path(submission_dir), "submission files")
    metadata, places = _metadata_and_places(Path(metadata_dir))
    sounds = sounds_of(Path(metadata_dir), metadata, dataset.format)
    if splits is not None:
        wanted = set(splits)
        metadata = {name: path for name, path in metadata.items() if places[name][0] in wanted}
        # Submissions of other splits are left out; those without metadata stay, an error.
        unwanted = set(places) - set(metadata)
        submissions = {name: path for name, path in submissions.items() if name not in unwanted}
    _check_submissions(submissions, metadata, places, Path(submission_dir))
    found = []
    for name, path in metadata.items():
        sound_s = seconds_of(sounds.get(name))
        events = read_labels(path, dataset, sound_s)
        estimate = read_submission(submissions[name], dataset.n_classes)
        n_frames, known = dataset.frames_of(sound_s), sound_s is not None
        found.append(ScoredRecording(name, *places[name], events, estimate, n_frames, known))
    return found


def _metadata_and_places(folder: Path) -> tuple[dict[str, Path], dict[str, Attributes]]:
    """Metadata file and attributes of each recording, from `recordings.csv` or the file names."""
    if has_list(folder):
        listed = read_list(folder)
        paths = {each.name: path for each in listed if (path := each.metadata_path) is not None}
        return paths, {each.name: each.attributes for each in listed}
    metadata = _csv_files(folder, "metadata files")
    sets = {name: "eval" if name.startswith("split0_") else "dev" for name in metadata}
    return metadata, {name: parse_name(name, set_name) for name, set_name in sets.items()}


def _csv_files(folder: Path, what: str) -> dict[str, Path]:
    files = files_by_name(folder, ".csv") if folder.is_dir() else None
    if not files:
        received = "no such folder" if files is None else "no .csv file in it"
        deeper = files is not None and next(folder.glob("*/*.csv"), None) is not None
        hint = " Files of 2020 to 2025, some in folders, need `--scorer` or `--task`."
        raise DataError(
            f"{folder}: expected a folder of {what}, one .csv per recording. Received: {received}."
            f" The order is submissions first, then metadata.{hint if deeper else ''}"
        )
    return files


def _check_submissions(
    submissions: dict[str, Path],
    metadata: dict[str, Path],
    places: dict[str, Attributes],
    folder: Path,
) -> None:
    missing = [path for name, path in metadata.items() if name not in submissions]
    extra = [path for name, path in submissions.items() if name not in metadata]
    if not metadata:
        known = sorted({place[0] for place in places.values()})
        raise DataError(
            f"No metadata of the splits asked for. There are: {', '.join(map(str, known))}."
        )
    if not (missing or extra):
        return
    problems = [f"{folder} does not fit the metadata."]
    if missing:
        problems.append(f"Missing: {list_files(missing)}. Predict those recordings too.")
        here = {places[name][0] for name in metadata if name in submissions}
        absent = sorted({places[name][0] for name in metadata} - here)
        if here and absent:
            problems.append(
                f"No file is there of split {', '.join(map(str, absent))}: "
                f"`--splits {' '.join(map(str, sorted(here)))}` scores the others."
            )
    if extra:
        problems.append(
            f"Without metadata: {list_files(extra)}. Move them away or add their metadata."
        )
    raise DataError(" ".join(problems))


def _reference(definition: str, recording: ScoredRecording, dataset: DatasetConfig) -> np.ndarray:
    return reference_for(
        definition, recording.events, recording.n_frames, dataset.label_hop_s, dataset.grid
    )


def _score_each(
    definition: str,
    references: Sequence[np.ndarray],
    recordings: Sequence[ScoredRecording],
    dataset: DatasetConfig,
    estimates: Sequence[np.ndarray] | None = None,
) -> list[SeldScorer]:
    """Scores each recording; `estimates` replaces those of the recordings."""
    scorers = []
    for number, (reference, recording) in enumerate(zip(references, recordings, strict=True)):
        estimate = recording.estimate if estimates is None else estimates[number]
        scorer = SeldScorer.of(definition, dataset)
        scorer.update(reference, estimate, recording.n_frames)
        scorers.append(scorer)
    return scorers


def _merged(scorers: Iterable[SeldScorer]) -> SeldScores:
    first, *others = scorers
    total = SeldScorer(
        first.definition, first.n_classes, frames_per_s=first.frames_per_s, grid=first.grid
    )
    for scorer in (first, *others):
        total.merge(scorer)
    return total.result()


def _row(
    group: str, label: str, members: Iterable[int], results: Mapping[str, Sequence[SeldScorer]]
) -> ScoreRow:
    members = list(members)
    totals = {name: _merged(of[number] for number in members) for name, of in results.items()}
    undefined = dict.fromkeys(SCORES, math.nan)
    scores = {name: undefined for name in DEFINITIONS} | {
        name: {score: getattr(total, score) for score in SCORES} for name, total in totals.items()
    }
    return ScoreRow(group, label, len(members), scores)


def _counts(scores: SeldScores) -> dict[str, Any]:
    return {name: value for name, value in scores.to_dict().items() if name not in SCORES}


def _baseline_rows(
    references: Mapping[str, list[np.ndarray]],
    recordings: Sequence[ScoredRecording],
    dataset: DatasetConfig,
) -> tuple[list[ScoreRow], list[str]]:
    silence = [np.zeros((0, 4))] * len(recordings)
    estimates: dict[str, Callable[[str], list[np.ndarray]]] = {}
    estimates["always silent"] = lambda name: silence
    notes = []
    if len(recordings) > 1:
        label = "labels of another recording"
        estimates[label] = lambda name: references[name][1:] + references[name][:1]
    else:
        notes.append("Labels of another recording: left out, there is only one recording.")
    rows = []
    for label, estimate in estimates.items():
        results = {
            name: _score_each(name, references[name], recordings, dataset, estimate(name))
            for name in references
        }
        rows.append(_row("baseline", label, range(len(recordings)), results))
    return rows, notes


def _published_rows(published: Mapping[str, float] | None) -> list[ScoreRow]:
    if not published:
        return []
    scores = published_scores(published, SCORES)
    if set(SCORES[:4]) <= set(scores):
        scores.setdefault("seld_error", seld_error(*(scores[name] for name in SCORES[:4])))
    return [ScoreRow("published", "published", None, {"dcase2019": scores})]


def _cells(row: ScoreRow) -> list[str]:
    numbers = [
        format_score(name, row.scores.get(definition, {}).get(name))
        for definition in DEFINITIONS
        for name in SCORES
    ]
    return [row.label, UNDEFINED if row.n_recordings is None else str(row.n_recordings), *numbers]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs `python -m seld.score`; returns its exit status."""
    # The command line's own modules are not needed by those who import scores.
    from common.cli.base import run_safely

    return run_safely(_run, arguments)


def _run(arguments: Sequence[str]) -> None:
    from common.cli.base import base_parser

    parser = base_parser("Scores a folder of submission files against a folder of metadata.")
    _add_arguments(parser)
    options = parser.parse_args(arguments)
    report = _year_report(options) if options.scorer else _report_of_task(options)
    if options.json:
        write_json(options.json, report.to_dict())
    print(report.to_markdown() if options.markdown else report.to_text())


def _report_of_task(options: argparse.Namespace) -> ScoreReport | LocationReport:
    """Scores files by the scorer, classes and values of a task."""
    from common.cli.base import params_path
    from common.settings.tasks import load_task

    task: Any = load_task(params_path(options.params), options.task, options.overrides)
    return _task_report(options, task)


def _task_report(options: argparse.Namespace, task: Any) -> ScoreReport | LocationReport:
    if task.family == "seld" and task.scoring.scorer in YEARS:
        return _year_report(options, task)
    _refuse_year_options(options)
    folders = options.submissions, options.metadata
    report = score_folder(*folders, task.dataset, splits=options.splits, published=task.published)
    return _with_origin(report, options.task, task) if task.published else report


def _with_origin(report: Any, task_id: str, task: Any) -> Any:
    """A report of files that says whose published scores stand in it, and of which dataset."""
    of_task = f"Published: task {task_id}, {task.description}."
    rows = name_published(report.rows, task.published_label)
    return replace(report, rows=rows, notes=(*report.notes, of_task, *task.published_notes))


def score_task(
    estimated: Path, reference: Path, task: Any, task_id: str = "seldnet-foa"
) -> ScoreReport | LocationReport:
    """Scores a folder of submission files as `python -m seld.score --task` does.

    Args:
        estimated: folder of submissions, one per recording.
        reference: folder of metadata files of the same names, or a dataset folder with a list.
        task: settings with scorer, classes and published values.
        task_id: its name, for notes.

    Raises:
        DataError: a folder or file cannot be used, or they do not belong together.
    """
    parser = argparse.ArgumentParser()
    _add_arguments(parser)
    options = parser.parse_args([str(estimated), str(reference), f"--task={task_id}"])
    return _task_report(options, task)


def _year_report(options: argparse.Namespace, task: Any = None) -> LocationReport:
    """Scores files of 2020 to 2025, of a task if there is one."""
    formats, scorer = (options.pred_format, options.ref_format), options.scorer
    classes, intervals, published = options.n_classes, options.intervals, None
    if task is not None:
        dataset, scorer = task.dataset, task.scoring.scorer
        own = submission_files(dataset, task.network).format.name, dataset.published.metadata_format
        formats = formats[0] or own[0], formats[1] or own[1]
        classes, intervals = classes or dataset.classes, intervals or task.scoring.intervals
        published = task.published
    report = score_year_folder(
        options.submissions,
        options.metadata,
        scorer,
        formats=formats,
        classes=classes,
        splits=options.splits,
        ignore_missing=options.ignore_missing,
        intervals=intervals,
    )
    if not published:
        return report
    rows = *report.rows, *published_rows(published, report.rules[0])
    return _with_origin(replace(report, rows=rows), options.task, task)


def _refuse_year_options(options: argparse.Namespace) -> None:
    names = ("pred_format", "ref_format", "n_classes", "ignore_missing", "intervals")
    given = [f"--{name.replace('_', '-')}" for name in names if getattr(options, name)]
    if given:
        raise ConfigError(
            f"{', '.join(given)}: for the scorers of 2020 to 2025. Expected: with --scorer, one of"
            f" {', '.join(YEARS)}, or with the --task of such a year. Received: neither."
        )


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("submissions", type=Path, metavar="PRED", help="folder of submissions, one per recording")
    about = "folder of metadata files of the same names, or a dataset folder with a recordings.csv"
    add("metadata", type=Path, metavar="REF", help=about)
    add("--json", type=Path, metavar="FILE", help="write the table there as JSON too")
    add("--markdown", action="store_true", help="print the table in Markdown")
    add("--splits", type=int, nargs="+", metavar="N", help="score these splits only")
    add_year = parser.add_argument_group("scorers of 2020 to 2025").add_argument
    about = "task of params.yaml with scorer, classes and published values (default seldnet-foa)"
    add("--task", metavar="ID", default="seldnet-foa", help=about)
    about = "score by the rules of a year, with corrected ones beside (default: the task's)"
    add_year("--scorer", choices=YEARS, metavar="NAME", help=f"{about}: {', '.join(YEARS)}")
    about = "format of the files of PRED (default: that of the scorer's year)"
    add_year(
        "--pred-format", choices=FORMATS, metavar="NAME", help=f"{about}: {', '.join(FORMATS)}"
    )
    add_year("--ref-format", choices=FORMATS, metavar="NAME", help="the same of REF")
    add_year("--n-classes", type=int, metavar="K", help="classes (default: those of the year)")
    add_year("--intervals", action="store_true", help="95 %% intervals, jackknife over recordings")
    about = "leave recordings without a file in PRED out, in place of counting them as silence"
    add_year("--ignore-missing", action="store_true", help=about)


if __name__ == "__main__":
    raise SystemExit(main())
