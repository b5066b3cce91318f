"""Scores files of predicted events, or folders of scores, against the ground truth.

`python -m sed_task4.score ESTIMATED.tsv REFERENCE.tsv` scores one event file against another.
"""

import argparse
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from common.io.files import write_json
from common.io.tables import to_number, to_whole
from common.io.terminal import typed_text
from sed_task4.scores.score_files import ClipScores, clip_tags, events_above
from sed_task4.scores.systems import ScoringConfig, SystemOutput, TestSet, score_report
from sed_task4.scores.tables import ScoreReport

logger = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs `python -m sed_task4.score`; returns its exit status."""
    # Those who import scores do not need the modules of the command line.
    from common.cli.base import run_safely

    return run_safely(_run, arguments)


def _run(arguments: Sequence[str]) -> None:
    from common.cli.base import base_parser, params_path
    from common.settings.tasks import load_task

    parser = base_parser("Scores a file of predicted events against the ground truth.")
    _add_arguments(parser)
    options = parser.parse_args(arguments)
    if options.task is None:
        known = _settings_of_run(options.estimated)
    else:
        task = load_task(params_path(options.params), options.task, options.overrides)
        known = _known_settings(task)
    scoring = ScoringConfig(**{**known.scoring, **_given(options)})
    report = score_files(
        options.estimated,
        options.reference,
        scoring,
        classes=options.classes.split(",") if options.classes else known.classes,
        clip_s=options.clip_s or known.clip_s,
        ignore_unknown=options.ignore_unknown,
        strict=known.strict and not options.no_strict,
        audio=options.durations or options.audio,
    )
    if options.json:
        write_json(options.json, report.to_dict())
    print(report.to_markdown() if options.markdown else report.to_text())


def score_task(estimated: Path, reference: Path, task: Any, task_id: str = "") -> ScoreReport:
    """Scores events or scores as `python -m sed_task4.score --task` does.

    Args:
        estimated: see `score_files`.
        reference: as well.
        task: settings with classes, clip length and scoring.
        task_id: its name; unused.

    Raises:
        DataError: a file cannot be read, or estimates are of files that are not in the reference.
    """
    known = _known_settings(task)
    return score_files(
        estimated,
        reference,
        ScoringConfig(**known.scoring),
        classes=known.classes,
        clip_s=known.clip_s,
        strict=known.strict,
    )


@dataclass(frozen=True)
class _KnownSettings:
    """Settings of scoring for options that are not given."""

    classes: tuple[str, ...] | None = None
    clip_s: float = 10.0
    strict: bool = True
    scoring: Mapping[str, Any] = field(default_factory=dict)


def _settings_of_run(estimated: Path) -> _KnownSettings:
    """Classes, clip length and scoring of the run that an event file belongs to, if any."""
    from common.settings.tasks import check_task
    from common.training.run_directory import ENVIRONMENT, read_settings

    folders = list(Path(estimated).resolve().parents)[:3]
    files = "settings.yaml", ENVIRONMENT
    runs = (folder for folder in folders if all((folder / name).is_file() for name in files))
    run = next(runs, None)
    if run is None:
        return _KnownSettings()
    task: Any = check_task(read_settings(run), f"the settings of {run}")
    if not task.family.startswith("sed_task4"):
        return _KnownSettings()
    logger.info("Classes, length of clips and scoring are those of %s, where not given.", run)
    return _known_settings(task)


def _known_settings(task: Any) -> _KnownSettings:
    names = set(ScoringConfig.model_fields) & set(type(task.scoring).model_fields)
    scoring = {name: getattr(task.scoring, name) for name in names}
    dataset = task.dataset
    return _KnownSettings(tuple(dataset.classes), dataset.clip_s, dataset.strict, scoring)


def _given(options: argparse.Namespace) -> dict[str, Any]:
    """Scoring options of the command line."""
    values = {"collar_s": options.collar, "offset_share": options.offset_share}
    values |= {"empty_estimate_is_zero": False if options.leave_out_empty else None}
    values |= {"event_threshold": options.threshold, "operating_points": options.points}
    values |= {"all_thresholds": options.all_thresholds or None}
    values |= {"empty_clips": "dropped" if options.drop_empty else None}
    if options.resamples is not None:
        values["bootstrap"] = {"n_resamples": options.resamples}
    return {name: value for name, value in values.items() if value is not None}


def score_files(
    estimated: Path,
    reference: Path,
    scoring: ScoringConfig | None = None,
    *,
    classes: Sequence[str] | None = None,
    clip_s: float = 10.0,
    ignore_unknown: bool = False,
    strict: bool = True,
    audio: Path | None = None,
) -> ScoreReport:
    """Scores an event file, or a folder of scores, prepared by `sed_task4.scores.scored_files`.

    Args:
        estimated: see `sed_task4.submission`; or a folder that predict.py wrote; or one of
            score files, see `sed_task4.scores.score_files`.
        reference: as well; its file names are the test set. A row with only a name is a clip
            without events.
        scoring: how; None: the defaults.
        classes: class names; None: the ten of the challenge.
        clip_s: length of the clips.
        ignore_unknown: leave out estimates of files that are not in the reference, as published.
        strict: see `sed_task4.dataset.parse_events`.
        audio: folder of the clips, whose lengths are read, or a table of their lengths; None: those
            that a run wrote next to its events, or `clip_s`.

    Raises:
        DataError: a file cannot be read, or estimates are of files that are not in the reference.
    """
    from sed_task4.dataset import DatasetConfig
    from sed_task4.scores.score_files import is_score_folder
    from sed_task4.scores.scored_files import read_pair, read_score_pair

    classes = tuple(classes or DatasetConfig().classes)
    estimated, reference = Path(estimated), Path(reference)
    options = {"ignore_unknown": ignore_unknown, "strict": strict}
    if is_score_folder(estimated):
        pair, clips = read_score_pair(estimated, reference, classes, clip_s, **options)
        output = _output_of_scores(clips, (scoring or ScoringConfig()).event_threshold)
    else:
        pair = read_pair(estimated, reference, classes, clip_s, **options)
        output = SystemOutput(pair.estimate)
    test = TestSet(pair.names, pair.reference, classes, clip_s)
    test, output, length_notes = _within_lengths(test, output, audio, estimated)
    report = score_report(test, {estimated.stem: output}, scoring)
    return replace(report, notes=(*report.notes, *pair.notes, *length_notes))


def _output_of_scores(clips: Sequence[ClipScores], threshold: float) -> SystemOutput:
    """Takes scores above a threshold for events, and the highest of a clip for its tags."""
    return SystemOutput(
        [events_above(clip, threshold) for clip in clips],
        np.stack([clip_tags(clip) for clip in clips]) if clips else None,
        [clip.scores for clip in clips],
        remark=f"Events: scores above {threshold:g}. Tags: the highest score of a clip. PSDS and"
        " best F: of all thresholds.",
        edges_s=[clip.edges_s for clip in clips],
        threshold=threshold,
    )


def _within_lengths(
    test: TestSet, output: SystemOutput, audio: Path | None, estimated: Path
) -> tuple[TestSet, SystemOutput, list[str]]:
    """Cuts events at the ends of their clips; notes clips of unknown length.

    Args:
        test: the ground truth.
        output: the system's events.
        audio: folder of the clips, or a table of their lengths; None: unknown.
        estimated: the event file, next to which a run writes lengths.
    """
    from sed_task4.clips.lengths import cut_to_length, lengths_of_files, log_cut, read_lengths
    from sed_task4.submission import CLIPS

    lengths = {}
    if audio is not None and audio.is_file():
        lengths = read_lengths(audio)
    elif audio is not None:
        lengths = lengths_of_files(audio, test.names)
    elif estimated.with_name(CLIPS).is_file():
        lengths = read_lengths(estimated.with_name(CLIPS))
    unknown = [name for name in test.names if name not in lengths]
    notes = []
    if unknown:
        n_unknown = f"{len(unknown)} clip(s) of unknown length are"
        which = "Clips are" if len(unknown) == len(test.names) else n_unknown
        remedy = "--audio FOLDER reads their lengths"
        notes = [f"{which} taken to last {test.clip_s:g} s (--clip-s); {remedy}."]
    given_s = (lengths.get(name, test.clip_s) for name in test.names)
    durations_s = np.array([min(length_s, test.clip_s) for length_s in given_s])
    ends_s = np.where([name in lengths for name in test.names], durations_s, np.inf)
    log_cut(test.names, test.events, ends_s)
    truth, found = (
        [cut_to_length(rows, end_s) for rows, end_s in zip(events, ends_s, strict=True)]
        for events in (test.events, output.events)
    )
    test = replace(test, events=truth, lengths_s=durations_s)
    return test, replace(output, events=found), notes


def _seconds(text: str) -> float:
    """A number of the command line, not negative, written as in tables."""
    value = to_number(text)
    if value is None or value < 0:
        raise argparse.ArgumentTypeError(f"expected a number, not negative. Received: {text!r}.")
    return value


def _whole(text: str) -> int:
    """A whole number of the command line, 2 to 1000."""
    value = to_whole(text)
    if value is None or not 2 <= value <= 1000:
        raise argparse.ArgumentTypeError(f"expected 2 to 1000. Received: {text!r}.")
    return value


def _share(text: str) -> float:
    """A number of the command line from 0 to 1."""
    value = to_number(text)
    if value is None or not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1. Received: {text!r}.")
    return value


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    source = "a file, a folder of predict.py, or one of score files"
    add("estimated", type=Path, metavar="ESTIMATED", help=f"events of the system: {source}")
    names = "true events, a file that names all clips"
    add("reference", type=Path, metavar="REFERENCE", help=names)
    add("--task", metavar="ID", help="task whose classes, clip length and scoring these are")
    add("--json", type=Path, metavar="FILE", help="write the tables there as JSON too")
    add("--markdown", action="store_true", help="print the tables in Markdown")
    names = "class names (default: the run's, or the ten of the challenge)"
    add("--classes", type=typed_text, metavar="A,B,...", help=names)
    add("--audio", type=Path, metavar="DIR", help="folder of the clips, whose lengths are read")
    durations = "table of their lengths: filename, duration"
    add("--durations", type=Path, metavar="FILE", help=durations)
    above = "scores above it are events, for a folder of score files (default 0.5)"
    add("--threshold", type=_share, metavar="X", help=above)
    length = "length of a clip (default: the run's, or 10)"
    add("--clip-s", type=_seconds, metavar="S", help=length)
    add("--collar", type=_seconds, metavar="S", help="of onsets (default: the run's, or 0.2)")
    share = "of an event's length (default: the run's, or 0.2)"
    add("--offset-share", type=_seconds, metavar="X", help=share)
    lenient = "read events that end before they begin, or begin after the clip, as published"
    add("--no-strict", action="store_true", help=lenient)
    more = "also F of intersections, segments and clips, areas under ROC, non-oracle PSDS"
    add("--all-thresholds", action="store_true", help=more)
    points = "also PSDS of as many thresholds, as psds_eval (50)"
    add("--points", type=_whole, metavar="N", help=points)
    resamples = "bootstrap intervals of the scores over all thresholds"
    add("--resamples", type=_whole, metavar="N", help=resamples)
    dropped = "leave out clips without events, as the baselines of 2022 to 2024"
    add("--drop-empty", action="store_true", help=dropped)
    unknown = "leave out estimates of files not in REFERENCE"
    add("--ignore-unknown", action="store_true", help=unknown)
    absent = "classes never estimated do not count in the mean F"
    add("--leave-out-empty", action="store_true", help=absent)


if __name__ == "__main__":
    raise SystemExit(main())
