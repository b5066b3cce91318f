"""What is written for a recording: a table of its events, JSON with what was heard frame by frame,
and a figure."""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from common.audio.stream import FileSource, converted
from common.display.plotting import save_figure
from common.inference.predictor import Event, Heard, Predictor
from common.io.files import atomic_path, write_text

COLUMNS = ("onset", "offset", "label", "score")
DIRECTIONS = ("azimuth", "elevation")


def predict_file(predictor: Predictor, source: FileSource, target: Path, run: Path) -> str:
    """Predicts a recording.

    Args:
        predictor: trained models.
        source: the recording.
        target: of the files, without their endings .json, .tsv and .png.
        run: the run's directory, for the record.

    Returns:
        One line that says what was found.

    Raises:
        DataError: the recording cannot be used, or a file not written; no file of the recording is
            left half-done.
    """
    blocks = converted(source, predictor.sample_rate_hz, predictor.channels)
    listener, events = predictor.listen(is_converted=True), list[Event]()
    with (  # all of them get their names, or none
        atomic_path(target.with_name(f"{target.name}.json")) as temporary,
        atomic_path(target.with_name(f"{target.name}.png")) as picture,
        atomic_path(target.with_name(f"{target.name}.tsv")) as table,
        temporary.open("w", encoding="utf-8") as file,
    ):
        track = _Track(file)
        for block in blocks:
            events += track.take(listener.feed(block))
        events += track.take(listener.finish())
        events.sort(key=lambda event: (event.onset_s, event.label))
        duration_s = listener.duration_s
        about = {"recording": str(source.path), "run": str(run), "duration_s": round(duration_s, 6)}
        columns = columns_of(predictor)
        described = [dict(zip(columns, fields(event, predictor), strict=True)) for event in events]
        track.end({**listener.decoder.details(), **about, "events": described})
        save_figure(listener.figure(events, source.path.name), picture)
        write_text(table, format_events(events, predictor))
    found = sorted({event.label for event in events})
    return (
        f"{source.path}: {len(events)} events in {duration_s:.1f} s ({', '.join(found) or 'none'})"
        f" -> {target}.*"
    )


class _Track:
    """Writes rows into JSON as they come: they need no memory."""

    def __init__(self, file: TextIO):
        self._file, self._before = file, '{"frames": ['
        self._has_rows = False

    def take(self, parts: Iterable[Heard]) -> list[Event]:
        """Writes the rows of what was heard, and returns its events."""
        events = list[Event]()
        for heard in parts:
            events += heard.events
            for row in heard.rows.tolist():
                numbers = [int(row[0]), int(row[1]), *map(_hundredths, row[2:])]
                self._file.write(f"{self._before}\n{json.dumps(numbers)}")
                self._before, self._has_rows = ",", True
        return events

    def end(self, rest: dict[str, Any]) -> None:
        """Writes what belongs beside the rows."""
        empty = '{"frames": [],\n' if "columns" in rest else "{\n"
        self._file.write("],\n" if self._has_rows else empty)
        self._file.write(json.dumps(rest, indent=2, ensure_ascii=False).removeprefix("{\n") + "\n")


def _hundredths(angle_deg: float) -> float:
    """An angle cut towards zero, as files of whole degrees cut it: cut again, it gives what they
    hold."""
    return math.trunc(angle_deg * 100 + math.copysign(1e-6, angle_deg)) / 100


def columns_of(predictor: Predictor) -> tuple[str, ...]:
    """Names of the columns of a table of events."""
    return COLUMNS + (DIRECTIONS if predictor.has_directions else ())


def fields(event: Event, predictor: Predictor) -> list[Any]:
    """An event as numbers and text of the columns: seconds to a microsecond, degrees to a tenth."""
    values = [round(event.onset_s, 6), round(event.offset_s, 6), event.label, round(event.score, 4)]
    angles = [event.azimuth_deg, event.elevation_deg] if predictor.has_directions else []
    return [
        *values,
        *(None if angle is None else round(float(np.float64(angle)) + 0.0, 1) for angle in angles),
    ]


def format_events(events: Iterable[Event], predictor: Predictor) -> str:
    """The text of a table of events: a header, then a row for each, tab-separated."""
    rows = [columns_of(predictor), *(fields(event, predictor) for event in events)]
    return "".join("\t".join(map(str, row)) + "\n" for row in rows)
