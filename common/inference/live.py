"""Live audio from a pipe: each event is printed as soon as it is certain, with its latency."""

import json
import logging
import queue
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator
from types import FrameType
from typing import Self, TextIO

import numpy as np

from common.audio.stream import PcmSource, converted
from common.inference.formats import columns_of, fields
from common.inference.predictor import Event, Predictor
from common.io.terminal import discard_output

logger = logging.getLogger(__name__)
LATENCY = "latency"
_QUEUED_BLOCKS = 100  # that may wait while the models work: 10 s
_ARRIVALS = 6000  # blocks whose times are remembered: 10 minutes
_Arrival = tuple[float, np.ndarray | BaseException | None]


class TimedSource:
    """Reads a source in a thread of its own, which records when samples arrive.

    Args:
        source: the samples.
    """

    def __init__(self, source: PcmSource):
        self.name, self.rate_hz, self.channels = source.name, source.rate_hz, source.channels
        self.n_samples = 0
        self._source = source
        self._queue = queue.Queue[_Arrival](_QUEUED_BLOCKS)
        self._arrivals = deque[tuple[float, float]](maxlen=_ARRIVALS)  # second of audio, clock

    def blocks(self) -> Iterator[np.ndarray]:
        """Yields the blocks of the source, up to its end."""
        threading.Thread(target=self._read, daemon=True).start()
        while True:
            arrived, block = self._queue.get()
            if block is None:
                return
            if isinstance(block, BaseException):
                raise block
            self.n_samples += len(block)
            self._arrivals.append((self.n_samples / self.rate_hz, arrived))
            yield block

    def arrival(self, time_s: float) -> float:
        """Arrival of the sample at a time of the audio, or of the last, by `time.monotonic`."""
        later = (arrived for end_s, arrived in self._arrivals if end_s >= time_s - 1e-9)
        return next(later, self._arrivals[-1][1])

    def _read(self) -> None:
        try:
            for block in self._source.blocks():
                self._queue.put((time.monotonic(), block))
            self._queue.put((time.monotonic(), None))
        except BaseException as error:  # handed over to whoever waits for blocks
            self._queue.put((time.monotonic(), error))


class EventPrinter:
    """Prints events, one a line, and collects their latencies.

    Args:
        predictor: trained models, which define the columns.
        source: the samples, with their times of arrival.
        output: for the lines.
        as_json: True for JSON objects, False for columns.
    """

    def __init__(self, predictor: Predictor, source: TimedSource, output: TextIO, as_json: bool):
        self._predictor, self._source = predictor, source
        self._output, self._as_json = output, as_json
        self._columns = [*columns_of(predictor), LATENCY]
        self.latencies_s: list[float] = []

    def header(self) -> None:
        """Prints the names of the columns; JSON has them in each line."""
        if not self._as_json:
            self._write("\t".join(self._columns))

    def __call__(self, event: Event) -> None:
        """Prints an event."""
        latency_s = time.monotonic() - self._source.arrival(event.offset_s)
        values = [*fields(event, self._predictor), round(latency_s, 3)]
        line = dict(zip(self._columns, values, strict=True))
        self._write(json.dumps(line) if self._as_json else "\t".join(map(str, values)))
        self.latencies_s.append(latency_s)

    def _write(self, line: str) -> None:
        self._output.write(line + "\n")
        self._output.flush()


class Interrupt:
    """Ctrl-C as the end of audio: at once while waiting for it, else after the current block.

    A second Ctrl-C ends the program.
    """

    def __init__(self) -> None:
        self._asked = self._waiting = False

    def __enter__(self) -> Self:
        self._before = signal.getsignal(signal.SIGINT)
        if self._before is not signal.SIG_IGN:  # as it is in the background of a shell
            signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def next_of(self, blocks: Iterator[np.ndarray]) -> np.ndarray | None:
        """The next block; None at the end."""
        try:
            self._waiting = True
            return None if self._asked else next(blocks, None)
        except KeyboardInterrupt:
            return None
        finally:
            self._waiting = False

    def _handle(self, signal_number: int, frame: FrameType | None) -> None:
        if self._waiting or self._asked:
            raise KeyboardInterrupt
        self._asked = True


def predict_live(
    predictor: Predictor, source: PcmSource, output: TextIO, *, as_json: bool = False
) -> None:
    """Predicts audio from a pipe, up to its end or Ctrl-C; only in the main thread.

    Args:
        predictor: trained models.
        source: the samples.
        output: for the events; a reader that goes away ends the prediction.
        as_json: see `EventPrinter`.

    Raises:
        DataError: the samples cannot be used.
    """
    predictor.warm_up()
    timed = TimedSource(source)
    logger.info("Listening: %d channels, %d Hz.", source.channels, source.rate_hz)
    busy_s = 0.0
    session = predictor.stream(live=True, is_converted=True)
    blocks = converted(timed, predictor.sample_rate_hz, predictor.channels)
    show, ended = EventPrinter(predictor, timed, output, as_json), False
    try:
        show.header()
        with Interrupt() as interrupt:
            while not ended:
                block = interrupt.next_of(blocks)
                began, ended = time.monotonic(), block is None
                for part in session.finish() if block is None else session.feed(block):
                    for event in part.events:
                        show(event)
                busy_s += time.monotonic() - began
    except BrokenPipeError:
        discard_output()  # nothing more can be written, also at the exit
    logger.info("%s", _summary(show.latencies_s, session.duration_s, busy_s))


def _summary(latencies_s: list[float], duration_s: float, busy_s: float) -> str:
    latency = "no event"
    if latencies_s:
        median_s, longest_s = np.median(latencies_s), max(latencies_s)
        latency = f"latency {median_s:.2f} s (median), {longest_s:.2f} s (longest)"
    events = f"{len(latencies_s)} events in {duration_s:.1f} s"
    return f"{events}; {latency}; real-time factor {busy_s / max(duration_s, 1e-9):.3f}."
