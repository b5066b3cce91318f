"""Remarks about recordings that are used although something about them is odd: never silent.

Readers call `note`. Within `collected` the remarks are kept, so that a whole dataset needs one line
for each kind of them; anywhere else each becomes a line of the log at once.
"""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Note:
    """One remark about a recording.

    Attributes:
        path: the recording.
        kind: says what is odd, and what was done; the same words for all recordings of a kind.
        amount: how much of `unit` it is about.
        unit: e.g. "samples"; empty where there is nothing to count.
    """

    path: Path
    kind: str
    amount: int = 0
    unit: str = ""

    @property
    def line(self) -> str:
        """The remark as a sentence."""
        return f"{self.path}: {self.kind}{f' ({self.amount} {self.unit})' if self.unit else ''}."


_collecting: ContextVar[list[Note] | None] = ContextVar("collecting", default=None)


def note(remark: Note) -> None:
    """Keeps a remark, or logs it at once where nobody collects."""
    kept = _collecting.get()
    if kept is None:
        logger.warning("%s", remark.line)
    else:
        kept.append(remark)


@contextmanager
def collected() -> Iterator[list[Note]]:
    """Collects the remarks of all readers in this thread, each once, instead of logging them."""
    notes: list[Note] = []
    token = _collecting.set(notes)
    try:
        yield notes
    finally:
        _collecting.reset(token)


def summaries(notes: Iterable[Note]) -> list[str]:
    """One sentence for each kind of remark: how many recordings, how much of them, and one of them
    by name."""
    by_kind: dict[str, dict[Path, Note]] = {}
    for remark in notes:
        by_kind.setdefault(remark.kind, {})[remark.path] = remark
    lines = []
    for kind, members in by_kind.items():
        first, total = min(members), sum(remark.amount for remark in members.values())
        unit = next(iter(members.values())).unit
        lines.append(
            f"{len(members)} recording(s), such as {first}:"
            f" {kind}{f' ({total} {unit} in all)' if unit else ''}."
        )
    return lines
