"""Cases of the features of task 4."""

import numpy as np

from tests.golden.recipes import Arrays


def kong_logmel(inputs: Arrays, settings: dict) -> dict[str, object]:
    from common.audio.files import from_int16
    from common.features.settings import feature_shape
    from common.features.statistics import RunningStatistics
    from sed_task4.features import FeatureConfig, extract_features

    config = FeatureConfig(kind="logmel_db")
    features = extract_features(
        from_int16(inputs["audio_int16"])[:, None], config, 32000, clip_s=10.0
    )
    statistics = RunningStatistics.empty(feature_shape(config, 32000))
    statistics.update(features)
    mean, std = statistics.mean_std(config.ddof)
    return {"logmel": features[..., 0], "mean": mean[:, 0], "std": std[:, 0]}


def dcase2018_mel(inputs: Arrays, settings: dict) -> dict[str, object]:
    from common.audio.files import from_int16
    from common.features.settings import feature_shape
    from common.features.statistics import RunningStatistics
    from common.models.layers import Standardize
    from sed_task4.features import FeatureConfig, extract_features

    config = FeatureConfig(kind="log_magnitude_mel")
    shape = feature_shape(config, 44100)
    statistics = RunningStatistics.empty(shape)
    both = [
        extract_features(from_int16(inputs[name])[:, None], config, 44100)
        for name in ("audio_int16", "audio2_int16")
    ]  # (T, F, 1) each
    for features in both:
        statistics.update(features)
    mean, std = statistics.mean_std(config.ddof)
    standardize = Standardize(shape)
    standardize.set_weights([mean, std])
    normalized = np.asarray(standardize(both[0]))
    return {
        "mel": both[0][..., 0].T,
        "norm_mean": mean,
        "norm_std": std,
        "normalized": normalized[..., 0].T,
    }


CASES = {"kong_logmel": kong_logmel, "dcase2018_mel": dcase2018_mel}
