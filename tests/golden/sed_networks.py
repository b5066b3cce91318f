"""Networks of the SED systems of 2019 to 2024 on the vectors of `conformance.py`."""

from typing import Any

import numpy as np

from tests.golden.recipes import Arrays
from tests.golden.seld_year_networks import channels_last, counted, torch_weights

POOL_DIMS = {"time": "time", "freq": "frequency", "both": "both", "chan": "channels"}
PUBLISHED = {"batch_norm_momentum": 0.01}


def network_of(config: dict, **own: Any):
    """Settings of a network of DCASE2019_task4 or DESED_task."""
    from sed_task4.systems._mean_teacher_network import NetworkConfig

    embeddings = {}
    if config.get("use_embeddings"):
        embeddings["embeddings"] = config["aggregation_type"]
        embeddings["embedding_size"] = config["embedding_size"]
    return NetworkConfig(
        **PUBLISHED,
        **embeddings,
        **own,
        n_filters=config["nb_filters"],
        pool_frames=[frames for frames, _ in config["pooling"]],
        pool_bands=[bands for _, bands in config["pooling"]],
        kernel_size=config["kernel_size"],
        activation=config["activation"].lower(),
        normalization=config.get("normalization", "batch"),
        gru_units=(config["n_RNN_cell"],) * config["n_layers_RNN"],
        dropout=config["dropout"],
        attention="classes" if config["attention"] else "none",
    )


def fdy_network_of(config: dict):
    """Settings of a network of FDY-SED."""
    from sed_task4.systems._mean_teacher_network import NetworkConfig

    attention = {"class": "classes", "time": "time", True: "classes", False: "none"}
    return NetworkConfig(
        **PUBLISHED,
        n_filters=config["n_filt"],
        pool_frames=[frames for frames, _ in config["pooling"]],
        pool_bands=[bands for _, bands in config["pooling"]],
        kernel_size=config["kernel"],
        activation=config["activation"].lower(),
        normalization=config.get("normalization", "batch"),
        gru_units=(config["n_RNN_cell"],) * config["n_RNN_layer"],
        dropout=config["conv_dropout"],
        gru_dropout=config["rec_dropout"],
        attention=attention[config["attention"]],
        dynamic_layers=config["DY_layers"],
        dynamic_kernels=config["n_basis_kernels"],
        dynamic_temperature=config["temperature"],
        dynamic_pooling=POOL_DIMS[config["pool_dim"]],
    )


def weights_of(settings: dict, tensors: list) -> Arrays:
    """The state dict of a variant: the recipe with the variant's tensors."""
    return torch_weights({"weights": {**settings["weights"], "tensors": tensors}})


def loaded(features: np.ndarray, n_classes: int, network, weights: Arrays):
    """A network for features (B, T, F, C), with weights."""
    from common.models.torch_weights import load_state
    from sed_task4.systems import _mean_teacher_network as system

    model = system.build_model((None, *features.shape[2:]), n_classes, network)
    load_state(model, weights, system.torch_names(network))
    return model


def named(name: str, outputs: dict, *, classes_first: bool = True) -> dict[str, object]:
    """Outputs under the names of the manifest."""
    strong = np.asarray(outputs["frames"])
    strong = strong.swapaxes(1, 2) if classes_first else strong
    return {f"{name}strong": strong, f"{name}weak": np.asarray(outputs["clip"])}


def model_mt2019(inputs: Arrays, settings: dict) -> dict[str, object]:
    from common.models.torch_weights import torch_state
    from sed_task4.systems import _mean_teacher_network as system

    config, features = settings["config"], channels_last(inputs["x"])
    network = network_of(config)
    model = loaded(features, config["nclass"], network, torch_weights(settings))
    found = named("", model(features, training=False), classes_first=False)
    found |= named("train_", model(features, training=True), classes_first=False)
    found |= {
        f"after_{name.replace('.', '_')}": array
        for name, array in torch_state(model, system.torch_names(network)).items()
        if "running" in name
    }
    network = network_of(config | {"attention": False, "activation": "cg"})
    weights = torch_weights({"weights": settings["plain_weights"]})
    plain = loaded(features, config["nclass"], network, weights)
    return found | named("plain_", plain(features, training=False), classes_first=False)


