"""Cases of the features and labels of the two-stage systems."""

import numpy as np

from tests.golden.recipes import Arrays


def twostage_features(inputs: Arrays, settings: dict) -> dict[str, object]:
    from common.audio.files import from_int16
    from seld.features import FeatureConfig, extract_features

    config = FeatureConfig(kind="logmel_gcc")
    features = extract_features(from_int16(inputs["audio_int16"]), config, config.rate_hz(32000))
    return {"feature": features.transpose(2, 0, 1)}


def twostage_labels(inputs: Arrays, settings: dict) -> dict[str, object]:
    from common.errors import DataError
    from seld.dataset import DatasetConfig, parse_events
    from seld.features import FeatureConfig
    from seld.labels import regression_labels

    dataset, config = DatasetConfig(), FeatureConfig(kind="logmel_gcc")
    n_frames = 1 + round(dataset.recording_s / config.hop_s)
    outputs: dict[str, object] = {}
    for key, text in inputs.items():
        name = key.removesuffix("__csv")
        try:
            events = parse_events(str(text), dataset)
        except DataError:  # angles that the published code takes as they come
            continue
        labels = regression_labels(
            events, n_frames, config.hop_s, dataset.n_classes, config.label_rule
        )
        outputs[f"{name}__events"] = labels["activity"]
        outputs[f"{name}__doas_deg"] = np.hstack([labels["azimuth_deg"], labels["elevation_deg"]])
    return outputs


CASES = {"twostage_features": twostage_features, "twostage_labels": twostage_labels}
