"""Scores of clips during prediction: events and tags are kept, frame-level outputs are not."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np

from common.data.selection import Selection
from common.errors import DataError
from common.events.table import EventTable
from common.metrics.tagging import class_f_scores, tag_scores
from common.settings.mean_teacher import NetworkName
from common.training.callbacks import Scorer
from common.training.evaluation import Prediction
from common.training.mean_teacher import outputs_of
from sed_task4.clips.lengths import cut_to_length, frames_within
from sed_task4.dataset import CERTAIN
from sed_task4.decoding import DecodingConfig, decode_clip
from sed_task4.labels import events_of_classes
from sed_task4.scores.maestro import MAESTRO_COLUMNS, RecordingScorer
from sed_task4.scores.systems import ScoringConfig, detection_scores, named_scores, named_tag_scores
from sed_task4.scores.threshold_scores import intersection_scores


@dataclass(frozen=True)
class ClipResult:
    """Prediction of one clip, with its ground truth.

    Attributes:
        name: file name.
        frames: probabilities (T, K) at the hop of the features, padding included.
        clip: probabilities of the tags (K,).
        tags: true tags (K,), -1 where unknown.
        events: true events (n, 3) = class_index, onset_s, offset_s; None where unknown.
        duration_s: length of the clip in seconds, without padding.
        n_inside: frames without padding.
    """

    name: str
    frames: np.ndarray
    clip: np.ndarray
    tags: np.ndarray
    events: np.ndarray | None
    duration_s: float
    n_inside: int

    def of_classes(self, classes: Sequence[int]) -> "ClipResult":
        """Returns the result for some classes, by number and rising."""
        chosen = list(classes)
        return replace(
            self,
            frames=self.frames[:, chosen],
            clip=self.clip[chosen],
            tags=self.tags[chosen],
            events=None if self.events is None else events_of_classes(self.events, chosen),
        )


@dataclass(frozen=True)
class DataSets:
    """Data sets that are evaluated apart, each on its own clips and classes: DESED, MAESTRO real.

    Attributes:
        windows: names of the clips that are windows of recordings.
        of_clips: numbers of the classes that are evaluated on all other clips.
        of_windows: numbers of those that are evaluated on recordings.
    """

    windows: frozenset[str]
    of_clips: tuple[int, ...]
    of_windows: tuple[int, ...]

    def other_clips(self, names: Sequence[str]) -> np.ndarray:
        """Numbers of the clips that are no windows, int."""
        is_clip = [name not in self.windows for name in names]
        return np.flatnonzero(is_clip)


class ClipScorer:
    """Decodes and scores clips.

    Args:
        n_classes: number of classes, K.
        decoding: decoding of probabilities to events.
        hop_s: hop length in seconds.
        clip_s: length of a clip in seconds.
        scoring: scores of events and tags; None: the defaults.
        tag_thresholds: (K,), in place of `decoding.tag_threshold` and `scoring.tag_threshold`.
    """

    def __init__(
        self,
        n_classes: int,
        decoding: DecodingConfig,
        hop_s: float,
        clip_s: float = 10.0,
        scoring: ScoringConfig | None = None,
        tag_thresholds: np.ndarray | None = None,
    ):
        self.n_classes, self.hop_s, self.clip_s = n_classes, hop_s, clip_s
        self.decoding, self.scoring = decoding, scoring or ScoringConfig()
        self.tag_thresholds = tag_thresholds
        self.names: list[str] = []
        self.estimates: list[np.ndarray] = []
        self._references: list[np.ndarray] = []
        self._strong: list[int] = []  # numbers of the clips with strong labels
        self._tagged: list[int] = []  # numbers of the clips with known tags
        self._tags: list[np.ndarray] = []
        self._tag_scores: list[np.ndarray] = []

    def update(
        self,
        name: str,
        frames: np.ndarray,
        clip: np.ndarray,
        events: np.ndarray | None = None,
        tags: np.ndarray | None = None,
        duration_s: float | None = None,
    ) -> np.ndarray:
        """Takes in one clip.

        Args:
            name: file name.
            frames: probabilities (T, K); those that begin after the end of the clip do not count.
            clip: probabilities of the tags (K,).
            events: true events (n, 3) = class_index, onset_s, offset_s; None: no strong labels.
            tags: true tags (K,), 0 or 1; None or negative: those of the events, or unknown.
            duration_s: length of the clip in seconds, up to which events count; at most, and by
                default, `clip_s`.

        Returns:
            The decoded events (n, 3).
        """
        end_s = self.clip_s if duration_s is None else min(duration_s, self.clip_s)
        frames = np.asarray(frames)[: frames_within(end_s, self.hop_s)]
        gates: dict[str, Any] = {"tag_thresholds": self.tag_thresholds, "clip_s": end_s}
        estimate = decode_clip(frames, clip, self.decoding, self.hop_s, **gates)
        number = len(self.names)
        self.names.append(name)
        self.estimates.append(estimate)
        self._tag_scores.append(np.asarray(clip, np.float64))
        if events is not None:
            self._strong.append(number)
            self._references.append(cut_to_length(events, end_s))
        known = None if tags is None or np.min(tags) < 0 else np.asarray(tags) > 0
        if known is None and events is not None:
            known = np.isin(np.arange(self.n_classes), self._references[-1][:, 0])
        if known is not None:
            self._tagged.append(number)
            self._tags.append(known)
        return estimate

    @property
    def references(self) -> list[np.ndarray]:
        """True events (n, 3) of the clips with strong labels, within their clips."""
        return self._references

    def result(self) -> dict[str, float]:
        """Returns the scores that the labels allow, by name (see `sed_task4.scores.tables.SCORES`).

        Strongly labelled clips give those of events and segments; weakly labelled clips give map,
        auc and the F-scores of clips.
        """
        scores: dict[str, float] = {}
        weak_f: float | None = None
        if self._tagged:
            searched, tags = self.tag_thresholds, np.stack(self._tags)
            thresholds = self.scoring.tag_threshold if searched is None else searched
            probabilities = self.tag_probabilities[self._tagged]
            scores |= named_tag_scores(tag_scores(tags, probabilities, thresholds))
            weak = np.isin(self._tagged, self._strong, invert=True)
            if weak.any():
                of_classes = class_f_scores(tags[weak], probabilities[weak], thresholds)
                weak_f = float(of_classes.mean())
        if self._strong:
            reference = EventTable.from_recordings(self._references, self.n_classes)
            estimates = [self.estimates[each] for each in self._strong]
            estimate = EventTable.from_recordings(estimates, self.n_classes)
            scores |= named_scores(detection_scores(reference, estimate, self.scoring))
            if self.scoring.intersection_f:  # events are cut at the ends of their clips
                scores |= intersection_scores(reference, estimate, np.inf)[0]
        return scores if weak_f is None else scores | _joint_scores(weak_f, scores)

    @property
    def tag_probabilities(self) -> np.ndarray:
        """Probabilities of the tags of all clips so far, (N, K)."""
        return np.stack(self._tag_scores) if self._tag_scores else np.zeros((0, self.n_classes))

    @property
    def tag_targets(self) -> tuple[Sequence[int], np.ndarray]:
        """Numbers of the clips with known tags, and these tags, bool (n, K), for thresholds."""
        return self._tagged, np.array(self._tags, bool).reshape(-1, self.n_classes)


def _joint_scores(weak_f: float, scores: Mapping[str, float]) -> dict[str, float]:
    """F of the tags of weakly labelled clips, and its sums with F of strongly labelled ones.

    References:
        The baselines of DCASE task 4 choose their models by these: with the event-based F in 2019,
        with the intersection-based one since 2021.
    """
    sums = {
        f"weak_and_{kind}_f": weak_f + scores[f"{kind}_macro_f"]
        for kind in ("event", "intersection")
        if f"{kind}_macro_f" in scores
    }
    return {"weak_macro_f": weak_f, **sums}


def with_recordings(
    scores: Mapping[str, float], recordings: Mapping[str, float]
) -> dict[str, float]:
    """Adds the scores of recordings to those of clips, and the sums of both.

    Args:
        scores: of clips, by name.
        recordings: see `sed_task4.scores.maestro.MAESTRO_COLUMNS`.

    References:
        The baseline of DCASE 2024 task 4 chooses its model by such a sum.
    """
    before = scores.get("weak_and_intersection_f")
    sums = {
        f"weak_intersection_and_{name}": before + value
        for name, value in recordings.items()
        if before is not None
    }
    return {**scores, **recordings, **sums}


class ValidationScorer(Scorer):
    """Scores of tags, and of events if the validation clips are strongly labelled.

    Args:
        scorer: decodes and scores clips; of the classes `data_sets.of_clips`.
        clip_result: brings a prediction to the rate of the features.
        data_sets: clips and classes that are evaluated apart.
        recordings: scores windows of recordings.
    """

    def __init__(
        self,
        scorer: ClipScorer,
        clip_result: Callable[[Prediction], ClipResult],
        data_sets: DataSets,
        recordings: RecordingScorer,
    ):
        self.scorer, self.clip_result = scorer, clip_result
        self.data_sets, self.recordings = data_sets, recordings

    def update(self, prediction: Prediction) -> None:
        """Takes in one clip; of its frames only the events, or the means of seconds, are kept."""
        clip = self.clip_result(prediction)
        if clip.name in self.data_sets.windows:
            take_in_window(self.recordings, clip)
        else:
            take_in(self.scorer, clip.of_classes(self.data_sets.of_clips))

    def result(self) -> dict[str, float]:
        """Returns the scores that the labels allow; of recordings, of the seconds with a window."""
        scores, found = self.scorer.result(), self.recordings.result(only_covered=True)
        return scores if found is None else with_recordings(scores, found.named())


class TeacherScorer(Scorer):
    """Scores student and teacher of the same predictions.

    Args:
        new_scorer: makes the scorer of one network.
        use: network whose scores have their plain names, and decide; those of the other begin with
            its name.
    """

    def __init__(self, new_scorer: Callable[[], ValidationScorer], use: NetworkName):
        self.use = use
        self.scorers = {name: new_scorer() for name in get_args(NetworkName)}

    def update(self, prediction: Prediction) -> None:
        """Takes in one clip."""
        for name, scorer in self.scorers.items():
            scorer.update(replace(prediction, outputs=outputs_of(prediction.outputs, name)))

    def result(self) -> dict[str, float]:
        """Returns the scores that the labels allow, of both networks."""
        return {
            _name_of(score, network, self.use): value
            for network, scorer in self.scorers.items()
            for score, value in scorer.result().items()
        }


def _name_of(score: str, network: NetworkName, use: NetworkName) -> str:
    """Name of a score of one network, plain for the one in use."""
    return score if network == use else f"{network}_{score}"


def score_names(
    new_scorer: Callable[[], ClipScorer], kinds: Collection[str], use: NetworkName | None = None
) -> list[str]:
    """Names of the scores of a validation set, from those of made-up clips.

    Args:
        new_scorer: makes the scorer of the task.
        kinds: of the labels in the validation set: weak, strong, soft (windows of recordings).
        use: network of a mean teacher that is used; None: there is no teacher.
    """
    scorer = new_scorer()
    some_tags = np.arange(scorer.n_classes) == 0
    silent = np.zeros((1, scorer.n_classes)), np.zeros(scorer.n_classes)
    if "strong" in kinds:
        scorer.update("strong", *silent, events=np.array([[0.0, 0.0, scorer.hop_s]]))
    if "weak" in kinds:
        scorer.update("weak", *silent, tags=some_tags)
    recordings = dict.fromkeys(MAESTRO_COLUMNS, 0.0) if "soft" in kinds else {}
    names = list(with_recordings(scorer.result(), recordings))
    networks: Sequence[NetworkName] = () if use is None else get_args(NetworkName)
    return names if use is None else [_name_of(n, each, use) for each in networks for n in names]


def take_in(scorer: ClipScorer, clip: ClipResult) -> None:
    """Adds one clip to a scorer."""
    scorer.update(clip.name, clip.frames, clip.clip, clip.events, clip.tags, clip.duration_s)


def take_in_window(recordings: RecordingScorer, clip: ClipResult) -> None:
    """Adds one window to the scorer of its recording, if it has labels of evaluated classes."""
    if clip.events is not None and recordings.classes:
        recordings.update(clip.name, clip.frames[: clip.n_inside], clip.clip, clip.events)


def check_recordings(validation: Selection, data_sets: DataSets, monitor: str) -> None:
    """Raises DataError unless an evaluated class occurs in the windows that validate.

    Args:
        validation: the clips that validate.
        data_sets: clips and classes that are evaluated apart.
        monitor: score that needs it, for the error.
    """
    store, windows = validation.store, data_sets.windows.intersection(validation.recording_names)
    stored = store.arrays(validation.groups or store.groups, ["events"])
    active = (np.isin(stored[name]["events"][:, 0], data_sets.of_windows) for name in windows)
    if not any(each.any() for each in active):
        raise DataError(
            f"`training.monitor: {monitor}` scores recordings of MAESTRO real. Expected: labels"
            f" above {CERTAIN} of evaluated classes in the windows that validate. Received:"
            f" {len(windows)} window(s), without any. Hold out more of them"
            " (`validation_fraction` of their part), or set another `training.monitor`."
        )
