"""Cases of time-frequency segmentation: features, pooling, networks; parameters of all systems."""

import math

import numpy as np

from tests.golden.recipes import Arrays, torch_weights


def tfseg_features(inputs: Arrays, settings: dict) -> dict[str, object]:
    from common.audio.files import from_int16
    from common.features.settings import as_frontend
    from common.features.spectral import density_magnitude
    from sed_task4.features import FeatureConfig, extract_features

    config, rate = FeatureConfig(kind="ln_mel_density"), 32000
    both = from_int16(inputs["audio_int16"])  # (S, 2)
    audio = {"mixture": both.mean(axis=1), "events": both[:, 0], "scene": both[:, 1]}
    sizes = as_frontend(config, rate)
    spectra = {
        f"{name}_stft_bins4": density_magnitude(signal, sizes)[:, ::4]
        for name, signal in audio.items()
    }
    logmel = extract_features(audio["mixture"][:, None], config, rate)[..., 0]
    filters = sizes.filters  # (bins, bands)
    spread = (filters / (filters.sum(axis=1, keepdims=True) + 1e-8)).T  # (bands, bins)
    return {"mixture_logmel": logmel, "inverse_melW_rows": spread[::8], **spectra}


def tfseg_pooling(inputs: Arrays, settings: dict) -> dict[str, object]:
    from common.models.rank_pooling import GlobalPooling

    maps = inputs["maps"].transpose(0, 2, 3, 1)  # (B, T, F, K)
    return {kind: np.asarray(GlobalPooling(kind)(maps)) for kind in ("gmp", "gap", "gwrp")}


def model_tfseg(inputs: Arrays, settings: dict) -> dict[str, object]:
    from common.models.torch_weights import load_state
    from sed_task4.segmentation.systems.tf_segmentation import (
        NetworkConfig,
        build_model,
        probabilities,
        torch_names,
    )

    config = settings["config"]
    network = NetworkConfig(pooling=config["model"], gwrp_decay=config.get("gwrp_decay", 0.9998))
    features = inputs["x"][..., None]  # (B, T, F, 1)
    model = build_model((None, *features.shape[2:]), config["classes"], network)
    load_state(model, torch_weights(settings), torch_names(network))
    outputs = {name: np.asarray(value) for name, value in model(features, training=False).items()}
    frames = [
        probabilities(
            {name: value[n] for name, value in outputs.items()},
            network=network,
            n_frames=features.shape[1],
        )
        for n in range(len(features))
    ]
    return {
        "output": outputs["clip"],
        "masks": outputs["masks"].transpose(0, 3, 1, 2),  # (B, K, T, F)
        "masks_sed": np.stack([each for each, _ in frames]),
        "masks_mean_tf": average_pooled(outputs["masks"]),
    }


def average_pooled(masks: np.ndarray) -> np.ndarray:
    from common.models.rank_pooling import GlobalPooling

    return np.asarray(GlobalPooling("gap")(masks))


def parameter_counts(inputs: Arrays, settings: dict) -> dict[str, object]:
    from sed_task4.segmentation.systems import tf_segmentation
    from sed_task4.systems import cnn

    kong = {"kong_Cnn_5layers_AvgPooling": {"architecture": "cnn5"}} | {
        f"kong_Cnn_{layers}layers_{short}Pooling": {
            "architecture": f"cnn{layers}",
            "pooling": pooling,
        }
        for layers, short, pooling in (
            (9, "Avg", "average"),
            (9, "Max", "max"),
            (13, "Avg", "average"),
        )
    }
    counted = {
        name: cnn.build_model((None, 64, 1), 10, cnn.NetworkConfig(**each))
        for name, each in kong.items()
    }
    for pooling in ("gmp", "gap", "gwrp"):
        network = tf_segmentation.NetworkConfig(pooling=pooling)
        counted[f"tfseg_Vggish_{pooling}"] = tf_segmentation.build_model((None, 64, 1), 41, network)
    return {
        "counts_json": {
            name: number_of_weights(model) for name, model in (counted | two_stage_models()).items()
        }
    }


def two_stage_models() -> dict:
    from seld.systems import two_stage

    return {
        f"twostage_{name}": two_stage.build_model(
            (None, 96, 10), 11, two_stage.NetworkConfig(architecture=name.lower())
        )
        for name in ("CRNN10", "VGG9")
    }


def number_of_weights(model: object) -> dict[str, int]:
    kinds = {"trainable": model.trainable_weights, "non_trainable": model.non_trainable_weights}
    return {
        kind: sum(math.prod(weight.shape) for weight in weights) for kind, weights in kinds.items()
    }


CASES = {
    "tfseg_features": tfseg_features,
    "tfseg_pooling": tfseg_pooling,
    "model_tfseg_(gmp|gap|gwrp)": model_tfseg,
    "model_parameter_counts": parameter_counts,
}
