"""Networks and losses of the sound event detectors on the vectors of `conformance.py`."""

import re

import numpy as np

from tests.golden.recipes import Arrays, canonical_weights, torch_weights


def model_kong(inputs: Arrays, settings: dict) -> dict[str, object]:
    from common.models.torch_weights import load_state
    from sed_task4.systems import cnn

    config = settings["config"]
    layers, pooling = re.fullmatch(r"Cnn_(\d+)layers_(Avg|Max)Pooling", config["model"]).groups()
    network = cnn.NetworkConfig(
        architecture=f"cnn{layers}",
        pooling={"Avg": "average", "Max": "max"}[pooling],
        strong_training=config["strong_target_training"],
    )
    features = inputs["x"][..., None]  # (B, T, F, 1)
    model = cnn.build_model((None, *features.shape[2:]), config["classes"], network)
    load_state(model, torch_weights(settings), cnn.torch_names(network))
    outputs = model(features, training=False)
    return {
        "framewise_output": np.asarray(outputs["frames"]),
        "clipwise_output": np.asarray(outputs["clip"]),
    }


def model_dcase2018_crnn(inputs: Arrays, settings: dict) -> dict[str, object]:
    from common.models.layers import set_weights_by_name
    from sed_task4.systems import crnn_two_pass

    config, weights = settings["config"], canonical_weights(settings)
    features = inputs["x"][..., None]  # (B, T, F, 1)
    outputs: dict[str, object] = {}
    for activation, suffix in (("sigmoid", "sigmoid"), ("hard_sigmoid_keras2", "hard_sigmoid")):
        network = crnn_two_pass.NetworkConfig(
            n_filters=config["filters"],
            gru_units=(config["gru_units"],),
            gru_reset_after=False,
            gru_recurrent_activation=activation,
        )
        model = crnn_two_pass.build_model((None, *features.shape[2:]), config["classes"], network)
        set_weights_by_name(model, weights)
        found = model(features, training=False)
        outputs[f"first_pass_{suffix}"] = np.asarray(found["clip"])
        outputs[f"second_pass_{suffix}"] = np.asarray(found["frames"])
    return outputs


def tagging_and_detection_losses(inputs: Arrays) -> dict[str, object]:
    from common.models.losses import MaskedBinaryCrossentropy
    from sed_task4.systems.cnn import LOG_FLOOR

    loss = MaskedBinaryCrossentropy(LOG_FLOOR)
    return {
        "clipwise_bce": float(loss(inputs["weak_target"], inputs["clipwise"])),
        "framewise_bce": float(loss(inputs["target_events"], inputs["events"])),
    }


CASES = {"model_kong_.*": model_kong, "model_dcase2018_crnn": model_dcase2018_crnn}
