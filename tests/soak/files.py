"""Reads every kind of file of jobs: completeness, content apart from times and places."""

import csv
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from common.audio.files import read_audio
from common.data.feature_store import MANIFEST, FeatureStore, read_arrays
from common.data.tfrecord import read_records
from common.io.locks import LOCK
from common.models.layers import weights_by_name
from common.training.callbacks import TIMES
from common.training.stage import load_model
from tests.histories import finished_text, history_rows

GROWING = "tensorboard"  # folder of logs that are written on and on


def check_whole(folder: Path, known: set[str]) -> None:
    """Reads every file below a folder that has its final name.

    Args:
        folder: of a job that was killed.
        known: digests of contents that need not be read again; those found whole are added.

    Raises:
        AssertionError: names a file that is half-written.
        DataError: a manifest lists a shard that is not as it should be.
    """
    for path in final_files(folder):
        key = path.suffix + file_digest(path)
        if key not in known:
            try:
                _READERS[path.suffix](path)
            except Exception as error:  # of any library that reads it
                raise AssertionError(f"{path} is half-written: {error!r}") from error
            known.add(key)
    for manifest in folder.rglob(MANIFEST):
        FeatureStore.open(manifest.parent, verify=True)


def final_files(folder: Path) -> list[Path]:
    """All files under final names in folders under final names, sorted; no growing logs."""
    return [
        path
        for path in all_files(folder)
        if not any(part[0] == "." for part in path.relative_to(folder).parts)
    ]


def all_files(folder: Path) -> list[Path]:
    """All files, hidden ones too, sorted, without growing logs, and locks, which may remain."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != LOCK)
    return sorted(path for path in paths if GROWING not in path.relative_to(folder).parts)


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def contents(folder: Path) -> dict[str, Any]:
    """Digests of all files below a folder by their names, which equal runs share to the byte."""
    return {str(path.relative_to(folder)): file_digest(path) for path in all_files(folder)}


def run_contents(folder: Path) -> dict[str, Any]:
    """Content that equal trainings share, by file: all but times, places and the command."""
    return {str(path.relative_to(folder)): _of_run(path, folder) for path in all_files(folder)}


def _of_run(path: Path, folder: Path) -> Any:
    if path.suffix == ".keras":
        return _digest(_weights(path))
    if path.suffix == ".npz":
        return _digest(read_arrays(path))
    special = {
        "environment.json": lambda: "differs: command, and parts of the run",
        "report.html": lambda: "differs: dates, times and places",
        "settings.yaml": lambda: path.read_text().replace(str(folder.parent), ""),
        "history.csv": lambda: history_rows(path.parent),
        "training.json": lambda: finished_text(path.parent),
        "state.json": lambda: _state_text(path),
    }
    return special.get(path.name, lambda: file_digest(path))()


def _state_text(path: Path) -> str:
    """The history without times, and the state of callbacks; text, since NaN is not itself."""
    content = json.loads(path.read_text())
    content["history"] = {
        name: values for name, values in content["history"].items() if name not in TIMES
    }
    return json.dumps(content)


def _weights(path: Path) -> dict[str, Any]:
    return weights_by_name(load_model(path))


def _digest(arrays: dict[str, Any]) -> str:
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(name.encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _read_records(path: Path) -> None:
    for _ in read_records(path):
        pass


def _read_image(path: Path) -> None:
    if not path.read_bytes().endswith(b"IEND\xaeB`\x82"):
        raise ValueError("it lacks its last chunk")


def _read_lines(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if text and not text.endswith("\n"):
        raise ValueError("its last line does not end")
    rows = list(csv.reader(text.splitlines()))
    if path.name == "history.csv" and len({len(row) for row in rows}) > 1:
        raise ValueError("its rows have different lengths")


def _read_yaml(path: Path) -> None:
    _read_lines(path)
    yaml.safe_load(path.read_text(encoding="utf-8"))


def _read_page(path: Path) -> None:
    if not path.read_text(encoding="utf-8").rstrip().endswith("</html>"):
        raise ValueError("its end is missing")


_READERS: dict[str, Callable[[Path], Any]] = {
    ".wav": read_audio,
    ".json": lambda path: json.loads(path.read_text(encoding="utf-8")),
    ".yaml": _read_yaml,
    ".npz": read_arrays,
    ".tfrecord": _read_records,
    ".keras": _weights,
    ".png": _read_image,
    ".html": _read_page,
    **dict.fromkeys((".csv", ".tsv", ".txt", ".md"), _read_lines),
}
