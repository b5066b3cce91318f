"""Downloads of published datasets by libraries that offer them, with their sizes and checksums."""

import shutil
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from common.errors import ConfigError, DataError
from common.family import load
from common.runtime.optional import optional_module
from common.settings.tasks import BaseTask

_GB = 1e9
_TIMEOUT_S = 10.0  # of a server that is asked for the size of a file


@dataclass(frozen=True)
class Package:
    """A file to fetch; its size in bytes is None where unknown."""

    url: str
    n_bytes: int | None = None


@dataclass(frozen=True)
class Source:
    """A part of a dataset.

    Attributes:
        title: its name.
        packages: the files that are fetched.
        unpacked_bytes: approximate disk space besides the packages.
        fetch: fetches and unpacks it into a folder; None: it is fetched by hand.
        remark: how to fetch it by hand, or a note.
    """

    title: str
    packages: tuple[Package, ...] = ()
    unpacked_bytes: int = 0
    fetch: Callable[[Path], None] | None = None
    remark: str = ""


def library(module: str, package: str, version: str) -> Any:
    """Imports a module of a library that is needed only for downloads.

    Raises:
        ConfigError: it is not installed.
    """
    remedy = f"Install it, e.g. `pip install '{package}{version}'`, or fetch by hand"
    return optional_module(module, "This", f"{remedy}, see docs/real-data.md.")


def sources_of(task: BaseTask) -> list[Source]:
    """Lists the parts of a task's published dataset, from `<family>/download.py`.

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
    """Requests unknown sizes from the servers; they stay unknown without a response."""
    packages = list(source.packages)
    for number, package in enumerate(packages):
        if package.n_bytes is None:
            packages[number] = replace(package, n_bytes=_remote_bytes(package.url))
            if packages[number].n_bytes is None:
                break  # the other servers hardly respond either
    return replace(source, packages=tuple(packages))


def _remote_bytes(url: str) -> int | None:
    try:
        request = urllib.request.Request(url, method="HEAD")
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:
            return int(response.headers["Content-Length"])
    except (OSError, ValueError, TypeError):
        return None


def describe(source: Source) -> str:
    """Describes a source in a few lines: title, addresses and sizes."""
    lines = [source.title]
    for package in source.packages:
        size = "size not known" if package.n_bytes is None else f"{package.n_bytes / 1e6:,.1f} MB"
        lines.append(f"  {size:>14}  {package.url}")
    if source.unpacked_bytes:
        lines.append(f"  unpacked about {source.unpacked_bytes / _GB:.1f} GB")
    return "\n".join([*lines, *([f"  {source.remark}"] if source.remark else [])])


def needed_bytes(sources: Sequence[Source]) -> int:
    """Disk space of packages and their contents in bytes, as far as known."""
    return sum(
        source.unpacked_bytes + sum(package.n_bytes or 0 for package in source.packages)
        for source in sources
        if source.fetch is not None
    )


def fetch_all(sources: Sequence[Source], folder: Path) -> None:
    """Fetches the sources that a library offers; complete files are not fetched again.

    Raises:
        DataError: too little disk space, no connection, or a file with another checksum.
    """
    existing = next(place for place in (folder, *folder.resolve().parents) if place.is_dir())
    files = (path for path in folder.rglob("*") if path.is_file())  # of an earlier attempt
    present = sum(path.stat().st_size for path in files)
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
                f"{source.title}: fetching failed ({error}). Run the same command again: complete"
                " files are kept."
            ) from error
