"""Base of all commands: parsers, settings file, errors, exit status, commands in messages.

It loads no large library, so that `--help` is there at once; see `benchmarks/startup.py`.
"""

import argparse
import os
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from common.errors import ConfigError, DataError, PartlyDoneError, UserError
from common.family import load
from common.io import terminal
from common.io.files import STORAGE_ERRORS, storage_error
from common.runtime.optional import leave_out_unused

PARAMS = "params.yaml"
DISTRIBUTION = "dcase-keras"
SHARED_FOLDER = "share/dcase-keras"  # as in setup.cfg, options.data_files
PROGRAM = "dcase"  # the installed command
_TOP = Path(__file__).resolve().parents[2]
_VERBS = {"batch_feature_extraction": "extract", "simulate": "simulate", "predict": "predict"}
_COMMAND = re.compile(r"\bpython (?:(\w+)\.py|-m common\.cli\.(\w+))")


def base_parser(description: str, *, settings: bool = True) -> argparse.ArgumentParser:
    """Makes the parser of a command.

    Args:
        description: of the command.
        settings: True if the command takes --params and --set.
    """
    parser = argparse.ArgumentParser(_program(), description=description)
    if settings:
        default = f"settings file; default: ./{PARAMS}, or the installed one"
        parser.add_argument("--params", type=Path, help=default)
        add_overrides(parser, "override a setting")
    return parser


def add_overrides(parser: argparse.ArgumentParser, meaning: str) -> None:
    """Adds the option --set KEY=VALUE, which may be given several times."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        type=terminal.typed_text,
        help=meaning,
    )


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """Adds the option --checkpoint, see `common.inference.loading.checked_checkpoint`."""
    meaning = "best, last or the number of an epoch that is kept; default: the model that is scored"
    parser.add_argument(
        "--checkpoint", metavar="WHICH", help=f"{meaning}, of a run in training the best so far"
    )


def _program() -> str | None:
    """Name of the command as it was called: `dcase VERB`, a module, or None for a script."""
    called = Path(sys.argv[0])
    if called.name == PROGRAM or called == Path(__file__).resolve().with_name("__main__.py"):
        return " ".join([PROGRAM, *sys.argv[1:2]])
    if called.suffix == ".py" and called.is_relative_to(_TOP):
        package, *module = called.relative_to(_TOP).with_suffix("").parts
        if module and not package.startswith("."):
            return f"python -m {'.'.join([package, *module])}"
    return None


def params_path(given: Path | None) -> Path:
    """Settings file to use: the given one, else that of the current folder, else the installed."""
    if given is not None:
        return given
    return Path(PARAMS) if Path(PARAMS).is_file() else packaged_file(PARAMS)


def packaged_file(name: str) -> Path:
    """Finds a file that belongs to the project, in a checkout and pip-installed alike.

    Args:
        name: file name without folder, such as "params.yaml".

    Returns:
        Path of the existing file: in a checkout at its top, otherwise where pip put it.

    Raises:
        DataError: the file is in neither place.
    """
    candidates = [_TOP / name, *_installed_files(name)]
    for path in candidates:
        if path.is_file():
            return path
    raise DataError(
        f"A file of the project is missing. Expected: {name!r} at"
        f" {' or '.join(map(str, candidates))}. Received: no such file. Install {DISTRIBUTION}"
        " again, or run from a complete checkout."
    )


def _installed_files(name: str) -> list[Path]:
    """Places of `name` in pip's records; the folder differs with --user, --target and --prefix."""
    from importlib import metadata  # only needed outside a checkout, and slow to load

    try:
        files = metadata.files(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return []
    own = [file for file in files if file.as_posix().endswith(f"{SHARED_FOLDER}/{name}")]
    return [Path(str(file.locate())).resolve() for file in own]


def run_safely(
    main: Callable[[Sequence[str]], None], arguments: Sequence[str] | None, *, resumes: bool = False
) -> int:
    """Runs a command; a user's mistake becomes one message on stderr and its status, Ctrl-C 130.

    Args:
        main: does the work.
        arguments: of the command line; None: those of this process.
        resumes: True if the same command resumes where it was stopped.
    """
    terminal.prepare()
    leave_out_unused()
    try:
        try:
            return _status_of(main, sys.argv[1:] if arguments is None else arguments, resumes)
        finally:
            terminal.flush()  # a reader that has gone away is noticed here, not at the exit
    except BrokenPipeError:
        if not terminal.reader_is_gone():
            raise
        terminal.discard_output()
        return terminal.BROKEN_PIPE_STATUS


def _status_of(
    main: Callable[[Sequence[str]], None], arguments: Sequence[str], resumes: bool
) -> int:
    """Runs a command; prints errors that the user can fix on stderr."""
    try:
        main(arguments)
    except UserError as error:
        print(f"error: {as_called_here(str(error))}", file=sys.stderr)
        return error.status
    except UnicodeEncodeError as error:
        print(f"error: {terminal.unwritable(error)}", file=sys.stderr)
        return ConfigError.status
    except OSError as error:  # of a library; own files have their message already
        if error.errno not in STORAGE_ERRORS:
            raise
        problem = storage_error(error.filename or "a file", error, "read or write")
        print(f"error: {problem}", file=sys.stderr)
        return problem.status
    except KeyboardInterrupt:
        remark = "; the same command resumes from here" if resumes else ""
        print(f"\nstopped{remark}", file=sys.stderr)
        return 130
    return 0


def do_each(
    recordings: Sequence[Any], work: Callable[[Any], None], problems: Sequence[DataError] = ()
) -> None:
    """Does the same with each of several recordings, also after one that cannot be used.

    Args:
        recordings: any objects.
        work: with one of them.
        problems: of further recordings, which were found before.

    Raises:
        DataError: no recording could be used, or the disk is full or the like, which ends the work.
        PartlyDoneError: all problems, after the last recording.
    """
    failures = [*problems]
    for recording in recordings:
        try:
            work(recording)
        except DataError as error:
            if isinstance(error.__cause__, OSError) and error.__cause__.errno in STORAGE_ERRORS:
                raise
            failures.append(error)
    n_recordings = len(recordings) + len(problems)
    if failures and n_recordings == 1:
        raise failures[0]
    if failures:
        lines = "\n".join(map(str, failures))
        kind = DataError if len(failures) == n_recordings else PartlyDoneError
        raise kind(f"{len(failures)} of {n_recordings} recordings cannot be used:\n{lines}")


def command_line() -> list[str]:
    """The command as typed, for the run's record; bytes that are no UTF-8 are escaped."""
    parts = (os.fsencode(part).decode("utf-8", "backslashreplace") for part in sys.argv)
    return [shlex.quote(part) for part in parts]


def in_checkout() -> bool:
    """True in a checkout, which has the scripts; False where the package is installed."""
    return (_TOP / "batch_feature_extraction.py").is_file()


def as_called_here(text: str) -> str:
    """Replaces scripts and modules in a message by `dcase VERB`, outside a checkout."""

    def installed(found: re.Match[str]) -> str:
        script, module = found.groups()
        verb = module or _VERBS.get(script, "train")
        return f"{PROGRAM} {verb.replace('_', '-')}"

    return text if in_checkout() else _COMMAND.sub(installed, text)


def training_command(family: str, system: str) -> str:
    """Command that trains a system, without task and job; a checkout has a script for it."""
    line = load(family, "cli")
    return as_called_here(f"python {line.SCRIPTS.get(system, line.SCRIPT)}")
