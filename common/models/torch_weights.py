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


@dataclass(frozen=True)
class Kind:
    """Conversion between the arrays of a state dict and one Keras weight.

    Attributes:
        to_keras: from PyTorch arrays to the Keras array.
        to_torch: from the Keras array to PyTorch arrays.
    """

    to_keras: Callable[..., np.ndarray]
    to_torch: Callable[[np.ndarray], Sequence[np.ndarray]]


# Keras name -> name or names in the state dict, and kind of tensor: one of `KINDS`, or its own.
Names = Mapping[str, tuple[str | tuple[str, ...], str | Kind]]


def _swap_gates(array: np.ndarray) -> np.ndarray:
    """Swaps the first two gates on the last axis: reset, update, new in PyTorch; not in Keras."""
    first, second, new = np.split(array, 3, axis=-1)
    return np.concatenate([second, first, new], axis=-1)


# Both sides keep a bias for the inputs and one for the state: in Keras with `reset_after`.
_GRU_MATRIX = Kind(lambda there: _swap_gates(there.T), lambda here: [_swap_gates(here).T])
_CONV = Kind(lambda there: there.transpose(2, 3, 1, 0), lambda here: [here.transpose(3, 2, 0, 1)])
KINDS = {
    "conv": _CONV,  # OIHW, HWIO
    "conv1d": Kind(lambda there: there.transpose(2, 1, 0), lambda here: [here.transpose(2, 1, 0)]),
    "linear": Kind(np.transpose, lambda here: [here.T]),  # (out, in), (in, out)
    "vector": Kind(np.asarray, lambda here: [here]),
    "gru_kernel": _GRU_MATRIX,  # (3U, in), (in, 3U)
    "gru_recurrent": _GRU_MATRIX,  # (3U, U), (U, 3U)
    "gru_bias": Kind(  # two of (3U,), of the inputs and of the state, (2, 3U)
        lambda *there: _swap_gates(np.stack(there)), lambda here: list(_swap_gates(here))
    ),
    "three_linear": Kind(  # three of (out, in), (in, 3 out)
        lambda *there: np.concatenate(there).T, lambda here: np.split(here.T, 3)
    ),
    "three_vectors": Kind(  # three of (N,), (3N,)
        lambda *there: np.concatenate(there), lambda here: np.split(here, 3)
    ),
}


def gru_kernel_of_maps(n_channels: int) -> Kind:
    """Kind of the input weights of a GRU over maps that were joined to vectors.

    PyTorch's maps are channels first, so there all bands of a channel stand next to each other, and
    here all channels of a band.

    Args:
        n_channels: channels of the maps.
    """

    def to_keras(there: np.ndarray) -> np.ndarray:
        maps = there.reshape(len(there), n_channels, -1).swapaxes(1, 2)  # (3U, bands, channels)
        return _GRU_MATRIX.to_keras(maps.reshape(there.shape))

    def to_torch(here: np.ndarray) -> Sequence[np.ndarray]:
        (there,) = _GRU_MATRIX.to_torch(here)
        maps = there.reshape(len(there), -1, n_channels).swapaxes(1, 2)  # (3U, channels, bands)
        return [maps.reshape(there.shape)]

    return Kind(to_keras, to_torch)


def basis_kernels(n_kernels: int) -> Kind:
    """Kind of the basis kernels of a dynamic convolution, which is one convolution here.

    Args:
        n_kernels: number of kernels, the first axis there; here, the filters of each stand next to
            each other.
    """

    def to_keras(there: np.ndarray) -> np.ndarray:
        return _CONV.to_keras(there.reshape(-1, *there.shape[2:]))

    def to_torch(here: np.ndarray) -> Sequence[np.ndarray]:
        (there,) = _CONV.to_torch(here)
        return [there.reshape(n_kernels, -1, *there.shape[1:])]

    return Kind(to_keras, to_torch)


def joined_linear(sizes: Sequence[int]) -> tuple[Kind, Kind]:
    """Kinds of weights and biases of several dense layers there that are one here.

    Args:
        sizes: outputs of each layer there, whose order is that of the outputs here.
    """
    ends = np.cumsum(sizes)[:-1]
    weights = Kind(
        lambda *there: np.concatenate(there).T, lambda here: np.split(here.T, ends, axis=0)
    )
    return weights, Kind(lambda *there: np.concatenate(there), lambda here: np.split(here, ends))


def batch_norm_names(here: str, there: str) -> Names:
    """Names of batch normalisation: the layer's name here and its prefix there."""
    return {f"{here}/{part}": (f"{there}.{name}", "vector") for part, name in BATCH_NORM.items()}


