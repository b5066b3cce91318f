"""Example output of one test clip: separated sounds, figures of mixture, masks and events."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from common.audio.files import write_wav
from common.display.plotting import save_figure
from common.features.spectral import density_magnitude
from sed_task4.decoding import DecodingConfig, decode_clip
from sed_task4.labels import tags_of_events
from sed_task4.segmentation import figures
from sed_task4.segmentation.clip_scorer import ClipOutput, ClipTruth, within_clip
from sed_task4.segmentation.dataset import DatasetConfig
from sed_task4.segmentation.masks import ideal_ratio_mask
from sed_task4.segmentation.separation import MaskFraming, inside_events, separate

EXAMPLES = "separated"  # folder of a fold


def write_example(
    truth: ClipTruth,
    output: ClipOutput,
    folder: Path,
    dataset: DatasetConfig,
    framing: MaskFraming,
    decoding: DecodingConfig,
    tag_threshold: float,
) -> None:
    """Writes the mixture and each class that is predicted or true, and draws four figures.

    Args:
        truth: the clip, with its audio.
        output: its predictions.
        folder: gets `mixture.wav`, a file for each class, `mixture.png`, `masks.png`, `curves.png`,
            `separated.png`.
        dataset: class names and length of a clip.
        framing: frames and bands of the masks.
        decoding: decoding of frames to events.
        tag_threshold: a class counts as predicted above it.

    Raises:
        ValueError: the clip is without audio.
        DataError: a file cannot be written.
    """
    if truth.audio is None:
        raise ValueError(f"{truth.name}: expected the clip's audio. Received: none.")
    output, clip_s = within_clip(truth, output, dataset.clip_s, framing)
    classes, mixture, rate_hz = dataset.classes, truth.audio.mean(axis=1), framing.sample_rate_hz
    occurring = tags_of_events(truth.events, len(classes)) > 0
    chosen = np.flatnonzero(occurring | (output.clip > tag_threshold))
    sounds = separate(mixture, output.masks[..., chosen], framing)  # (S, chosen classes)
    separated = {classes[k]: sound for k, sound in zip(chosen, sounds.T, strict=True)}
    for name, sound in ({"mixture": mixture} | separated).items():
        write_wav(folder / f"{name}.wav", np.clip(sound, -1, 1)[:, None], rate_hz)
    present = np.flatnonzero(occurring)
    references = {classes[k]: sound_of_class(truth, int(k), rate_hz) for k in present}
    draw = figures.separated_figure
    figure = draw(mixture, separated, rate_hz, truth.name, references=references)
    save_figure(figure, folder / "separated.png")
    _draw_mixture(truth, mixture, framing, folder)
    _draw_output(truth, output, mixture, (classes, clip_s), framing, decoding, folder)


def sound_of_class(truth: ClipTruth, k: int, sample_rate_hz: int) -> np.ndarray:
    """The isolated sound of one class, float32 (S,), silent outside its events, if none overlap."""
    sounds, events = np.asarray(truth.audio)[:, 0], truth.events[truth.events[:, 0] == k]
    return np.where(inside_events(events, sample_rate_hz, len(sounds)), sounds, 0)


def _draw_mixture(
    truth: ClipTruth, mixture: np.ndarray, framing: MaskFraming, folder: Path
) -> None:
    events, scene = (density_magnitude(channel, framing) for channel in np.asarray(truth.audio).T)
    spectrum, mask = density_magnitude(mixture, framing), ideal_ratio_mask(events, scene)
    rate_hz = framing.sample_rate_hz
    figure = figures.mixture_figure(mixture, rate_hz, spectrum, mask, truth.name)
    save_figure(figure, folder / "mixture.png")


def _draw_output(
    truth: ClipTruth,
    output: ClipOutput,
    mixture: np.ndarray,
    classes_and_length: tuple[Sequence[str], float],
    framing: MaskFraming,
    decoding: DecodingConfig,
    folder: Path,
) -> None:
    classes, clip_s = classes_and_length
    logmel, tags = np.log(framing.mel_magnitude(mixture) + 1e-8), output.clip
    true_tags = tags_of_events(truth.events, len(classes))
    occurring = [classes[int(k)] for k in np.flatnonzero(true_tags)]
    shared = classes, clip_s, truth.name
    figure = figures.masks_figure(logmel, output.masks, *shared, tags=tags, occurring=occurring)
    save_figure(figure, folder / "masks.png")
    frames, events = output.frames, truth.events
    estimate = decode_clip(frames, tags, decoding, framing.hop_s, clip_s=clip_s)
    figure = figures.curves_figure(frames, estimate, *shared, reference=events, tags=tags)
    save_figure(figure, folder / "curves.png")
