"""Weights of published PyTorch models in Keras, and back, by their names in a state dict."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from common.errors import CheckpointError
from common.models.layers import set_weights_by_name, weights_by_name

# Batch normalisation: part here -> part there.
BATCH_NORM = {"gamma": "weight", "beta": "bias"}
BATCH_NORM |= {"moving_mean": "running_mean", "moving_variance": "running_var"}
# Counters that PyTorch keeps next to the statistics; nothing here needs them.
IGNORED_ENDINGS = ("num_batches_tracked",)

# Keras name -> name or names in the state dict, and kind of tensor.
Names = Mapping[str, tuple[str | tuple[str, ...], str]]


@dataclass(frozen=True)
class Kind:
    """Conversion between the arrays of a state dict and one Keras weight.

    Attributes:
        to_keras: from PyTorch arrays to the Keras array.
        to_torch: from the Keras array to PyTorch arrays.
    """

    to_keras: Callable[..., np.ndarray]
    to_torch: Callable[[np.ndarray], Sequence[np.ndarray]]


def _swap_gates(array: np.ndarray) -> np.ndarray:
    """Swaps the first two gates on the last axis: reset, update, new in PyTorch; not in Keras."""
    first, second, new = np.split(array, 3, axis=-1)
    return np.concatenate([second, first, new], axis=-1)


# Both sides keep a bias for the inputs and one for the state: in Keras with `reset_after`.
_GRU_MATRIX = Kind(lambda there: _swap_gates(there.T), lambda here: [_swap_gates(here).T])
_CONV = Kind(lambda there: there.transpose(2, 3, 1, 0), lambda here: [here.transpose(3, 2, 0, 1)])
KINDS = {
    "conv": _CONV,  # OIHW, HWIO
    "linear": Kind(np.transpose, lambda here: [here.T]),  # (out, in), (in, out)
    "vector": Kind(np.asarray, lambda here: [here]),
    "gru_kernel": _GRU_MATRIX,  # (3U, in), (in, 3U)
    "gru_recurrent": _GRU_MATRIX,  # (3U, U), (U, 3U)
    "gru_bias": Kind(  # two of (3U,), of the inputs and of the state, (2, 3U)
        lambda *there: _swap_gates(np.stack(there)), lambda here: list(_swap_gates(here))
    ),
}


def load_state(model: keras.Model, state: Mapping[str, np.ndarray], names: Names) -> None:
    """Sets the weights of a network from the arrays of a PyTorch state dict.

    Args:
        model: network as its system builds it, without statistics of the features.
        state: arrays by their names in the state dict, in any order.
        names: by Keras name, see `common.models.layers.weights_by_name`: the name in the state
            dict, or the names of the arrays that make one weight, and the kind of tensor, one of
            `KINDS`; a system file defines them as `torch_names`.

    Raises:
        CheckpointError: arrays are missing, unknown, of another shape or not finite; it names all
            of them, and the model is unchanged.
        ValueError: `names` are not those of the model's weights.
    """
    shapes = {name: tuple(weight.shape) for name, weight in weights_by_name(model).items()}
    if set(shapes) != set(names):
        different = sorted(set(shapes) ^ set(names))
        raise ValueError(f"`names` must be those of the weights. They differ in {different}.")
    given = {name: array for name, array in state.items() if not name.endswith(IGNORED_ENDINGS)}
    problems = _problems(given, _shapes_there(names, shapes))
    if problems:
        raise CheckpointError(
            f"The arrays do not fit the network {model.name}: {'; '.join(problems)}. Give weights"
            " of the same architecture and number of classes, or change `network`."
        )
    arrays = {name: np.asarray(array, np.float32) for name, array in given.items()}
    weights = {
        here: KINDS[kind].to_keras(*(arrays[name] for name in _parts(there)))
        for here, (there, kind) in names.items()
    }
    set_weights_by_name(model, weights)


def torch_state(model: keras.Model, names: Names) -> dict[str, np.ndarray]:
    """Weights of a network as arrays of a PyTorch state dict, the inverse of `load_state`.

    Args:
        model: network as its system builds it.
        names: see `load_state`.

    Returns:
        float32 arrays by their names there.
    """
    weights: dict[str, Any] = weights_by_name(model)
    arrays = {name: np.asarray(weight, np.float32) for name, weight in weights.items()}
    return {name: np.ascontiguousarray(array) for name, array in _arrays_there(names, arrays)}


def _arrays_there(
    names: Names, arrays: Mapping[str, np.ndarray]
) -> Iterator[tuple[str, np.ndarray]]:
    """Yields name and array of each tensor of the state dict, from arrays by their names here."""
    for here, (there, kind) in names.items():
        yield from zip(_parts(there), KINDS[kind].to_torch(arrays[here]), strict=True)


def _shapes_there(
    names: Names, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, tuple[int, ...]]:
    """Shapes by the names there, from shapes by the names here."""
    empty = {name: np.broadcast_to(np.float32(0.0), shape) for name, shape in shapes.items()}
    return {name: array.shape for name, array in _arrays_there(names, empty)}


def _parts(there: str | tuple[str, ...]) -> tuple[str, ...]:
    return (there,) if isinstance(there, str) else there


def _problems(given: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    sets = {"missing": set(shapes) - set(given), "unknown": set(given) - set(shapes)}
    found = [f"{title}: {', '.join(sorted(some))}" for title, some in sets.items() if some]
    for name, expected in shapes.items():
        if name in given:
            array = np.asarray(given[name])
            if array.shape != expected:
                found.append(f"{name}: expected shape {expected}, received {array.shape}")
            elif array.dtype.kind not in "fiu" or not np.all(np.isfinite(array)):
                received = f"type {array.dtype} with NaN, Inf or text"
                found.append(f"{name}: expected finite numbers, received {received}")
    return found
