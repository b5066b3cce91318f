"""Calls the project's functions on the vectors of `conformance.py`; renames and reshapes, computes nothing."""

import re
import zlib
from collections.abc import Callable

import numpy as np

Arrays = dict[str, np.ndarray]


# Filled in by the groups of cases below: pattern of the case's name -> function of (inputs, settings).
CASES: dict[str, Callable[[Arrays, dict], dict[str, object]]] = {}


def run(case: str, inputs: Arrays, settings: dict) -> dict[str, object]:
    """Returns the outputs of one case under the names of the manifest."""
    for pattern, function in CASES.items():
        if re.fullmatch(pattern, case):
            return function(inputs, settings)
    raise KeyError(f"No function for the case {case!r}. Known patterns: {sorted(CASES)}.")


def canonical_weights(settings: dict) -> Arrays:
    """The weights of a network by their names in the manifest, from the manifest's recipe."""
    recipe = settings["weights"]
    seed, head_gain = recipe["seed"], recipe.get("head_gain", 1.0)
    return {name: canonical_weight(name, tuple(shape), seed, head_gain) for name, shape in recipe["tensors"]}


def canonical_weight(name: str, shape: tuple[int, ...], seed: int, head_gain: float) -> np.ndarray:
    """One weight by the manifest's recipe."""
    layer, kind = name.split("/")[0], name.rsplit("/", 1)[-1]
    z = np.random.default_rng(zlib.crc32(name.encode()) + seed).standard_normal(shape)
    if kind == "moving_variance":
        z = np.abs(z) + 0.5
    elif kind == "gamma":
        z = 1 + 0.1 * z
    elif kind in ("moving_mean", "bias", "beta"):
        z = 0.1 * z
    elif kind == "kernel" and len(shape) == 4:
        z = z * np.sqrt(2) / np.sqrt(np.prod(shape[:-1]))
    else:
        z = z * (head_gain if layer in ("sed_out", "doa_out", "dense_out") else 1.0) / np.sqrt(shape[0])
    return z.astype(np.float32)


def model_seldnet(inputs: Arrays, settings: dict) -> dict[str, object]:
    from common.layers import set_weights_by_name
    from seld.systems import seldnet

    config, weights = settings["config"], canonical_weights(settings)
    features = inputs["x_channels_first"].transpose(0, 2, 3, 1)  # (B, T, F, C)
    kernels = [name for name in weights if re.fullmatch("gru0/.*/kernel", name)]
    for name in kernels:  # rows run over (channel, band) there, over (band, channel) here
        shape = (config["nb_cnn2d_filt"], -1, weights[name].shape[1])
        weights[name] = weights[name].reshape(shape).swapaxes(0, 1).reshape(weights[name].shape)
    outputs: dict[str, object] = {}
    for activation, suffix in (("sigmoid", "sigmoid"), ("hard_sigmoid_keras2", "hard_sigmoid")):
        network = seldnet.NetworkConfig(
            n_filters=config["nb_cnn2d_filt"],
            pool_bands=config["pool_size"],
            gru_units=config["rnn_size"],
            dense_units=config["fnn_size"],
            batch_norm_over="bands",
            gru_reset_after=False,
            gru_recurrent_activation=activation,
        )
        model = seldnet.build_model(features.shape[1:], config["classes"], network)
        set_weights_by_name(model, weights)
        outputs |= {f"{name}_{suffix}": np.asarray(value) for name, value in model(features, training=False).items()}
    return outputs


CASES["model_seldnet"] = model_seldnet
