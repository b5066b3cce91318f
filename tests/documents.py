"""Commands of README and `docs/`: found, parsed by the programs themselves, run in a small form."""

import argparse
import contextlib
import io
import re
import runpy
import shlex
import sys
import warnings
from collections.abc import Iterator, Sequence
from configparser import ConfigParser
from dataclasses import dataclass
from functools import lru_cache
from importlib import util
from pathlib import Path
from typing import Any
from unittest import mock

import yaml

from common.__main__ import VERBS
from common.__main__ import main as dcase
from common.errors import UserError
from common.settings.tasks import load_task, read_aliases, read_tasks

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "BENCHMARKS.md")] + sorted(
    ROOT.glob("docs/*.md")
)
PYTHON = re.compile(r"(\S*/)?python3?(\.\d+)?")
INSTALLED = "dcase"
TOOLS = ("make", "pip", "uv")
INLINE = re.compile(r"`((?:\.venv/bin/)?(?:python3?|pip|make|dcase) [^`]+)`", re.S)
PLACEHOLDER = re.compile(r"<[a-z-]+>|\.\.\.|(?<![\w=/.-])[A-Z]{2,}(?!\w|=|\.md)|\bKEY=|\[-")


@dataclass(frozen=True)
class Command:
    """A command as it stands on a page.

    Attributes:
        page: path of the page.
        text: the command on one line, without a remark behind it.
    """

    page: Path
    text: str

    @property
    def words(self) -> list[str]:
        """The command cut into words as a shell does, without a pipe and what is before it."""
        return shlex.split(self.text.rpartition(" | ")[2])

    @property
    def is_form(self) -> bool:
        """True if it is the form of a command, with placeholders, and cannot be run."""
        return PLACEHOLDER.search(self.text) is not None

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}: {self.text}"


def commands() -> list[Command]:
    """Finds the commands of all pages in blocks and sentences, deduplicated for each page."""
    found = [
        Command(page, text)
        for page in PAGES
        for text in [
            *_in_blocks(page.read_text(encoding="utf-8")),
            *_in_sentences(page.read_text(encoding="utf-8")),
        ]
    ]
    return list(dict.fromkeys(found))


def blocks(text: str) -> list[tuple[str, str]]:
    """Cuts a page into its code blocks: language, empty for indented ones, and content."""
    found = [
        (match[1], match[2])
        for match in re.finditer(r"^```(\S*)[^\n]*\n(.*?)^```$", text, re.M | re.S)
    ]
    rest = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    for match in re.finditer(r"(?:^|\n)\n((?:    [^\n]*\n|\n(?=    ))+)", rest):
        found.append(("", re.sub(r"^    ", "", match[1], flags=re.M)))
    return found


def _in_blocks(text: str) -> Iterator[str]:
    for language, content in blocks(text):
        if language in ("", "bash", "sh", "console"):
            for line in re.sub(r"\\\n\s*", "", content).splitlines():
                command = re.split(r"\s{2,}|\s#\s", line.strip().removeprefix("$ "))[0]
                if _starts_command(command):
                    yield command


def _in_sentences(text: str) -> Iterator[str]:
    rest = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    for match in INLINE.finditer(rest):
        command = " ".join(match[1].split())
        if not command.endswith(" -m"):  # a way to start modules, no command
            yield command


def _starts_command(line: str) -> bool:
    first = line.rpartition(" | ")[2].split(" ")[0]
    name = first.rpartition("/")[2]
    return bool(PYTHON.fullmatch(first) or name in (INSTALLED, *TOOLS))


def all_tasks() -> dict[str, dict]:
    """The tasks of `params.yaml`, and those that the pages show."""
    tasks, aliases = read_tasks(ROOT / "params.yaml"), read_aliases(ROOT / "params.yaml")
    shown = [
        content
        for page in PAGES
        for kind, content in blocks(page.read_text("utf-8"))
        if kind in ("yaml", "")
    ]
    for part in (part for content in shown for part in re.split(r"\n\n(?=\S)", content)):
        if re.match(r"[\w-]+:\n", part) and re.search(r"^\s+(inherits|family):", part, re.M):
            read = yaml.safe_load(part)
            for name, task in read.get("tasks", read).items():
                parent = str(task.get("inherits"))
                tasks[name] = task | {"inherits": aliases.get(parent, parent)}
    return tasks


