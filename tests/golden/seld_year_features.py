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


def all_classes(doa: np.ndarray) -> np.ndarray:
    """x, y, z of all classes (T, 3K) as vectors (T, K, 3)."""
    return np.moveaxis(doa.reshape(len(doa), 3, -1), 1, 2)


def seld_channel_swap(inputs: Arrays, settings: dict) -> dict[str, object]:
    from common.data.augmentation import shift_bands
    from seld.augmentation import (
        audio_tables,
        foa_transforms_of_axes,
        gcc_tables,
        logmel_intensity_tables,
        microphone_transforms,
        phase_difference_tables,
        signed_axes,
    )

    def moved(name: str, transforms: Any) -> dict[str, object]:
        features = inputs[f"{name}__x"].transpose(1, 2, 0)  # (T, F, C)
        vectors, rows = all_classes(inputs["y_doa"]), range(len(transforms))
        x = [channels_first(transforms.apply_to_features(features, row)) for row in rows]
        doa = [np.moveaxis(transforms.apply_to_vectors(vectors, row), 2, 1) for row in rows]
        flat = [each.reshape(len(each), -1) for each in doa]  # (T, 3K)
        return {f"{name}__x_out": np.stack(x), f"{name}__y_doa_out": np.stack(flat)}

    orders = {0: (0, 1, 2), 1: (1, 0, 2)}  # swap x and y
    axes = [signed_axes(orders[bits[0]], (-1.0) ** bits[1:]) for bits in inputs["foa__bits"]]
    outputs = moved(
        "foa",
        foa_transforms_of_axes(
            lambda *audio: logmel_intensity_tables(*audio, axes=(1, 2, 3)), np.stack(axes)
        ),
    )
    swaps = np.array([[0, 2, 1, 3], [3, 1, 2, 0], [1, 0, 3, 2]])
    for name, tables in (("mic", phase_difference_tables), ("gcc", gcc_tables)):
        permutations = []
        for bits in inputs[f"{name}__bits"]:
            permutation = np.arange(4)
            for swap in swaps[bits > 0]:
                permutation = permutation[swap]
            permutations.append(permutation)
        options = {"lag_reversal": "published", "permutations": np.array(permutations)}
        outputs |= moved(name, microphone_transforms(tables, **options))
    for kind in (16, 48):
        axes = [signed_axes(row[:3], row[3:]) for row in inputs[f"wave{kind}__perm_and_signs"]]
        transforms = foa_transforms_of_axes(audio_tables, np.stack(axes))
        rows = range(len(transforms))
        wave, doa = inputs["wave__wave"].T[:, None], inputs["wave__doa"]  # (S, 1, 4)
        waves = [transforms.apply_to_features(wave, row)[:, 0].T for row in rows]
        outputs[f"wave{kind}__wave_out"] = np.stack(waves)
        vectors = [transforms.apply_to_vectors(doa, row) for row in rows]
        outputs[f"wave{kind}__doa_out"] = np.stack(vectors)
    shifted = []
    for up, bins in inputs["shift__up_and_bins"]:
        batch = inputs["shift__x"].transpose(1, 2, 0)[None]  # (1, T, F, C)
        by = np.array([bins if up else -bins], np.int32)
        shifted.append(channels_first(np.asarray(shift_bands(batch, by))[0]))
    return outputs | {"shift__x_out": np.stack(shifted)}


CASES = {f"seld{year}_features": baseline_features(year) for year in range(2020, 2025)} | {
    "seld2022_salsalite": seld2022_salsalite,
    "seld2025_features": seld2025_features,
    "ein_features": ein_features,
    "salsa_features": salsa_features,
    "salsa_mel_features": salsa_mel_features,
    "seld_channel_swap": seld_channel_swap,
}