def linear_names(here: str, there: str, kind: str = "linear") -> Names:
    """Names of weights and bias of a dense layer or, by its kind, a convolution."""
    return {
        f"{here}/kernel": (f"{there}.weight", kind),
        f"{here}/bias": (f"{there}.bias", "vector"),
    }


def dynamic_names(here: str, there: str, n_kernels: int, pooling: str) -> Names:
    """Names of `common.models.dynamic_convolution.dynamic_convolution`.

    Args:
        here: name of the convolution.
        there: its prefix in PyTorch.
        n_kernels: number of basis kernels.
        pooling: see `DynamicOptions` there.
    """
    names: dict = {f"{here}/kernel": (f"{there}.weight", basis_kernels(n_kernels))}
    here, there = f"{here}_attention", f"{there}.attention"
    if pooling == "both":
        names |= linear_names(f"{here}_dense1", f"{there}.fc1")
        return {**names, **linear_names(f"{here}_dense2", f"{there}.fc2")}
    names[f"{here}_conv1/kernel"] = f"{there}.conv1d1.weight", "conv1d"
    names |= batch_norm_names(f"{here}_norm", f"{there}.bn")
    return {**names, **linear_names(f"{here}_conv2", f"{there}.conv1d2", "conv1d")}


def gru_names(here: str, there: str, layer: int, kernel: str | Kind = "gru_kernel") -> Names:
    """Names of one layer of a bidirectional GRU.

    Args:
        here: name of the Keras layer.
        there: prefix of the stacked layers in PyTorch.
        layer: number of this one among them.
        kernel: kind of the input weights.
    """
    forward = gru_way_names(f"{here}/forward", there, f"l{layer}", kernel)
    return forward | gru_way_names(f"{here}/backward", there, f"l{layer}_reverse", kernel)


def gru_way_names(
    here: str, there: str, ending: str, kernel: str | Kind = "gru_kernel"
) -> dict[str, tuple[str | tuple[str, ...], str | Kind]]:
    """Names of one direction of a GRU.

    Args:
        here: name of the Keras layer.
        there: prefix of the stacked layers in PyTorch.
        ending: layer and direction there, such as "l0_reverse".
        kernel: kind of the input weights.
    """
    biases = f"{there}.bias_ih_{ending}", f"{there}.bias_hh_{ending}"
    return {
        f"{here}/kernel": (f"{there}.weight_ih_{ending}", kernel),
        f"{here}/recurrent_kernel": (f"{there}.weight_hh_{ending}", "gru_recurrent"),
        f"{here}/bias": (biases, "gru_bias"),
    }


def attention_names(here: str, there: str) -> Names:
    """Names of `common.models.attention.MultiHeadAttention`."""
    return {
        f"{here}/in_kernel": (f"{there}.in_proj_weight", "linear"),
        f"{here}/in_bias": (f"{there}.in_proj_bias", "vector"),
        f"{here}/out_kernel": (f"{there}.out_proj.weight", "linear"),
        f"{here}/out_bias": (f"{there}.out_proj.bias", "vector"),
    }


def layer_norm_names(here: str, there: str) -> Names:
    """Names of layer normalisation."""
    parts = {"gamma": "weight", "beta": "bias"}
    return {f"{here}/{part}": (f"{there}.{name}", "vector") for part, name in parts.items()}


def transformer_names(here: str, there: str, *, decoder: bool = False) -> Names:
    """Names of one `common.models.attention.transformer_layer`: stem here, prefix there."""
    names = dict(attention_names(f"{here}_attention", f"{there}.self_attn"))
    if decoder:
        names |= attention_names(f"{here}_cross", f"{there}.multihead_attn")
    for n in (1, 2):
        names |= linear_names(f"{here}_dense{n}", f"{there}.linear{n}")
    for n in (1, 2, 3) if decoder else (1, 2):
        names |= layer_norm_names(f"{here}_norm{n}", f"{there}.norm{n}")
    return names


def load_state(model: keras.Model, state: Mapping[str, np.ndarray], names: Names) -> None:
    """Sets the weights of a network from the arrays of a PyTorch state dict.

    Args:
        model: network as its system builds it, without statistics of the features.
        state: arrays by their names in the state dict, in any order.
        names: by Keras name, see `common.models.layers.weights_by_name`: the name in the state
            dict, or the names of the arrays that make one weight, and the kind of tensor, one of
            `KINDS` or a kind of its own; a system file defines them as `torch_names`.

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
        here: _kind(kind).to_keras(*(arrays[name] for name in _parts(there)))
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
        yield from zip(_parts(there), _kind(kind).to_torch(arrays[here]), strict=True)


def _kind(kind: str | Kind) -> Kind:
    return KINDS[kind] if isinstance(kind, str) else kind


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
