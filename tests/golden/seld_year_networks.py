"""Networks and losses of the SELD systems of 2020 to 2025 on the vectors of `conformance.py`."""

import re

import numpy as np

from tests.golden import recipes
from tests.golden.recipes import Arrays, canonical_weights

KERAS_FORM = {
    "merge": "each_layer",
    "batch_norm_over": "bands",
    "batch_norm_epsilon": 1e-3,
    "gru_reset_after": False,
    "dropout_of": "entries",
    "dropout": 0.0,
}
VIDEO = {"video_features": 49, "idle_decoder_layer": True}
FORMS = {  # by year, what the settings of the vectors do not say
    "2022": {"end_activation": "tanh"},
    "2023": {"attention": "2023", "end_activation": "tanh"},
    "2024": {"attention": "2023", "end_activation": "linear", "distance": True},
    "2025": {"attention": "2023", "end_activation": "tanh_relu", "distance": True, "axes": "xy"},
}


def torch_weights(settings: dict) -> Arrays:
    """The state dict of a PyTorch network by the manifest's recipe."""
    recipe = settings["weights"]
    seed, heads = recipe["seed"], tuple(recipe.get("heads", ()))
    weights = {}
    for name, shape in recipe["tensors"]:
        is_head = bool(heads) and name.endswith(heads)
        weights[name] = (
            recipes.head_weight(name, tuple(shape), seed, recipe["head_gain"])
            if is_head
            else recipes.torch_weight(name, tuple(shape), seed, 1.0)
        )
    return weights


def channels_last(x: np.ndarray) -> np.ndarray:
    """(B, C, T, F) -> (B, T, F, C)."""
    return x.transpose(0, 2, 3, 1)


def model_of_keras(inputs: Arrays, settings: dict) -> dict[str, object]:
    """The baselines of 2020 and 2021."""
    from common.models.layers import set_weights_by_name
    from seld.systems import accdoa

    config, weights = settings["config"], canonical_weights(settings)
    features, filters = channels_last(inputs["x"]), config["nb_cnn2d_filt"]
    for name in [name for name in weights if re.fullmatch("gru0/.*/kernel", name)]:
        # Rows run over (channel, band) there, over (band, channel) here.
        rows = weights[name].reshape((filters, -1, weights[name].shape[1]))
        weights[name] = rows.swapaxes(0, 1).reshape(weights[name].shape)
    outputs: dict[str, object] = {}
    for activation, suffix in (("sigmoid", "sigmoid"), ("hard_sigmoid_keras2", "hard_sigmoid")):
        network = accdoa.NetworkConfig(
            **KERAS_FORM,
            n_filters=filters,
            pool_bands=config["f_pool_size"],
            pool_frames=config["t_pool_size"],
            gru_units=config["rnn_size"],
            dense_units=config["fnn_size"],
            gru_recurrent_activation=activation,
            output="accdoa" if config["is_accdoa"] else "sed_doa",
        )
        model = accdoa.build_model((None, *features.shape[2:]), config["classes"], network)
        set_weights_by_name(model, weights)
        for name, value in model(features, training=False).items():
            joined = np.asarray(value).reshape((*value.shape[:2], -1))
            outputs[f"{name}_{suffix}"] = joined
    return outputs


def network_of_year(year: str, config: dict, n_outputs: int, with_video: bool) -> tuple:
    """Settings and number of classes of a network of 2022 to 2025."""
    from seld.systems.accdoa import NetworkConfig

    n_classes = config.get("unique_classes", config.get("nb_classes"))
    form = FORMS[year] | (VIDEO if with_video else {})
    n_axes = len(form.get("axes", "xyz")) + form.get("distance", False)
    if with_video and year == "2025":
        form, n_axes = form | {"onscreen": True}, n_axes + 1
    if config.get("self_attn"):
        form = form | {"attention": "2022"}
    multi = n_outputs > n_axes * n_classes
    return n_classes, NetworkConfig(
        **form,
        n_filters=config.get("nb_cnn2d_filt", config.get("nb_conv_filters")),
        pool_bands=config["f_pool_size"],
        pool_frames=config["t_pool_size"],
        gru_units=(config["rnn_size"],) * config["nb_rnn_layers"],
        dense_units=(config["fnn_size"],) * config["nb_fnn_layers"],
        attention_heads=config.get("nb_heads", config.get("nb_attn_heads")),
        attention_layers=config["nb_self_attn_layers"],
        decoder_layers=config["nb_transformer_layers"],
        output="multi_accdoa" if multi else "accdoa",
        n_tracks=n_outputs // (n_axes * n_classes) if multi else 1,
    )


