"""Faults of the rows of a table: the first one stops a reader, the checker collects all of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from common.errors import DataError

Problems = dict[tuple[str, int], str]  # by table and line, its first fault

_collected: ContextVar[Problems | None] = ContextVar("collected", default=None)


@contextmanager
def collected_rows() -> Iterator[Problems]:
    """Collects the faults of rows that are refused within it; the readers go on.

    What they return then holds the rows at fault and is not to be used.
    """
    problems: Problems = {}
    token = _collected.set(problems)
    try:
        yield problems
    finally:
        _collected.reset(token)


def refuse_row(source: str, line: int, problem: str) -> None:
    """Refuses a row of a table, or collects its fault, see `collected_rows`.

    Args:
        source: the table.
        line: of the row in it.
        problem: the whole sentence.

    Raises:
        DataError: outside of `collected_rows`.
    """
    problems = _collected.get()
    if problems is None:
        raise DataError(problem)
    problems.setdefault((source, line), problem)
