"""Predictions of task-4 runs for recordings of any length: clip after clip, joined to events."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from common.features.settings import as_frontend
from common.inference.downsampling import Columns
from common.inference.frame_stream import Framing
from common.inference.predictor import Event, Found, Missed, Predictor, StreamOutput
from common.inference.windows import Window, Windows
from common.training.ensemble import Ensemble, Outputs, load_models, scored_stages
from sed_task4.clips.lengths import frames_within
from sed_task4.config import TaskConfig
from sed_task4.decoding import (
    DecodingConfig,
    FoundEvent,
    OnlineDecoder,
    gated_frames,
    tag_limits,
    weighted,
)
from sed_task4.experiment import MEDIANS, THRESHOLDS, Experiment, is_searched, read_thresholds
from sed_task4.extraction import clip_inputs
from sed_task4.features import ZERO_DB, FeatureConfig, compute_features
from sed_task4.figures import logmel_spectrogram, prediction_figure
from sed_task4.median_search import with_medians
from sed_task4.submission import write_run_files

Probabilities = Callable[[Outputs, int], tuple[np.ndarray, np.ndarray]]
_OVERLAP = 5  # neighbouring clips share a fifth of their length


def load_predictor(
    run: Path,
    task: TaskConfig,
    fold: str | None = None,
    live: bool = False,
    checkpoint: str | None = None,
) -> Predictor:
    """Loads the model of a run's last stage.

    Args:
        run: its directory.
        task: its settings.
        fold: None, since these runs have no folds.
        live: no effect, since the network decides on whole clips.
        checkpoint: which model, see `common.training.ensemble.load_models`.

    Raises:
        CheckpointError: the model is missing, unfinished or damaged.
        ConfigError: a fold is asked for.
    """
    experiment = Experiment.prepare(task)
    stages = scored_stages(experiment.trained_stages(run))
    models = load_models(run, task, stages, fold, checkpoint=checkpoint)
    thresholds, folder = None, run / stages[-1].name
    if task.decoding.searches_gate and is_searched(folder / THRESHOLDS):
        thresholds = read_thresholds(folder / THRESHOLDS, task.dataset.classes)
    decoding, path = task.clip_decoding, folder / MEDIANS
    if decoding.search_medians and is_searched(path):
        decoding = with_medians(decoding, path, task.dataset.classes)
    frames = task.pipeline.sequence_frames
    windows = Windows(frames, frames // _OVERLAP, last_is_whole=True)
    return ClipPredictor(experiment, models, windows, thresholds, decoding)


def features_of(audio: np.ndarray, task: TaskConfig) -> np.ndarray:
    """Features (T, F, C) of audio (S, 1), wherever the task's models take them from."""
    return compute_features(audio, task.features, task.dataset.sample_rate_hz)


class ClipPredictor(Predictor["CurveDecoder"]):
    """Trained models of any run of the family.

    Args:
        experiment: of the run.
        models: trained models.
        windows: clips, which overlap in longer recordings.
        thresholds: tag thresholds (K,) in place of `decoding.tag_threshold`.
        decoding: the rule, in place of that in the settings.
    """

    dcase_files = "all"

    def __init__(
        self,
        experiment: Any,
        models: Ensemble,
        windows: Windows,
        thresholds: np.ndarray | None = None,
        decoding: DecodingConfig | None = None,
    ):
        super().__init__(experiment, models, windows)
        features = self.task.features
        if features.pad_value == "zero_db":  # as clips are padded for training
            self.padding = np.full(experiment.feature_shape(self.task), ZERO_DB, np.float32)
        self._thresholds = thresholds
        self._decoding = decoding or self.task.clip_decoding

    def new_framing(self) -> Framing:
        """Positions of the feature frames."""
        task = self.task
        frames = task.pipeline.sequence_frames
        return framing_of(task.features, self.sample_rate_hz, task.dataset.clip_s, frames)

    def compute(self, audio: np.ndarray) -> Mapping[str, np.ndarray]:
        """Inputs of the models."""
        return clip_inputs(audio, self.task.features, self.sample_rate_hz)

    def new_decoder(self) -> "CurveDecoder":
        """A decoder of one recording."""
        task, system, network = self.task, self.experiment.system, self.experiment.network

        def probabilities(outputs: Outputs, n_frames: int) -> tuple[np.ndarray, np.ndarray]:
            return system.probabilities(outputs, network=network, n_frames=n_frames)

        hop_s, thresholds = task.features.hop_s, self._thresholds
        return CurveDecoder(probabilities, self._decoding, hop_s, self.classes, thresholds)

    def strongest(self, decoder: "CurveDecoder", n_most: int) -> list[Missed]:
        """The classes with the highest probabilities of a frame."""
        decoding, tags = self._decoding, decoder.tags
        limits = tag_limits(decoding, len(self.classes), self._thresholds)
        order = np.lexsort((-tags, -decoder.peaks))[:n_most]
        return [
            Missed(
                self.classes[k],
                float(decoder.peaks[k]),
                decoding.frame_threshold,
                float(tags[k]),
                None if limits is None else float(limits[k]),
            )
            for k in order
        ]

    def write_dcase(self, folder: Path, found: Sequence[Found]) -> None:
        """Writes one event file of all recordings, and their lengths next to it."""
        index = {name: k for k, name in enumerate(self.classes)}
        events = [
            np.array([(index[e.label], e.onset_s, e.offset_s) for e in each.events]).reshape(-1, 3)
            for each in found
        ]
        names, lengths_s = [each.listed_as for each in found], [each.duration_s for each in found]
        write_run_files(folder, names, events, self.classes, lengths_s)

    def draw(
        self,
        decoder: "CurveDecoder",
        events: Sequence[Event],
        spectrogram: Columns,
        duration_s: float,
        title: str,
    ) -> Figure:
        """Draws the events and probabilities of a recording below its spectrogram."""
        classes = list(self.classes)
        rows = np.array([(classes.index(e.label), e.onset_s, e.offset_s) for e in events])
        return prediction_figure(
            logmel_spectrogram(spectrogram.values, duration_s, self.task.features),
            decoder.curves.values,
            rows.reshape(-1, 3),
            classes,
            title,
            tags=decoder.tags,
            before_gate=decoder.before_gate.values if decoder.has_gate else None,
        )


