"""Report of a SELD run: scores, classes, confusions, recordings with directions over time."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from common.data.feature_store import FeatureStore
from common.display.page import Block, Cards, Chapter, Chart, Line, Note, Table, Timeline, ticks
from common.display.timeline import (
    LEGEND,
    SHOWN_RECORDINGS,
    colours_of,
    first_channel,
    lanes,
    level_picture,
    mean_channel,
    ranked,
    seconds_ticks,
    shown_s,
    sound_or_note,
    track,
)
from common.errors import DataError, UserError
from common.features.settings import frontend_of
from common.metrics.confusion import count_confusions
from common.metrics.score_table import format_score
from common.reports.run import (
    NO_SCORES,
    Numbers,
    check_stores,
    confusion_table,
    not_shown,
    scores_if_any,
)
from common.training.run_directory import read_tests
from seld.config import TaskConfig
from seld.dataset import DatasetConfig, Events, find_recordings
from seld.extraction import open_store, place_of, sets_of_tests
from seld.figures import Quantity, azimuth_limits, quantities_of, runs, shown_rows
from seld.labels import rows_of_events
from seld.recordings.lengths import frames_of_recordings
from seld.recordings.rows import AZIMUTH, CLASS, DISTANCE, ELEVATION, FRAME, SOURCE
from seld.recordings.tracking import with_voices
from seld.score import ScoredRecording
from seld.scores.scoring import activity_of_rows, scoring_of
from seld.submission import SUBMISSIONS, submission_files

_SOURCES = "Dashed: a second source of the same class at the same time, or a further one."
# Largest change from frame to frame that is drawn as a movement.
_LARGEST_STEP_DEG, _LARGEST_STEP_M = 20.0, 1.0


@dataclass(frozen=True)
class _Line:
    group: str
    label: str
    n_recordings: int | None
    scores: dict[str, Numbers | dict[str, Numbers]]


@dataclass(frozen=True)
class _Scores:
    """Scores of a run, see `seld.score.ScoreReport.to_dict`."""

    rows: Annotated[list[_Line], Field(min_length=1)]
    notes: list[str]


@dataclass(frozen=True)
class Tested:
    """A test recording of a fold and its prediction.

    Attributes:
        scored: ground truth and estimate.
        labelled: False: the recording has no reference.
        reference: rows (n, 7), see `seld.recordings.rows`.
        read: reads its record from the feature store.
    """

    scored: ScoredRecording
    labelled: bool
    reference: np.ndarray
    read: Callable[[], dict[str, Any]]


def chapters(task: TaskConfig, folder: Path) -> list[Chapter]:
    """Makes the chapters of a run, see `common.reports.run`."""
    scores = scores_if_any(folder, _Scores)
    of_classes: list[Block] = []
    try:
        found = tested_recordings(task, folder)
        labelled = [each for each in found if each.labelled]
        if labelled:
            of_classes = [class_table(labelled, task), confusions(labelled, task.dataset)]
        recordings = recording_blocks(found, task)
    except UserError as error:
        recordings = [not_shown("The test recordings", error)]
    return [
        Chapter("Scores", score_blocks(task, scores) if scores else [Note(NO_SCORES)]),
        Chapter("Classes", of_classes),
        Chapter("Recordings", recordings),
    ]


def score_blocks(task: TaskConfig, scores: Mapping[str, Any]) -> list[Block]:
    """Cards of the decisive scores, and a table for each definition."""
    scoring, rows = scoring_of(task), scores["rows"]
    views = [scoring.views(row["scores"]) for row in rows]
    titles = list(dict.fromkeys(title for of_row in views for title in of_row))
    pairs = zip(rows, views, strict=True)
    known = ((row, of) for row, of in pairs if row["group"] == "published")
    found = ((row["label"], of.get(titles[0], {})) for row, of in known)
    label, published = next(found, ("", {}))
    cards = []
    for name, heading in scoring.headings.items():
        remark = f"{label}: {format_score(name, published[name])}" if name in published else ""
        cards.append((heading, format_score(name, views[0][titles[0]][name]), remark))
    tables = [_score_table(title, scoring.headings, rows, views) for title in titles]
    return [Cards(cards), *tables, *map(Note, scores["notes"]), Note(scoring.explained)]


def _score_table(
    title: str,
    headings: Mapping[str, str],
    rows: Sequence[Mapping[str, Any]],
    views: Sequence[Mapping[str, Mapping[str, float]]],
) -> Table:
    known = [(row, of[title]) for row, of in zip(rows, views, strict=True) if title in of]
    cells = [
        [
            row["label"],
            *(format_score(name, values.get(name)) for name in headings),
            "" if row["n_recordings"] is None else str(row["n_recordings"]),
        ]
        for row, values in known
    ]
    heading = ["", *headings.values(), "recordings"]
    return Table(title, [heading, *cells], [row["group"] for row, _ in known])


def tested_recordings(task: TaskConfig, folder: Path) -> list[Tested]:
    """Reads truth and estimate of the test recordings of all folds, sorted by name.

    Raises:
        DataError: features or a submission file are missing, or features have other settings.
        CheckpointError: the features are not those of the run.
    """
    dataset = task.dataset
    tests = read_tests(folder, task.folds)
    stores = {set_name: open_store(task, set_name) for set_name in sets_of_tests(tests)}
    check_stores(folder, stores)
    store = FeatureStore.joined(list(stores.values()))
    found, n_frames = {}, frames_of_recordings(store, dataset)
    files = submission_files(dataset, task.network)
    for test in tests:
        groups = test.splits or store.groups
        for name, arrays in store.arrays(groups, ("events", "labelled")).items():
            place = place_of(store, name, dataset)
            events = Events.from_array(arrays["events"])
            estimate = files.read(folder / test.name / SUBMISSIONS / f"{name}.csv")
            found[name] = Tested(
                ScoredRecording(name, *place, events, estimate, n_frames[name]),
                bool(arrays["labelled"]),
                rows_of_events(events, n_frames[name], dataset.label_hop_s),
                partial(store.record, groups, name),
            )
    return [found[name] for name in sorted(found)]


def class_table(recordings: Sequence[Tested], task: TaskConfig) -> Table:
    """Scores each class separately."""
    scoring = scoring_of(task)
    lines = scoring.class_rows([each.scored for each in recordings])
    caption = f"Each class separately, {task.scoring.scorer}"
    return Table(caption, lines, note=scoring.class_note)


def confusions(recordings: Sequence[Tested], dataset: DatasetConfig) -> Table:
    """Counts the estimated classes in the frames where another class is missed."""
    counts = np.zeros((dataset.n_classes + 1,) * 2, np.int64)
    for each in recordings:
        both = each.reference, each.scored.estimate
        counts += count_confusions(
            *(activity_of_rows(r, each.scored.n_frames, dataset.n_classes) for r in both)
        )
    return confusion_table(
        counts,
        dataset.classes,
        "Estimated classes where another is the reference, in seconds",
        lambda count: f"{count * dataset.label_hop_s:.1f}",
    )


def recording_blocks(recordings: Sequence[Tested], task: TaskConfig) -> list[Block]:
    """Shows the best and the worst recordings, or the first few without labels.

    Raises:
        DataError: the features are damaged.
    """
    audio = _audio_paths(task)
    labelled = [each for each in recordings if each.labelled]
    if not labelled:
        shown = recordings[:SHOWN_RECORDINGS]
        return [timeline(each, task, audio, "without labels") for each in shown]
    scoring, blocks = scoring_of(task), list[Block]([Note(f"{LEGEND} {_SOURCES}")])
    name, best = scoring.decisive()
    values = [scoring.logged(scoring.score(each.scored), False)[name] for each in labelled]
    heading = "SELD error" if name == "seld_error" else "F"
    for number, rank in ranked([-value if best == "min" else value for value in values]):
        remark = f"{rank}: {heading} {values[number]:.3f}"
        blocks.append(timeline(labelled[number], task, audio, remark))
    return blocks


def _audio_paths(task: TaskConfig) -> dict[str, Path]:
    """Paths of the recordings by name, without those that no longer exist."""
    paths: dict[str, Path] = {}
    for set_name in task.set_names:
        with suppress(DataError):
            recordings = find_recordings(task.dataset_dir, task.dataset, set_name)
            paths |= {each.name: each.audio_path for each in recordings}
    return paths


def timeline(tested: Tested, task: TaskConfig, audio: Mapping[str, Path], remark: str) -> Timeline:
    """Shows one recording: spectrogram, events and directions of reference and estimate, sound.

    Raises:
        DataError: the features are damaged.
    """
    dataset, name = task.dataset, tested.scored.name
    downmix = first_channel if dataset.format == "foa" else mean_channel
    sound, notes = sound_or_note(audio.get(name), name, downmix)
    duration_s = min(dataset.recording_s, tested.scored.n_frames * dataset.label_hop_s)
    level = _level(tested, task)[: math.ceil(duration_s / task.features.hop_s - 1e-6)]
    titles = "Spectrogram, first channel", f"Spectrogram of {name}"
    both = tested.reference, tested.scored.estimate
    reference, estimate = (_as_events(rows, dataset.label_hop_s) for rows in both)
    drawn = [with_voices(shown_rows(rows, dataset.grid)) for rows in both]
    return Timeline(
        name,
        remark,
        shown_s(duration_s),
        seconds_ticks(duration_s),
        pictures=[level_picture(level, task.features.hop_s, *titles)],
        lanes=lanes(reference, estimate, dataset.classes, duration_s),
        labelled=tested.labelled,
        charts=[
            _chart(drawn, quantity, dataset, duration_s)
            for quantity in quantities_of(dataset, task.network)
        ],
        sound=sound,
        notes=notes,
    )


def _level(tested: Tested, task: TaskConfig) -> np.ndarray:
    """Level of the first channel of the features, (T, F)."""
    record, dataset = tested.read(), task.dataset
    frontend = frontend_of(task.features, dataset.sample_rate_hz, dataset.channels)
    if frontend is None:
        return task.features.entry.level_db(record["features"])
    from common.models.audio_features import features_of  # Keras: only if the model computes them

    return task.features.entry.level_db(features_of(record, frontend))


def _as_events(rows: np.ndarray, hop_s: float) -> np.ndarray:
    """Events (n, 3) = class, onset and offset in seconds, of rows (m, 4)."""
    events = np.array(runs(rows), np.float64).reshape(-1, 3)
    events[:, 1:] *= hop_s
    return events


def _chart(
    both: Sequence[np.ndarray], quantity: Quantity, dataset: DatasetConfig, duration_s: float
) -> Chart:
    """Draws azimuths, elevations or distances of reference and estimate, see `with_voices`."""
    column = {"azimuth": AZIMUTH, "elevation": ELEVATION, "distance": DISTANCE}[quantity]
    lines = [*_tracks(both[0], column, dataset, True), *_tracks(both[1], column, dataset, False)]
    values = np.concatenate([rows[:, column] for rows in both])
    highest = float(np.nanmax(np.abs(values), initial=0.0))
    x_limits = 0.0, shown_s(duration_s)
    if quantity == "distance":
        y_limits = 0.0, max(1.0, math.ceil(highest))
        y_ticks = [(value, f"{text} m") for value, text in ticks(*y_limits, most=4)]
        return Chart("Distance", lines, x_limits, y_limits, y_ticks)
    high = 90.0 if highest > 60 else 60.0
    low, high = azimuth_limits(dataset.grid) if quantity == "azimuth" else (-high, high)
    y_ticks = [(angle, f"{angle:.0f}°") for angle in np.linspace(low, high, 5).tolist()]
    return Chart(quantity.capitalize(), lines, x_limits, (low, high), y_ticks)


def _tracks(
    rows: np.ndarray, column: int, dataset: DatasetConfig, is_reference: bool
) -> list[Line]:
    """Lines of each class, and of its sources at the same time."""
    colours, lines = colours_of(dataset.n_classes), list[Line]()
    step = _LARGEST_STEP_M if column == DISTANCE else _LARGEST_STEP_DEG
    places = np.unique(rows[:, [CLASS, SOURCE]], axis=0).astype(int)
    for k, number in places.tolist():
        own = rows[(rows[:, CLASS] == k) & (rows[:, SOURCE] == number)]
        style = "wide" if is_reference else "dashed" if number else "solid"
        frames, values = own[:, FRAME], own[:, column]
        lines.append(track(frames, values, dataset.label_hop_s, colours[k], style, step))
    return lines
