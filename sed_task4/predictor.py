"""Recordings of any length through the models of a task-4 run: clip after clip, put together to
events."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from common.features.frontend import context_frames
from common.features.settings import as_frontend
from common.inference.downsampling import Columns
from common.inference.frame_stream import Framing
from common.inference.predictor import Event, Heard, Predictor
from common.inference.windows import Window, Windows
from common.training.ensemble import Outputs, TrainedModels, answering, load_models
from sed_task4.config import TaskConfig
from sed_task4.decoding import DecodingConfig, FoundEvent, OnlineDecoder, gated_frames
from sed_task4.experiment import THRESHOLDS, Experiment, read_thresholds
from sed_task4.extraction import clip_inputs
from sed_task4.features import FeatureConfig
from sed_task4.figures import logmel_spectrogram, prediction_figure
from sed_task4.lengths import frames_within

Probabilities = Callable[[Outputs, int], tuple[np.ndarray, np.ndarray]]
_OVERLAP = 5  # neighbouring clips share a fifth of their length


def load_predictor(
    run: Path, task: TaskConfig, fold: str | None = None, live: bool = False
) -> Predictor:
    """Loads the model of a run's last stage.

    Args:
        run: its directory.
        task: its settings.
        fold: None, since these runs have no folds.
        live: without influence: a clip is what the network decides on.

    Raises:
        CheckpointError: the model is not there, not finished, or damaged.
        ConfigError: a fold is asked for.
    """
    experiment = Experiment.prepare(task)
    stages = answering(experiment.system.stages(task))
    models = load_models(run, task, stages, fold)
    thresholds = None
    if task.decoding.tag_threshold is not None and task.decoding.search_thresholds:
        thresholds = read_thresholds(run / stages[-1].name / THRESHOLDS, task.dataset.classes)
    frames = task.pipeline.sequence_frames
    return clip_predictor(
        experiment, models, Windows(frames, frames // _OVERLAP, last_is_whole=True), thresholds
    )


def clip_predictor(
    experiment: Any, models: TrainedModels, windows: Windows, thresholds: np.ndarray | None = None
) -> Predictor:
    """Makes what any system of the family predicts with.

    Args:
        experiment: of a run of the family, which has `task`, `system`, `network` and `frontend`.
        models: the trained models.
        windows: clips, which overlap in longer recordings.
        thresholds: of the tags (K,), in place of `decoding.tag_threshold`.
    """
    task, frontend = experiment.task, experiment.frontend
    features, rate_hz = task.features, task.dataset.sample_rate_hz

    def probabilities(outputs: Outputs, n_frames: int) -> tuple[np.ndarray, np.ndarray]:
        return experiment.system.probabilities(
            outputs, network=experiment.network, n_frames=n_frames
        )

    def new_decoder() -> CurveDecoder:
        return CurveDecoder(
            probabilities, task.decoding, features.hop_s, task.dataset.classes, thresholds
        )

    return Predictor(
        classes=task.dataset.classes,
        sample_rate_hz=rate_hz,
        channels=None,
        compute=lambda audio: clip_inputs(audio, features, rate_hz),
        prepare=lambda frames: frames,
        framing=framing_of(features, rate_hz, task.dataset.clip_s, task.pipeline.sequence_frames),
        models=models,
        windows=windows,
        least_frames=task.pipeline.sequence_frames,
        padding=models.mean if task.pipeline.padding == "mean" else None,
        context_frames=None if frontend is None else context_frames(frontend),
        has_directions=False,
        new_decoder=new_decoder,
        draw=lambda *given: _draw(features, *given),
    )


def framing_of(features: FeatureConfig, rate_hz: int, clip_s: float, clip_frames: int) -> Framing:
    """Where the frames of mono audio lie; silence fills short recordings up as `sed_task4.features`
    fills clips."""
    frontend = as_frontend(features, rate_hz)
    entry, hop = features.entry, frontend.hop_samples

    def n_frames(n_samples: int) -> int:
        frames = entry.n_frames(n_samples, frontend)
        # a frame may be centred on the end, if the clip has room for it
        return frames if not entry.counts_the_end or frames <= clip_frames else -(-n_samples // hop)

    least = 0 if entry.counts_the_end else round(clip_s * rate_hz)
    return Framing.of(frontend, n_frames, least)


class CurveDecoder:
    """Turns what a network says of overlapping clips into curves of the whole recording, and these
    into events.

    Args:
        probabilities: from the outputs for a clip and its number of frames to those of frames (T,
            K) and of tags (K,).
        decoding: how curves become events; the tags of each clip decide which classes are looked
            for in it.
        hop_s: seconds from one frame to the next.
        classes: class names.
        thresholds: of the tags (K,), in place of `decoding.tag_threshold`.
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
        self.tags = np.zeros(len(classes), np.float32)
        self.curves = Columns()

    def push(self, window: Window, outputs: Outputs, duration_s: float = np.inf) -> Heard:
        """Takes in the outputs for one clip; events in its padding do not count."""
        frames, tags = self._probabilities(outputs, window.stop - window.start)
        self.tags = np.maximum(self.tags, tags)
        counted = slice(window.first - window.start, window.end - window.start)
        curves = gated_frames(frames, tags, self._decoding, self._thresholds)[counted]
        if np.isfinite(duration_s):  # as in an evaluation, what follows the end is not decoded
            curves = curves[: max(0, frames_within(duration_s, self._hop_s) - window.first)]
        self.curves.add(curves)
        return self._heard(self._online.push(curves), duration_s)

    def finish(self, n_frames: int, duration_s: float) -> Heard:
        """Ends all events, at the end of the recording at the latest."""
        return self._heard(self._online.finish(), duration_s)

    def details(self) -> dict[str, Any]:
        """The highest probability of each class among the clips."""
        return {"tags": dict(zip(self._classes, map(float, self.tags), strict=True))}

    def _heard(self, found: Sequence[FoundEvent], duration_s: float) -> Heard:
        """Makes events of those found, cut to the length of the recording."""
        times_s = [
            (each.onset * self._hop_s, min(each.offset * self._hop_s, duration_s)) for each in found
        ]
        events = [
            Event(onset_s, offset_s, self._classes[each.class_index], each.score)
            for each, (onset_s, offset_s) in zip(found, times_s, strict=True)
            if onset_s < duration_s
        ]
        return Heard(events)


def _draw(
    features: FeatureConfig,
    decoder: CurveDecoder,
    events: Sequence[Event],
    spectrogram: Columns,
    duration_s: float,
    title: str,
) -> Figure:
    classes = list(decoder.details()["tags"])
    rows = np.array([(classes.index(e.label), e.onset_s, e.offset_s) for e in events]).reshape(
        -1, 3
    )
    drawn = logmel_spectrogram(spectrogram.values, duration_s, features)
    return prediction_figure(drawn, decoder.curves.values, rows, classes, title, tags=decoder.tags)