def model_of_torch(inputs: Arrays, settings: dict) -> dict[str, object]:
    """The baselines of 2022 to 2025."""
    from common.models.torch_weights import load_state
    from seld.systems import accdoa

    year = re.search(r"20\d\d", settings["reference"])[0]
    weights = torch_weights(settings)
    last = max(name for name in weights if re.fullmatch(r"fnn_list\.\d+\.weight", name))
    features, video = channels_last(inputs["x"]), inputs.get("x_video")
    n_classes, network = network_of_year(
        year, settings["config"], len(weights[last]), video is not None
    )
    model = accdoa.build_model((None, *features.shape[2:]), n_classes, network)
    load_state(model, weights, accdoa.torch_names(network))
    given = features
    if video is not None:
        given = [features, video.reshape((*video.shape[:2], -1))]
    output = np.asarray(model(given, training=False)["accdoa"])
    return {"output": output.reshape((*output.shape[:2], -1))}


def model_einv2(inputs: Arrays, settings: dict) -> dict[str, object]:
    from common.models.torch_weights import load_state
    from seld.losses.tracks import split_tracks
    from seld.systems import einv2

    weights, features = torch_weights(settings), channels_last(inputs["x"])
    blocks = sorted({name.split(".")[0] for name in weights if name.startswith("sed_conv_block")})
    tracks = [name for name in weights if re.fullmatch(r"fc_sed_track\d+\.weight", name)]
    encoders = {
        name.split(".")[2] for name in weights if name.startswith("sed_trans_track1.layers.")
    }
    network = einv2.NetworkConfig(
        filters=[len(weights[f"{block}.0.double_conv.0.weight"]) for block in blocks],
        sed_channels=weights["sed_conv_block1.0.double_conv.0.weight"].shape[1],
        n_tracks=len(tracks),
        encoder_layers=len(encoders),
        encoder_units=len(weights["sed_trans_track1.layers.0.linear1.weight"]),
    )
    shape, n_classes = (None, *features.shape[2:]), len(weights[tracks[0]])
    model = einv2.build_model(shape, n_classes, network)
    load_state(model, weights, einv2.torch_names(network))
    sed, doa = split_tracks(np.asarray(model(features, training=False)["tracks"]))
    return {"sed": sed, "doa": doa}


def model_salsa(inputs: Arrays, settings: dict) -> dict[str, object]:
    from common.models.torch_weights import load_state
    from seld.systems import salsa_resnet

    config, features = settings["config"], channels_last(inputs["x"])
    network = salsa_resnet.NetworkConfig(
        gru_units=config["decoder_size"],
        over_bands={"avg": "average", "max": "max"}[config["freq_pool"]],
    )
    model = salsa_resnet.build_model((None, *features.shape[2:]), config["classes"], network)
    load_state(model, torch_weights(settings), salsa_resnet.torch_names(network))
    outputs = model(features, training=False)
    doa = np.asarray(outputs["doa"])
    return {"sed": np.asarray(outputs["logits"]), "doa": doa.reshape((*doa.shape[:2], -1))}


def counted(model) -> dict[str, int]:
    """Numbers of weights of a network."""
    sizes = {"trainable": model.trainable_weights, "non_trainable": model.non_trainable_weights}
    return {
        name: sum(int(np.prod(weight.shape)) for weight in weights)
        for name, weights in sizes.items()
    }


