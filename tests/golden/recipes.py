"""Weights of networks by the recipes in the manifest."""

import zlib

import numpy as np

Arrays = dict[str, np.ndarray]
KERAS_HEADS = ("sed_out", "doa_out", "dense_out")
TORCH_HEADS = ("fc.weight", "final_conv.weight")


def _draw(name: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    return np.random.default_rng(zlib.crc32(name.encode()) + seed).standard_normal(shape)


def canonical_weights(settings: dict) -> Arrays:
    """The weights of a network by their Keras names in the manifest."""
    recipe = settings["weights"]
    seed, head_gain = recipe["seed"], recipe.get("head_gain", 1.0)
    return {
        name: canonical_weight(name, tuple(shape), seed, head_gain)
        for name, shape in recipe["tensors"]
    }


def canonical_weight(name: str, shape: tuple[int, ...], seed: int, head_gain: float) -> np.ndarray:
    """One weight by the manifest's recipe for Keras names."""
    layer, kind = name.split("/")[0], name.rsplit("/", 1)[-1]
    z = _draw(name, shape, seed)
    if kind == "moving_variance":
        z = np.abs(z) + 0.5
    elif kind == "gamma":
        z = 1 + 0.1 * z
    elif kind in ("moving_mean", "bias", "beta"):
        z = 0.1 * z
    elif kind == "kernel" and len(shape) == 4:
        z = z * np.sqrt(2) / np.sqrt(np.prod(shape[:-1]))
    else:
        z = z * (head_gain if layer in KERAS_HEADS else 1.0) / np.sqrt(shape[0])
    return z.astype(np.float32)


def torch_weights(settings: dict) -> Arrays:
    """The state dict of a PyTorch network by the manifest's recipe."""
    recipe = settings["weights"]
    seed, head_gain = recipe["seed"], recipe.get("head_gain", 1.0)
    return {
        name: torch_weight(name, tuple(shape), seed, head_gain) for name, shape in recipe["tensors"]
    }


def torch_weight(name: str, shape: tuple[int, ...], seed: int, head_gain: float) -> np.ndarray:
    """One tensor by the manifest's recipe for PyTorch names."""
    z = _draw(name, shape, seed)
    if name.endswith("running_var"):
        z = np.abs(z) + 0.5
    elif len(shape) >= 2:
        gain = np.sqrt(2) if len(shape) == 4 else 1.0
        z = z * (head_gain if name.endswith(TORCH_HEADS) else gain) / np.sqrt(np.prod(shape[1:]))
    elif name.endswith(".weight"):
        z = 1 + 0.1 * z
    else:  # means, biases
        z = 0.1 * z
    return z.astype(np.float32)


def head_weight(name: str, shape: tuple[int, ...], seed: int, head_gain: float) -> np.ndarray:
    """One matrix of an output by the manifest's recipe for PyTorch names."""
    return (_draw(name, shape, seed) * head_gain / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
