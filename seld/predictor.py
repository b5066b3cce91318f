"""Predictions of SELD runs for recordings of any length: events and frames with directions."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import numpy as np
from matplotlib.figure import Figure

from common.data.extraction import input_arrays
from common.display.spectrogram import Spectrogram
from common.errors import ConfigError
from common.features import spectral
from common.features.settings import as_frontend, frontend_of
from common.inference.downsampling import Columns, Rows
from common.inference.formats import scored_name
from common.inference.frame_stream import FrameStream, Framing
from common.inference.predictor import Event, Found, Missed, Predictor, StreamOutput
from common.inference.windows import Window, Windows
from common.training.ensemble import Ensemble, Outputs, load_models, scored_stages
from common.training.system import Stage
from seld.averages import average_outputs
from seld.config import TaskConfig
from seld.decoding import activity_of
from seld.experiment import Experiment
from seld.features import LiveFeatures, check_live, compute_features
from seld.figures import Quantity, recording_figure
from seld.geometry import AngleGrid, cartesian_to_spherical, vectors_of_angles
from seld.recordings.frames import frames_in_recording
from seld.recordings.rows import (
    AZIMUTH,
    CLASS,
    COLUMNS,
    DISTANCE,
    ELEVATION,
    FRAME,
    SOURCE,
    wide_rows,
)
from seld.recordings.tracking import SourceTracker
from seld.targets import SeldTargets
from seld.validation import detects_only

logger = logging.getLogger(__name__)
Decode = Callable[[Outputs, int], np.ndarray]
# Sequences of context before those that count (one more comes after them), in live prediction
# with a model that is evaluated on whole recordings.
_SEQUENCES_BEFORE = 4


def load_predictor(
    run: Path,
    task: TaskConfig,
    fold: str | None = None,
    live: bool = False,
    checkpoint: str | None = None,
) -> Predictor:
    """Loads the models of a run.

    Args:
        run: its directory.
        task: its settings.
        fold: name of a fold; None: the mean of all folds.
        live: low latency rather than many windows at a time.
        checkpoint: which models, see `common.training.ensemble.load_models`.

    Raises:
        CheckpointError: a model is missing, unfinished or damaged.
        ConfigError: there is no such fold, the run learned directions only, or its features cannot
            be computed live.
    """
    experiment = Experiment.prepare(task)
    stages = scored_stages(experiment.system.stages(task))
    if all(stage.outputs_used == ("doa",) for stage in stages):
        raise ConfigError(
            f"{run} learned directions only (`network.mode: doa_only`), of events whose times are"
            " known. Expected: a run with detection, too, such as `network.mode: two_stage`."
        )
    if live:  # before the models are loaded
        check_live(task.features)
    models = load_models(run, task, stages, fold, average_outputs, checkpoint)
    return SeldPredictor(experiment, models, windows_of(task, experiment.network, live))


def model_inputs(audio: np.ndarray, task: TaskConfig) -> dict[str, np.ndarray]:
    """Computes the features of audio (S, C), or cuts it where the model computes them."""
    features, dataset = task.features, task.dataset
    frontend = frontend_of(features, dataset.sample_rate_hz, dataset.channels)
    rate_hz = features.rate_hz(dataset.sample_rate_hz)
    return input_arrays(audio, frontend, lambda part: compute_features(part, features, rate_hz))


def features_of(audio: np.ndarray, task: TaskConfig) -> np.ndarray:
    """Features (T, F, C) of audio (S, C), wherever the task's models take them from."""
    return compute_features(
        audio, task.features, task.features.rate_hz(task.dataset.sample_rate_hz)
    )


