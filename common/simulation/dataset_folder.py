"""Folder of a simulated dataset: it stores its settings and never mixes different ones."""

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from common.errors import DataError
from common.io.files import load_json, remove_temporaries, storage_error, write_json, write_text

SETTINGS_FILE = "simulation.json"
_DECIDED_BY_ANNOTATIONS = ("annotations", "files")  # settings, where annotations are given
_README = """# SIMULATED data

The recordings in this folder were computed by `simulate.py` of dcase-keras. They have the layout of
{dataset} but are NOT that dataset, nor derived from it: sounds, rooms and ambience are synthetic
unless own recordings were given. Scores on them are not comparable with published ones.
`{settings_file}` holds the settings.
"""


def as_stored(settings: Any) -> dict[str, Any]:
    """Converts settings to the types of a JSON file, for comparison with stored ones."""
    return dict(json.loads(json.dumps(settings)))


def text_digest(texts: Sequence[str]) -> str | None:
    """SHA-256 of texts in order; None without any."""
    return hashlib.sha256("\n".join(texts).encode("utf-8")).hexdigest() if texts else None


def source_digest(source_dir: Path | None, pattern: str = "*/*") -> str | None:
    """SHA-256 of the names and sizes of own recordings; None without any."""
    sources = sorted(source_dir.glob(pattern)) if source_dir is not None else []
    return text_digest(
        [f"{path.parent.name}/{path.name} {path.stat().st_size}" for path in sources]
    )


def prepare_root(
    root: Path,
    settings: dict[str, Any],
    folders: Sequence[Path],
    dataset: str,
    overwrite: bool = False,
) -> None:
    """Makes the dataset folder, or checks that its recordings are of the same settings.

    Args:
        root: dataset folder.
        settings: everything that decides the content of the recordings, as JSON stores it.
        folders: folders of recordings and metadata.
        dataset: the real dataset of this layout, for the README.
        overwrite: replace recordings of other settings.

    Raises:
        DataError: it holds recordings that were not simulated, or with other settings.
    """
    outdated = check_root(root, settings, folders, overwrite)
    for folder in folders:
        remove_temporaries(folder)
    for path in outdated:
        path.unlink()
    _write_settings(root, settings, finished=False)
    write_text(root / "README.md", _README.format(dataset=dataset, settings_file=SETTINGS_FILE))


def check_root(
    root: Path, settings: dict[str, Any], folders: Sequence[Path], overwrite: bool = False
) -> list[Path]:
    """Checks the same as `prepare_root` and writes nothing.

    Returns:
        Files of other settings, which are to be replaced.

    Raises:
        DataError: see `prepare_root`.
    """
    stored = read_settings(root / SETTINGS_FILE)
    files = [
        path
        for folder in folders
        for path in folder.glob("*")
        if path.is_file() and path.name[0] != "."
    ]
    if stored is None and files:
        raise DataError(
            f"{root} holds recordings that were not simulated, such as {files[0]}; nothing is"
            " written among them. Give another folder with --set dataset_dir=..."
        )
    different = [] if stored is None else _different(stored, settings)
    if different and not overwrite:
        listed = "; ".join(
            f"{key}: {(stored or {}).get(key)} there, {settings.get(key)} wanted"
            for key in different
        )
        raise DataError(
            f"{root} was simulated with other settings ({listed}). Give another folder with --set"
            " dataset_dir=..., use the same settings, or replace the recordings there with"
            " --overwrite."
        )
    return files if different else []


def check_same_simulation(root: Path, wanted: Callable[[], dict[str, Any]]) -> None:
    """Refuses a simulated dataset of other settings than a task's.

    Given annotations replace the drawn scenes, and are not compared.

    Args:
        root: dataset folder; one that was not simulated is accepted.
        wanted: everything that decides the content of the task's recordings.

    Raises:
        DataError: it was simulated with other settings, or these cannot be read.
    """
    stored = read_settings(root / SETTINGS_FILE)
    if stored is None:
        return
    settings = wanted()
    free = _DECIDED_BY_ANNOTATIONS if is_annotated(root) else ()
    different = [key for key in _different(stored, settings) if key not in free]
    if different:
        listed = "; ".join(
            f"{key}: {stored.get(key)} there, {settings.get(key)} wanted" for key in different
        )
        raise DataError(
            f"{root} was simulated with other settings than this task's ({listed}). Repeat those of"
            " then with --set, as in simulation.preset=..., or give folders of their own to the"
            " recordings of these with --set dataset_dir=... and --set feature_dir=..., or --set"
            " simulate_missing_dataset=false to use the recordings that are there."
        )


def _different(stored: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Names of settings that differ; settings at their defaults may be in one of both only."""
    names = dict.fromkeys((*wanted, *stored))
    return [name for name in names if stored.get(name) != wanted.get(name)]


def is_annotated(root: Path) -> bool:
    """True if a folder holds recordings simulated from given annotations."""
    return bool((read_settings(root / SETTINGS_FILE) or {}).get("annotations"))


@contextmanager
def scratch_folder(root: Path) -> Iterator[Path]:
    """Makes a temporary hidden folder for shared sounds; removes those of killed runs.

    Raises:
        DataError: it cannot be made.
    """
    is_new = not root.exists()
    try:
        root.mkdir(parents=True, exist_ok=True)
        remove_temporaries(root)
        scratch = tempfile.TemporaryDirectory(prefix=".sounds.", suffix=".tmp", dir=root)
    except OSError as error:
        raise storage_error(root, error) from error
    try:
        with scratch as folder:
            yield Path(folder)
    finally:
        if is_new:
            with suppress(OSError):
                root.rmdir()  # if nothing was written


def finish_root(root: Path, settings: dict[str, Any]) -> None:
    """Marks the dataset as finished."""
    _write_settings(root, settings, finished=True)


def check_finished(root: Path) -> None:
    """Refuses a simulated dataset that lacks recordings.

    Raises:
        DataError: its simulation was killed, or the settings cannot be read.
    """
    path = root / SETTINGS_FILE
    if path.is_file() and not _read(path).get("finished", True):
        raise DataError(
            f"The simulation of {root} was not finished: recordings are missing. Run the same"
            " `simulate.py` command again; what is there is not rendered twice."
        )


def _write_settings(root: Path, settings: dict[str, Any], finished: bool) -> None:
    content = {
        "simulated": True,
        "generator": "dcase-keras simulate.py",
        "settings": settings,
        "finished": finished,
    }
    write_json(root / SETTINGS_FILE, content)


def read_settings(path: Path) -> dict[str, Any] | None:
    """Reads the settings of an earlier simulation; None without one.

    Raises:
        DataError: the file cannot be read.
    """
    return dict(_read(path)["settings"]) if path.is_file() else None


def _read(path: Path) -> dict[str, Any]:
    try:
        content = dict(load_json(path))
        dict(content["settings"])
        return content
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} cannot be read ({error!r}). Expected: the settings of the simulation that"
            " wrote the recordings next to it. Remove the folder, or give another one with --set"
            " dataset_dir=..."
        ) from None
