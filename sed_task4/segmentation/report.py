"""Report of a segmentation run: scores, classes, clips with masks, separated sounds."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np

from common.audio.files import read_audio
from common.display.page import Block, Chapter, Note, Sounds, Timeline
from common.display.timeline import mean_channel, recording_sound, share_picture
from common.errors import DataError, UserError
from common.reports import run as reports
from common.training.ensemble import chosen_folds
from common.training.run_directory import read_tests, run_of
from sed_task4 import report as sed_report
from sed_task4.report import Tested
from sed_task4.segmentation.config import TaskConfig
from sed_task4.segmentation.dataset import find_mixtures
from sed_task4.segmentation.examples import EXAMPLES
from sed_task4.segmentation.extraction import open_store
from sed_task4.segmentation.score import SegmentationReport
from sed_task4.segmentation.segmenter import Segmenter
from sed_task4.submission import EVENTS

_CARDS = {"tag_ap": "mAP of tags", "sed_f": "F of frames", "mask_f": "F of masks"} | {
    "gain_db": "SI-SDR gain / dB"
}
_MOST_MASKS = 5  # of a clip
_MOST_EXAMPLES, _MOST_SOUNDS = 2, 6
_FIGURES = {
    "masks.png": "Learned mask of each class",
    "separated.png": "Spectrograms of the separated sounds",
}


def chapters(task: TaskConfig, folder: Path) -> list[Chapter]:
    """Makes the chapters of a run, see `common.reports.run`."""
    scores = reports.scores_if_any(folder, sed_report.ScoreTables)
    report = None if scores is None else SegmentationReport.from_dict(scores)
    of_classes, recordings = sed_report.class_tables(report), []
    try:
        found = {clip.name: (clip, stage) for clip, stage in _tested(task, folder, report)}
        clips = [clip for clip, _ in found.values()]
        of_classes += sed_report.tag_confusions(clips, task.dataset.classes)
        audio, masks = _audio_paths(task), mask_source(task)

        def timeline(clip: Tested, remark: str) -> Timeline:
            segment = partial(masks, found[clip.name][1])
            return _timeline(task, clip, audio.get(clip.name), remark, segment)

        recordings = sed_report.clip_blocks(clips, task.dataset, timeline)
    except UserError as error:
        recordings = [reports.not_shown("The test clips", error)]
    title = "Separated sounds"
    return [
        Chapter("Scores", sed_report.score_blocks(report, _CARDS)),
        Chapter("Classes", of_classes),
        Chapter("Recordings and masks", recordings),
        Chapter(title, reports.shown(title, partial(example_blocks, folder))),
    ]


def _tested(
    task: TaskConfig, folder: Path, report: SegmentationReport | None
) -> Iterator[tuple[Tested, Path]]:
    """Test clips of each fold, and the model folder of the first system in its first fold."""
    stores = {name: open_store(task, name) for name in task.set_names}
    reports.check_stores(folder, stores)
    (store,) = stores.values()
    for test in read_tests(folder, task.folds):
        stage = sed_report.last_stage(folder / test.name, report)
        groups, classes = test.splits or store.groups, task.dataset.classes
        model = run_of(folder) / chosen_folds(task, test.fold)[0] / stage.name
        for clip in sed_report.tested_clips(store, groups, stage / EVENTS, classes):
            yield clip, model


def mask_source(task: TaskConfig) -> Callable[[Path, Path, Sequence[int]], dict[int, np.ndarray]]:
    """Returns a function from model folder, mixture and classes to masks (T, F) by class.

    The run keeps no masks, which would fill a disk: models are loaded when first needed.
    """

    @cache
    def segmenter(stage: Path) -> Segmenter:
        from common.training.stage import load_trained  # Keras: not for the rest of a page

        return Segmenter(task, load_trained(stage))

    def masks(stage: Path, path: Path, wanted: Sequence[int]) -> dict[int, np.ndarray]:
        audio = mean_channel(read_audio(path, task.dataset.sample_rate_hz))
        return segmenter(stage)(audio, wanted).masks

    return masks


def _timeline(
    task: TaskConfig,
    clip: Tested,
    audio: Path | None,
    remark: str,
    segment: Callable[[Path, Sequence[int]], dict[int, np.ndarray]],
) -> Timeline:
    """Shows a clip, with the masks of the classes that occur or are estimated."""
    timeline = sed_report.clip_timeline(clip, task.dataset, task.features, audio, remark)
    if audio is None:
        note = "No masks: they are computed from the recording."
        return replace(timeline, notes=[*timeline.notes, note])
    named = np.concatenate([clip.reference[:, 0], clip.estimate[:, 0]]).astype(int).tolist()
    wanted = list(dict.fromkeys(named))[:_MOST_MASKS]  # true ones first
    try:
        masks = segment(audio, wanted)
    except UserError as error:
        return replace(timeline, notes=[*timeline.notes, f"No masks: {error}"])
    names, hop_s = {k: task.dataset.classes[k] for k in wanted}, task.features.hop_s
    pictures = list(timeline.pictures)
    for k, name in names.items():
        pictures.append(share_picture(masks[k], hop_s, f"Mask: {name}", f"Mask of {name}"))
    return replace(timeline, pictures=pictures)


def _audio_paths(task: TaskConfig) -> dict[str, Path]:
    """Paths of the mixtures by name; empty if any no longer exists."""
    with suppress(DataError):
        mixtures = find_mixtures(task.dataset_dir, task.dataset)
        return {mixture.name: mixture.audio_path for mixture in mixtures}
    return {}


def example_blocks(folder: Path) -> list[Block]:
    """Shows the separated clips of a run: their sounds and figures.

    Raises:
        DataError: a sound file is damaged.
    """
    found = sorted(path for path in folder.glob(f"*/{EXAMPLES}/*") if path.is_dir())
    examples = found[:_MOST_EXAMPLES]
    if not examples:
        return [Note("The settings ask for none (`separated_clips`).")]
    return [block for example in examples for block in _example(example)]


def _example(example: Path) -> list[Block]:
    sounds = sorted(example.glob("*.wav"), key=lambda path: (path.stem != "mixture", path.stem))
    names = {path.stem: path for path in sounds[: 1 + _MOST_SOUNDS]}
    title = f"{example.name}, {example.parents[1].name}"
    return [
        Sounds(title, [recording_sound(path, name, mean_channel) for name, path in names.items()]),
        *sed_report.figures(example, _FIGURES, f": {title}"),
    ]