def model_desed(inputs: Arrays, settings: dict) -> dict[str, object]:
    config, found = settings["config"], {}
    features = inputs["x"].swapaxes(1, 2)[..., None]  # (B, T, F, 1)
    extra = {"embeddings": inputs["embeddings"].swapaxes(1, 2)}  # (B, L, D)
    for name, own in config["variants"].items():
        weights = weights_of(settings, settings["variant_weights"][name])
        for ending, masks in (("", False), ("_masked", True)):
            network = network_of(config["base"] | own, class_masks=masks)
            model = loaded(features, config["base"]["nclass"], network, weights)
            given = {"features": features}
            if network.embeddings != "none":
                given |= extra
            if masks:
                given["valid_classes"] = inputs["valid_class_mask"]
            outputs = model(given if len(given) > 1 else features, training=False)
            found |= named(f"{name}{ending}_", outputs)
    return found


def model_fdy(inputs: Arrays, settings: dict) -> dict[str, object]:
    config, found = settings["config"], {}
    features = inputs["x"].swapaxes(1, 2)[..., None]  # (B, T, F, 1)
    for name, own in config["variants"].items():
        weights = weights_of(settings, settings["variant_weights"][name])
        network = fdy_network_of(config["base"] | own)
        model = loaded(features, config["base"]["n_class"], network, weights)
        found |= named(f"{name}_", model(features, training=False))
    return found | dynamic_block(channels_last(inputs["block_x"]), settings)


def dynamic_block(x: np.ndarray, settings: dict) -> dict[str, object]:
    """One frequency dynamic convolution of (B, T, F, C)."""
    import keras

    from common.models.dynamic_convolution import DynamicOptions, dynamic_convolution
    from common.models.torch_weights import dynamic_names, load_state

    state = torch_weights({"weights": settings["block_weights"]})
    n_kernels, n_filters, _, _, kernel_size = state["weight"].shape
    options = DynamicOptions(n_kernels, "time", settings["config"]["base"]["temperature"])
    maps = keras.Input((None, *x.shape[2:]))
    y = dynamic_convolution(maps, n_filters, kernel_size, options, "conv")
    model = keras.Model(maps, y)
    model = keras.Model(maps, [y, model.get_layer("conv_attention").output])
    names = dynamic_names("conv", "conv", n_kernels, "time")
    load_state(model, {f"conv.{name}": array for name, array in state.items()}, names)
    y, shares = model(x, training=False)
    return {
        "block_y": np.asarray(y).transpose(0, 3, 1, 2),
        "block_attention": np.asarray(shares).swapaxes(1, 2),
    }


BEATS = {"embedding_size": 768, "embeddings": "pool1d"}
YEAR_2024 = BEATS | {"dropout": 0.2, "gru_input_dropout": 0.2, "dropstep_frames": 16}
FDY = {"n_filters": (32, 64, 128, 256, 256, 256, 256), "activation": "cg", "gru_units": (256, 256)}
COUNTED = {  # bands, classes and settings of the published sizes
    "mt2019": (
        64,
        10,
        {"n_filters": 64, "pool_bands": (4,) * 3, "pool_frames": 2, "gru_units": (64, 64)},
    ),
    "desed2021": (128, 10, {}),
    "desed2021_no_attention": (128, 10, {"attention": "none"}),
    "desed2023_beats_pool1d": (128, 10, BEATS),
    "desed2022_ast_frame": (128, 10, BEATS | {"embeddings": "frame"}),
    "desed2024": (128, 27, YEAR_2024 | {"gru_units": (192, 192)}),
    "desed2024_one_gru_layer": (128, 27, YEAR_2024 | {"gru_units": (192,)}),
    "fdy": (128, 10, FDY | {"dynamic_layers": (False,) + 6 * (True,)}),
    "fdy_without_dynamic": (128, 10, FDY),
}


def parameter_counts(inputs: Arrays, settings: dict) -> dict[str, object]:
    from sed_task4.systems import _mean_teacher_network as system

    counts = {}
    for name, (bands, n_classes, own) in COUNTED.items():
        network = system.NetworkConfig(**PUBLISHED | own)
        counts[name] = counted(system.build_model((None, bands, 1), n_classes, network))
    return {"counts_json": counts}


CASES = {
    "model_mt2019_crnn": model_mt2019,
    "model_desed_crnn": model_desed,
    "model_fdy_crnn": model_fdy,
    "sed_modern_parameter_counts": parameter_counts,
}
