"""Reads a page like a browser, without one: loaded parts, text and omissions."""

import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

from common.reports.run import flat_scores, number_text

_VOID = {"wbr", "meta", "link", "img", "br", "hr", "input"}


class ReadPage(HTMLParser):
    """Content of a page.

    Attributes:
        tags: each element that begins, with its attributes.
        text: all text that is shown.
        style: the style sheet.
        problems: elements that are closed wrongly or not at all.
    """

    def __init__(self, path: Path):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.problems: list[str] = []
        self._open: list[str] = []
        self._pieces: dict[str, list[str]] = {"style": [], "script": [], "": []}
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        self.problems += [f"<{tag}> is never closed" for tag in self._open]
        self.text, self.style, self.script = (
            " ".join(self._pieces[kind]) for kind in ("", "style", "script")
        )

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in _VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open[-1] != tag:
            self.problems.append(f"</{tag}> ends {self._open[-1:]} at {self.getpos()}")
            return
        self._open.pop()

    def handle_data(self, data: str) -> None:
        inside = self._open[-1] if self._open else ""
        self._pieces[inside if inside in self._pieces else ""].append(data.strip())

    def named(self, tag: str) -> list[dict[str, str]]:
        """The attributes of each element of one kind."""
        return [attributes for name, attributes in self.tags if name == tag]

    def pictures(self) -> list[dict[str, str]]:
        """The attributes of each picture other than learning curves."""
        return [each for each in self.named("img") if not each["alt"].startswith("Learning")]


def read_report(path: Path) -> ReadPage:
    """Reads a report, and checks that it is complete, offline, small, with described images."""
    page = ReadPage(path)
    assert not page.problems
    sources = [
        attributes[name]
        for _, attributes in page.tags
        for name in ("src", "href")
        if name in attributes
    ]
    assert all(source.startswith(("data:", "#part")) for source in sources)
    assert "url(" not in page.style and "@import" not in page.style
    assert all(image["alt"] for image in page.named("img"))
    assert all(
        attributes.get("aria-label") for tag in ("audio", "svg") for attributes in page.named(tag)
    )
    assert page.named("html")[0]["lang"] == "en"
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert path.stat().st_size < 10e6
    return page


def check_scores(page: ReadPage, scores: Path) -> None:
    """Searches a page for every score of `scores.json`, by its name and its value."""
    for row in json.loads(scores.read_text())["rows"]:
        lines = [row["scores"], *row.get("classes", {}).values()]
        for name, value in (item for line in lines for item in flat_scores(line).items()):
            assert name in page.text
            assert number_text(value) in page.text
        assert row["label"] in page.text
