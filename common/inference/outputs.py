"""Output files of a recording: a table of its events, JSON with frame-level rows, a figure."""

import json
import math
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from common.audio.stream import FileSource, converted
from common.display.plotting import save_figure
from common.inference.predictor import Event, Predictor, StreamOutput
from common.io.files import atomic_path, write_text

COLUMNS = ("onset", "offset", "label", "score")
DIRECTIONS = ("azimuth", "elevation")
DISTANCES = ("distance",)


def predict_file(predictor: Predictor, source: FileSource, target: Path, run: Path) -> str:
    """Predicts a recording.

    Args:
        predictor: trained models.
        source: the recording.
        target: of the files, without their endings .json, .tsv and .png.
        run: the run's directory, for the record.

    Returns:
        One line with the number of events and their classes.

    Raises:
        DataError: the recording cannot be used, or a file not written; all or none are written.
    """
    blocks = converted(source, predictor.sample_rate_hz, predictor.channels)
    session, events = predictor.stream(is_converted=True), list[Event]()
    with (  # all of them get their names, or none
        atomic_path(target.with_name(f"{target.name}.json")) as temporary,
        atomic_path(target.with_name(f"{target.name}.png")) as picture,
        atomic_path(target.with_name(f"{target.name}.tsv")) as table,
        temporary.open("w", encoding="utf-8") as file,
    ):
        track = _Track(file, session.decoder.details().get("columns", ()))
        for block in blocks:
            events += track.take(session.feed(block))
        events += track.take(session.finish())
        events.sort(key=lambda event: (event.onset_s, event.label))
        duration_s = session.duration_s
        about = {"recording": str(source.path), "run": str(run), "duration_s": round(duration_s, 6)}
        columns = columns_of(predictor)
        described = [dict(zip(columns, fields(event, predictor), strict=True)) for event in events]
        track.end({**session.decoder.details(), **about, "events": described})
        save_figure(session.figure(events, source.path.name), picture)
        write_text(table, format_events(events, predictor))
    found = ", ".join(sorted({event.label for event in events})) or "none"
    return f"{source.path}: {len(events)} events in {duration_s:.1f} s ({found}) -> {target}.*"


_WHOLE = ("source",)  # columns of numbers without fractions, after frame and class


class _Track:
    """Writes rows into a JSON file as they come, without holding them."""

    def __init__(self, file: TextIO, columns: Sequence[str] = ()):
        self._file, self._before = file, '{"frames": ['
        self._whole = [name in _WHOLE for name in columns[2:]]
        self._has_rows = False

    def take(self, parts: Iterable[StreamOutput]) -> list[Event]:
        """Writes the rows of stream outputs, and returns their events."""
        events = list[Event]()
        for part in parts:
            events += part.events
            for row in part.rows.tolist():
                others = zip_longest(row[2:], self._whole[: len(row) - 2])
                numbers: list[float] = [int(row[0]), int(row[1])]
                numbers += [int(value) if whole else _hundredths(value) for value, whole in others]
                self._file.write(f"{self._before}\n{json.dumps(numbers)}")
                self._before, self._has_rows = ",", True
        return events

    def end(self, rest: dict[str, Any]) -> None:
        """Writes the other keys after the rows."""
        empty = '{"frames": [],\n' if "columns" in rest else "{\n"
        self._file.write("],\n" if self._has_rows else empty)
        self._file.write(json.dumps(rest, indent=2, ensure_ascii=False).removeprefix("{\n") + "\n")


def _hundredths(angle_deg: float) -> float:
    """An angle cut towards zero to 0.01 degrees; cut to whole degrees, it is as in submissions."""
    return math.trunc(angle_deg * 100 + math.copysign(1e-6, angle_deg)) / 100


def columns_of(predictor: Predictor) -> tuple[str, ...]:
    """Names of the columns of a table of events."""
    directions = DIRECTIONS if predictor.has_directions else ()
    return COLUMNS + directions + (DISTANCES if predictor.has_distances else ())


def fields(event: Event, predictor: Predictor) -> list[Any]:
    """An event as numbers and text of the columns: microseconds, tenths of degrees, centimetres."""
    times_s = round(event.onset_s, 6), round(event.offset_s, 6)
    values: list[Any] = [*times_s, event.label, round(event.score, 4)]
    places = [(event.azimuth_deg, 1), (event.elevation_deg, 1)] if predictor.has_directions else []
    places += [(event.distance_m, 2)] if predictor.has_distances else []
    for value, digits in places:
        values.append(None if value is None else round(float(np.float64(value)) + 0.0, digits))
    return values


def format_events(events: Iterable[Event], predictor: Predictor) -> str:
    """The text of a table of events: a header, then a row for each, tab-separated."""
    rows = [columns_of(predictor), *(fields(event, predictor) for event in events)]
    return "".join("\t".join(map(str, row)) + "\n" for row in rows)
