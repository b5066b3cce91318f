"""Saved models and checkpoints of PyTorch: damaged, or with code and links in them."""

import functools
import importlib.util
import io
import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
from hypothesis import strategies as st

from common.models.layers import with_statistics
from common.models.saving import load_model
from common.models.torch_files import read_checkpoint
from tests.fuzz.damage import (
    ODD_VALUES,
    Draw,
    damaged_bytes,
    damaged_tree,
    damaged_zip,
    garbage,
    zip_of,
)
from tests.fuzz.engine import Files, Target

NAME = "best.keras"
INPUTS = np.linspace(-1, 1, 24, dtype=np.float32).reshape(1, 2, 6, 2)
# Larger networks than the file has weights for would be built before that shows: sizes stay small.
_ODD = tuple(
    value for value in ODD_VALUES if not isinstance(value, int | float) or abs(value) < 100
)
_CODE = {
    "class_name": "__lambda__",
    "config": {"code": "4wEAAAAAAAAA", "defaults": None, "closure": None},
}
_CALL = {
    "module": "os",
    "class_name": "function",
    "config": "system",
    "registered_name": "function",
}


@functools.cache
def valid_model() -> bytes:
    """A small model with statistics, as training saves it."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((None, 6, 2), name="spectra")
    x = keras.layers.Reshape((-1, 12))(inputs)
    sed = keras.layers.Dense(3, activation="sigmoid", name="sed")(x)
    model = with_statistics(keras.Model(inputs, {"sed": sed}), np.zeros((6, 2)), np.ones((6, 2)))
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder, NAME))
        return Path(folder, NAME).read_bytes()


@functools.cache
def _members() -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(valid_model())) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@functools.cache
def _outputs() -> np.ndarray:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, NAME).write_bytes(valid_model())
        return np.asarray(load_model(Path(folder, NAME))(INPUTS)["sed"])


@st.composite
def _damaged_config(draw: Draw) -> bytes:
    config = draw(damaged_tree(json.loads(_members()["config.json"]), (*_ODD, _CODE, _CALL)))
    return json.dumps(config).encode()


def _cases() -> st.SearchStrategy[Files]:
    inner = {"config.json": _damaged_config()}
    config = _damaged_config().map(lambda content: zip_of({**_members(), "config.json": content}))
    contents = (
        damaged_zip(valid_model(), inner) | damaged_zip(valid_model(), inner) | config | garbage()
    )
    return contents.map(lambda content: {NAME: content})


def _load(folder: Path) -> None:
    model = load_model(folder / NAME)
    assert isinstance(model, keras.Model)
    with zipfile.ZipFile(folder / NAME) as archive:
        same = all(
            archive.read(name) == content
            for name, content in _members().items()
            if name != "metadata.json"
        )
    if same:
        np.testing.assert_allclose(np.asarray(model(INPUTS)["sed"]), _outputs(), atol=1e-6)


@functools.cache
def _checkpoint(zipped: bool) -> bytes:
    import torch

    written = io.BytesIO()
    state = {"fc.weight": torch.arange(6.0).reshape(2, 3), "fc.bias": torch.tensor([1.5, -2.0])}
    torch.save(
        {"model_state_dict": state, "epoch": 3}, written, _use_new_zipfile_serialization=zipped
    )
    return written.getvalue()


def _torch_cases() -> st.SearchStrategy[Files]:
    contents = damaged_bytes(_checkpoint(False)) | damaged_zip(_checkpoint(True)) | garbage()
    return contents.map(lambda content: {"c.pth": content})


def _read_torch(folder: Path) -> None:
    state: dict[str, Any] = read_checkpoint(folder / "c.pth")
    assert state and all(
        isinstance(name, str) and isinstance(array, np.ndarray) for name, array in state.items()
    )


TARGETS = [Target("keras-model", _cases, _load, weight=2, examples=6)]
if importlib.util.find_spec("torch"):
    TARGETS.append(Target("torch-checkpoint", _torch_cases, _read_torch, weight=6, examples=15))
