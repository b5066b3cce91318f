"""Frame embeddings of another model, computed beforehand, as a second input of networks.

They lie in one HDF5 file for a subset, `filenames` (n,) and `frame_embeddings` (n, D, L) or (n, L,
D), as the recipes of DESED write them for BEATs, AST and PANNs; or in one .npz file for a clip,
`frame_embeddings`, in a folder named after the subset. D numbers for each of L frames.
"""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from common.audio.formats import shown, stem_of
from common.errors import DataError
from common.io.archives import read_arrays
from common.runtime.optional import optional_module
from common.settings.section import Section

NAMES, ARRAY = "filenames", "frame_embeddings"
SUFFIXES = (".hdf5", ".h5")
# Files of the recipes by subset; two of them together hold all clips of a subset that is divided.
_PUBLISHED: Mapping[str, tuple[str, ...]] = {
    "weak": ("weak_train", "weak_val"),
    "unlabel_in_domain": ("unlabeled_train",),
    "synthetic21_train": ("synth_train",),
    "synthetic21_validation": ("synth_val",),
    "audioset_strong": ("strong_train",),
    "validation": ("devtest",),
    "maestro_real_validation": ("maestro_real_dev",),
}


class EmbeddingsConfig(Section):
    """Frame embeddings of another model, which extraction stores with the features of clips."""

    folder: Path = Field(
        description=(
            "Folder of <subset>.hdf5 (or the names of the recipes, such as weak_train.hdf5), or of"
            " <subset>/<clip>.npz."
        )
    )
    width: int = Field(gt=0, description="Numbers in an embedding, such as 768.")
    frames: int = Field(gt=0, description="Embeddings of a clip, such as 496 of ten seconds.")
    dtype: Literal["float16", "float32"] = Field("float16", description="Type that is stored.")

    @property
    def shape(self) -> tuple[int, int]:
        """Frames and width of the embeddings of a clip, (L, D)."""
        return self.frames, self.width


@dataclass(frozen=True)
class EmbeddingPlace:
    """Place of the embeddings of one clip.

    Attributes:
        path: an HDF5 file, or the .npz file of the clip.
        row: in the HDF5 file; None: .npz.
        digest: of the names in the HDF5 file and of its size.
    """

    path: Path
    row: int | None = None
    digest: str = ""


def find_embeddings(
    embeddings: EmbeddingsConfig, subset: str, stems: Sequence[str]
) -> dict[str, EmbeddingPlace]:
    """Finds the embeddings of the clips of a subset.

    Args:
        embeddings: their folder and shape.
        subset: name of the subset.
        stems: names of the clips' files without suffix.

    Returns:
        Place by stem, of all of them.

    Raises:
        ConfigError: HDF5 files, and no package that reads them.
        DataError: there are neither files nor a folder of the subset, a file cannot be used, or
            clips lack embeddings.
    """
    folder = Path(embeddings.folder)
    names = (subset, *_PUBLISHED.get(subset, ()))
    files = [folder / (name + suffix) for name in names for suffix in SUFFIXES]
    present = [path for path in files if path.is_file()]
    own = folder / subset
    if not present and not own.is_dir():
        raise DataError(
            f"{subset}: there are no embeddings in {folder}. Expected: {files[0].name} or a folder"
            f" {subset}/ of .npz files. Received: {_listed(folder)}. Write them, or correct"
            " `dataset.embeddings.folder`."
        )
    places: dict[str, EmbeddingPlace] = {}
    for path in present:
        places |= {stem: place for stem, place in _rows(path, embeddings).items()}
    if not present:
        paths = {path.stem: path for path in own.glob("*.npz")}
        places = {stem: EmbeddingPlace(path) for stem, path in paths.items()}
    missing = [stem for stem in stems if stem not in places]
    if missing:
        where = ", ".join(map(str, present or [own]))
        raise DataError(
            f"{subset}: {len(missing)} of {len(stems)} clips have no embeddings in {where}:"
            f" {shown(missing)}. Expected: embeddings of all clips. Compute those, or list the"
            " clips in a files_to_remove.csv next to the metadata."
        )
    return {stem: places[stem] for stem in stems}


def read_embeddings(place: EmbeddingPlace, embeddings: EmbeddingsConfig) -> np.ndarray:
    """Reads the embeddings of one clip, (L, D), of the stored type.

    Raises:
        DataError: the file cannot be read, or they have another shape or are not finite.
    """
    if place.row is None:
        try:
            array = read_arrays(place.path, [ARRAY])[ARRAY]
        except (OSError, ValueError, KeyError) as error:
            raise _unusable(place.path, f"an array {ARRAY!r} in an .npz file", error) from error
    else:
        with _opened(place.path) as file:
            array = np.asarray(file[ARRAY][place.row])
    array = _oriented(array, embeddings, place.path)
    with np.errstate(over="ignore"):
        stored = array.astype(embeddings.dtype)
    if not np.isfinite(stored).all():
        raise DataError(
            f"{place.path}: embeddings are not finite, or too large for {embeddings.dtype}. Compute"
            " them again, or set `dataset.embeddings.dtype: float32`."
        )
    return stored


def _rows(path: Path, embeddings: EmbeddingsConfig) -> dict[str, EmbeddingPlace]:
    """Rows of an HDF5 file by the stem of their names, after checking its shapes."""
    with _opened(path) as file:
        shape = file[ARRAY].shape
        names = [name.decode() if isinstance(name, bytes) else str(name) for name in file[NAMES][:]]
    _check_shape(shape[1:], embeddings, path)
    if len(names) != shape[0]:
        raise DataError(
            f"{path}: expected a name in {NAMES!r} for each row of {ARRAY!r}. Received:"
            f" {len(names)} names, {shape[0]} rows."
        )
    stems = [stem_of(Path(name).name) for name in names]
    if len(set(stems)) < len(stems):
        twice = sorted({stem for stem in stems if stems.count(stem) > 1})
        raise DataError(f"{path}: {len(twice)} clip(s) are in it more than once: {shown(twice)}.")
    known = f"{path.stat().st_size} {' '.join(stems)}"
    digest = f"{zlib.crc32(known.encode()):08x}"
    return {stem: EmbeddingPlace(path, row, digest) for row, stem in enumerate(stems)}


def _oriented(array: np.ndarray, embeddings: EmbeddingsConfig, path: Path) -> np.ndarray:
    """Turns (D, L), as published, or (L, D) into (L, D); (D, L) where both fit."""
    _check_shape(array.shape, embeddings, path)
    return array.T if array.shape == embeddings.shape[::-1] else array


def _check_shape(shape: Sequence[int], embeddings: EmbeddingsConfig, path: Path) -> None:
    n_frames, width = embeddings.shape
    if tuple(shape) not in {(n_frames, width), (width, n_frames)}:
        raise DataError(
            f"{path}: embeddings of a clip have another length or width. Expected: {n_frames}"
            f" frames of {width} numbers, by `dataset.embeddings`. Received: {tuple(shape)}."
        )


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Opens an HDF5 file; errors while it is read name it."""
    h5py = optional_module("h5py", f"{path}", "Install it, e.g. `pip install h5py`.")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        expected = f"an HDF5 file with {NAMES!r} and {ARRAY!r}"
        raise _unusable(path, expected, error) from error


def _unusable(path: Path, expected: str, error: Exception) -> DataError:
    received = " ".join(str(error).split())[:200]
    return DataError(f"{path} cannot be used. Expected: {expected}. Received: {received}")


def _listed(folder: Path) -> str:
    if not folder.is_dir():
        return "no such folder"
    return shown(sorted(path.name for path in folder.iterdir())) or "an empty folder"