class SeldPredictor(Predictor["TrackDecoder"]):
    """Trained models of a SELD run."""

    dcase_files = "each"

    def __init__(self, experiment: Experiment, models: Ensemble, windows: Windows):
        super().__init__(experiment, models, windows)
        self.channels = self.task.dataset.channels
        self._predicted = RowOutputs.of(models.stages[-1][0])
        self.has_directions = self._predicted.has_directions
        self.has_distances = self._predicted.has_distances

    @property
    def sample_rate_hz(self) -> int:
        """Sample rate of the audio that features are computed from."""
        return self.task.features.rate_hz(self.task.dataset.sample_rate_hz)

    def new_framing(self) -> Framing:
        """Positions of the feature frames."""
        return framing_of(self.task)

    def compute(self, audio: np.ndarray) -> dict[str, np.ndarray]:
        """Inputs of the models."""
        return model_inputs(audio, self.task)

    def frame_stream(self, live: bool) -> FrameStream:
        """Inputs of the models for one recording; live, of the audio so far."""
        if not live or self.framing.is_local:
            return super().frame_stream(live)
        features = self.task.features
        if features.top_db is not None:
            logger.info(
                "Levels of a live stream are limited to %g dB below its maximum so far, those of a"
                " file below the maximum of the whole: results of the first seconds can differ.",
                features.top_db,
            )
        so_far = LiveFeatures(features, self.sample_rate_hz, self.task.dataset.channels)
        return FrameStream(
            lambda audio, new: {"features": so_far.compute(audio, new)},
            replace(self.framing, is_local=True),
        )

    def prepare(self, features: np.ndarray) -> np.ndarray:
        """Converts features (T, F, C) to the inputs of the models."""
        packed = self.task.features.packed_channels(self.channels)
        return spectral.interleave_channels(features, packed) if packed else features

    def new_decoder(self) -> "TrackDecoder":
        """A decoder of one recording."""
        stride = self.models.stages[-1][0].target_stride
        return TrackDecoder.of(self.experiment, stride, self._predicted)

    def strongest(self, decoder: "TrackDecoder", n_most: int) -> list[Missed]:
        """The classes with the highest activities."""
        peaks, threshold = decoder.peaks, self.task.scoring.threshold
        order = np.argsort(-peaks, kind="stable")[:n_most]
        return [Missed(self.classes[k], float(peaks[k]), threshold) for k in order]

    def write_dcase(self, folder: Path, found: Sequence[Found]) -> None:
        """Writes the submission file of the dataset's year of each recording."""
        for each in found:
            name = scored_name(each.name, each.listed_as)
            self.experiment.files.write(folder / f"{name}.csv", each.submitted)

    def draw(
        self,
        decoder: "TrackDecoder",
        events: Sequence[Event],
        spectrogram: Columns,
        duration_s: float,
        title: str,
    ) -> Figure:
        """Draws the directions of a recording below its first feature channel."""
        task = self.task
        levels = task.features.entry.level_db(spectrogram.values[..., None])
        return recording_figure(
            Spectrogram(levels, duration_s),
            None,
            decoder.rows.values,
            task.dataset.classes,
            hop_s=task.dataset.label_hop_s * decoder.rows.frames_per_row,
            title=title,
            quantities=self._predicted.quantities,
            grid=task.dataset.grid,
        )


def framing_of(task: TaskConfig) -> Framing:
    """Positions of the feature frames; short recordings are padded with silence as in training."""
    features, dataset = task.features, task.dataset
    frontend = as_frontend(features, dataset.sample_rate_hz, dataset.channels)
    is_padded = dataset.pad_short and not features.counts_the_end
    min_samples = round(dataset.recording_s * frontend.sample_rate_hz) if is_padded else 0
    return Framing.of(frontend, lambda n: features.entry.n_frames(n, frontend), min_samples)


def windows_of(task: TaskConfig, network: Any, live: bool) -> Windows:
    """Windows of the models: consecutive sequences, as in an evaluation.

    Models that are evaluated on whole recordings get windows of that length; the outer sixths
    count only at the ends of a recording. Live, one sequence counts, between some before it and
    one after it.
    """
    pipeline, pooling = task.pipeline, network.time_pooling
    if not pipeline.whole_recordings:
        return Windows(pipeline.sequence_frames)

    def pooled(frames: float) -> int:  # pools begin where those of the whole recording do
        return math.ceil(frames / pooling) * pooling

    sequence = pooled(pipeline.sequence_frames)
    sixth = pooled(task.dataset.recording_s / task.features.hop_s / 6)
    if live:
        before = _SEQUENCES_BEFORE * sequence
        return Windows(before + 2 * sequence, before + sequence, after=sequence, grow=True)
    return Windows(max(6 * sixth, 3 * sequence) + pooling, 2 * max(sixth, sequence))


