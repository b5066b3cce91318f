"""Files that travel with the programs: params.yaml and its schema, in a checkout and pip-installed
alike."""

from importlib import metadata
from pathlib import Path

from common.errors import DataError

DISTRIBUTION = "dcase-keras"
SHARED_FOLDER = "share/dcase-keras"  # as in setup.cfg, options.data_files


def packaged_file(name: str) -> Path:
    """Finds a file that belongs to the project.

    Args:
        name: file name without folder, such as "params.yaml".

    Returns:
        Path of the existing file: in a checkout at its top, otherwise where pip put it.

    Raises:
        DataError: the file is in neither place.
    """
    in_checkout = Path(__file__).resolve().parents[2] / name
    candidates = [in_checkout, *_installed_files(name)]
    for path in candidates:
        if path.is_file():
            return path
    raise DataError(
        f"A file of the project is missing. Expected: {name!r} at"
        f" {' or '.join(map(str, candidates))}. Received: no such file. Install {DISTRIBUTION}"
        " again, or run from a complete checkout."
    )


def _installed_files(name: str) -> list[Path]:
    """Lists the places of `name` that pip noted down; the folder differs with --user, --target and
    --prefix."""
    try:
        files = metadata.files(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return []
    return [
        Path(str(file.locate())).resolve()
        for file in files
        if file.as_posix().endswith(f"{SHARED_FOLDER}/{name}")
    ]
