"""Cases of the features of SELD of 2020 to 2025, and of their augmentation."""

from typing import Any

import numpy as np

from tests.golden.recipes import Arrays

RATE_HZ = 24000


def features_of(samples: np.ndarray, kind: str, **settings: Any) -> np.ndarray:
    """Features (T, F, C) of 16-bit samples (S, C)."""
    from common.audio.files import from_int16
    from seld.features import FeatureConfig, extract_features

    return extract_features(from_int16(samples), FeatureConfig(kind=kind, **settings), RATE_HZ)


def channels_first(features: np.ndarray) -> np.ndarray:
    return features.transpose(2, 0, 1)


def baseline_features(year: int) -> Any:
    """Case of one year: kinds of the year by format."""
    intensity = {2020: "logmel_intensity_2020", 2021: "logmel_intensity_2021"}
    kinds = {"foa": intensity.get(year, "logmel_intensity_2022"), "mic": "logmel_gcc_2020"}

    def case(inputs: Arrays, settings: dict) -> dict[str, object]:
        from common.features.spectral import interleave_channels
        from common.features.statistics import RunningStatistics

        outputs: dict[str, object] = {}
        given = [name for name in kinds if f"{name}_int16" in inputs]
        for name, kind in ((name, kinds[name]) for name in given):
            sizes = {"n_mels": int(inputs["n_mels"])}
            features = features_of(inputs[f"{name}_int16"], kind, **sizes)
            outputs[f"{name}_feature"] = channels_first(features)
            outputs[f"{name}_network_input"] = channels_first(interleave_channels(features, 4))
            if f"{name}_second_int16" in inputs:
                statistics = RunningStatistics.empty(features.shape[1:])
                statistics.update(features)
                statistics.update(features_of(inputs[f"{name}_second_int16"], kind, **sizes))
                mean, std = statistics.mean_std()  # (F, C) each
                outputs |= {f"{name}_scaler_mean": mean.T, f"{name}_scaler_std": std.T}
        return outputs

    return case


def seld2022_salsalite(inputs: Arrays, settings: dict) -> dict[str, object]:
    from common.features.salsa import BinRange
    from common.features.settings import as_frontend
    from seld.features import FeatureConfig

    ranges = {
        "fmax_doa_hz": float(inputs["fmax_doa"]),
        "fmax_spectra_hz": float(inputs["fmax_spectra"]),
        "published_phase_range": True,
    }
    features = features_of(inputs["mic_int16"], "salsa_lite_2022", **ranges)
    config = FeatureConfig(kind="salsa_lite_2022", **ranges)
    bins = BinRange.of(as_frontend(config, RATE_HZ, 4))
    return {
        "feature": channels_first(features),
        "bins": np.array([bins.lower, bins.upper, bins.cutoff]),
    }


def seld2025_features(inputs: Arrays, settings: dict) -> dict[str, object]:
    features = features_of(inputs["stereo_int16"], "logmel_2025", n_mels=int(inputs["n_mels"]))
    return {"feature": channels_first(features)}


def ein_features(inputs: Arrays, settings: dict) -> dict[str, object]:
    features = features_of(inputs["foa_int16"], "einv2", n_mels=int(inputs["n_mels"]))
    return {"feature": channels_first(features)}


def salsa_sizes(inputs: Arrays) -> dict[str, Any]:
    n_fft = int(inputs["n_fft"])
    return {"n_fft": n_fft, "window_s": n_fft / RATE_HZ, "hop_s": int(inputs["hop"]) / RATE_HZ}


def salsa_features(inputs: Arrays, settings: dict) -> dict[str, object]:
    quirk = salsa_sizes(inputs) | {"published_phase_range": True}
    wrapped = salsa_sizes(inputs) | {"wrap_around": True}
    mic, foa = inputs["mic_int16"], inputs["foa_int16"]
    return {
        "salsa_lite": channels_first(features_of(mic, "salsa_lite", **quirk)),
        "salsa_ipd_phases": channels_first(features_of(mic, "salsa_ipd", **quirk))[4:],
        "salsa_foa": channels_first(features_of(foa, "salsa_foa", **wrapped)),
        "salsa_mic_phases": channels_first(features_of(mic, "salsa_mic", **wrapped))[4:],
    }


def salsa_mel_features(inputs: Arrays, settings: dict) -> dict[str, object]:
    sizes = salsa_sizes(inputs)
    mel, (mic, foa) = (
        sizes | {"n_mels": int(inputs["n_mels"])},
        (inputs["mic_int16"], inputs["foa_int16"]),
    )
    return {
        "melspeciv": channels_first(features_of(foa, "melspeciv", **mel)),
        "linspeciv_intensity": channels_first(features_of(foa, "linspeciv", **sizes))[4:],
        "melspecgcc_gcc": channels_first(features_of(mic, "melspecgcc", **mel))[4:],
    }


CASES = {f"seld{year}_features": baseline_features(year) for year in range(2020, 2025)} | {
    "seld2022_salsalite": seld2022_salsalite,
    "seld2025_features": seld2025_features,
    "ein_features": ein_features,
    "salsa_features": salsa_features,
    "salsa_mel_features": salsa_mel_features,
}
