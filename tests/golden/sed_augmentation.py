"""Cases of augmentation of batches: features of the vectors are (B, bands, frames)."""

from typing import Any

import numpy as np

from tests.golden.recipes import Arrays


def _features(array: np.ndarray) -> np.ndarray:
    return array.swapaxes(1, 2)[..., None]  # (B, T, F, 1)


def _back(features: Any) -> np.ndarray:
    return np.asarray(features)[..., 0].swapaxes(1, 2)


def _labels_back(labels: Any) -> np.ndarray:
    return np.asarray(labels).swapaxes(1, 2)


def aug_mixup(inputs: Arrays, settings: dict) -> dict[str, object]:
    from common.models.augmentation.changes import mix, mix_labels
    from common.models.augmentation.layers import Mixup

    data, target = _features(inputs["data"]), inputs["target"].swapaxes(1, 2)
    draws = [
        (permutation, np.full(len(data), weight, np.float32))
        for permutation, weight in zip(inputs["permutation"], inputs["c"], strict=True)
    ]
    outputs: dict[str, object] = {
        f"{kind}_target": np.stack(
            [_labels_back(mix_labels(target, *draw, kind)) for draw in draws]
        )
        for kind in ("soft", "hard")
    }
    mixed = np.stack([_back(mix(data, *draw)) for draw in draws])
    first, end = inputs["group"].tolist()
    layer = Mixup({"embeddings": "separate"})
    of_group: dict[str, np.ndarray] = {}
    own = zip(("", "embedding_"), inputs["group_permutations"], inputs["group_c"], strict=True)
    for stem, permutation, weight in own:
        rows, weights = np.arange(len(data)), np.ones(len(data), np.float32)
        rows[first:end], weights[first:end] = first + permutation, weight
        of_group |= {f"{stem}permutation": rows, f"{stem}weight": weights}
    changed = layer.change_labels({"frames": target}, of_group)
    return {
        **outputs,
        "soft_data": mixed,
        "hard_data": mixed,
        "group_data": _back(layer.change_features(data, of_group)),
        "group_embeddings": np.asarray(
            layer.change_embeddings(inputs["embeddings"], of_group, data.shape[1])
        ),
        "group_target": _labels_back(changed["frames"]),
    }


def aug_frame_shift(inputs: Arrays, settings: dict) -> dict[str, object]:
    from common.models.augmentation.layers import FrameShift

    stride = int(inputs["net_pooling"])
    layer, draws = FrameShift({"rounding": "floor"}, stride=stride), {"shift": inputs["shifts"]}
    target = inputs["target"].swapaxes(1, 2)
    return {
        "shifted_data": _back(layer.change_features(_features(inputs["data"]), draws)),
        "shifted_target": _labels_back(layer.change_labels({"y": target}, draws)["y"]),
    }


def aug_time_mask(inputs: Arrays, settings: dict) -> dict[str, object]:
    from common.models.augmentation.layers import TimeMask

    data, target = _features(inputs["data"]), inputs["target"].swapaxes(1, 2)

    def masked(spans: np.ndarray, stride: int) -> list[tuple[Any, Any]]:
        layer, found = TimeMask(stride=stride), []
        for width, low in spans:
            draws = {"low": np.full(len(data), low), "width": np.full(len(data), width)}
            labels = layer.change_labels({"y": target}, draws)["y"]
            found.append((layer.change_features(data, draws), labels))
        return found

    labelled = masked(inputs["width_low"], int(inputs["net_pooling"]))
    unlabelled = masked(inputs["unlabelled_width_low"], 1)
    return {
        "masked_data": np.stack([_back(features) for features, _ in labelled]),
        "masked_target": np.stack([_labels_back(labels) for _, labels in labelled]),
        "unlabelled_data": np.stack([_back(features) for features, _ in unlabelled]),
    }


def aug_specaugment(inputs: Arrays, settings: dict) -> dict[str, object]:
    from common.models.augmentation.layers import SpecAugment

    config = settings["config"]
    layer = SpecAugment(
        {
            "band_length": config["freq_length"],
            "band_share": config["freq_share"],
            "frame_length": config["time_length"],
            "frame_share": config["time_share"],
        }
    )
    sequences = SpecAugment(
        {"frame_length": config["sequence_length"], "frame_share": config["sequence_share"]}
    )
    of_sequences = np.concatenate(2 * [inputs["sequence_draws"]])  # none are of bands
    draws = {"draws": inputs["draws"]}
    return {
        "masked": _back(layer.change_features(_features(inputs["data"]), draws)),
        "sequence_masked": np.asarray(
            sequences.change_features(inputs["sequence"], {"draws": of_sequences})
        ),
    }


def aug_filter_noise(inputs: Arrays, settings: dict) -> dict[str, object]:
    from common.models.augmentation.layers import BandMask, FilterAugment, Noise

    data, outputs = _features(inputs["data"]), {}
    for kind in ("step", "linear"):
        draws = {"edges": inputs[f"{kind}_bounds"], "gains_db": inputs[f"{kind}_db"]}
        outputs[f"{kind}_data"] = _back(FilterAugment({"kind": kind}).change_features(data, draws))
    spans = {"low": inputs["freq_low"], "width": inputs["freq_width"]}
    noise = {"noise": _features(inputs["noise"]), "snr_db": inputs["snr_db"]}
    return {
        **outputs,
        "freq_masked": _back(BandMask().change_features(data, spans)),
        "noisy_desed": _back(Noise().change_features(data, noise)),
    }


def aug_teacher_noise(inputs: Arrays, settings: dict) -> dict[str, object]:
    from common.models.augmentation.changes import band_noise_std
    from common.models.augmentation.layers import TeacherInputNoise
    from common.models.levels import ClipScaling

    mel = inputs["mel"][None, ..., None]  # (1, T, F, 1)
    noise = {name: inputs[name][None, ..., None] for name in ("normal_0_25", "standard_normal")}
    snr_db = float(inputs["snr_db"])
    absolute = TeacherInputNoise({"kind": "absolute"})
    relative = TeacherInputNoise({"kind": "relative", "snr_db": snr_db})
    scaling = ClipScaling({"of": "clip", "form": "minmax", "bands": "all", "range": (0.0, 1.0)})
    of_2019 = absolute.change_features(mel, {"noise": noise["normal_0_25"]})
    of_2020 = relative.change_features(mel, {"noise": noise["standard_normal"]})
    return {
        "noisy_2019": np.asarray(of_2019)[0, ..., 0],
        "noisy_2020": np.asarray(of_2020)[0, ..., 0],
        "std_2020": np.asarray(band_noise_std(mel, snr_db)).ravel(),
        "minmax_2020": np.asarray(scaling(mel))[..., 0],
    }


CASES = {
    "aug_mixup": aug_mixup,
    "aug_frame_shift": aug_frame_shift,
    "aug_time_mask": aug_time_mask,
    "aug_specaugment": aug_specaugment,
    "aug_filter_noise": aug_filter_noise,
    "aug_teacher_noise": aug_teacher_noise,
}