def keras_parameter_counts(inputs: Arrays, settings: dict) -> dict[str, object]:
    from seld.systems import accdoa

    counts = {}
    for year, n_classes in ((2020, 14), (2021, 12)):
        for form, channels in (("foa", 7), ("mic", 10)):
            kinds = {"": "sed_doa"}
            if year == 2021:
                kinds = {"_accdoa": "accdoa", "_multitask": "sed_doa"}
            for ending, output in kinds.items():
                network = accdoa.NetworkConfig(**KERAS_FORM, output=output)
                model = accdoa.build_model((None, 64, channels), n_classes, network)
                counts[f"seldnet{year}_{form}{ending}"] = counted(model)
    return {"counts_json": counts}


COUNTED = {  # year, channels, bands and own settings of each network
    "seldnet2022_foa_multi_accdoa": ("2022", 7, 64, {}),
    "seldnet2022_foa_accdoa": ("2022", 7, 64, {"output": "accdoa"}),
    "seldnet2022_mic_gcc_multi_accdoa": ("2022", 10, 64, {}),
    "seldnet2022_mic_salsalite_multi_accdoa": ("2022", 7, 382, {}),
    "seldnet2023_foa_multi_accdoa": ("2023", 7, 64, {}),
    "seldnet2023_mic_gcc_multi_accdoa": ("2023", 10, 64, {}),
    "seldnet2023_mic_salsalite_multi_accdoa": ("2023", 7, 382, {}),
    "seldnet2024_foa_audio": ("2024", 7, 64, {}),
    "seldnet2024_mic_gcc_audio": ("2024", 10, 64, {}),
    "seldnet2024_foa_audio_visual": ("2024", 7, 64, VIDEO),
    "seldnet2025_audio_multi": ("2025", 2, 64, {}),
    "seldnet2025_audio_single": ("2025", 2, 64, {"output": "accdoa"}),
    "seldnet2025_audio_visual_multi": ("2025", 2, 64, VIDEO | {"onscreen": True}),
    "seldnet2025_audio_visual_single": (
        "2025",
        2,
        64,
        VIDEO | {"onscreen": True, "output": "accdoa"},
    ),
}


def modern_parameter_counts(inputs: Arrays, settings: dict) -> dict[str, object]:
    from seld.systems import accdoa, einv2, salsa_resnet

    counts = {}
    for name, (year, channels, bands, own) in COUNTED.items():
        network = accdoa.NetworkConfig(**FORMS[year] | own)
        counts[name] = counted(accdoa.build_model((None, bands, channels), 13, network))
    model = einv2.build_model((None, 256, 7), 14, einv2.NetworkConfig())
    counts["einv2"] = counted(model)
    for channels in (7, 10):
        network = salsa_resnet.NetworkConfig()
        model = salsa_resnet.build_model((None, 200, channels), 12, network)
        counts[f"salsa_bigru_{channels}"] = counted(model)
    return {"counts_json": counts}


def value_and_gradient(loss, y_true: np.ndarray, y_pred: np.ndarray) -> tuple:
    import tensorflow as tf

    outputs = tf.Variable(y_pred)
    with tf.GradientTape() as tape:
        value = loss(y_true, outputs)
    return float(value), np.asarray(tape.gradient(value, outputs))


def seld_adpit(inputs: Arrays, settings: dict) -> dict[str, object]:
    from seld.losses.accdoa import AccdoaError, MultiAccdoaError

    found: dict[str, object] = {}
    for key in [key for key in inputs if key.endswith("__output")]:
        name, output = key.removesuffix("__output"), inputs[key]
        target = inputs[f"{name}__target"]
        onscreen = "all" if name.endswith("audio_visual") else "none"
        frames = output.shape[:2]
        if name.startswith("single"):
            y_pred = output.reshape((*frames, -1, int(inputs["n_classes_2025"])))
            target = target.reshape(y_pred.shape)  # of vectors: activity is their length
            y_true = np.concatenate([np.ones_like(target[:, :, :1]), target], axis=2)
            loss = AccdoaError(onscreen)
        else:
            y_pred = output.reshape((*frames, 3, target.shape[3] - 1, target.shape[4]))
            y_true, loss = target, MultiAccdoaError(onscreen)
        value, gradient = value_and_gradient(loss, y_true, y_pred)
        found[f"{name}__loss"], found[f"{name}__gradient"] = value, gradient.reshape(output.shape)
    return found


