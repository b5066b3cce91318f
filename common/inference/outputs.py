"""Output files of a recording: tables of its events, JSON with its frames, a figure."""

import json
import math
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from common.audio.stream import FileSource, converted
from common.display.plotting import save_figure
from common.inference.formats import DCASE, DEFAULT, TEXTS, described
from common.inference.predictor import Event, Found, Predictor, StreamingSession, StreamOutput
from common.io.files import atomic_path, write_text

_N_MISSED = 3  # classes that are named where nothing is found
_WHOLE = ("source",)  # columns of numbers without fractions, after frame and class


@dataclass(frozen=True)
class Wanted:
    """Files of a recording besides its figure.

    Attributes:
        formats: names of `common.inference.formats`.
        frames: the JSON file has the probabilities of all frames, in families without rows.
        top: folder of all results, whose folders formats may have; None: that of the target.
        listed_as: name of the recording in lists of several; None: that of its file.
    """

    formats: tuple[str, ...] = DEFAULT
    frames: bool = False
    top: Path | None = None
    listed_as: str | None = None


def predict_file(
    predictor: Predictor,
    source: FileSource,
    target: Path,
    run: Path,
    wanted: Wanted | None = None,
    heard: Callable[[float], None] | None = None,
) -> Found:
    """Predicts a recording.

    Args:
        predictor: trained models.
        source: the recording.
        target: of the files, without their endings such as .json, .tsv and .png.
        run: the run's directory, for the record.
        wanted: which files; None: those named above.
        heard: called with the seconds of each block of audio.

    Raises:
        ConfigError: a format needs what is not predicted.
        DataError: the recording cannot be used, or a file not written; all or none are written.
    """
    wanted = wanted or Wanted()
    top = wanted.top or target.parent
    name, listed_as = target.relative_to(top).as_posix(), wanted.listed_as or source.path.name
    with ExitStack() as files:  # all of them get their names, or none

        def opened(path: Path) -> Path:
            return files.enter_context(atomic_path(path))

        picture = opened(target.with_name(f"{target.name}.png"))
        forms = [TEXTS[each] for each in wanted.formats if each in TEXTS]
        texts = [(form, opened(form.path(top, name, listed_as))) for form in forms]
        lines = json_path = None
        if "json" in wanted.formats:
            json_path = opened(target.with_name(f"{target.name}.json"))
            unnamed = tempfile.TemporaryFile("w+", dir=target.parent, encoding="utf-8")  # noqa: SIM115
            lines = files.enter_context(unnamed)
        session = predictor.stream(is_converted=True)
        collected = _Collected(session, lines, wanted)
        for block in converted(source, predictor.sample_rate_hz, predictor.channels):
            collected.take(session.feed(block))
            if heard is not None:
                heard(len(block) / predictor.sample_rate_hz)
        collected.take(session.finish())
        found = collected.found(name, listed_as)
        if json_path is not None:
            about = {"recording": str(source.path), "run": str(run)}
            collected.write_json(json_path, {"events": described(found, predictor), **about})
        save_figure(session.figure(found.events, source.path.name), picture)
        for form, path in texts:
            write_text(path, form.text(found, predictor))
        if DCASE in wanted.formats and predictor.dcase_files != "all":
            predictor.write_dcase(top / DCASE, [found])
    return found


def summary(found: Found, source: FileSource, target: Path) -> str:
    """One line on a recording: its events and their classes, or the classes that were missed."""
    labels = ", ".join(sorted({event.label for event in found.events})) or "none"
    text = f"{source.path}: {len(found.events)} events in {found.duration_s:.1f} s ({labels})"
    missed = f" Nothing found: {'; '.join(found.missed)}." if found.missed else ""
    return f"{text} -> {target}.*{missed}"


class _Collected:
    """Outputs of a recording as they come: events, and frames as lines of a file.

    Args:
        session: the prediction.
        lines: for the frames, which are not held; None: they are left out.
        wanted: what is needed.
    """

    def __init__(self, session: StreamingSession, lines: TextIO | None, wanted: Wanted):
        self._session, self._lines, self._wanted = session, lines, wanted
        columns = session.decoder.details().get("columns", ())
        self._has_rows = bool(columns)
        self._whole = [name in _WHOLE for name in columns[2:]]
        self._events: list[Event] = []
        self._submitted: list[np.ndarray] = []
        self._n_lines = 0
        self._has_scores = False

    def take(self, parts: Iterable[StreamOutput]) -> None:
        """Takes in the next outputs."""
        for part in parts:
            self._events += part.events
            if part.submitted is not None and DCASE in self._wanted.formats:
                self._submitted.append(part.submitted)
            for row in part.rows.tolist() if self._lines is not None else ():
                others = zip_longest(row[2:], self._whole[: len(row) - 2])
                numbers: list[float] = [int(row[0]), int(row[1])]
                numbers += [int(value) if whole else _hundredths(value) for value, whole in others]
                self._add_line(numbers)
            takes_scores = self._wanted.frames and not self._has_rows
            if part.scores is not None and self._lines is not None and takes_scores:
                self._has_scores = True
                for values in np.round(part.scores.astype(np.float64), 4).tolist():
                    self._add_line(values)

    def found(self, name: str, listed_as: str) -> Found:
        """The recording with sorted events; arguments as in `Found`."""
        session = self._session
        self._events.sort(key=lambda event: (event.onset_s, event.label))
        missed: list[str] = []
        if not self._events:
            missed = [*map(str, session.predictor.strongest(session.decoder, _N_MISSED))]
        submitted = np.concatenate(self._submitted) if self._submitted else np.zeros((0, 4))
        return Found(name, listed_as, session.duration_s, self._events, submitted, missed)

    def write_json(self, path: Path, content: Mapping[str, Any]) -> None:
        """Writes the events first, then what is about the recording, then the frames."""
        session = self._session
        predictor, details = session.predictor, session.decoder.details()
        content = {**content, "duration_s": round(session.duration_s, 6), **details}
        if self._has_scores:
            hop_s = predictor.framing.hop / predictor.sample_rate_hz
            content |= {"hop_s": hop_s, "classes": list(predictor.classes)}
        text = json.dumps(content, indent=2, ensure_ascii=False)
        with path.open("w", encoding="utf-8") as file:
            if self._lines is None or not (self._has_scores or "columns" in details):
                file.write(text + "\n")
                return
            file.write(text.removesuffix("\n}") + ',\n  "frames": [')
            self._lines.seek(0)
            shutil.copyfileobj(self._lines, file)
            file.write("\n]\n}\n" if self._n_lines else "]\n}\n")

    def _add_line(self, numbers: list[float]) -> None:
        if self._lines is not None:
            self._lines.write(f"{',' if self._n_lines else ''}\n{json.dumps(numbers)}")
            self._n_lines += 1


def _hundredths(angle_deg: float) -> float:
    """An angle cut towards zero to 0.01 degrees; cut to whole degrees, it is as in submissions."""
    return math.trunc(angle_deg * 100 + math.copysign(1e-6, angle_deg)) / 100