class _Caught(BaseException):
    """Carries the parser out of a program that was about to parse its arguments."""

    def __init__(self, parser: argparse.ArgumentParser):
        super().__init__()
        self.parser = parser


@lru_cache
def parser_of(program: tuple[str, ...]) -> argparse.ArgumentParser:
    """Starts a program up to the point where it parses its arguments.

    Args:
        program: ("seld.py",), ("-m", "seld.score") or ("dcase", "train").
    """

    def catch(parser: argparse.ArgumentParser, *_: Any, **__: Any) -> None:
        raise _Caught(parser)

    with mock.patch.multiple(argparse.ArgumentParser, parse_args=catch, parse_known_args=catch):
        try:
            run_program(program, ["--help"])
        except _Caught as caught:
            return caught.parser
    raise AssertionError(f"{' '.join(program)} parses no arguments")


def run_program(program: Sequence[str], arguments: Sequence[str]) -> int:
    """Runs a program of the project in this process; returns its exit status."""
    words = [*program, *arguments] if program[0] == INSTALLED else [program[-1], *arguments]
    with mock.patch.object(sys, "argv", words), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of modules that are imported already
        try:
            if program[0] == "-m":
                runpy.run_module(program[1], run_name="__main__", alter_sys=True)
            elif program[0].endswith(".py"):
                runpy.run_path(str(ROOT / program[0]), run_name="__main__")
            else:
                return dcase() or 0
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def setup() -> ConfigParser:
    """Reads setup.cfg."""
    parser = ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def program_of(words: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """Divides a command into a program of the project and its arguments.

    Returns:
        The program, () if it is none of ours, and its arguments.
    """
    first, *rest = words
    if PYTHON.fullmatch(first) and rest:
        if rest[0] == "-m":
            ours = rest[1].split(".")[0] in (
                "common",
                "seld",
                "sed_task4",
                "benchmarks",
                "docs",
                "tests",
            )
            return (("-m", rest[1]), rest[2:]) if ours else ((), list(words))
        return (rest[0],), rest[1:]
    if Path(first).name == INSTALLED and rest:
        return (INSTALLED, rest[0]), rest[1:]
    return (), list(words)


def problem(command: Command, params: Path) -> str | None:
    """Describes the error in a command; None if it is right.

    Args:
        command: as it stands on a page.
        params: settings file with the tasks that the page may name.
    """
    program, arguments = program_of(command.words)
    if not program:
        return _foreign_problem(arguments)
    if PLACEHOLDER.search(program[-1]):
        return None
    if program[0] == "-m" and util.find_spec(program[1]) is None:
        return f"there is no module {program[1]}"
    if program[0].endswith(".py") and not (ROOT / program[0]).is_file():
        return f"there is no {program[0]}"
    if program[0] == INSTALLED and program[1] not in VERBS:
        known = command.is_form or program[1] in ("--help", "--version")
        return None if known else f"dcase has no verb {program[1]}"
    if not arguments:  # a sentence may name only a program
        return None
    parser = parser_of(program)
    if command.is_form:
        known = set(_options(parser))
        unknown = [
            word
            for word in re.findall(r"(?<![\w-])--[a-z][\w-]*", command.text)
            if word not in known
        ]
        return f"no such options: {', '.join(unknown)}" if unknown else None
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            options = parser.parse_args(arguments)
        task_id = getattr(options, "task_id", None) or getattr(options, "task", None)
        if task_id is not None and hasattr(options, "overrides"):
            load_task(params, task_id, options.overrides)
    except SystemExit:
        return said.getvalue().strip().splitlines()[-1]
    except UserError as error:
        return str(error)
    return None


def _options(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        yield from action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from _options(below)


def _foreign_problem(words: Sequence[str]) -> str | None:
    name = Path(words[0]).name
    if name == "make":
        targets = [word for word in words[1:] if "=" not in word]
        known = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
        unknown = [target for target in targets if target not in known]
        return f"the Makefile has no {', '.join(unknown)}" if unknown else None
    wanted = [extra for word in words for extra in re.findall(r"\[([\w,]+)\]$", word)]
    unknown = [
        each
        for extra in wanted
        for each in extra.split(",")
        if each not in setup()["options.extras_require"]
    ]
    return f"setup.cfg has no extra {', '.join(unknown)}" if unknown else None
