"""Remarks about recordings that are used although they are irregular; none is dropped.

Readers call `note`. Within `collected` remarks are kept, so that a whole dataset needs one log line
for each kind; elsewhere each is logged at once.
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
        kind: irregularity and its treatment; the same words for all recordings of a kind.
        amount: number of `unit` concerned.
        unit: e.g. "samples"; empty if there is nothing to count.
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
    """Keeps a remark within `collected`, logs it elsewhere."""
    kept = _collecting.get()
    if kept is None:
        logger.warning("%s", remark.line)
    else:
        kept.append(remark)


@contextmanager
def collected() -> Iterator[list[Note]]:
    """Collects the remarks of all readers in this thread instead of logging them."""
    notes: list[Note] = []
    token = _collecting.set(notes)
    try:
        yield notes
    finally:
        _collecting.reset(token)


def summaries(notes: Iterable[Note]) -> list[str]:
    """One sentence for each kind of remark: number of recordings, total amount, one example."""
    by_kind: dict[str, dict[Path, Note]] = {}
    for remark in notes:
        by_kind.setdefault(remark.kind, {})[remark.path] = remark
    lines = []
    for kind, members in by_kind.items():
        first, total = min(members), sum(remark.amount for remark in members.values())
        unit = next(iter(members.values())).unit
        amount = f" ({total} {unit} in all)" if unit else ""
        lines.append(f"{len(members)} recording(s), such as {first}: {kind}{amount}.")
    return lines
