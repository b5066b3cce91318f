"""Runs the models of a run over audio that comes in blocks, and collects decoded events.

A recording goes through as a stream: audio, features, windows of frames, outputs, events. Nothing
as long as the recording is held, so memory does not grow with it.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar

import numpy as np
from matplotlib.figure import Figure

from common.audio.files import HIGHEST_RATE_HZ, LOWEST_RATE_HZ
from common.audio.stream import Intake
from common.errors import ConfigError
from common.features.frontend import AUDIO, context_frames
from common.inference.downsampling import Columns
from common.inference.frame_stream import FrameStream, Framing
from common.inference.windows import Window, Windows
from common.training.ensemble import Ensemble, Outputs

_BINS_AT_ONCE = 2**17  # frames times bands in one batch of windows, but one window in any case


@dataclass(frozen=True)
class Event:
    """A detected event.

    Attributes:
        onset_s: from the start of the recording.
        offset_s: its end.
        label: name of the class.
        score: mean probability of its frames.
        azimuth_deg: mean direction; None for systems without directions.
        elevation_deg: mean direction.
        distance_m: mean distance; None for systems without distances.
    """

    onset_s: float
    offset_s: float
    label: str
    score: float
    azimuth_deg: float | None = None
    elevation_deg: float | None = None
    distance_m: float | None = None


@dataclass(frozen=True)
class StreamOutput:
    """Predictions of a part of a recording.

    Attributes:
        events: those that ended in it, or are certain only now.
        rows: frame-level predictions, (n, columns of the family).
        submitted: the same as in files of a challenge that hold frames; None: there are none.
        scores: probabilities of all classes in the next frames, (T, K), before clip tag gating;
            of families with rows those of the frames of rows; None: no frame is certain yet.
    """

    events: list[Event] = field(default_factory=list)
    rows: np.ndarray = field(default_factory=lambda: np.zeros((0, 4)))
    submitted: np.ndarray | None = None
    scores: np.ndarray | None = None


@dataclass(frozen=True)
class Found:
    """A recording that has been predicted.

    Attributes:
        name: path of its results below their folder, without an ending.
        listed_as: its name in lists of several recordings.
        duration_s: its length.
        events: sorted by onset.
        submitted: frames for files of a challenge, where they were asked for, else no row.
        missed: the strongest classes where there is no event, one sentence each.
    """

    name: str
    listed_as: str
    duration_s: float
    events: Sequence[Event]
    submitted: np.ndarray = field(default_factory=lambda: np.zeros((0, 4)))
    missed: Sequence[str] = ()


@dataclass(frozen=True)
class Missed:
    """A class without events: its highest values and the thresholds for them.

    Attributes:
        label: name of the class.
        frame: highest value of a frame.
        threshold: of frames.
        tag: highest clip-level probability; None: it decides nothing.
        tag_threshold: of tags; None: no clip tag gating.
    """

    label: str
    frame: float
    threshold: float
    tag: float | None = None
    tag_threshold: float | None = None

    def __str__(self) -> str:
        text = f"{self.label} reaches {self.frame:.2g} in a frame (threshold {self.threshold:.4g})"
        if self.tag is None or self.tag_threshold is None:
            return text
        return f"{text}, {self.tag:.2g} as a tag (threshold {self.tag_threshold:.4g})"


class Decoder(Protocol):
    """Turns the outputs of one recording into events, window by window."""

    def push(self, window: Window, outputs: Outputs, duration_s: float) -> StreamOutput:
        """Takes in the outputs (T', ...) of the next window, for its frames [first, end).

        The recording lasts for `duration_s`, infinite if unknown so far; the rest is padding.
        """

    def finish(self, n_frames: int, duration_s: float) -> StreamOutput:
        """Ends the recording of `n_frames` frames, padding included."""

    def details(self) -> dict[str, Any]:
        """Clip-level predictions, or columns of the rows, for a JSON file."""


DecoderType = TypeVar("DecoderType", bound=Decoder)


class Predictor(ABC, Generic[DecoderType]):
    """Trained models, ready for any audio; each family defines features, frames and decoding.

    Args:
        experiment: of the run, `common.training.experiment.BaseExperiment` of the family.
        models: trained models.
        windows: frames that the models see at once.

    Attributes:
        channels: of the audio; None: any number, of which the mean is taken.
        has_directions: True if events have directions.
        has_distances: True if events have distances.
        padding: mean of the features (F, C) after a recording; None: its last frame is repeated.
        context_frames: hops of audio beyond the frames of a window; None: models take features.
        dcase_files: files in the form of the challenge: one for each recording, one for all of
            them, or none (None).
    """

    channels: int | None = None
    has_directions = has_distances = False
    dcase_files: ClassVar[Literal["each", "all"] | None] = None

    def __init__(self, experiment: Any, models: Ensemble, windows: Windows):
        self.experiment, self.task = experiment, experiment.task
        self.models, self.windows, self.framing = models, windows, self.new_framing()
        frontend = experiment.frontend
        self.context_frames = None if frontend is None else context_frames(frontend)
        self.padding = models.mean if self.task.pipeline.padding == "mean" else None

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.task.dataset.classes

    @property
    def sample_rate_hz(self) -> int:
        """Sample rate of the audio that features are computed of."""
        return self.task.dataset.sample_rate_hz

    @abstractmethod
    def new_framing(self) -> Framing:
        """Positions of the feature frames."""

    @abstractmethod
    def compute(self, audio: np.ndarray) -> Mapping[str, np.ndarray]:
        """Inputs of the models, see `common.inference.frame_stream.FrameStream`."""

    def frame_stream(self, live: bool) -> FrameStream:
        """Inputs of the models for one recording; arguments as for `stream`."""
        return FrameStream(lambda audio, new: self.compute(audio), self.framing)

    def prepare(self, features: np.ndarray) -> np.ndarray:
        """Brings features (T, F, C) to the form in which the models take them."""
        return features

    @abstractmethod
    def new_decoder(self) -> DecoderType:
        """A decoder of one recording."""

    @abstractmethod
    def draw(
        self,
        decoder: DecoderType,
        events: Sequence[Event],
        spectrogram: Columns,
        duration_s: float,
        title: str,
    ) -> Figure:
        """Draws the predictions of a recording below its first feature channel."""

    def strongest(self, decoder: DecoderType, n_most: int) -> list[Missed]:
        """The classes with the highest values in a recording, the highest first."""
        return []

    def write_dcase(self, folder: Path, found: Sequence[Found]) -> None:
        """Writes recordings in the form of the challenge: one, or all, see `dcase_files`.

        Args:
            folder: of these files only.
            found: the recordings.

        Raises:
            ConfigError: the form needs what is not predicted.
            DataError: a file cannot be written.
        """
        raise ConfigError(
            f"--format dcase: the family {self.task.family} has no form of a challenge. Expected:"
            " other formats."
        )

    def stream(
        self, live: bool = False, sample_rate_hz: int | None = None, *, is_converted: bool = False
    ) -> "StreamingSession":
        """Begins a recording.

        Args:
            live: events are wanted as soon as they are certain, rather than many windows in one
                batch; features that depend on a whole recording are those of the audio so far.
            sample_rate_hz: rate of the arrays that will be fed, which are resampled; None: that of
                the models.
            is_converted: arrays come from `common.audio.stream.converted`, and need no check.

        Raises:
            ConfigError: no sample rate of sound, or features that cannot be computed live.
        """
        rate_hz = self.sample_rate_hz if sample_rate_hz is None else sample_rate_hz
        is_number = isinstance(rate_hz, int | float | np.number) and not isinstance(rate_hz, bool)
        is_whole = is_number and rate_hz % 1 == 0
        if not is_whole or not LOWEST_RATE_HZ <= rate_hz <= HIGHEST_RATE_HZ:
            raise ConfigError(
                f"`sample_rate_hz`: expected a whole number from {LOWEST_RATE_HZ} to"
                f" {HIGHEST_RATE_HZ} Hz. Received: {rate_hz!r}."
            )
        bins = self.windows.frames * len(self.models.mean)
        intake = None if is_converted else Intake(int(rate_hz), self.sample_rate_hz, self.channels)
        at_once = 1 if live else max(1, _BINS_AT_ONCE // bins)
        return StreamingSession(self, self.frame_stream(live), at_once, intake)

    def warm_up(self) -> None:
        """Runs the models once for each window length, so that the first windows are not slower."""
        for frames in self.windows.lengths:
            if self.context_frames is None:
                batch = np.zeros((1, frames, *self.models.mean.shape), np.float32)
            else:
                samples = (frames + self.context_frames) * self.framing.hop
                batch = np.zeros((1, samples, self.channels or 1), np.int16)
            self.models.predict_on_batch(batch)


class StreamingSession:
    """One recording in progress.

    Args:
        predictor: trained models.
        stream: computes their inputs.
        windows_at_once: windows in one batch of the models.
        intake: checks and converts the arrays; None: they are converted already.
    """

    def __init__(
        self,
        predictor: Predictor,
        stream: FrameStream,
        windows_at_once: int,
        intake: Intake | None = None,
    ):
        self.predictor, self._stream = predictor, stream
        self._at_once, self._intake = windows_at_once, intake
        self.decoder = predictor.new_decoder()
        self.spectrogram = Columns()
        self._frames: np.ndarray | None = None  # inputs of the models from frame `_base` on
        self._base = 0
        self._last: Window | None = None
        self._waiting: list[tuple[Window, np.ndarray]] = []

    @property
    def duration_s(self) -> float:
        """Length of the audio so far."""
        return self._stream.n_samples / self.predictor.sample_rate_hz

    def feed(self, audio: np.ndarray) -> list[StreamOutput]:
        """Takes in the next samples, and returns the predictions that are certain now.

        Args:
            audio: (S, C), or (S,) for one channel, of the rate that the recording began with:
                floats in [-1, 1], or integers of 16 or 32 bits, or 8 without a sign. Systems of one
                channel take the mean of any number.

        Raises:
            DataError: another shape or type, or values that are not finite or lie outside [-1, 1].
        """
        return self._feed(audio if self._intake is None else self._intake.feed(audio))

    def _feed(self, audio: np.ndarray) -> list[StreamOutput]:
        if not len(audio):
            return []
        inputs = self._stream.feed(audio)
        if inputs is not None:
            self.spectrogram.add(inputs["features"][..., 0])
            self._take(inputs)
        return [*self._decoded(np.inf)]

    def finish(self) -> list[StreamOutput]:
        """Ends the recording, and returns the remaining predictions.

        Raises:
            DataError: there was no audio.
        """
        before = [] if self._intake is None else self._feed(self._intake.finish())
        inputs, framing = self._stream.finish(), self.predictor.framing
        n_samples = self._stream.n_samples
        n_new = -(-n_samples // framing.hop) - self.spectrogram.n_frames
        self.spectrogram.add(inputs["features"][:n_new, ..., 0])
        self._take(inputs)
        n_frames = framing.n_frames(max(n_samples, framing.min_samples))
        before += self._decoded(self.duration_s)
        return [*before, self.decoder.finish(n_frames, self.duration_s)]

    def figure(self, events: Sequence[Event], title: str) -> Figure:
        """Draws the predictions so far."""
        return self.predictor.draw(self.decoder, events, self.spectrogram, self.duration_s, title)

    def _take(self, inputs: Mapping[str, np.ndarray]) -> None:
        new = inputs[AUDIO] if AUDIO in inputs else self.predictor.prepare(inputs["features"])
        self._frames = new if self._frames is None else np.concatenate([self._frames, new])

    def _decoded(self, duration_s: float) -> Iterator[StreamOutput]:
        """Decodes the windows that are ready; all the others once the duration is finite."""
        ended = np.isfinite(duration_s)
        for window, frames in self._windows(ended):
            # Windows that begin after the audio hold padding only.
            if window.first * self.predictor.framing.hop < self._stream.n_samples:
                self._waiting.append((window, self._padded(window, frames)))
            if len(self._waiting) == self._at_once:
                yield from self._outputs(duration_s)
        if ended:
            yield from self._outputs(duration_s)

    def _windows(self, ended: bool) -> Iterator[tuple[Window, np.ndarray]]:
        """Yields windows with the inputs of the models."""
        context = self.predictor.context_frames or 0
        while self._frames is not None:
            known = self._base + len(self._frames) - context
            window = self.predictor.windows.next_after(self._last, known, ended)
            if window is None:
                return
            self._frames = self._frames[window.start - self._base :]
            self._base, self._last = window.start, window
            yield window, self._frames[: window.stop - window.start + context]

    def _outputs(self, duration_s: float) -> Iterator[StreamOutput]:
        """Runs the models over the waiting windows."""
        waiting, self._waiting = self._waiting, []
        # The last window may be shorter than the others: a batch of its own.
        for _, group in groupby(waiting, key=lambda each: len(each[1])):
            windows, inputs = zip(*group, strict=True)
            outputs = self.predictor.models.predict_on_batch(np.stack(inputs))
            for number, window in enumerate(windows):
                of_window = {name: value[number] for name, value in outputs.items()}
                yield self.decoder.push(window, of_window, duration_s)

    def _padded(self, window: Window, frames: np.ndarray) -> np.ndarray:
        """Pads a window as an evaluation does: features (T, F, C), or samples (S, C)."""
        predictor = self.predictor
        is_separate = window.start == 0 or not predictor.windows.overlap
        min_frames = predictor.task.pipeline.sequence_frames if is_separate else 0
        missing = min_frames - (window.stop - window.start)
        if predictor.context_frames is not None:
            audio = np.pad(frames, ((0, max(0, missing)), (0, 0), (0, 0)))  # digital silence
            return audio.reshape(-1, audio.shape[2])
        if missing <= 0:
            return frames
        padding = predictor.padding
        filling = frames[-1] if padding is None else padding.astype(frames.dtype)
        return np.concatenate([frames, np.broadcast_to(filling, (missing, *frames.shape[1:]))])
