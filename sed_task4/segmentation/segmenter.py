"""Segments recordings with a trained run: masks, events, and a sound file for each tagged class.

    python -m sed_task4.segmentation.segmenter RUN_DIRECTORY AUDIO... [--out DIR] [--classes A,B]
    [--reference]

Recordings may have any sample rate, length and number of channels. Those longer than the training
clips are divided into overlapping pieces, whose masks are joined before sounds are resynthesised.
"""

import argparse
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from common.audio.files import read_mono, write_wav
from common.cli.base import do_each, run_safely
from common.display.plotting import save_figure
from common.errors import ConfigError
from common.features.frontend import AUDIO, context_frames
from common.features.settings import frontend_of
from common.inference.windows import Windows
from common.io.files import atomic_path
from common.io.terminal import typed_text
from common.runtime.backend import start_backend
from common.settings.tasks import check_task
from common.training.run_directory import read_settings
from sed_task4.decoding import decode_clip, gated_frames
from sed_task4.segmentation.clip_scorer import ClipOutput
from sed_task4.segmentation.dataset import find_mixtures
from sed_task4.segmentation.figures import curves_figure, separated_figure
from sed_task4.segmentation.separation import MaskFraming, check_length, separate
from sed_task4.submission import EVENTS, write_submission

logger = logging.getLogger(__name__)
MASKS, FOLDER = "masks.npz", "separated"
OVERLAP_FRAMES = 32  # of pieces: twice the context of the network on either side
_DRAWN_S = 300.0


