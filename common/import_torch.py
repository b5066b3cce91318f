"""Weights of published PyTorch models in Keras, and back: arrays of a state dict under their names there."""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from common.errors import CheckpointError
from common.layers import set_weights_by_name, weights_by_name

# Batch normalisation: part here -> part there.
BATCH_NORM = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
# Counters that PyTorch keeps beside the statistics; nothing here needs them.
IGNORED_ENDINGS = ("num_batches_tracked",)

Names = Mapping[str, tuple[str, str]]
Convert = Callable[[np.ndarray], np.ndarray]

# Kind of a tensor -> (PyTorch to Keras, Keras to PyTorch).
KINDS: dict[str, tuple[Convert, Convert]] = {
    "conv": (lambda there: there.transpose(2, 3, 1, 0), lambda here: here.transpose(3, 2, 0, 1)),  # OIHW, HWIO
    "linear": (np.transpose, np.transpose),  # (out, in), (in, out)
    "vector": (np.asarray, np.asarray),
}


def load_state(model: keras.Model, state: Mapping[str, np.ndarray], names: Names) -> None:
    """Sets the weights of a network from the arrays of a PyTorch state dict.

    Args:
        model: network as its system builds it, without statistics of the features.
        state: arrays by their names in the state dict, in any order.
        names: by Keras name (see `common.layers.weights_by_name`), the name in the state dict and the kind of tensor,
            one of `KINDS`; a system file gives them as `torch_names`.

    Raises:
        CheckpointError: arrays are missing, unknown, of another shape or not finite; it names all of them, and the
            model is unchanged.
        ValueError: `names` are not those of the model's weights.
    """
    shapes = {name: tuple(weight.shape) for name, weight in weights_by_name(model).items()}
    if set(shapes) != set(names):
        raise ValueError(f"`names` must be those of the weights. They differ in {sorted(set(shapes) ^ set(names))}.")
    problems = _problems(state, names, shapes)
    if problems:
        raise CheckpointError(
            f"The arrays do not fit the network {model.name}: " + "; ".join(problems) + ". Give the weights of the "
            "same architecture, with the same number of classes, or change `network`."
        )
    set_weights_by_name(
        model, {here: KINDS[kind][0](np.asarray(state[there], np.float32)) for here, (there, kind) in names.items()}
    )


def torch_state(model: keras.Model, names: Names) -> dict[str, np.ndarray]:
    """Gives the weights of a network as the arrays of a PyTorch state dict, the inverse of `load_state`.

    Args:
        model: network as its system builds it.
        names: see `load_state`.

    Returns:
        float32 arrays by their names there.
    """
    weights: dict[str, Any] = weights_by_name(model)
    return {
        there: np.ascontiguousarray(KINDS[kind][1](np.asarray(weights[here], np.float32)))
        for here, (there, kind) in names.items()
    }


def _problems(state: Mapping[str, np.ndarray], names: Names, shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    wanted = {there for there, _ in names.values()}
    given = {name for name in state if not name.endswith(IGNORED_ENDINGS)}
    found = [f"{title} {', '.join(some)}" for title, some in
             (("missing:", sorted(wanted - given)), ("unknown:", sorted(given - wanted))) if some]  # fmt: skip
    for here, (there, kind) in names.items():
        if there in given:
            expected, array = _shape_there(shapes[here], kind), np.asarray(state[there])
            if array.shape != expected:
                found.append(f"{there}: expected shape {expected}, received {array.shape}")
            elif array.dtype.kind not in "fiu" or not np.all(np.isfinite(array)):
                found.append(f"{there}: expected finite numbers, received type {array.dtype} with NaN, Inf or text")
    return found


def _shape_there(shape: tuple[int, ...], kind: str) -> tuple[int, ...]:
    return KINDS[kind][1](np.broadcast_to(np.float32(0.0), shape)).shape
