"""Cases of the features of sound event detection of 2019 to 2024."""

from typing import Any

import numpy as np

from tests.golden.recipes import Arrays


def _settings(kind: str, config: dict) -> Any:
    """Settings of a kind with the sizes of a case."""
    from sed_task4.features import FeatureConfig

    rate_hz = config["fs"]
    top_db, (lowest, highest) = config.get("top_db"), config.get("clamp_db", (None, None))
    return FeatureConfig(
        kind=kind,
        window_s=config["n_fft"] / rate_hz,
        hop_s=config["hop"] / rate_hz,
        n_fft=config["n_fft"],
        n_mels=config["mels"],
        fmin_hz=config["fmin"],
        fmax_hz=config["fmax"],
        mel_scale=config["scale"],
        levels={
            "floor": config["amin"],
            "top_db": top_db,
            "lowest_db": lowest,
            "highest_db": highest,
        },
    )


def _magnitudes(samples: np.ndarray, features: Any, rate_hz: int) -> np.ndarray:
    """Magnitudes (T, F, 1) of 16-bit samples (S,)."""
    from common.audio.files import from_int16
    from sed_task4.features import extract_features

    return extract_features(from_int16(samples)[:, None], features, rate_hz)


def mt2019_logmel(inputs: Arrays, settings: dict) -> dict[str, object]:
    from common.features.levels import magnitude_db
    from common.features.statistics import RunningStatistics
    from common.models.layers import Standardize
    from sed_task4.features import fit_frames

    config = settings["config"]
    features, n_frames = _settings("mel_2019", config), int(inputs["max_frames"])
    outputs: dict[str, object] = {}
    statistics, padded = RunningStatistics.empty((config["mels"], 1)), {}
    for number in sorted(name[5:-6] for name in inputs if name.startswith("audio")):
        mel = _magnitudes(inputs[f"audio{number}_int16"], features, config["fs"])
        level_db = magnitude_db(mel, features.levels)
        padded[number] = fit_frames(level_db, n_frames, 0.0)
        statistics.update(padded[number])
        outputs |= {f"mel{number}": mel[..., 0], f"db{number}": level_db[..., 0]}
    mean, std = statistics.mean_std(features.ddof)
    standardize = Standardize(mean.shape)
    standardize.set_weights([mean, std])
    for number, clip in padded.items():
        outputs[f"padded{number}"] = clip[..., 0]
        outputs[f"normalized{number}"] = np.asarray(standardize(clip[None]))[0, ..., 0]
    return outputs | {"scaler_mean": mean[:, 0], "scaler_std": std[:, 0]}


def desed_logmel(inputs: Arrays, settings: dict) -> dict[str, object]:
    from common.features.scaling import ScalingConfig, dataset_statistics, equal_parts
    from common.features.statistics import RunningStatistics
    from common.models.layers import Standardize
    from common.models.levels import ClipScaling, MelLevels

    config = settings["config"]
    features = _settings("mel_desed", config)
    mel = np.stack([_magnitudes(each, features, config["fs"]) for each in inputs["audio_int16"]])
    levels = np.asarray(MelLevels(features.levels)(mel))  # (B, T, F, 1)

    def scaled(batch: np.ndarray, **scaling: Any) -> np.ndarray:
        return bands_first(ClipScaling(ScalingConfig(**scaling))(batch))

    parts = []
    for batch in (levels[:2], levels[2:]):
        parts.append(RunningStatistics.empty(levels.shape[2:]))
        for clip in batch:
            parts[-1].update(clip)
    of_bands = equal_parts(parts)
    mean, std = dataset_statistics(of_bands, ScalingConfig(bands="all"))
    standardize = Standardize(mean.shape)
    standardize.set_weights([mean, std])
    unit = {"form": "minmax", "range": (0.0, 1.0)}
    return {
        "mel": bands_first(mel),
        "logmel": bands_first(levels),
        "minmax": scaled(levels, of="clip", form="minmax", bands="all"),
        "standard_first": scaled(levels[:1], of="clip", form="standard", bands="all"),
        "dataset_mean": mean[:1].reshape(1, 1, 1),
        "dataset_mean_squared": of_bands.over_bands().mean_square[:1].reshape(1, 1, 1),
        "dataset_standard_first": bands_first(standardize(levels[:1])),
        "bands_mean": of_bands.mean.reshape(1, -1, 1),
        "bands_mean_squared": of_bands.mean_square.reshape(1, -1, 1),
        "fdy_minmax": scaled(levels, of="batch", bands="each", **unit),
    }


def bands_first(features: Any) -> np.ndarray:
    """Features (B, T, F, 1) as (B, F, T)."""
    return np.asarray(features)[..., 0].transpose(0, 2, 1)


CASES = {"mt2019_logmel": mt2019_logmel, "desed_logmel": desed_logmel}