def framing_of(features: FeatureConfig, rate_hz: int, clip_s: float, clip_frames: int) -> Framing:
    """Positions of the feature frames; short recordings are padded with silence as clips are."""
    frontend = as_frontend(features, rate_hz)
    entry, hop = features.entry, frontend.hop_samples

    def n_frames(n_samples: int) -> int:
        frames = entry.n_frames(n_samples, frontend)
        # a frame may be centred on the end, if the clip has room for it
        return frames if not entry.counts_the_end or frames <= clip_frames else -(-n_samples // hop)

    min_samples = round(clip_s * rate_hz) if features.pads_audio else 0
    return Framing.of(frontend, n_frames, min_samples)


class CurveDecoder:
    """Joins the probabilities of overlapping clips to curves of the recording, decoded to events.

    Args:
        probabilities: from the outputs for a clip and its number of frames to frame-level (T, K)
            and clip-level (K,) probabilities.
        decoding: decoding of curves to events, with clip tag gating in each clip.
        hop_s: hop length in seconds.
        classes: class names.
        thresholds: tag thresholds (K,) in place of `decoding.tag_threshold`.
    """

    def __init__(
        self,
        probabilities: Probabilities,
        decoding: DecodingConfig,
        hop_s: float,
        classes: Sequence[str],
        thresholds: np.ndarray | None = None,
    ):
        self._probabilities, self._decoding, self._thresholds = probabilities, decoding, thresholds
        self._hop_s, self._classes = hop_s, classes
        self._online = OnlineDecoder(len(classes), decoding)
        self.tags, self.peaks = np.zeros((2, len(classes)), np.float32)
        self.has_gate = tag_limits(decoding, len(classes), thresholds) is not None
        self.curves, self.before_gate = Columns(), Columns()

    def push(self, window: Window, outputs: Outputs, duration_s: float = np.inf) -> StreamOutput:
        """Takes in the outputs for one clip; events in its padding do not count."""
        frames, tags = self._probabilities(outputs, window.stop - window.start)
        self.tags = np.maximum(self.tags, tags)
        counted = slice(window.first - window.start, window.end - window.start)
        curves = gated_frames(frames, tags, self._decoding, self._thresholds)[counted]
        before = weighted(frames, tags, self._decoding)[counted]
        if np.isfinite(duration_s):  # as in an evaluation, padding is not decoded
            within = max(0, frames_within(duration_s, self._hop_s) - window.first)
            curves, before = curves[:within], before[:within]
        self.peaks = np.maximum(self.peaks, before.max(axis=0, initial=0.0))
        self.curves.add(curves)
        self.before_gate.add(before)
        output = self._output(self._online.push(curves), duration_s)
        return replace(output, scores=before)

    def finish(self, n_frames: int, duration_s: float) -> StreamOutput:
        """Ends all events, at the latest with the recording."""
        return self._output(self._online.finish(), duration_s)

    def details(self) -> dict[str, Any]:
        """The highest probability of each class among the clips."""
        return {"tags": dict(zip(self._classes, map(float, self.tags), strict=True))}

    def _output(self, found: Sequence[FoundEvent], duration_s: float) -> StreamOutput:
        """Events of the decoder that begin within the recording, cut to its length if set."""
        limit_s = duration_s if self._decoding.cut_at_end else np.inf
        events = []
        for each in found:
            onset_s, end_s = each.onset * self._hop_s, min(each.offset * self._hop_s, limit_s)
            if onset_s < duration_s:
                events.append(Event(onset_s, end_s, self._classes[each.class_index], each.score))
        return StreamOutput(events)
