"""Files of events that other programs read: one function for each format, and its place.

None of them holds frames: those are in the JSON file of `common.inference.outputs`.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from common import __version__
from common.errors import ConfigError
from common.io.tables import to_csv

if TYPE_CHECKING:  # it loads TensorFlow: formats are checked before
    from common.inference.predictor import Event, Found, Predictor

COLUMNS = ("onset", "offset", "label", "score")
DIRECTIONS = ("azimuth", "elevation")
DISTANCES = ("distance",)
DEFAULT = ("tsv", "json")
DCASE = "dcase"  # a folder: the files are those of the family
_JAMS_VERSION = "0.3.4"  # of the schema


@dataclass(frozen=True)
class TextFormat:
    """A format of one file for each recording.

    Attributes:
        ending: of the file.
        text: from the events of a recording to the content.
        folder: below that of all results, for files that are scored as a folder.
    """

    ending: str
    text: "Callable[[Found, Predictor], str]"
    folder: str = ""

    def path(self, top: Path, name: str, listed_as: str) -> Path:
        """Place of the file of a recording, below the folder of all results.

        Args:
            top: that folder.
            name: of its results.
            listed_as: its name in lists.
        """
        name = scored_name(name, listed_as) if self.folder else name
        return Path(top, self.folder, f"{name}{self.ending}")


def scored_name(name: str, listed_as: str) -> str:
    """Name in a folder that is scored, without folders in it unless names occur twice."""
    return name if "/" in listed_as else PurePath(name).name


def formats_of(text: str) -> tuple[str, ...]:
    """Reads names of formats, separated by commas.

    Raises:
        ConfigError: there is no such format, or none is named.
    """
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise ConfigError(
            f"--format: expected some of {', '.join(NAMES)}, separated by commas. Received:"
            f" {unknown[0]!r}."
        )
    return names


def columns_of(predictor: "Predictor") -> tuple[str, ...]:
    """Names of the columns of a table of events."""
    directions = DIRECTIONS if predictor.has_directions else ()
    return COLUMNS + directions + (DISTANCES if predictor.has_distances else ())


def fields(event: "Event", predictor: "Predictor") -> list[Any]:
    """An event as numbers and text of the columns: microseconds, tenths of degrees, centimetres."""
    times_s = round(event.onset_s, 6), round(event.offset_s, 6)
    values: list[Any] = [*times_s, event.label, round(event.score, 4)]
    places = [(event.azimuth_deg, 1), (event.elevation_deg, 1)] if predictor.has_directions else []
    places += [(event.distance_m, 2)] if predictor.has_distances else []
    for value, digits in places:
        values.append(None if value is None else round(float(np.float64(value)) + 0.0, digits))
    return values


def described(found: "Found", predictor: "Predictor") -> list[dict[str, Any]]:
    """The events of a recording as objects of JSON."""
    columns = columns_of(predictor)
    events = (fields(event, predictor) for event in found.events)
    return [dict(zip(columns, values, strict=True)) for values in events]


def format_events(events: "Iterable[Event]", predictor: "Predictor") -> str:
    """The text of a table of events: a header, then a row for each, tab-separated."""
    rows = [columns_of(predictor), *(fields(event, predictor) for event in events)]
    return "".join("\t".join(map(str, row)) + "\n" for row in rows)


def _tsv(found: "Found", predictor: "Predictor") -> str:
    return format_events(found.events, predictor)


def _csv(found: "Found", predictor: "Predictor") -> str:
    return to_csv([columns_of(predictor), *(fields(each, predictor) for each in found.events)])


def _label_track(found: "Found", predictor: "Predictor") -> str:
    """Lines of onset, offset and label: labels of Audacity, and event lists of sed_eval."""
    events = found.events
    return "".join(f"{e.onset_s:.6f}\t{e.offset_s:.6f}\t{e.label}\n" for e in events)


def _rttm(found: "Found", predictor: "Predictor") -> str:
    """Lines of Rich Transcription Time Marked files, whose fields have no spaces: of speakers."""
    file = _one_word(found.name)
    return "".join(
        f"SPEAKER {file} 1 {event.onset_s:.3f} {event.offset_s - event.onset_s:.3f} <NA> <NA>"
        f" {_one_word(event.label)} {event.score:.4f} <NA>\n"
        for event in found.events
    )


def _one_word(text: str) -> str:
    return "_".join(text.split())


def _jams(found: "Found", predictor: "Predictor") -> str:
    """An annotation of JAMS in the namespace of segments with free labels."""
    data = [
        {
            "time": round(event.onset_s, 6),
            "duration": round(event.offset_s - event.onset_s, 6),
            "value": event.label,
            "confidence": round(event.score, 4),
        }
        for event in found.events
    ]
    duration_s = round(found.duration_s, 6)
    about = {
        "curator": {"name": "", "email": ""},
        "annotator": {},
        "version": __version__,
        "corpus": "",
        "annotation_tools": "dcase-keras",
        "annotation_rules": "",
        "validation": "",
        "data_source": "program",
    }
    annotation = {
        "annotation_metadata": about,
        "namespace": "segment_open",
        "data": data,
        "sandbox": {"events": described(found, predictor)} if predictor.has_directions else {},
        "time": 0,
        "duration": duration_s,
    }
    file = {
        "title": found.listed_as,
        "artist": "",
        "release": "",
        "duration": duration_s,
        "identifiers": {},
        "jams_version": _JAMS_VERSION,
    }
    content = {"annotations": [annotation], "file_metadata": file, "sandbox": {}}
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


TEXTS = {
    "tsv": TextFormat(".tsv", _tsv),
    "csv": TextFormat(".csv", _csv),
    "audacity": TextFormat(".txt", _label_track),
    "rttm": TextFormat(".rttm", _rttm),
    "jams": TextFormat(".jams", _jams),
    "sed_eval": TextFormat(".txt", _label_track, "sed_eval"),
}
NAMES = (*TEXTS, "json", DCASE)
