"""Output of a command: terminals and pipes of any encoding, whose readers may go away."""

import contextlib
import logging
import os
import select
import shutil
import sys

BROKEN_PIPE_STATUS = 141  # 128 + SIGPIPE, as shells report it


class _Handler(logging.StreamHandler):
    """Prints the log; a reader that has gone away ends the command, without a traceback."""

    def handleError(self, record: logging.LogRecord) -> None:  # logging's name
        error = sys.exc_info()[1]
        if isinstance(error, BrokenPipeError):
            raise error
        super().handleError(record)


def prepare() -> None:
    """Sends the log to stdout, and escapes characters that the terminal lacks.

    Figures go to files: matplotlib is kept from the window system, whatever MPLBACKEND is.
    """
    os.environ["MPLBACKEND"] = "agg"
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    log_to(sys.stdout)


def log_to(stream: object, *, again: bool = False) -> None:
    """Sends the log to a stream, one line a message.

    Args:
        stream: sys.stdout or sys.stderr.
        again: also if the log is set up already.
    """
    handler = _Handler(stream)  # type: ignore[type-var]
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[handler], force=again)


def flush() -> None:
    """Writes out what standard output holds back, where there is one.

    Raises:
        BrokenPipeError: its reader has ended.
    """
    if sys.stdout is not None and not sys.stdout.closed:
        sys.stdout.flush()


def reader_is_gone() -> bool:
    """True if standard output is a pipe that nobody reads any more, or if that is unknown."""
    try:
        descriptor = sys.stdout.fileno()
    except (AttributeError, OSError, ValueError):  # there is none, or it is no file
        return False
    if not hasattr(select, "poll"):  # Windows
        return True
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def discard_output() -> None:
    """Gives up standard output, so that its buffer does not fail again at the exit."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def unwritable(error: UnicodeEncodeError) -> str:
    """Error text for a text or name with a character that an encoding lacks, with a remedy."""
    found = ascii(error.object[error.start : error.end])
    if error.encoding == "utf-8":
        return f"A file name or text has {found}, which is no text in UTF-8. Rename or correct it."
    return (
        f"A file name or text has {found}, which this system's encoding, {error.encoding}, lacks."
        " Expected: UTF-8. Set the variable PYTHONUTF8=1, or choose another locale, such as"
        " LC_ALL=C.UTF-8."
    )


def typed_text(argument: str) -> str:
    """Reads a text of the command line as UTF-8 where the locale left bytes undecoded."""
    if not any("\ud800" <= character <= "\udfff" for character in argument):
        return argument
    return os.fsencode(argument).decode("utf-8", "surrogateescape")


def columns() -> int | None:
    """Width of the terminal, or that in COLUMNS; None: the output goes elsewhere."""
    is_known = "COLUMNS" in os.environ or (sys.stdout is not None and sys.stdout.isatty())
    return shutil.get_terminal_size().columns if is_known else None


def bar_pace() -> dict[str, float]:
    """Options of a tqdm bar: into a file or a pipe it writes a line in half a minute, no more."""
    is_terminal = sys.stderr is not None and sys.stderr.isatty()
    return {
        "mininterval": 0.1 if is_terminal else 30.0,
        "maxinterval": 10.0 if is_terminal else 60.0,
    }
