"""Recordings of a prediction, one after another: files, progress, a page, what went wrong."""

import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tqdm import tqdm

from common.cli.base import command_line, do_each
from common.errors import PartlyDoneError
from common.inference.formats import DCASE, TEXTS
from common.inference.inputs import Inputs, Recording

if TYPE_CHECKING:  # they load TensorFlow, whose backend is chosen first
    from common.inference.predictor import Found, Predictor

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """Files of a prediction, and their place.

    Attributes:
        run: the run's directory.
        folder: of all results.
        formats: see `common.inference.formats`.
        frames: see `common.inference.outputs.Wanted`.
    """

    run: Path
    folder: Path
    formats: tuple[str, ...]
    frames: bool = False


class Progress:
    """Progress over several recordings, by seconds of audio: in lines, on a terminal as a bar.

    Args:
        recordings: all of them, in order.
    """

    def __init__(self, recordings: Sequence[Recording]):
        durations_s = [each.source.duration_s for each in recordings]
        self._total_s, self._number, self._n = sum(durations_s), 0, len(recordings)
        self._before_s = self._last_s = 0.0  # length of the recordings before the last, and its own
        self._start_s = time.monotonic()
        is_shown = self._n > 1 and sys.stdout is not None and sys.stdout.isatty()
        form = "{desc}{percentage:3.0f}%|{bar}| {elapsed}, {remaining} left"
        shown = {"desc": f"{self._n} recordings ", "bar_format": form, "disable": not is_shown}
        self._bar = tqdm(total=self._total_s, file=sys.stdout, leave=False, **shown)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def begin(self, recording: Recording) -> None:
        """Begins the next recording, whatever became of the last."""
        self._number += 1
        self._before_s += self._last_s
        self._last_s = recording.source.duration_s
        self.heard(self._before_s - self._bar.n)

    def heard(self, seconds: float) -> None:
        """Counts audio that has been predicted."""
        self._bar.update(min(seconds, self._total_s - self._bar.n))  # headers may be wrong

    def show(self, text: str) -> None:
        """Logs the result of a recording, with its number and the time left, if there are more."""
        self._bar.clear()
        logger.info("%s%s", self._place(), text)
        self._bar.refresh()

    def _place(self) -> str:
        if self._n == 1:
            return ""
        done_s = self._before_s + self._last_s
        left_s = (self._total_s - done_s) * (time.monotonic() - self._start_s) / max(done_s, 1e-9)
        left = f", {time_text(left_s)} left" if self._number < self._n else ""
        return f"[{self._number}/{self._n}{left}] "


def time_text(seconds: float) -> str:
    """A duration in words: 40 s, 3 min, 1 h 20 min."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{round(seconds)} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def predict_files(predictor: "Predictor", inputs: Inputs, request: Request) -> None:
    """Predicts recordings, and writes the files that are about all of them.

    Args:
        predictor: trained models.
        inputs: the recordings, and the problems of others.
        request: the files.

    Raises:
        ConfigError: a format needs what is not predicted.
        DataError: no recording can be used, or a file cannot be written.
        PartlyDoneError: some cannot be used; all others are written.
    """
    from common.inference.outputs import Wanted, predict_file, summary

    if DCASE in request.formats and predictor.dcase_files is None:
        predictor.write_dcase(request.folder / DCASE, [])  # refuses
    joins = DCASE in request.formats and predictor.dcase_files == "all"
    predicted: list[tuple[Recording, Found]] = []
    problem: PartlyDoneError | None = None
    with Progress(inputs.recordings) as progress:

        def predict(recording: Recording) -> None:
            source, target = recording.source, request.folder / recording.name
            wanted = Wanted(request.formats, request.frames, request.folder, recording.listed_as)
            progress.begin(recording)
            found = predict_file(predictor, source, target, request.run, wanted, progress.heard)
            progress.show(summary(found, source, target))
            if joins or inputs.is_search:
                predicted.append((recording, replace(found, submitted=found.submitted[:0])))

        try:
            do_each(inputs.recordings, predict, inputs.problems)
        except PartlyDoneError as error:
            problem = error
    if joins:
        predictor.write_dcase(request.folder / DCASE, [found for _, found in predicted])
    if inputs.is_search:
        _write_page(predicted, request, problem)
    if problem is not None:
        raise problem


def _write_page(
    predicted: Sequence[tuple[Recording, "Found"]],
    request: Request,
    problem: PartlyDoneError | None,
) -> None:
    from common.reports.predictions import Predicted, write_predictions

    shown = [
        Predicted(found, recording.source.path, _files(recording, request))
        for recording, found in predicted
    ]
    problems = [] if problem is None else str(problem).splitlines()
    command = " ".join(command_line())
    page = write_predictions(request.folder, request.run, shown, problems, command)
    logger.info("All recordings on one page: %s", page)


def _files(recording: Recording, request: Request) -> dict[str, Path]:
    """Files of a recording, by the text of their links."""
    top, name, listed_as = request.folder, recording.name, recording.listed_as
    forms = {each: TEXTS[each] for each in request.formats if each in TEXTS}
    texts = {each: form.path(top, name, listed_as) for each, form in forms.items()}
    others = {"json": top / f"{name}.json"} if "json" in request.formats else {}
    return {"figure": top / f"{name}.png", **texts, **others}
