"""Network, losses and submissions of the two-stage system on the vectors of `conformance.py`."""

from types import SimpleNamespace

import numpy as np

from tests.golden.networks import tagging_and_detection_losses
from tests.golden.recipes import Arrays, torch_weights

KINDS = {"MAE": "masked_mae", "MSE": "masked_rmse"}
MODES = {
    "sed_only": "sed_only",
    "doa_only": "doa_only",
    "two_staged_eval": "doa_only",
    "seld": "seld",
}
POOLING = {"avg": "average", "max": "max"}
# The vectors of submissions do not say to which rates they belong: all these are returned.
RATES_HZ = range(20, 201)


def model_twostage(inputs: Arrays, settings: dict) -> dict[str, object]:
    from common.models.torch_weights import load_state
    from seld.systems import two_stage

    config = settings["config"]
    network = two_stage.NetworkConfig(
        architecture=config["model"].lower(),
        pool=config["pool_size"],
        pooling=POOLING[config["pool"]],
    )
    features = inputs["x"].transpose(0, 2, 3, 1)  # (B, T, F, C)
    model = two_stage.build_model((None, *features.shape[2:]), config["classes"], network)
    load_state(model, torch_weights(settings), two_stage.torch_names(network))
    outputs = model(features, training=False)
    return {"events": np.asarray(outputs["sed"]), "doas": np.asarray(outputs["doa"])}


def _task(mode: str, doa_loss: str) -> SimpleNamespace:
    return SimpleNamespace(
        dataset=SimpleNamespace(n_classes=11),  # of networks, which are not built here
        network={"mode": mode},
        training=SimpleNamespace(doa_loss=doa_loss, loss_weights={"sed": 0.8, "doa": 0.2}),
        pipeline=SimpleNamespace(whole_recordings=True),
    )


def _total_loss(mode: str, doa_loss: str, targets: Arrays, outputs: Arrays) -> float:
    """Losses and weights of a stage in Keras's form."""
    import keras

    from seld.systems import two_stage

    (stage,) = two_stage.stages(_task(mode, doa_loss))
    model = keras.Sequential()
    model.compile(loss=dict(stage.losses), loss_weights=dict(stage.loss_weights))
    y, y_pred = ({name: arrays[name] for name in stage.losses} for arrays in (targets, outputs))
    return float(model.compute_loss(y=y, y_pred=y_pred))


def hybrid_losses(inputs: Arrays) -> dict[str, list[float]]:
    from seld.losses.directions import two_stage_losses

    outputs = {"sed": inputs["events"], "doa": inputs["doas"]}
    activity, azimuths_elevations_deg = inputs["target_events"], np.rad2deg(inputs["target_doas"])
    found = {}
    for prefix, sed in (("", activity), ("no_active_", np.zeros_like(activity))):
        targets = {"sed": sed, "doa": np.concatenate([sed, azimuths_elevations_deg], axis=-1)}
        for kind, doa_loss in KINDS.items():
            alone = [
                float(loss(targets[name], outputs[name]))
                for name, loss in two_stage_losses(doa_loss).items()
            ]
            for theirs, mode in MODES.items():
                found[f"{prefix}{theirs}_{kind}"] = [
                    _total_loss(mode, doa_loss, targets, outputs),
                    *alone,
                ]
    return found


def losses(inputs: Arrays, settings: dict) -> dict[str, object]:
    return {**tagging_and_detection_losses(inputs), "hybrid_json": hybrid_losses(inputs)}


def twostage_submission(inputs: Arrays, settings: dict) -> dict[str, object]:
    from seld.submission import format_submission
    from seld.systems import two_stage

    outputs = {"sed": inputs["events"], "doa": inputs["doas"]}
    network = two_stage.NetworkConfig()
    return {
        f"csv_fps{rate}": format_submission(
            two_stage.decode(
                outputs, network=network, threshold=0.5, n_frames=None, hop_ratio=rate / 50
            )
        )
        for rate in RATES_HZ
    }


CASES = {
    "model_twostage_.*": model_twostage,
    "losses": losses,
    "twostage_submission": twostage_submission,
}