@dataclass(frozen=True)
class RowOutputs:
    """Parts of rows that a system predicts.

    Attributes:
        has_directions: directions; otherwise only frames and classes.
        has_sources: several sources of a class, told apart by number.
        has_distances: distances.
        n_coordinates: coordinates of vectors: 3, or 2 for x and y.
    """

    has_directions: bool = True
    has_sources: bool = False
    has_distances: bool = False
    n_coordinates: int = 3

    @classmethod
    def of(cls, stage: Stage) -> "RowOutputs":
        """Parts of the rows of the last stage of a system."""
        made = stage.event_targets
        if not isinstance(made, SeldTargets):
            return cls(not detects_only(stage))
        form = made.form
        return cls(True, form.form != "classwise", "distance" in form.axes, form.n_coordinates)

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """Quantities of sources that are drawn."""
        angles: tuple[Quantity, ...] = ("azimuth", "elevation")
        directions = angles[: self.n_coordinates - 1] if self.has_directions else ()
        distance: tuple[Quantity, ...] = ("distance",) if self.has_distances else ()
        return *directions, *distance

    @property
    def columns(self) -> list[int]:
        """Columns of rows that are predictions."""
        directions = [AZIMUTH, ELEVATION] if self.has_directions else []
        others = [SOURCE] * self.has_sources + [DISTANCE] * self.has_distances
        return [FRAME, CLASS, *directions, *others]


@dataclass
class _Run:
    """A source while it is active: its class, frames [first, end), and sums over its rows."""

    klass: int
    first: int
    end: int
    direction: np.ndarray = field(default_factory=lambda: np.zeros(3))
    score: float = 0.0
    distance_m: float = 0.0


