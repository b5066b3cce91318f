"""Scores of test clips as they are predicted, one after another: what is counted is kept, masks are not."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from common.audio import read_audio
from common.events import EventTable
from common.metrics.event_based import event_based_scores
from common.metrics.tagging import area_under_roc, average_precision
from sed_task4.decoding import DecodingConfig, decode_clip, tag_gate
from sed_task4.labels import frame_activity, tags_of_events
from sed_task4.segmentation.curves import ScoreHistogram
from sed_task4.segmentation.dataset import DatasetConfig, Mixture
from sed_task4.segmentation.masks import class_masks, ideal_binary_mask
from sed_task4.segmentation.score import PUBLISHED_DECODING, ScoringConfig
from sed_task4.segmentation.separation import MaskFraming, inside_events, separate, separation_quality


@dataclass(frozen=True)
class ClipTruth:
    """What is true of a test clip.

    Attributes:
        name: file name.
        events: (n, 3) = class_index, onset_s, offset_s.
        mask: float32 (T, F), 1 where the events, all together, are stronger than the scene.
        audio: float32 (S, 2), the events and the scene; the mixture is their mean. None: sounds are not scored.
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
    audio = read_audio(mixture.audio_path, dataset.sample_rate_hz, 2)
    events, scene = (framing.mel_magnitude(channel) for channel in audio.T)
    return ClipTruth(mixture.name, mixture_events(mixture, dataset.classes), ideal_binary_mask(events, scene), audio)


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
        self._frames = ScoreHistogram(len(classes), self.scoring.frame_threshold)
        self._masks = ScoreHistogram(len(classes), self.scoring.mask_threshold)
        self._sounds: dict[str, list[list[float]]] = defaultdict(lambda: [[] for _ in classes])

    def update(self, truth: ClipTruth, output: ClipOutput) -> np.ndarray:
        """Takes in one clip.

        Returns:
            The decoded events (n, 3) = class_index, onset_s, offset_s.

        Raises:
            ValueError: the masks are not of the clip's frames and bands and the classes.
        """
        raise NotImplementedError

    def class_scores(self) -> dict[str, np.ndarray]:
        """Returns the scores of the clips so far by name, (K,) each, NaN where undefined."""
        raise NotImplementedError


def baseline_outputs(truth: ClipTruth, classes: Sequence[str], framing: MaskFraming) -> dict[str, ClipOutput]:
    """Answers that need no network: all classes everywhere, and what is true of tags, times and masks."""
    raise NotImplementedError