def clip_windows(frames: int) -> Windows:
    """Windows as long as the training clips of a network, which have `frames` frames."""
    return Windows(frames, min(OVERLAP_FRAMES, frames // 2), last_is_whole=True)


@dataclass(frozen=True)
class Segmented:
    """Predictions for a recording.

    Attributes:
        tags: probabilities of the classes (K,), the maximum over the pieces.
        frames: masks averaged over the bands (T, K), with clip tag gating.
        events: (n, 3) = class_index, onset_s, offset_s.
        masks: by index of the class, float16 (T, F).
    """

    tags: np.ndarray
    frames: np.ndarray
    events: np.ndarray
    masks: dict[int, np.ndarray]


@dataclass(frozen=True)
class Segmenter:
    """A trained network with the settings of its run.

    Attributes:
        task: settings, a `sed_task4.segmentation.config.TaskConfig`.
        model: from features (B, T, F, 1), or audio (B, S, 1), to {"clip": (B, K),
            "masks": (B, T, F, K)}.
    """

    task: Any
    model: Any

    @classmethod
    def load(cls, run: Path, fold: str | None = None, stage: str | None = None) -> Self:
        """Loads the best model of a run.

        Args:
            run: the run's directory.
            fold: name of a fold; None: the first.
            stage: name of a stage, the pooling; None: the first.

        Raises:
            CheckpointError: there is no run, or no finished model.
            ConfigError: the run has no such fold or stage, or belongs to another family.
        """
        task: Any = check_task(read_settings(run), f"the settings of {run}")
        if task.family != "sed_task4.segmentation":
            family = task.family
            raise ConfigError(f"{run} is no run of sed_task4.segmentation. Received: {family}.")
        start_backend(task.run)
        from common.training.ensemble import one_of
        from common.training.stage import load_trained
        from common.training.system import load_system  # not before the backend is chosen

        stages = [each.name for each in load_system(task.family, task.system).stages(task)]
        folds = [each.name for each in task.folds]
        chosen = one_of(folds, fold, "--fold"), one_of(stages, stage, "--stage")
        return cls(task, load_trained(Path(run, *chosen)))

    @property
    def framing(self) -> MaskFraming:
        """Frames and bands of the masks."""
        return MaskFraming.of(self.task.features, self.task.dataset.sample_rate_hz)

    def __call__(self, audio: np.ndarray, wanted: Sequence[int] | None = None) -> Segmented:
        """Segments a recording.

        Args:
            audio: float (S,) at the rate of the settings, at least one window.
            wanted: classes whose masks are kept; None: in each piece those whose tag exceeds
                `scoring.tag_threshold`.
        """
        task = self.task
        inputs = self._inputs(audio)
        n_frames = len(inputs) - self.context_frames
        tags = np.zeros(task.dataset.n_classes, np.float32)
        frames = np.zeros((n_frames, len(tags)), np.float32)
        masks: dict[int, np.ndarray] = {}
        for piece in clip_windows(task.pipeline.sequence_frames).of(n_frames):
            output = self._output(inputs[piece.start : piece.stop + self.context_frames])
            counted = slice(piece.first, piece.end)
            in_piece = slice(piece.first - piece.start, piece.end - piece.start)
            tags = np.maximum(tags, output.clip)
            frames[counted] = gated_frames(output.frames, output.clip, task.clip_decoding)[in_piece]
            tagged = np.flatnonzero(output.clip > task.scoring.tag_threshold)
            for k in tagged if wanted is None else wanted:
                if int(k) not in masks:
                    masks[int(k)] = np.zeros((n_frames, task.features.n_mels), np.float16)
                masks[int(k)][counted] = output.masks[in_piece, :, k]
        duration_s = len(audio) / task.dataset.sample_rate_hz
        events = decode_clip(
            frames, None, task.clip_decoding, task.features.hop_s, clip_s=duration_s
        )
        return Segmented(tags, frames, events, dict(sorted(masks.items())))

    @property
    def context_frames(self) -> int:
        """Hops of audio that the network needs beyond its frames; 0 where it takes features."""
        return context_frames(frontend_of(self.task.features, self.task.dataset.sample_rate_hz))

    def _inputs(self, audio: np.ndarray) -> np.ndarray:
        """Inputs of the network: features (T, F, 1), or audio (T + context, hop, 1)."""
        # Keras: not before its backend is chosen.
        from sed_task4.extraction import clip_inputs

        inputs = clip_inputs(audio[:, None], self.task.features, self.task.dataset.sample_rate_hz)
        return inputs.get(AUDIO, inputs["features"])

    def _output(self, inputs: np.ndarray) -> ClipOutput:
        """Runs the network on features (t, F, 1), or on audio (t + context, hop, 1)."""
        sequence = inputs.reshape(1, -1, 1) if self.task.features.on_device else inputs[None]
        outputs = self.model.predict_on_batch(sequence)
        return ClipOutput(np.asarray(outputs["clip"])[0], np.asarray(outputs["masks"])[0])


def separate_file(
    segmenter: Segmenter,
    path: Path,
    folder: Path,
    *,
    classes: Sequence[str] | None = None,
    normalise: bool = False,
) -> Segmented:
    """Separates the sounds of a recording into files.

    Args:
        segmenter: a trained network.
        path: the recording, of any rate and number of channels.
        folder: gets masks.npz, events.tsv, a wav for each class, separated.png and curves.png.
        classes: names of the classes to separate; None: those that are tagged.
        normalise: scale a recording that is much fainter than the training clips to full scale.

    Returns:
        The predictions.

    Raises:
        DataError: the recording cannot be used, or a file not written.
        ConfigError: a class is unknown.
    """
    task, framing = segmenter.task, segmenter.framing
    audio = read_mono(path, task.dataset.sample_rate_hz)[:, 0]  # (S,)
    check_length(audio, framing, str(path))
    wanted = None if classes is None else class_indices(classes, task.dataset.classes)
    peak = float(np.abs(audio).max())
    segmented = segmenter(audio / peak if normalise and peak > 0 else audio, wanted)
    drawn = slice(0, round(_DRAWN_S * framing.sample_rate_hz))
    sounds: dict[str, np.ndarray] = {}
    for k, mask in segmented.masks.items():
        name = task.dataset.classes[k]
        sound = separate(audio, mask, framing)
        write_wav(folder / f"{name}.wav", sound[:, None], framing.sample_rate_hz)
        sounds[name] = sound[drawn].copy()  # the remainder is not drawn
    write_submission(folder / EVENTS, [path.name], [segmented.events], task.dataset.classes)
    _write_masks(folder / MASKS, segmented, task)
    _draw(segmented, audio[drawn], sounds, task, path.name, folder)
    return segmented


def class_indices(names: Sequence[str], classes: Sequence[str]) -> list[int]:
    """Returns the deduplicated numbers of classes, in their order.

    Raises:
        ConfigError: a name is not among the classes.
    """
    unknown = [name for name in names if name not in classes]
    if unknown:
        raise ConfigError(f"Unknown class {unknown[0]!r}. Expected: some of {', '.join(classes)}.")
    return sorted({list(classes).index(name) for name in names})


def _write_masks(path: Path, segmented: Segmented, task: Any) -> None:
    """Writes masks (classes, T, F) with names of classes, tags and hop length."""
    names = [task.dataset.classes[k] for k in segmented.masks]
    shape = (0, len(segmented.frames), task.features.n_mels)
    masks = np.stack(list(segmented.masks.values())) if names else np.zeros(shape, np.float16)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            masks=masks,
            classes=np.array(names, dtype=str),
            tags=segmented.tags,
            tag_classes=np.array(task.dataset.classes, dtype=str),
            hop_s=task.features.hop_s,
        )


def _draw(
    segmented: Segmented,
    audio: np.ndarray,
    sounds: dict[str, np.ndarray],
    task: Any,
    title: str,
    folder: Path,
) -> None:
    """Draws the beginning of a recording, at most 5 minutes."""
    rate_hz = task.dataset.sample_rate_hz
    save_figure(separated_figure(audio, sounds, rate_hz, title), folder / "separated.png")
    shown_s = len(audio) / rate_hz
    frames = segmented.frames[: max(1, round(shown_s / task.features.hop_s))]
    classes, tags = task.dataset.classes, segmented.tags
    figure = curves_figure(frames, segmented.events, classes, shown_s, title, tags=tags)
    save_figure(figure, folder / "curves.png")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    return run_safely(_run, arguments)


def _run(arguments: Sequence[str]) -> None:
    options = _parser().parse_args(arguments)
    names = [path.stem for path in options.audio]
    twice = ", ".join(sorted({name for name in names if names.count(name) > 1}))
    if twice:
        raise ConfigError(f"Recordings need different names. Received: {twice} more than once.")
    segmenter = Segmenter.load(options.run, options.fold, options.stage)
    folder = options.out or options.run / FOLDER
    known = _reference_classes(segmenter.task, options.audio) if options.reference else {}

    def separate_one(path: Path) -> None:
        chosen = options.classes.split(",") if options.classes else None
        classes, place = known.get(path.name, chosen), folder / path.stem
        normalise = options.normalise
        segmented = separate_file(segmenter, path, place, classes=classes, normalise=normalise)
        logger.info("%s", _summary(segmented, segmenter.task.dataset.classes, path, place))

    do_each(options.audio, separate_one)


def _summary(segmented: Segmented, classes: Sequence[str], path: Path, folder: Path) -> str:
    """Classes and numbers of events of a recording in one line."""
    found = []
    for k in segmented.masks:
        n_events = np.count_nonzero(segmented.events[:, 0] == k)
        found.append(f"{classes[k]} {segmented.tags[k]:.2f} ({n_events} events)")
    return f"{path}: {', '.join(found) or 'no class'} -> {folder}/"


def _reference_classes(task: Any, recordings: Sequence[Path]) -> dict[str, list[str]]:
    """Classes of mixtures of the dataset, by their ground truth.

    Raises:
        ConfigError: a recording is no mixture of the dataset.
    """
    mixtures = find_mixtures(task.dataset_dir, task.dataset)
    known = {each.name: [event.label for event in each.events] for each in mixtures}
    unknown = [path.name for path in recordings if path.name not in known]
    if unknown:
        raise ConfigError(
            f"--reference is for mixtures of {task.dataset_dir}. Received: {unknown[0]}, which is"
            " none."
        )
    return known


def _parser() -> argparse.ArgumentParser:
    name, purpose = (
        "sed_task4.segmentation.segmenter",
        "Separates the sounds of recordings by class.",
    )
    parser = argparse.ArgumentParser(prog=f"python -m {name}", description=purpose)
    add = parser.add_argument
    add("run", type=Path, metavar="RUN_DIRECTORY", help="of task4_segmentation.py")
    add("audio", type=Path, nargs="+", metavar="AUDIO", help="sound files")
    add("--out", type=Path, metavar="DIR", help=f"default: {FOLDER}/ in the run's directory")
    which = parser.add_mutually_exclusive_group()
    given = "separate these classes (default: those that are tagged)"
    which.add_argument("--classes", type=typed_text, metavar="A,B,...", help=given)
    true = "for mixtures of the run's dataset: separate the classes of the ground truth"
    which.add_argument("--reference", action="store_true", help=true)
    add("--normalise", action="store_true", help="scale faint recordings up for the network")
    add("--fold", help="network of this fold (default: the first)")
    add("--stage", help="network of this pooling (default: the first)")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