class TrackDecoder:
    """Turns outputs into rows of frame, class and direction, and these into events.

    Args:
        decode: from outputs and a number of label frames to rows, see `seld.systems`.
        stride: feature frames per output frame.
        hop_ratio: hop of the labels by that of the features.
        hop_s: hop of the labels.
        classes: class names.
        grid: feature frames after which outputs may be cut without changing the decoded rows.
        outputs: which parts of the rows are predictions, and coordinates of vectors.
        directions: grid of directions of the dataset, with the azimuths of the events.
    """

    def __init__(
        self,
        decode: Decode,
        stride: int,
        hop_ratio: float,
        hop_s: float,
        classes: Sequence[str],
        grid: int,
        outputs: "RowOutputs",
        directions: AngleGrid | None = None,
    ):
        self._decode, self._stride, self._ratio = decode, stride, hop_ratio
        self._directions = directions or AngleGrid()
        self._hop_s, self._classes = hop_s, classes
        self._grid, self._predicted = grid, outputs
        self._outputs: Outputs = {}  # not decoded yet
        self._n_decoded = 0  # label frames
        self._tracker, self._active = SourceTracker(), dict[int, _Run]()  # by number of the source
        self.rows = Rows(DISTANCE + 1)
        self.peaks = np.zeros(len(classes))  # highest activity of each class

    @classmethod
    def of(cls, experiment: Experiment, stride: int, outputs: "RowOutputs") -> "TrackDecoder":
        """Makes the decoder of a task; arguments as above."""
        task, network = experiment.task, cast(Any, experiment.network)
        hop_ratio = task.dataset.label_hop_s / task.features.hop_s

        def decode(outputs: Mapping[str, np.ndarray], n_frames: int) -> np.ndarray:
            return experiment.rows(outputs, n_frames, hop_ratio)

        # Twice the numerator: halves are rounded to even numbers.
        repeat = 2 * Fraction(hop_ratio).limit_denominator(10_000).numerator
        grid, dataset = math.lcm(network.time_pooling, repeat), task.dataset
        labels = dataset.label_hop_s, dataset.classes
        return cls(decode, stride, hop_ratio, *labels, grid, outputs, dataset.grid)

    def push(self, window: Window, outputs: Outputs, duration_s: float = math.inf) -> StreamOutput:
        """Adds the outputs (T', width) of a window; the last of them wait for the next window."""
        stride, kept = self._stride, self._outputs
        start, end = window.first - window.start, window.end - window.start
        counted = slice(start // stride, -(-end // stride))
        self._outputs = {
            name: np.concatenate([kept[name], value[counted]]) if kept else value[counted]
            for name, value in outputs.items()
        }
        ready = (self._n_waiting * stride - 1) // self._grid * self._grid
        if ready <= 0:
            return StreamOutput()
        n_ready = round(ready / self._ratio)
        if math.isfinite(duration_s):
            within = frames_in_recording(duration_s, self._hop_s)
            n_ready = min(n_ready, within - self._n_decoded)
        return self._decoded(ready // stride, n_ready)

    def finish(self, n_frames: int, duration_s: float) -> StreamOutput:
        """Decodes the rest and ends all events, at the latest with the recording."""
        # As in the test, all label frames that begin in the recording, however few features.
        n_left = frames_in_recording(duration_s, self._hop_s) - self._n_decoded if n_frames else 0
        output = self._decoded(self._n_waiting, n_left)
        still = sorted(self._active.values(), key=lambda run: run.klass)
        events = output.events + [self._event(run) for run in still]
        self._active = {}
        for number, event in enumerate(events):
            end_s = min(event.offset_s, max(event.onset_s, duration_s))
            events[number] = replace(event, offset_s=end_s)
        return replace(output, events=events)

    def details(self) -> dict[str, Any]:
        """Hop length, classes and columns of the rows."""
        columns = [COLUMNS[column] for column in self._predicted.columns]
        return {"hop_s": self._hop_s, "classes": list(self._classes), "columns": columns}

    @property
    def _n_waiting(self) -> int:
        return len(next(iter(self._outputs.values()), ()))

    def _decoded(self, n_outputs: int, n_frames: int) -> StreamOutput:
        """Decodes `n_outputs` outputs to `n_frames` label frames."""
        part = {name: value[:n_outputs] for name, value in self._outputs.items()}
        self._outputs = {name: value[n_outputs:] for name, value in self._outputs.items()}
        if n_frames <= 0:
            return StreamOutput()
        rows = wide_rows(self._decode(part, n_frames))
        source = np.floor(np.arange(n_frames) * self._ratio + 1e-6).astype(int) // self._stride
        activity = activity_of(part, self._predicted.n_coordinates)
        scores = activity[np.minimum(source, n_outputs - 1)]  # (n_frames, K)
        self.peaks = np.maximum(self.peaks, scores.max(axis=0))
        submitted = rows.copy()
        submitted[:, FRAME] += self._n_decoded
        rows[:, SOURCE] = self._tracker.number(rows, self._n_decoded)
        events = self._joined(rows, scores)
        rows[:, FRAME] += self._n_decoded
        self._n_decoded += n_frames
        self.rows.add(rows[:, : DISTANCE + 1])
        return StreamOutput(events, rows[:, self._predicted.columns], submitted, scores)

    def _joined(self, rows: np.ndarray, scores: np.ndarray) -> list[Event]:
        """Joins rows to events; those that end before the last frame are returned."""
        before, n_frames = self._n_decoded, len(scores)
        vectors = vectors_of_angles(rows[:, AZIMUTH], rows[:, ELEVATION])
        ended = list[_Run]()
        for row, vector in zip(rows, vectors, strict=True):
            frame, k, number = (int(row[column]) for column in (FRAME, CLASS, SOURCE))
            run = self._active.setdefault(number, _Run(k, before + frame, before + frame))
            run.end = before + frame + 1
            run.direction += vector
            run.score += float(scores[frame, k])
            run.distance_m += float(row[DISTANCE])
        for number in [n for n, run in self._active.items() if run.end < before + n_frames]:
            ended.append(self._active.pop(number))
        return [self._event(run) for run in ended]

    def _event(self, run: _Run) -> Event:
        angles: tuple[float | None, float | None] = None, None
        if self._predicted.has_directions:
            azimuth, elevation, _ = cartesian_to_spherical(run.direction)
            # Rounded as it is printed: 359.99 would be printed as 360.0.
            azimuth_deg = self._directions.on_circle(np.round(np.rad2deg(azimuth), 1))
            angles = float(azimuth_deg), float(np.rad2deg(elevation))
        n_frames, times_s = run.end - run.first, (run.first * self._hop_s, run.end * self._hop_s)
        distance_m = run.distance_m / n_frames if self._predicted.has_distances else None
        return Event(*times_s, self._classes[run.klass], run.score / n_frames, *angles, distance_m)
