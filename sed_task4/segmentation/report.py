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
from common.reports.run import check_stores, not_shown, scores_if_any, shown
from sed_task4.report import (
    ScoreTables,
    Tested,
    class_tables,
    clip_blocks,
    clip_timeline,
    figures,
    last_stage,
    score_blocks,
    tag_confusions,
    tested_clips,
)
from sed_task4.segmentation.config import TaskConfig
from sed_task4.segmentation.dataset import find_mixtures
from sed_task4.segmentation.examples import EXAMPLES
from sed_task4.segmentation.extraction import open_store
from sed_task4.segmentation.score import SegmentationReport
from sed_task4.segmentation.segmenter import Segmenter
from sed_task4.submission import EVENTS

_CARDS = {
    "tag_ap": "mAP of tags",
    "sed_f": "F of frames",
    "mask_f": "F of masks",
    "gain_db": "SI-SDR gain / dB",
}
_MOST_MASKS = 5  # of a clip
_MOST_EXAMPLES, _MOST_SOUNDS = 2, 6
_FIGURES = {
    "masks.png": "Learned mask of each class",
    "separated.png": "Spectrograms of the separated sounds",
}


def chapters(task: TaskConfig, folder: Path) -> list[Chapter]:
    """Makes the chapters of a run, see `common.reports.run`."""
    scores = scores_if_any(folder, ScoreTables)
    report = None if scores is None else SegmentationReport.from_dict(scores)
    of_classes, recordings = class_tables(report), []
    try:
        found = {clip.name: (clip, stage) for clip, stage in _tested(task, folder, report)}
        clips = [clip for clip, _ in found.values()]
        of_classes += tag_confusions(clips, task.dataset.classes)
        audio, masks = _audio_paths(task), mask_source(task)
        recordings = clip_blocks(
            clips,
            task.dataset,
            lambda clip, remark: _timeline(
                task, clip, audio.get(clip.name), remark, partial(masks, found[clip.name][1])
            ),
        )
    except UserError as error:
        recordings = [not_shown("The test clips", error)]
    return [
        Chapter("Scores", score_blocks(report, _CARDS)),
        Chapter("Classes", of_classes),
        Chapter("Recordings and masks", recordings),
        Chapter("Separated sounds", shown("Separated sounds", partial(example_blocks, folder))),
    ]


def _tested(
    task: TaskConfig, folder: Path, report: SegmentationReport | None
) -> Iterator[tuple[Tested, Path]]:
    """Test clips of each fold, and the model folder of the first system."""
    stores = {name: open_store(task, name) for name in task.set_names}
    check_stores(folder, stores)
    (store,) = stores.values()
    for fold in task.folds:
        stage = last_stage(folder / fold.name, report)
        for clip in tested_clips(
            store, tuple(map(str, fold.test)), stage / EVENTS, task.dataset.classes
        ):
            yield clip, stage


def mask_source(task: TaskConfig) -> Callable[[Path, Path, Sequence[int]], dict[int, np.ndarray]]:
    """Returns a function from model folder, mixture and classes to masks (T, F) by class.

    The run keeps no masks, since those of a test set would fill a disk: models are loaded when they
    are first asked.
    """

    @cache
    def segmenter(stage: Path) -> Segmenter:
        from common.training.stage import (
            load_trained,  # Keras, which the rest of a page does not need
        )

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
    timeline = clip_timeline(clip, task.dataset, task.features, audio, remark)
    if audio is None:
        return replace(
            timeline, notes=[*timeline.notes, "No masks: they are computed from the recording."]
        )
    named = np.concatenate([clip.reference[:, 0], clip.estimate[:, 0]]).astype(int).tolist()
    wanted = list(dict.fromkeys(named))[:_MOST_MASKS]  # those that are truly there first
    try:
        masks = segment(audio, wanted)
    except UserError as error:
        return replace(timeline, notes=[*timeline.notes, f"No masks: {error}"])
    pictures = [
        share_picture(
            masks[k],
            task.features.hop_s,
            f"Mask: {task.dataset.classes[k]}",
            f"Mask of {task.dataset.classes[k]}",
        )
        for k in wanted
    ]
    return replace(timeline, pictures=[*timeline.pictures, *pictures])


def _audio_paths(task: TaskConfig) -> dict[str, Path]:
    """Paths of the mixtures by name; empty if any no longer exists."""
    with suppress(DataError):
        return {
            mixture.name: mixture.audio_path
            for mixture in find_mixtures(task.dataset_dir, task.dataset)
        }
    return {}


def example_blocks(folder: Path) -> list[Block]:
    """Shows the clips that the run has taken apart: what was separated, to listen to, and figures.

    Raises:
        DataError: a sound file is damaged.
    """
    examples = sorted(path for path in folder.glob(f"*/{EXAMPLES}/*") if path.is_dir())[
        :_MOST_EXAMPLES
    ]
    if not examples:
        return [Note("The settings ask for none (`separated_clips`).")]
    return [block for example in examples for block in _example(example)]


def _example(example: Path) -> list[Block]:
    sounds = sorted(example.glob("*.wav"), key=lambda path: (path.stem != "mixture", path.stem))
    names = {path.stem: path for path in sounds[: 1 + _MOST_SOUNDS]}
    title = f"{example.name}, {example.parents[1].name}"
    return [
        Sounds(title, [recording_sound(path, name, mean_channel) for name, path in names.items()]),
        *figures(example, _FIGURES, f": {title}"),
    ]
