"""Fetches the published dataset of a task where a library offers it, and says what is to be fetched
by hand.

`python -m common.datasets.download TASK` shows what would come from where and how large it is, and asks
before anything is fetched; --dry-run only shows. What comes is compared with the checksums that the
libraries know.
"""

import shutil
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from common.cli.train import base_parser, params_path, run_safely
from common.errors import ConfigError, DataError
from common.family import load
from common.runtime.optional import optional_module
from common.settings.tasks import BaseTask, load_task

_GB = 1e9
_ANSWER_S = 10.0  # that a server may take to tell the size of a file


@dataclass(frozen=True)
class Package:
    """A file to fetch; its size in bytes is None where the library does not know it."""

    url: str
    n_bytes: int | None = None


@dataclass(frozen=True)
class Source:
    """A part of a dataset.

    Attributes:
        title: what it is.
        packages: the files that are fetched.
        unpacked_bytes: what it takes on the disk beside the packages, about.
        fetch: fetches and unpacks it into a folder; None: it is fetched by hand.
        remark: how to fetch it by hand, or what to know.
    """

    title: str
    packages: tuple[Package, ...] = ()
    unpacked_bytes: int = 0
    fetch: Callable[[Path], None] | None = None
    remark: str = ""


def library(module: str, package: str, version: str) -> Any:
    """Imports a module of a library that only downloads need.

    Raises:
        ConfigError: it is not installed.
    """
    install = f"`pip install '{package}{version}'`"
    return optional_module(
        module, "This", f"Install it, e.g. {install}, or fetch by hand, see docs/real-data.md."
    )


def sources_of(task: BaseTask) -> list[Source]:
    """Lists the parts of the published dataset that a task reads, from `<family>/download.py`.

    Raises:
        ConfigError: the task's data are simulated, or a library is not installed.
    """
    if task.simulate_missing_dataset:
        raise ConfigError(
            "The data of this task are simulated, there is nothing to fetch. Write them with"
            " `python simulate.py <task-id>`; training does so by itself."
        )
    return load(task.family, "download").sources(task)


def with_sizes(source: Source) -> Source:
    """Asks the servers for the sizes that the library does not know; those that do not answer stay
    unknown."""
    packages = list(source.packages)
    for number, package in enumerate(packages):
        if package.n_bytes is None:
            packages[number] = replace(package, n_bytes=_remote_bytes(package.url))
            if packages[number].n_bytes is None:
                break  # nor will the others answer
    return replace(source, packages=tuple(packages))


def _remote_bytes(url: str) -> int | None:
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, method="HEAD"), timeout=_ANSWER_S
        ) as answer:
            return int(answer.headers["Content-Length"])
    except (OSError, ValueError, TypeError):
        return None


def describe(source: Source) -> str:
    """Says in a few lines what a source is, where it comes from and how large it is."""
    lines = [source.title]
    for package in source.packages:
        size = "size not known" if package.n_bytes is None else f"{package.n_bytes / 1e6:,.1f} MB"
        lines.append(f"  {size:>14}  {package.url}")
    if source.unpacked_bytes:
        lines.append(f"  unpacked about {source.unpacked_bytes / _GB:.1f} GB")
    return "\n".join([*lines, *([f"  {source.remark}"] if source.remark else [])])


def needed_bytes(sources: Sequence[Source]) -> int:
    """Bytes on the disk that fetching takes, packages and their contents, as far as they are
    known."""
    return sum(
        source.unpacked_bytes + sum(package.n_bytes or 0 for package in source.packages)
        for source in sources
        if source.fetch is not None
    )


def fetch_all(sources: Sequence[Source], folder: Path) -> None:
    """Fetches what a library offers; what is there and whole is not fetched again.

    Raises:
        DataError: not enough room, no connection, or a file with another checksum.
    """
    existing = next(place for place in (folder, *folder.resolve().parents) if place.is_dir())
    present = sum(
        path.stat().st_size for path in folder.rglob("*") if path.is_file()
    )  # of an earlier try
    free, needed = shutil.disk_usage(existing).free, needed_bytes(sources) - present
    if free < needed:
        raise DataError(
            f"{folder} has too little room. Expected: {needed / _GB:.1f} GB. Received:"
            f" {free / _GB:.1f} GB free. Give another folder with --folder."
        )
    for source in sources:
        if source.fetch is None:
            continue
        try:
            source.fetch(folder)
        except OSError as error:  # of urllib, or of a library whose checksum differs
            raise DataError(
                f"{source.title}: fetching failed ({error}). Run the same command again: what is"
                " whole is kept."
            ) from error


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m common.datasets.download`; returns the exit status."""
    return run_safely(_run, arguments, goes_on=True)


def _run(arguments: Sequence[str]) -> None:
    parser = base_parser("Fetches the published dataset of a task, where a library offers it.")
    parser.prog = "python -m common.datasets.download"
    parser.add_argument("task_id", help="id in params.yaml")
    parser.add_argument("--folder", type=Path, help="where to; default: the task's dataset_dir")
    parser.add_argument("--dry-run", action="store_true", help="only show what would be fetched")
    parser.add_argument("--yes", action="store_true", help="fetch without asking")
    options = parser.parse_args(arguments)
    task = load_task(params_path(options.params), options.task_id, options.overrides)
    folder = options.folder or task.dataset_dir
    sources = [with_sizes(source) for source in sources_of(task)]
    print(*map(describe, sources), sep="\n\n")
    fetched = [source for source in sources if source.fetch is not None]
    if not fetched:
        print(
            f"\nNo library offers this: fetch it by hand into {folder}/, then `python -m"
            " common.cli.check_dataset`."
        )
        return
    unknown = any(package.n_bytes is None for source in fetched for package in source.packages)
    more = " or more (some sizes are not known)" if unknown else ""
    print(
        f"\nInto {folder}/: {needed_bytes(fetched) / _GB:.1f} GB{more}, archives included.",
        flush=True,
    )
    if options.dry_run or not (options.yes or _agrees()):
        print("Nothing was fetched.")
        return
    fetch_all(fetched, folder)
    print(
        f"Done. Now: python -m common.cli.check_dataset {options.task_id} --set dataset_dir={folder}"
    )


def _agrees() -> bool:
    """Asks; where nobody can answer, that is a no."""
    try:
        return input("Fetch it? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


if __name__ == "__main__":
    raise SystemExit(main())
