"""Report of an SED run: scores, classes, thresholds, confusions of tags, clips over time."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Protocol

import numpy as np
from pydantic import Field

from common.data.feature_store import FeatureStore
from common.display import timeline as display
from common.display.page import Block, Cards, Chapter, Note, Picture, Table, Timeline, data_uri
from common.display.plotting import figure_picture
from common.errors import DataError, UserError
from common.features.settings import frontend_of
from common.metrics.confusion import count_confusions
from common.metrics.score_table import ScoreTable, format_score, score_cells
from common.metrics.segment_based import count_frames
from common.reports import run as reports
from common.reports.run import Numbers
from sed_task4.clips.lengths import cut_to_length, lengths_of_store
from sed_task4.config import TaskConfig
from sed_task4.curve_figures import psds_figure, threshold_figure
from sed_task4.dataset import events_by_name, find_clips
from sed_task4.extraction import open_store
from sed_task4.features import FeatureConfig
from sed_task4.labels import event_array, frame_activity
from sed_task4.scores.score_curves import CURVES, SystemCurves, read_curves
from sed_task4.scores.systems import tags_of
from sed_task4.scores.tables import ScoreReport, ScoreRow
from sed_task4.submission import EVENTS, read_submission

_CARDS = {"map": "mAP of tags", "clip_macro_f": "F of tags", "event_macro_f": "F of events"} | {
    "segment_macro_f": "F of 1 s segments"
}
_SIDE_BY_SIDE = {  # of the classes of several networks
    **{"ap": "AP", "clip_f": "clip F", "event_f": "event F", "intersection_f": "intersection F"},
    **{"segment_f": "1 s F", "psds1": "PSDS 1", "psds2": "PSDS 2", "best_f": "best F"},
}
_THRESHOLDS_EXPLAINED = (
    "Each curve is that of the scores in the tables: the decoder of the run at every threshold."
    " PSDS takes, at each rate of false positives, the best threshold of each class.",
    "Dotted: the threshold in use, set before the test (non-oracle); a ring marks the mean F there,"
    " where a class without a hit counts 0. Stars: the best thresholds, chosen on the test clips"
    " themselves (oracle): an upper limit, no result. The best F of the tables takes the best"
    " threshold of each class.",
)
_FIGURES = {"durations.png": "Durations and numbers of events, reference and estimate"}


@dataclass(frozen=True)
class _Line:
    group: str
    label: str
    scores: Numbers
    classes: dict[str, Numbers]


@dataclass(frozen=True)
class ScoreTables:
    """Scores of a run, see `sed_task4.scores.tables.ScoreReport.to_dict`."""

    n_clips: int
    rows: Annotated[list[_Line], Field(min_length=1)]
    notes: list[str]


class ClipDataset(Protocol):
    """Clips of a dataset and their labels."""

    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def clip_s(self) -> float: ...
    @property
    def sample_rate_hz(self) -> int: ...


@dataclass(frozen=True)
class Tested:
    """A test clip and its prediction.

    Attributes:
        name: file name.
        reference: true events (n, 3) = class_index, onset_s, offset_s.
        estimate: estimated events (m, 3).
        labelled: True if the ground truth is known.
        read: reads its record from the feature store.
    """

    name: str
    reference: np.ndarray
    estimate: np.ndarray
    labelled: bool
    read: Callable[[], dict[str, Any]]


def chapters(task: TaskConfig, folder: Path) -> list[Chapter]:
    """Makes the chapters of a run, see `common.reports.run`."""
    scores = reports.scores_if_any(folder, ScoreTables)
    report = None if scores is None else ScoreReport.from_dict(scores)
    classes = task.dataset.classes
    of_classes = [*class_tables(report), *network_tables(report), *figures(folder, _FIGURES)]
    recordings: list[Block] = []
    try:
        stores = {name: open_store(task, name) for name in task.sets.test}
        reports.check_stores(folder, stores)
        store = FeatureStore.joined(list(stores.values()))
        found = tested_clips(store, task.sets.test, last_stage(folder, report) / EVENTS, classes)
        of_classes += tag_confusions(found, classes)
        recordings = clip_blocks(found, task.dataset, partial(_timeline, task, _audio_paths(task)))
    except UserError as error:
        recordings = [reports.not_shown("The test clips", error)]
    return [
        Chapter("Scores", [*score_blocks(report, _CARDS), *_network_notes(task, report)]),
        Chapter("Classes", of_classes),
        Chapter("All thresholds", reports.shown("The curves", partial(curves, folder, report))),
        Chapter("Recordings", recordings),
    ]


def score_blocks(report: ScoreReport | None, chosen: Mapping[str, str]) -> list[Block]:
    """A few scores in large type with the published ones, and the tables of a run.

    Args:
        report: the scores; None: there are none.
        chosen: titles of the scores in large type, by name.
    """
    if report is None:
        return [Note(reports.NO_SCORES)]
    found = ((row.label, row.scores) for row in report.rows if row.group == "published")
    label, published = next(found, ("", {}))
    cards = []
    scores = report.rows[0].scores
    for name in [name for name in chosen if name in scores]:
        known = name in published
        remark = f"{label}: {format_score(name, published[name])}" if known else ""
        cards.append((chosen[name], format_score(name, scores[name]), remark))
    groups = {row.label: row.group for row in report.rows}
    tables = [
        Table(each.title, each.rows, [groups[row[0]] for row in each.rows[1:]])
        for each in report.tables()
        if not each.title.startswith("Classes")
    ]
    return [Cards(cards), *tables, *map(Note, report.remarks())]


def class_tables(report: ScoreReport | None) -> list[Block]:
    """The scores of each class of the first system."""
    tables = [] if report is None else report.tables()
    return [Table(each.title, each.rows) for each in tables if each.title.startswith("Classes")]


def networks(report: ScoreReport | None) -> list[ScoreRow]:
    """Rows of the networks of a run: of passes, or student and teacher; not of tags alone."""
    rows = [] if report is None else report.rows
    return [row for row in rows if row.group == "system" and "ap" in row.by_class]


def network_tables(report: ScoreReport | None) -> list[Block]:
    """Scores of the classes of several networks side by side; nothing for a single one."""
    rows = networks(report)
    if report is None or len(rows) < 2:
        return []
    pairs = [(name, row) for name in _SIDE_BY_SIDE for row in rows if name in row.by_class]
    headings = {f"{row.label} {name}": f"{_SIDE_BY_SIDE[name]}: {row.label}" for name, row in pairs}
    values = {f"{row.label} {name}": row.by_class[name] for name, row in pairs}
    places = {label: k for k, label in enumerate(report.classes)}
    classes = {label: lambda name, k=k: values[name][k] for label, k in places.items()}
    table = ScoreTable("Classes of the networks", score_cells(headings, classes))
    return [Table(table.title, table.rows)]


def _network_notes(task: TaskConfig, report: ScoreReport | None) -> list[Block]:
    """Says which rows are those of the student and of the teacher."""
    teacher, rows = task.training.teacher, networks(report)
    if teacher is None or len(rows) < 2:
        return []
    used, other = rows[0].label, rows[1].label
    return [
        Note(
            f"{used}: the {teacher.use}, which chose the model, predicts and is exported"
            f" (training.teacher.use). {other}: the other network of the same training."
        )
    ]


def curves(folder: Path, report: ScoreReport | None) -> list[Block]:
    """Draws PSDS and F against the threshold; a note where the run has no curves.

    Raises:
        CheckpointError: the file of the curves is damaged.
    """
    found = read_curves(folder)
    if found:
        return _curve_pictures(found)
    if report is None or "psds1" not in report.rows[0].scores:
        return []  # no threshold but one was scored
    return [
        Note(
            f"The run has no {CURVES}, which runs of earlier versions lack. The command that made"
            " it, started again, tests once more and writes it; nothing is trained again."
        )
    ]


def _curve_pictures(found: Sequence[SystemCurves]) -> list[Block]:
    labels = ", ".join(each.label for each in found)
    psds = "PSDS: events found over false positives, at all thresholds"
    f = "F against the threshold"
    return [
        figure_picture(psds_figure(found), psds, f"Curves of PSDS of {labels}"),
        figure_picture(threshold_figure(found), f, f"F against the threshold of {labels}"),
        *map(Note, _THRESHOLDS_EXPLAINED),
    ]


def last_stage(folder: Path, report: ScoreReport | None) -> Path:
    """Folder of the stage of the tables' first row; without scores, the last by name.

    Raises:
        DataError: no stage has predicted the test clips.
    """
    stages = {path.parent.name: path.parent for path in sorted(folder.glob(f"*/{EVENTS}"))}
    if not stages:
        raise DataError(f"No stage in {folder} has predicted the test clips. Run it again.")
    label = None if report is None else report.rows[0].label
    return stages.get(str(label), list(stages.values())[-1])


def tested_clips(
    store: FeatureStore, groups: Sequence[str], estimates: Path, classes: Sequence[str]
) -> list[Tested]:
    """Reads ground truth and estimate of test clips, sorted by name.

    Args:
        store: the features.
        groups: of the test clips.
        estimates: the event file.
        classes: class names.

    Raises:
        DataError: a file is missing or damaged.
    """
    labels = store.arrays(groups, ("events", "labelled"))
    lengths_s = lengths_of_store(store, np.inf)
    table, _ = read_submission(estimates, classes)
    return [
        Tested(
            name,
            cut_to_length(labels[name]["events"], lengths_s.get(name, np.inf)),
            event_array(events, classes),
            bool(labels[name]["labelled"]),
            partial(store.record, groups, name),
        )
        for name, events in sorted(events_by_name(table, labels).items())
    ]


def tag_confusions(clips: Sequence[Tested], classes: Sequence[str]) -> list[Block]:
    """Counts tags predicted in clips where others were missed; an event gives its tag."""
    labelled = [clip for clip in clips if clip.labelled]
    if not labelled:
        return []
    sides = [[clip.reference for clip in labelled], [clip.estimate for clip in labelled]]
    counts = count_confusions(*(tags_of(events, len(classes)) for events in sides))
    return [reports.confusion_table(counts, classes, "Confusions of tags, in clips")]


def segment_f(clip: Tested, clip_s: float, n_classes: int) -> float:
    """F-score of the 1 s segments of one clip, [0, 1]; NaN without any event."""
    sizes = int(np.ceil(clip_s)), 1.0, n_classes
    both = (frame_activity(events, *sizes) > 0 for events in (clip.reference, clip.estimate))
    return count_frames(*both).f_score


def clip_blocks(
    clips: Sequence[Tested], dataset: ClipDataset, timeline: Callable[[Tested, str], Timeline]
) -> list[Block]:
    """Shows the best and the worst clips; the first few if none is labelled.

    Args:
        clips: the test clips.
        dataset: length of the clips, and classes.
        timeline: shows one clip with a remark.
    """
    labelled = [clip for clip in clips if clip.labelled]
    if not labelled:
        return [timeline(clip, "without labels") for clip in clips[: display.SHOWN_RECORDINGS]]
    scores = [segment_f(clip, dataset.clip_s, len(dataset.classes)) for clip in labelled]
    texts = [f"F of 1 s segments {format_score('f', score)}" for score in scores]
    order = display.ranked(scores)
    shown = [timeline(labelled[number], f"{rank}: {texts[number]}") for number, rank in order]
    return [Note(display.LEGEND), *shown]


def clip_timeline(
    clip: Tested, dataset: ClipDataset, features: FeatureConfig, audio: Path | None, remark: str
) -> Timeline:
    """Shows one clip: spectrogram, events of reference and estimate, sound.

    Args:
        clip: its events.
        dataset: classes, rate and length.
        features: settings of the stored features.
        audio: the recording; None: it is missing.
        remark: printed below the name.

    Raises:
        DataError: the features are damaged.
    """
    sound, notes = display.sound_or_note(audio, clip.name, display.mean_channel)
    duration_s = min(dataset.clip_s, sound.duration_s if sound else np.inf)
    level = _level(clip.read(), features, dataset.sample_rate_hz)
    level = level[: round(duration_s / features.hop_s)]
    alternative = f"Spectrogram of {clip.name}"
    return Timeline(
        clip.name,
        remark,
        display.shown_s(duration_s),
        display.seconds_ticks(duration_s),
        pictures=[display.level_picture(level, features.hop_s, "Spectrogram", alternative)],
        lanes=display.lanes(clip.reference, clip.estimate, dataset.classes, duration_s),
        labelled=clip.labelled,
        sound=sound,
        notes=notes,
    )


def _level(record: Mapping[str, Any], features: FeatureConfig, sample_rate_hz: int) -> np.ndarray:
    """The log-mel spectrogram of a record (T, F), in dB."""
    frontend = frontend_of(features, sample_rate_hz)
    if frontend is None:
        return features.entry.level_db(record["features"])
    from common.models.audio_features import features_of  # Keras: not for stored features

    return features.entry.level_db(features_of(record, frontend))


def _timeline(task: TaskConfig, audio: Mapping[str, Path], clip: Tested, remark: str) -> Timeline:
    return clip_timeline(clip, task.dataset, task.features, audio.get(clip.name), remark)


def _audio_paths(task: TaskConfig) -> dict[str, Path]:
    """Paths of the test clips by name, without those that no longer exist."""
    paths: dict[str, Path] = {}
    for subset in task.sets.test:
        with suppress(DataError):
            clips, _ = find_clips(task.dataset_dir, task.dataset, subset)
            paths |= {clip.name: clip.audio_path for clip in clips}
    return paths


def figures(folder: Path, names: Mapping[str, str], where: str = "") -> list[Block]:
    """Captions of the figures of a run by file name; `where` is added to the alternative text."""
    return [
        Picture(data_uri((folder / name).read_bytes(), "image/png"), f"{title}{where}", title)
        for name, title in names.items()
        if (folder / name).is_file()
    ]