def ein_loss(inputs: Arrays, settings: dict) -> dict[str, object]:
    from seld.losses.tracks import TrackError, best_order, split_tracks

    found: dict[str, object] = {}
    for name in sorted({key.split("__")[0] for key in inputs}):
        sides = [("target_sed", "target_doa"), ("sed_logits", "doa")]
        y_true, y_pred = (
            np.concatenate([inputs[f"{name}__{part}"] for part in side], axis=-1) for side in sides
        )
        for kind, permutation in (("tPIT", "frame"), ("none", "none")):
            loss = TrackError(float(inputs[f"{name}__beta"]), permutation)
            value, gradient = value_and_gradient(loss, y_true, y_pred)
            parts = [float(np.mean(part)) for part in loss.parts(y_true, y_pred)]
            found[f"{name}_{kind}__losses"] = np.array([value, *parts])
            if permutation == "frame":
                found[f"{name}__gradient_sed"], found[f"{name}__gradient_doa"] = split_tracks(
                    gradient
                )
        ordered = split_tracks(np.asarray(best_order(y_true, y_pred, "mse")))
        found[f"{name}__updated_sed"], found[f"{name}__updated_doa"] = ordered
    return found


def salsa_loss(inputs: Arrays, settings: dict) -> dict[str, object]:
    import keras

    from seld.losses.accdoa import FrameAccdoaError
    from seld.losses.tracks import MaskedLogitCrossentropy
    from seld.losses.vectors import MaskedVectorDistance
    from seld.systems.salsa_resnet import LOSS_WEIGHTS

    sed = inputs["target_sed"]
    shape = *sed.shape[:2], 3, sed.shape[2]
    doa, target = inputs["doa"].reshape(shape), inputs["target_doa"].reshape(shape)
    y_true = np.concatenate([sed[:, :, None], target], axis=2)
    targets, outputs = {"sed": sed, "doa": y_true}, {"sed": inputs["logits"], "doa": doa}
    losses = {"sed": MaskedLogitCrossentropy(), "doa": MaskedVectorDistance()}
    parts = [float(loss(targets[name], outputs[name])) for name, loss in losses.items()]
    model = keras.Sequential()
    model.compile(loss=losses, loss_weights=LOSS_WEIGHTS)
    total = float(model.compute_loss(y=targets, y_pred=outputs))
    return {
        "reg_xyz_losses": np.array([total, *parts]),
        "accdoa_doa_loss": float(FrameAccdoaError(active_only=True)(y_true, doa)),
    }


def masked_mse(inputs: Arrays, settings: dict) -> dict[str, object]:
    from seld.losses.vectors import MaskedVectorError2020

    n_classes = int(inputs["n_classes"])
    frames = inputs["output"].shape[:2]
    y_true = inputs["target"].reshape((*frames, 4, n_classes))
    y_pred = inputs["output"].reshape((*frames, 4, n_classes))
    value, gradient = value_and_gradient(MaskedVectorError2020(), y_true, y_pred[:, :, 1:])
    silent = np.zeros_like(gradient[:, :, :1])  # activity is an output there, which has no part
    joined = np.concatenate([silent, gradient], axis=2)
    return {"loss": value, "gradient": joined.reshape(inputs["output"].shape)}


CASES = {
    r"model_seldnet202[01]\w*": model_of_keras,
    r"model_seldnet202[2-5]\w*": model_of_torch,
    "model_einv2": model_einv2,
    "model_salsa": model_salsa,
    "keras_parameter_counts": keras_parameter_counts,
    "modern_parameter_counts": modern_parameter_counts,
    "seld_adpit": seld_adpit,
    "ein_loss": ein_loss,
    "salsa_loss": salsa_loss,
    r"seld202[01]_masked_mse": masked_mse,
}
