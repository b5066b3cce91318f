"""Scores of test clips during prediction, one after another: counts are kept, masks are not."""

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
from sed_task4.clips.lengths import cut_to_length
from sed_task4.decoding import DecodingConfig, decode_clip, tag_gate
from sed_task4.labels import frame_activity, tags_of_events
from sed_task4.segmentation import separation
from sed_task4.segmentation.dataset import DatasetConfig, Mixture
from sed_task4.segmentation.masks import class_masks, ideal_binary_mask
from sed_task4.segmentation.score import PUBLISHED_DECODING, ScoringConfig
from sed_task4.segmentation.score_histogram import BinaryScores, ScoreHistogram
from sed_task4.segmentation.separation import MaskFraming, SeparationQuality


@dataclass(frozen=True)
class ClipTruth:
    """Ground truth of a test clip.

    Attributes:
        name: file name.
        events: (n, 3) = class_index, onset_s, offset_s.
        mask: float32 (T, F), 1 where the events, all together, are stronger than the scene.
        audio: float32 (S, 2), events and scene, whose mean is the mixture; None: sounds are not
            scored.
    """

    name: str
    events: np.ndarray
    mask: np.ndarray
    audio: np.ndarray | None = None


@dataclass(frozen=True)
class ClipOutput:
    """Predictions for a clip.

    Attributes:
        clip: probabilities of the tags (K,).
        masks: (T, F, K) in [0, 1].
    """

    clip: np.ndarray
    masks: np.ndarray

    @property
    def frames(self) -> np.ndarray:
        """Frame-level probabilities (T, K), the masks averaged over the bands."""
        return self.masks.mean(axis=1)


def read_truth(mixture: Mixture, dataset: DatasetConfig, framing: MaskFraming) -> ClipTruth:
    """Reads a mixture and computes its ideal mask.

    Raises:
        DataError: the file is missing, damaged, not stereo, or has another sample rate.
    """
    audio = read_audio(mixture.audio_path, dataset.sample_rate_hz, 2)[: dataset.clip_samples]
    missing = max(0, framing.window_samples - len(audio))  # up to one window, as for features
    events, scene = map(framing.mel_magnitude, np.pad(audio, ((0, missing), (0, 0))).T)
    mask = ideal_binary_mask(events, scene)
    return ClipTruth(mixture.name, mixture_events(mixture, dataset.classes), mask, audio)


def within_clip(
    truth: ClipTruth, output: ClipOutput, clip_s: float, framing: MaskFraming
) -> tuple[ClipOutput, float]:
    """Cuts the predictions in the padding of a clip that is shorter than the others.

    Args:
        truth: the clip; without audio it lasts `clip_s`.
        output: predictions for it and its padding.
        clip_s: length of the others in seconds.
        framing: frames of the masks.

    Returns:
        The predictions for the clip's own frames, and its length in seconds.
    """
    if truth.audio is None or len(truth.audio) >= round(clip_s * framing.sample_rate_hz):
        return output, clip_s
    inside = ClipOutput(output.clip, output.masks[: len(truth.mask)])
    return inside, len(truth.audio) / framing.sample_rate_hz


def mixture_events(mixture: Mixture, classes: Sequence[str]) -> np.ndarray:
    """Makes events (n, 3) = class_index, onset_s, offset_s of the list of a mixture."""
    rows = [(classes.index(event.label), event.onset_s, event.offset_s) for event in mixture.events]
    return np.array(rows, np.float64).reshape(-1, 3)


class SegmentationScorer:
    """Collects the clips of a fold and scores tagging, detection and separation.

    Args:
        classes: class names.
        framing: frames and bands of the masks.
        clip_s: length of a clip in seconds.
        decoding: decoding of frames to events, with clip tag gating.
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
        frames, hop_s = output.frames, self.framing.hop_s
        estimate = decode_clip(frames, output.clip, self.decoding, hop_s, clip_s=length_s)
        self.names.append(truth.name)
        self.estimates.append(estimate)
        self._references.append(truth.events)
        self._tags.append(np.asarray(output.clip, np.float64))
        self._detection.update(activity, frames * tag_gate(output.clip, self.decoding, n_classes))
        self._segmentation.update(class_masks(truth.mask, activity) > 0.5, output.masks)
        self._separate(truth, output.masks)
        return estimate

    def class_scores(self) -> dict[str, np.ndarray]:
        """Returns the scores of the clips so far by name, (K,) each, NaN where undefined.

        Raises:
            DataError: there was no clip.
        """
        if not self.names:
            raise DataError("There is nothing to score. Expected: a clip in each test fold.")
        sides, scoring = (self._references, self.estimates), self.scoring
        tables = [EventTable.from_recordings(side, len(self.classes)) for side in sides]
        collar_s, share = scoring.collar_s, scoring.offset_share
        events = event_based_scores(*tables, collar_s=collar_s, offset_share=share)
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
        """Scores of the tags, exact since they are few."""
        from sklearn.metrics import precision_recall_fscore_support  # a second: not for settings

        targets, tags = self._true_tags(), np.array(self._tags).reshape(-1, len(self.classes))
        thresholded = precision_recall_fscore_support(
            targets, tags > self.scoring.tag_threshold, average=None, zero_division=0
        )
        present = targets.any(axis=0)
        values = (*thresholded[:3], area_under_roc(targets, tags), average_precision(targets, tags))
        return BinaryScores(*(np.where(present, each, np.nan) for each in values))

    def _separate(self, truth: ClipTruth, masks: np.ndarray) -> None:
        """Separates the sounds that occur, and scores them."""
        limit = self.scoring.separate_clips
        if truth.audio is None or (limit is not None and self._n_separated >= limit):
            return
        self._n_separated += 1
        present = np.flatnonzero(tags_of_events(truth.events, len(self.classes)))
        mixture = truth.audio.mean(axis=1)
        rate_hz = self.framing.sample_rate_hz
        separated = separation.separate(mixture, masks[:, :, present], self.framing)  # (S, present)
        for k, sound in zip(present, separated.T, strict=True):
            events = truth.events[truth.events[:, 0] == k]
            inside = separation.inside_events(events, rate_hz, len(mixture))
            reference = np.where(inside, truth.audio[:, 0], 0)
            quality = separation.separation_quality(sound, mixture, reference, inside)
            self._sounds[k].append(quality)

    def _sound_scores(self) -> dict[str, np.ndarray]:
        scores: dict[str, np.ndarray] = {}
        names = [field.name for field in dataclasses.fields(SeparationQuality)]
        for name in names if self._n_separated else ():
            values = [np.array([getattr(each, name) for each in sounds]) for sounds in self._sounds]
            scores[name] = np.array(list(map(nan_mean, values)))
        return scores


def true_activity(truth: ClipTruth, n_classes: int, framing: MaskFraming) -> np.ndarray:
    """True activity of each class in each frame, bool (T, K), by the published rule."""
    n_frames, rate = len(truth.mask), 1 / framing.hop_s
    return frame_activity(truth.events, n_frames, rate, n_classes, "kong2018") > 0


def baseline_outputs(
    truth: ClipTruth, n_classes: int, framing: MaskFraming
) -> dict[str, ClipOutput]:
    """Baselines without a network: all classes everywhere, and true tags, times and masks.

    Args:
        truth: the clip.
        n_classes: number of classes, K.
        framing: frames and bands of the masks.

    Returns:
        Predictions by label in the tables.
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
