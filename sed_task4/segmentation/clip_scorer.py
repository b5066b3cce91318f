"""Scores of test clips as they are predicted, one after another: what is counted is kept, masks are
not."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from common.audio.files import read_audio
from common.errors import DataError
from common.events.table import EventTable
from common.metrics.detection import nan_mean
from common.metrics.event_based import event_based_scores
from common.metrics.tagging import area_under_roc, average_precision
from sed_task4.decoding import DecodingConfig, decode_clip, tag_gate
from sed_task4.labels import frame_activity, tags_of_events
from sed_task4.lengths import cut_to_length
from sed_task4.segmentation.dataset import DatasetConfig, Mixture
from sed_task4.segmentation.masks import class_masks, ideal_binary_mask
from sed_task4.segmentation.score import PUBLISHED_DECODING, ScoringConfig
from sed_task4.segmentation.score_histogram import BinaryScores, ScoreHistogram
from sed_task4.segmentation.separation import (
    MaskFraming,
    SeparationQuality,
    inside_events,
    separate,
    separation_quality,
)


@dataclass(frozen=True)
class ClipTruth:
    """What is true of a test clip.

    Attributes:
        name: file name.
        events: (n, 3) = class_index, onset_s, offset_s.
        mask: float32 (T, F), 1 where the events, all together, are stronger than the scene.
        audio: float32 (S, 2), the events and the scene; the mixture is their mean. None: sounds are
            not scored.
    """

    name: str
    events: np.ndarray
    mask: np.ndarray
    audio: np.ndarray | None = None


@dataclass(frozen=True)
class ClipOutput:
    """What a system says of a clip.

    Attributes:
        clip: probabilities of the tags (K,).
        masks: (T, F, K) in [0, 1].
    """

    clip: np.ndarray
    masks: np.ndarray

    @property
    def frames(self) -> np.ndarray:
        """Probabilities frame by frame, the masks averaged over the bands, (T, K)."""
        return self.masks.mean(axis=1)


def read_truth(mixture: Mixture, dataset: DatasetConfig, framing: MaskFraming) -> ClipTruth:
    """Reads a mixture and computes its ideal mask.

    Raises:
        DataError: the file is missing, damaged, or not of two channels at the rate of the settings.
    """
    audio = read_audio(mixture.audio_path, dataset.sample_rate_hz, 2)[: dataset.clip_samples]
    filled = np.pad(
        audio, ((0, max(0, framing.window_samples - len(audio))), (0, 0))
    )  # to one window, as features are
    events, scene = (framing.mel_magnitude(channel) for channel in filled.T)
    return ClipTruth(
        mixture.name,
        mixture_events(mixture, dataset.classes),
        ideal_binary_mask(events, scene),
        audio,
    )


def within_clip(
    truth: ClipTruth, output: ClipOutput, clip_s: float, framing: MaskFraming
) -> tuple[ClipOutput, float]:
    """Leaves out what a system says of the padding of a clip that is shorter than the others.

    Args:
        truth: the clip; without audio it lasts `clip_s`.
        output: what a system says of it and its padding.
        clip_s: length of the others in seconds.
        framing: frames of the masks.

    Returns:
        The output for the clip's own frames, and its length in seconds.
    """
    if truth.audio is None or len(truth.audio) >= round(clip_s * framing.sample_rate_hz):
        return output, clip_s
    return (
        ClipOutput(output.clip, output.masks[: len(truth.mask)]),
        len(truth.audio) / framing.sample_rate_hz,
    )


def mixture_events(mixture: Mixture, classes: Sequence[str]) -> np.ndarray:
    """Makes events (n, 3) = class_index, onset_s, offset_s of the list of a mixture."""
    rows = [(classes.index(event.label), event.onset_s, event.offset_s) for event in mixture.events]
    return np.array(rows, np.float64).reshape(-1, 3)


class SegmentationScorer:
    """Collects the clips of a fold and says how well they were tagged, detected and separated.

    Args:
        classes: class names.
        framing: frames and bands of the masks.
        clip_s: length of a clip in seconds.
        decoding: how frames become events, and which classes the tags let through.
        scoring: thresholds; None: the defaults.
    """

    def __init__(
        self,
        classes: Sequence[str],
        framing: MaskFraming,
        clip_s: float = 10.0,
        decoding: DecodingConfig = PUBLISHED_DECODING,
        scoring: ScoringConfig | None = None,
    ):
        self.classes, self.framing, self.clip_s = classes, framing, clip_s
        self.decoding, self.scoring = decoding, scoring or ScoringConfig()
        self.names: list[str] = []
        self.estimates: list[np.ndarray] = []  # events (n, 3) of each clip
        self._references: list[np.ndarray] = []
        self._tags: list[np.ndarray] = []
        self._detection = ScoreHistogram(len(classes), self.scoring.frame_threshold)
        self._segmentation = ScoreHistogram(len(classes), self.scoring.mask_threshold)
        self._sounds: list[list[SeparationQuality]] = [[] for _ in classes]
        self._n_separated = 0

    def update(self, truth: ClipTruth, output: ClipOutput) -> np.ndarray:
        """Takes in one clip.

        Returns:
            The decoded events (n, 3) = class_index, onset_s, offset_s.

        Raises:
            ValueError: the masks are not of the clip's frames and bands and the classes.
        """
        n_classes = len(self.classes)
        output, length_s = within_clip(truth, output, self.clip_s, self.framing)
        truth = dataclasses.replace(truth, events=cut_to_length(truth.events, length_s))
        expected = (*truth.mask.shape, n_classes)
        if output.masks.shape != expected or output.clip.shape != (n_classes,):
            raise ValueError(
                f"{truth.name}: expected masks {expected} and tags {(n_classes,)}. Received:"
                f" {output.masks.shape} and {output.clip.shape}."
            )
        activity = true_activity(truth, n_classes, self.framing)
        frames = output.frames
        estimate = decode_clip(
            frames, output.clip, self.decoding, self.framing.hop_s, clip_s=length_s
        )
        self.names.append(truth.name)
        self.estimates.append(estimate)
        self._references.append(truth.events)
        self._tags.append(np.asarray(output.clip, np.float64))
        self._detection.update(activity, frames * tag_gate(output.clip, self.decoding, n_classes))
        self._segmentation.update(class_masks(truth.mask, activity) > 0.5, output.masks)
        self._separate(truth, output.masks)
        return estimate

    def class_scores(self) -> dict[str, np.ndarray]:
        """Returns the scores of the clips so far by name, (K,) each, NaN where they are undefined.

        Raises:
            DataError: there was no clip.
        """
        if not self.names:
            raise DataError(
                "There is nothing to score. Expected: at least one clip in each test fold."
            )
        references, estimates = (
            EventTable.from_recordings(events, len(self.classes))
            for events in (self._references, self.estimates)
        )
        events = event_based_scores(
            references,
            estimates,
            collar_s=self.scoring.collar_s,
            offset_share=self.scoring.offset_share,
        )
        return {
            "n_clips": self._true_tags().sum(axis=0),
            **self._tag_scores().named("tag"),
            **self._detection.result().named("sed"),
            "event_f": events.class_f,
            "event_er": events.class_er,
            **self._segmentation.result().named("mask"),
            **self._sound_scores(),
        }

    def _true_tags(self) -> np.ndarray:
        tags = [tags_of_events(events, len(self.classes)) for events in self._references]
        return np.array(tags, np.int64).reshape(-1, len(self.classes))

    def _tag_scores(self) -> BinaryScores:
        """The curves of tags are exact: there are few of them."""
        from sklearn.metrics import (
            precision_recall_fscore_support,
        )  # a second: settings are read without it

        targets, tags = self._true_tags(), np.array(self._tags).reshape(-1, len(self.classes))
        thresholded = precision_recall_fscore_support(
            targets, tags > self.scoring.tag_threshold, average=None, zero_division=0
        )
        present = targets.any(axis=0)
        values = (*thresholded[:3], area_under_roc(targets, tags), average_precision(targets, tags))
        return BinaryScores(*(np.where(present, each, np.nan) for each in values))

    def _separate(self, truth: ClipTruth, masks: np.ndarray) -> None:
        """Separates the sounds that are truly there, and scores them."""
        limit = self.scoring.separate_clips
        if truth.audio is None or (limit is not None and self._n_separated >= limit):
            return
        self._n_separated += 1
        present = np.flatnonzero(tags_of_events(truth.events, len(self.classes)))
        mixture = truth.audio.mean(axis=1)
        separated = separate(mixture, masks[:, :, present], self.framing)  # (S, classes present)
        for k, sound in zip(present, separated.T, strict=True):
            inside = inside_events(
                truth.events[truth.events[:, 0] == k], self.framing.sample_rate_hz, len(mixture)
            )
            reference = np.where(inside, truth.audio[:, 0], 0)
            self._sounds[k].append(separation_quality(sound, mixture, reference, inside))

    def _sound_scores(self) -> dict[str, np.ndarray]:
        names = [field.name for field in dataclasses.fields(SeparationQuality)]
        return {
            name: np.array(
                [
                    nan_mean(np.array([getattr(each, name) for each in sounds]))
                    for sounds in self._sounds
                ]
            )
            for name in names
            if self._n_separated
        }


def true_activity(truth: ClipTruth, n_classes: int, framing: MaskFraming) -> np.ndarray:
    """Says which class is heard in which frame, bool (T, K), by the published rule."""
    return (
        frame_activity(truth.events, len(truth.mask), 1 / framing.hop_s, n_classes, "kong2018") > 0
    )


def baseline_outputs(
    truth: ClipTruth, n_classes: int, framing: MaskFraming
) -> dict[str, ClipOutput]:
    """Answers that need no network: all classes everywhere, and what is true of tags, times and
    masks.

    Args:
        truth: the clip.
        n_classes: number of classes, K.
        framing: frames and bands of the masks.

    Returns:
        By label of the tables.
    """
    shape = (*truth.mask.shape, n_classes)
    tags = tags_of_events(truth.events, n_classes).astype(np.float32)
    activity = true_activity(truth, n_classes, framing).astype(np.float32)
    ones = np.ones(n_classes, np.float32)
    return {
        "all classes everywhere": ClipOutput(ones, np.broadcast_to(ones, shape)),
        "true tags, everywhere": ClipOutput(tags, np.broadcast_to(tags, shape)),
        "true times, all bands": ClipOutput(tags, np.broadcast_to(activity[:, None], shape)),
        "ideal binary mask": ClipOutput(tags, class_masks(truth.mask, activity)),
    }
