"""Checkpoints of PyTorch: arrays of a state dict, read without running code, and written."""

import io
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from common.errors import CheckpointError
from common.io.archives import check_archive
from common.io.files import write_bytes
from common.runtime.optional import optional_module

# Keys of the state dict in published checkpoints; the first one is written here.
CONTAINERS = ("model_state_dict", "state_dict", "model")
PARALLEL_PREFIX = "module."  # `torch.nn.DataParallel` puts it before every name
_NAMES_SHOWN = 8


def torch_library() -> ModuleType:
    """Imports PyTorch.

    Raises:
        ConfigError: it is not installed.
    """
    remedy = 'Install the extra `torch`: pip install ".[torch]".'
    return optional_module("torch", "A file of PyTorch", remedy)


def read_checkpoint(path: Path, part: str = "") -> dict[str, np.ndarray]:
    """Reads the state dict in a checkpoint, on the CPU, from tensors and plain values only.

    Args:
        path: file of `torch.save`, of any version: a state dict, or a dict with one under a name of
            `CONTAINERS`.
        part: where the state dict is in any other file: names of nested dicts and beginnings of
            tensors' names, joined by dots, such as "state_dict.sed_teacher"; empty: as above.

    Returns:
        Arrays by name, without the prefix of `torch.nn.DataParallel`; numbers of half precision
        come as float32.

    Raises:
        CheckpointError: the file is missing, damaged, holds other things than tensors and plain
            values, or no state dict, or more than one.
        ConfigError: PyTorch is not installed.
    """
    torch = torch_library()
    try:
        if zipfile.is_zipfile(path):
            check_archive(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        problem = f"{path} cannot be read: {error.strerror}. Give a file of torch.save."
        raise CheckpointError(problem) from error
    except Exception as error:  # PyTorch raises many kinds for a damaged file
        raise CheckpointError(_unreadable(path, error)) from error
    found = _part(path, content, part, torch) if part else _state_dict(path, content, torch)
    state = dict(_without_prefix(found))
    arrays = {name: _array(value, torch) for name, value in state.items()}
    wrong = [name for name, array in arrays.items() if array is None]
    if wrong:
        raise CheckpointError(
            f"{path}: expected a state dict of plain tensors. These are none: {_shown(wrong)}."
        )
    return {name: array for name, array in arrays.items() if array is not None}


def write_checkpoint(path: Path, state: Mapping[str, np.ndarray]) -> None:
    """Writes {"model_state_dict": tensors}, whole or not at all.

    Args:
        path: an older file of that name is replaced.
        state: arrays by name.

    Raises:
        ConfigError: PyTorch is not installed.
        DataError: the file cannot be written.
    """
    torch = torch_library()
    tensors = {name: torch.from_numpy(np.array(array)) for name, array in state.items()}
    content = io.BytesIO()
    torch.save({CONTAINERS[0]: tensors}, content)
    write_bytes(path, content.getvalue())


def _unreadable(path: Path, error: Exception) -> str:
    # PyTorch's own text explains how to run code in the file.
    code = re.search(r"GLOBAL ([\w.]+)", str(error))
    if code:
        return (
            f"{path} is not loaded: it asks for {code[1]}, and nothing in a file is run here."
            " Expected: tensors, numbers and texts only. If you trust the file, load it where it"
            " was made and save only its state dict."
        )
    return (
        f"{path} cannot be read as a file of torch.save ({type(error).__name__}): it is damaged, or"
        " of another kind."
    )


def _state_dict(path: Path, content: Any, torch: ModuleType) -> Mapping[Any, Any]:
    """State dict of a checkpoint."""

    def has_tensors(value: Any) -> bool:
        values = value.values() if isinstance(value, Mapping) else ()
        return any(isinstance(each, torch.Tensor) for each in values)

    found = []
    if isinstance(content, Mapping):
        found = [content[name] for name in CONTAINERS if has_tensors(content.get(name))]
        found = found or [content] * has_tensors(content)
    if len(found) == 1:
        return found[0]
    received = type(content).__name__
    if isinstance(content, Mapping):
        received = f"a dict of {_shown(content) or 'nothing'}"
    raise CheckpointError(
        f"{path}: expected a state dict, or a dict with one under {', '.join(CONTAINERS[:-1])} or"
        f" {CONTAINERS[-1]}. Received: {received}. Choose one with --part, or save only the state"
        " dict of one network."
    )


def _part(path: Path, content: Any, part: str, torch: ModuleType) -> Mapping[Any, Any]:
    """Tensors of nested dicts whose names, joined by dots, begin with `part`; without it."""
    tensors = dict(_flat(content, "", torch))
    prefix = f"{part.rstrip('.')}."
    found = {n.removeprefix(prefix): value for n, value in tensors.items() if n.startswith(prefix)}
    if found:
        return found
    beginnings = dict.fromkeys(".".join(name.split(".")[:2]) for name in tensors)
    raise CheckpointError(
        f"{path}: no tensor in the part {part!r}. Expected: one of {_shown(beginnings) or 'none'},"
        " or more of a name."
    )


def _flat(content: Any, prefix: str, torch: ModuleType) -> Iterator[tuple[str, Any]]:
    """Yields all tensors of nested dicts by their names, joined by dots."""
    if isinstance(content, torch.Tensor):
        yield prefix.rstrip("."), content
    elif isinstance(content, Mapping):
        for name, value in content.items():
            yield from _flat(value, f"{prefix}{name}.", torch)


def _without_prefix(state: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    names = [str(name) for name in state]
    while names and all(name.startswith(PARALLEL_PREFIX) for name in names):
        names = [name.removeprefix(PARALLEL_PREFIX) for name in names]
    return zip(names, state.values(), strict=True)


def _array(value: Any, torch: ModuleType) -> np.ndarray | None:
    """Numbers of a tensor; None for anything else, and for sparse or quantised tensors."""
    if not isinstance(value, torch.Tensor):
        return None
    try:
        half = value.is_floating_point() and value.itemsize < 4  # NumPy lacks bfloat16
        return (value.float() if half else value).detach().numpy()
    except (TypeError, RuntimeError):
        return None


def _shown(names: Any) -> str:
    listed = [str(name) for name in names]
    rest = len(listed) - _NAMES_SHOWN
    return ", ".join(listed[:_NAMES_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
