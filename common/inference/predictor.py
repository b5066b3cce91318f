"""Runs the models of a run over audio that comes in blocks, and collects what a family's decoder
makes of it.

A recording goes through as a stream: audio, features, windows of frames, outputs, events. Nothing
as long as the recording is held, so memory does not grow with it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from common.audio.files import HIGHEST_RATE_HZ, LOWEST_RATE_HZ
from common.audio.stream import Intake
from common.errors import ConfigError
from common.features.frontend import AUDIO
from common.inference.downsampling import Columns
from common.inference.frame_stream import FrameStream, Framing
from common.inference.windows import Window, Windows
from common.training.ensemble import TrainedModels

_BINS_AT_ONCE = 2**17  # frames times bands in one batch of windows, but one window in any case


@dataclass(frozen=True)
class Event:
    """An event that was heard.

    Attributes:
        onset_s: from the start of the recording.
        offset_s: its end.
        label: name of the class.
        score: mean probability of its frames.
        azimuth_deg: mean direction; None where the system gives none.
        elevation_deg: mean direction.
    """

    onset_s: float
    offset_s: float
    label: str
    score: float
    azimuth_deg: float | None = None
    elevation_deg: float | None = None


@dataclass(frozen=True)
class Heard:
    """What came out of a part of a recording.

    Attributes:
        events: those that ended in it, or are certain only now.
        rows: what was heard frame by frame, (n, columns of the family).
    """

    events: list[Event] = field(default_factory=list)
    rows: np.ndarray = field(default_factory=lambda: np.zeros((0, 4)))


@dataclass(frozen=True)
class Predictor:
    """Trained models, ready for any audio.

    Attributes:
        classes: class names.
        sample_rate_hz: rate of the audio that features are computed of.
        channels: of the audio; None: any number, of which the mean is taken.
        compute: see `common.inference.frame_stream.FrameStream`.
        prepare: brings features (T, F, C) to the form in which the models take them.
        framing: where the frames lie.
        models: the models.
        windows: what they see at once.
        least_frames: shorter windows are filled up to this.
        padding: mean of the features (F, C), which fills windows up; None: the last frame does.
        context_frames: pieces of audio that a window needs beyond its frames; None: the models take
            features.
        has_directions: whether events have directions.
        new_decoder: makes what turns outputs into events.
        draw: from a decoder, its events, the features of the first channel, the duration in seconds
            and a title to a figure.
    """

    classes: tuple[str, ...]
    sample_rate_hz: int
    channels: int | None
    compute: Callable[[np.ndarray], Mapping[str, np.ndarray]]
    prepare: Callable[[np.ndarray], np.ndarray]
    framing: Framing
    models: TrainedModels
    windows: Windows
    least_frames: int
    padding: np.ndarray | None
    context_frames: int | None
    has_directions: bool
    new_decoder: Callable[[], Any]
    draw: Callable[[Any, Sequence[Event], Columns, float, str], Figure]

    def listen(
        self, live: bool = False, sample_rate_hz: int | None = None, *, is_converted: bool = False
    ) -> "Listener":
        """Begins a recording.

        Args:
            live: events are wanted as soon as they can be known, rather than many windows in one
                batch.
            sample_rate_hz: rate of the arrays that will be fed, which are resampled; None: that of
                the models.
            is_converted: arrays come from `common.audio.stream.converted`, and need no check.

        Raises:
            ConfigError: no sample rate of sound.
        """
        rate_hz = self.sample_rate_hz if sample_rate_hz is None else sample_rate_hz
        is_whole = (
            isinstance(rate_hz, int | float | np.number)
            and not isinstance(rate_hz, bool)
            and rate_hz % 1 == 0
        )
        if not is_whole or not LOWEST_RATE_HZ <= rate_hz <= HIGHEST_RATE_HZ:
            raise ConfigError(
                f"`sample_rate_hz`: expected a whole number from {LOWEST_RATE_HZ} to"
                f" {HIGHEST_RATE_HZ} Hz. Received: {rate_hz!r}."
            )
        bins = self.windows.frames * len(self.models.mean)
        intake = None if is_converted else Intake(int(rate_hz), self.sample_rate_hz, self.channels)
        return Listener(self, 1 if live else max(1, _BINS_AT_ONCE // bins), intake)

    def warm_up(self) -> None:
        """Runs the models once for each length of windows, so that the first ones take no longer
        than the others."""
        for frames in self.windows.lengths:
            if self.context_frames is None:
                self.models(np.zeros((1, frames, *self.models.mean.shape), np.float32))
            else:
                samples = (frames + self.context_frames) * self.framing.hop
                self.models(np.zeros((1, samples, self.channels or 1), np.int16))


class Listener:
    """One recording that is being listened to.

    Args:
        predictor: trained models.
        windows_at_once: windows that the models see in one batch.
        intake: checks and converts the arrays; None: they are as the models take them.
    """

    def __init__(self, predictor: Predictor, windows_at_once: int, intake: Intake | None = None):
        self.predictor, self._at_once, self._intake = predictor, windows_at_once, intake
        self.decoder = predictor.new_decoder()
        self.spectrogram = Columns()
        self._stream = FrameStream(predictor.compute, predictor.framing)
        self._frames: np.ndarray | None = None  # what the models take, from frame `_base` on
        self._base = 0
        self._last: Window | None = None
        self._waiting: list[tuple[Window, np.ndarray]] = []

    @property
    def duration_s(self) -> float:
        """Length of what was heard so far."""
        return self._stream.n_samples / self.predictor.sample_rate_hz

    def feed(self, audio: np.ndarray) -> list[Heard]:
        """Takes in the next samples, and returns what is known now.

        Args:
            audio: (S, C), or (S,) for one channel, of the rate that the recording began with:
                floats in [-1, 1], or integers of 16 or 32 bits, or 8 without a sign. Systems of one
                channel take the mean of any number.

        Raises:
            DataError: another shape or type, or values that are not finite or lie outside [-1, 1].
        """
        return self._feed(audio if self._intake is None else self._intake.feed(audio))

    def _feed(self, audio: np.ndarray) -> list[Heard]:
        if not len(audio):
            return []
        inputs = self._stream.feed(audio)
        if inputs is not None:
            self.spectrogram.add(inputs["features"][..., 0])
            self._take(inputs)
        return [*self._decoded(np.inf)]

    def finish(self) -> list[Heard]:
        """Ends the recording, and returns what is left.

        Raises:
            DataError: there was no audio.
        """
        before = [] if self._intake is None else self._feed(self._intake.finish())
        inputs, n_samples, framing = (
            self._stream.finish(),
            self._stream.n_samples,
            self.predictor.framing,
        )
        n_heard = -(-n_samples // framing.hop) - self.spectrogram.n_frames
        self.spectrogram.add(inputs["features"][:n_heard, ..., 0])
        self._take(inputs)
        n_frames = framing.n_frames(max(n_samples, framing.least))
        return [
            *before,
            *self._decoded(self.duration_s),
            self.decoder.finish(n_frames, self.duration_s),
        ]

    def figure(self, events: Sequence[Event], title: str) -> Figure:
        """Draws what was heard."""
        return self.predictor.draw(self.decoder, events, self.spectrogram, self.duration_s, title)

    def _take(self, inputs: Mapping[str, np.ndarray]) -> None:
        new = inputs[AUDIO] if AUDIO in inputs else self.predictor.prepare(inputs["features"])
        self._frames = new if self._frames is None else np.concatenate([self._frames, new])

    def _decoded(self, duration_s: float) -> Iterator[Heard]:
        """Decodes the windows that are ready; all that are left once the duration is known, not
        infinite any more."""
        ended = np.isfinite(duration_s)
        for window, frames in self._windows(ended):
            if (
                window.first * self.predictor.framing.hop < self._stream.n_samples
            ):  # what follows is padding
                self._waiting.append((window, self._filled(window, frames)))
            if len(self._waiting) == self._at_once:
                yield from self._answers(duration_s)
        if ended:
            yield from self._answers(duration_s)

    def _windows(self, ended: bool) -> Iterator[tuple[Window, np.ndarray]]:
        """Yields windows with what the models take of them."""
        context = self.predictor.context_frames or 0
        while self._frames is not None:
            known = self._base + len(self._frames) - context
            window = self.predictor.windows.next_after(self._last, known, ended)
            if window is None:
                return
            yield (
                window,
                self._frames[window.start - self._base : window.stop - self._base + context],
            )
            self._last = window
            self._frames = self._frames[window.start - self._base :]
            self._base = window.start

    def _answers(self, duration_s: float) -> Iterator[Heard]:
        """Runs the models over the windows that wait."""
        waiting, self._waiting = self._waiting, []
        for _, group in groupby(
            waiting, key=lambda each: len(each[1])
        ):  # the last one may be shorter
            windows, inputs = zip(*group, strict=True)
            outputs = self.predictor.models(np.stack(inputs))
            for number, window in enumerate(windows):
                of_window = {name: value[number] for name, value in outputs.items()}
                yield self.decoder.push(window, of_window, duration_s)

    def _filled(self, window: Window, frames: np.ndarray) -> np.ndarray:
        """Fills a window up, as the stream of an evaluation does: features (T, F, C), or samples
        (S, C)."""
        predictor = self.predictor
        starts_anew = window.start == 0 or not predictor.windows.overlap
        missing = predictor.least_frames - (window.stop - window.start) if starts_anew else 0
        if predictor.context_frames is not None:
            heard = np.pad(frames, ((0, max(0, missing)), (0, 0), (0, 0)))  # digital silence
            return heard.reshape(-1, heard.shape[2])
        if missing <= 0:
            return frames
        filling = (
            frames[-1] if predictor.padding is None else predictor.padding.astype(frames.dtype)
        )
        return np.concatenate([frames, np.broadcast_to(filling, (missing, *frames.shape[1:]))])
