"""Self-contained pages: tables, charts and recordings in one HTML file, without network.

Content such as file names and settings is unchecked text: the templates escape all of it.
"""

import base64
import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

from common.io.files import write_text

WIDTH, HEIGHT = 1000, 100  # of drawings, which are stretched to the available space


@dataclass(frozen=True)
class Note:
    """A paragraph; `problem`: about something that could not be shown."""

    kind: ClassVar[str] = "note"
    text: str
    problem: bool = False


@dataclass(frozen=True)
class Cards:
    """Numbers in large type, each as (name, number, remark)."""

    kind: ClassVar[str] = "cards"
    cards: Sequence[tuple[str, str, str]]


@dataclass(frozen=True)
class Table:
    """A table whose first row and column are headings.

    Attributes:
        caption: heading of the table.
        rows: cells as text, headings first.
        groups: style of each row below the headings, e.g. "baseline"; empty: one style.
        shades: shade of each cell that is no heading, [0, 1]; empty: none.
        note: sentences on how to read the table.
    """

    kind: ClassVar[str] = "table"
    caption: str
    rows: Sequence[Sequence[str]]
    groups: Sequence[str] = ()
    shades: Sequence[Sequence[float]] = ()
    note: str = ""


@dataclass(frozen=True)
class Tree:
    """Nested settings, folded section by section."""

    kind: ClassVar[str] = "tree"
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Picture:
    """An image as a data URI, with its alternative text."""

    kind: ClassVar[str] = "picture"
    source: str
    alt: str
    caption: str


@dataclass(frozen=True)
class Sound:
    """A recording, or its beginning.

    Attributes:
        source: data URI, or link to the file of a page with `links_files`.
        label: its name.
        duration_s: of the whole recording.
        preload: "none": nothing is read before it is played.
    """

    source: str
    label: str
    duration_s: float
    preload: str = "metadata"


@dataclass(frozen=True)
class Sounds:
    """Sounds under one title."""

    kind: ClassVar[str] = "sounds"
    title: str
    sounds: Sequence[Sound]


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes:
        label: name in the legend; empty: not in it.
        strokes: points (x, y) of each stretch without a break.
        colour: CSS colour.
        style: "solid", "dashed", or "wide" for a pale, broad line below the others.
    """

    label: str
    strokes: Sequence[Sequence[tuple[float, float]]]
    colour: str
    style: str = "solid"


@dataclass(frozen=True)
class Chart:
    """Lines over one axis.

    Attributes:
        title: quantity and unit.
        lines: in the order of drawing.
        x_limits: values at the left and the right edge.
        y_limits: values at the bottom and the top edge.
        y_ticks: (value, text).
    """

    view_box: ClassVar[str] = f"0 0 {WIDTH} {HEIGHT}"

    title: str
    lines: Sequence[Line]
    x_limits: tuple[float, float]
    y_limits: tuple[float, float]
    y_ticks: Sequence[tuple[float, str]] = ()

    def x(self, value: float) -> float:
        """Position of a value of x, in percent from the left."""
        return _percent(value, self.x_limits)

    def y(self, value: float) -> float:
        """Position of a value of y, in percent from the top."""
        return 100 - _percent(value, self.y_limits)

    def path(self, line: Line) -> str:
        """Returns a line as an SVG path on a drawing of `WIDTH` x `HEIGHT`."""
        sx, sy = WIDTH / 100, HEIGHT / 100
        strokes = (
            "L".join(f"{self.x(x) * sx:.1f} {self.y(y) * sy:.2f}" for x, y in stroke)
            for stroke in line.strokes
        )
        return "".join(f"M{stroke}" for stroke in strokes)


@dataclass(frozen=True)
class Lane:
    """Events of one class: (onset, offset) in seconds of each."""

    label: str
    colour: str
    reference: Sequence[tuple[float, float]]
    estimate: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Timeline:
    """One recording: its sound, and panels over the same seconds.

    Attributes:
        name: of the recording.
        remark: line below the name, e.g. the score.
        duration_s: seconds shown.
        x_ticks: (seconds, text).
        pictures: spectrogram and masks over the whole width, each next to its caption.
        lanes: classes of the reference or the estimate.
        labelled: the reference is known.
        charts: charts over the same seconds.
        sound: the recording; None: it is missing.
        notes: sentences to print below.
        links: text and address of files.
    """

    kind: ClassVar[str] = "timeline"
    name: str
    remark: str
    duration_s: float
    x_ticks: Sequence[tuple[float, str]]
    pictures: Sequence[Picture] = ()
    lanes: Sequence[Lane] = ()
    labelled: bool = True
    charts: Sequence[Chart] = ()
    sound: Sound | None = None
    notes: Sequence[str] = ()
    links: Sequence[tuple[str, str]] = ()

    def x(self, value_s: float) -> float:
        """Position of a time, in percent from the left."""
        return _percent(value_s, (0.0, self.duration_s))


Block = Note | Cards | Table | Tree | Picture | Sounds | Timeline


@dataclass(frozen=True)
class Chapter:
    """Part of a page; a folded one opens on a click."""

    title: str
    blocks: Sequence[Block]
    folded: bool = False


@dataclass(frozen=True)
class Page:
    """A whole page.

    Attributes:
        title: of the page.
        subtitle: one sentence.
        facts: names and values below the subtitle.
        chapters: in order.
        command: command line that made the page; empty: not shown.
        links_files: sounds are files next to the page, not in it.
    """

    title: str
    subtitle: str
    facts: Mapping[str, str] = field(default_factory=dict)
    chapters: Sequence[Chapter] = ()
    command: str = ""
    links_files: bool = False


def render(page: Page) -> str:
    """Returns the HTML of a page; its policy blocks other scripts and all loading."""
    import jinja2

    loader = jinja2.PackageLoader("common.display")
    options: dict[str, Any] = {"autoescape": True, "trim_blocks": True, "lstrip_blocks": True}
    templates = jinja2.Environment(loader=loader, undefined=jinja2.StrictUndefined, **options)
    script = loader.get_source(templates, "page.js")[0].strip()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return templates.get_template("page.html").render(page=page, script=script, script_hash=digest)


def write_page(path: Path, page: Page) -> None:
    """Writes a page, complete or not at all.

    Raises:
        DataError: the file cannot be written.
    """
    write_text(path, render(page))


def link_to(path: Path, folder: Path) -> str:
    """Relative address of a file from a page in a folder."""
    relative = Path(os.path.relpath(path, folder)).as_posix()
    return f"./{quote(os.fsencode(relative))}"  # a name with a colon is no protocol


def data_uri(content: bytes, mime: str) -> str:
    """Returns the content of a file as a data URI."""
    return f"data:{mime};base64,{base64.b64encode(content).decode()}"


def ticks(
    low: float, high: float, most: int = 5, *, whole: bool = False
) -> list[tuple[float, str]]:
    """Round numbers from `low` to `high`, with their text."""
    from matplotlib.ticker import MaxNLocator

    values = MaxNLocator(most, integer=whole, steps=[1, 2, 5, 10]).tick_values(low, high)
    return [(float(value), f"{value:.6g}") for value in values if low <= value <= high]


def _percent(value: float, limits: tuple[float, float]) -> float:
    low, high = limits
    return round(100 * (value - low) / (high - low), 3) if high > low else 50.0
