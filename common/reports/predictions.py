"""The page of predicted recordings, `predictions.html`: each with its sound, events and files.

Sounds, figures and tables stay where they are: the page links them by relative paths.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.colors import to_hex

from common.display.page import (
    Block,
    Chapter,
    Lane,
    Note,
    Page,
    Sound,
    Table,
    Timeline,
    link_to,
    ticks,
    write_page,
)
from common.display.plotting import class_colours
from common.inference.predictor import Event, Found

PAGE = "predictions.html"
_MOST_EVENTS = 30  # in words below a recording; the tables have all


@dataclass(frozen=True)
class Predicted:
    """A recording on the page.

    Attributes:
        found: its events.
        sound: its file.
        files: what was written for it, by the text of the link.
    """

    found: Found
    sound: Path
    files: Mapping[str, Path]


def write_predictions(
    folder: Path, run: Path, predicted: Sequence[Predicted], problems: Sequence[str], command: str
) -> Path:
    """Writes the page.

    Args:
        folder: of all results.
        run: the run's directory.
        predicted: the recordings, in order.
        problems: of recordings that could not be used.
        command: the command line.

    Raises:
        DataError: the page cannot be written.
    """
    labels = sorted({event.label for each in predicted for event in each.found.events})
    colours = dict(zip(labels, map(to_hex, class_colours(len(labels))), strict=True))
    duration_s = sum(each.found.duration_s for each in predicted)
    n_events = sum(len(each.found.events) for each in predicted)
    overview: list[Block] = [Note(problem, problem=True) for problem in problems]
    page = Page(
        title="Predictions",
        subtitle=f"{len(predicted)} recordings, {n_events} events.",
        facts={"Run": str(run), "Sound": _length(duration_s), "Folder": str(folder)},
        chapters=[
            Chapter("Overview", [*overview, _table(predicted)]),
            Chapter("Recordings", [_timeline(each, folder, colours) for each in predicted]),
        ],
        command=command,
        links_files=True,
    )
    write_page(folder / PAGE, page)
    return folder / PAGE


def _table(predicted: Sequence[Predicted]) -> Table:
    rows = [["", "length / s", "events", "classes"]]
    for each in predicted:
        found = each.found
        labels = ", ".join(sorted({event.label for event in found.events})) or "none"
        rows.append([found.name, f"{found.duration_s:.1f}", str(len(found.events)), labels])
    return Table("Events of each recording", rows)


def _timeline(predicted: Predicted, folder: Path, colours: Mapping[str, str]) -> Timeline:
    found = predicted.found
    labels = sorted({event.label for event in found.events})
    return Timeline(
        name=found.name,
        remark=f"{len(found.events)} events in {found.duration_s:.1f} s",
        duration_s=found.duration_s,
        x_ticks=ticks(0.0, found.duration_s, 8),
        lanes=[_lane(label, found.events, colours[label]) for label in labels],
        labelled=False,
        sound=Sound(link_to(predicted.sound, folder), found.name, found.duration_s, preload="none"),
        notes=_in_words(found),
        links=[(text, link_to(path, folder)) for text, path in predicted.files.items()],
    )


def _lane(label: str, events: Sequence[Event], colour: str) -> Lane:
    times_s = [(each.onset_s, each.offset_s) for each in events if each.label == label]
    return Lane(label, colour, [], times_s)


def _in_words(found: Found) -> list[str]:
    """The first events, or the classes that were missed."""
    if found.missed:
        return [f"Nothing found: {'; '.join(found.missed)}."]
    events = [
        f"{event.onset_s:.2f} to {event.offset_s:.2f} s {event.label} ({event.score:.2f})"
        for event in found.events[:_MOST_EVENTS]
    ]
    more = len(found.events) - len(events)
    text = "; ".join([*events, *([f"{more} more"] if more else [])])
    return [f"{text}. In brackets: the score."] if events else []


def _length(seconds: float) -> str:
    """A duration in words."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"
