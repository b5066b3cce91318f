"""Cases of mixtures for time-frequency segmentation: folds, lists, audio, ideal masks."""

from collections.abc import Callable

import numpy as np

from tests.golden.recipes import Arrays


def tfseg_mixture(inputs: Arrays, settings: dict) -> dict[str, object]:
    from sed_task4.segmentation.dataset import (
        DatasetConfig,
        mixture_entry,
        parse_event_files,
        parse_scene_names,
    )
    from sed_task4.segmentation.mixture_lists import (
        draw_folds,
        draw_mixtures,
        format_folds,
        repeat_array,
    )

    files = parse_event_files(str(inputs["train_csv"]))
    dataset = DatasetConfig(
        classes=tuple(dict.fromkeys(file.label for file in files)),
        mixtures_per_fold=int(inputs["mixed_audios_per_fold"]),
    )
    lengths = zip(inputs["event_n_samples"].tolist(), inputs["event_fs"].tolist(), strict=True)
    durations_s = {
        file.name: n_samples / rate for file, (n_samples, rate) in zip(files, lengths, strict=True)
    }
    folds = draw_folds(len(files), dataset.n_folds)
    mixtures = draw_mixtures(
        files, durations_s, parse_scene_names(str(inputs["scenes_tsv"])), dataset
    )
    outputs = {
        "fold": folds,
        "folds_csv": format_folds(files, folds),
        "mixture_json": [mixture_entry(mixture) for mixture in mixtures],
    }
    if "repeat_in_len" in inputs:
        state = np.random.RandomState(dataset.mixture_seed)
        outputs["repeat_array_out"] = repeat_array(
            np.arange(int(inputs["repeat_in_len"])), 20, state
        )
    return outputs


def tfseg_mixing(inputs: Arrays, settings: dict) -> dict[str, object]:
    from common.audio.files import from_int16
    from common.features.settings import as_frontend
    from common.features.spectral import density_magnitude
    from sed_task4.features import FeatureConfig
    from sed_task4.segmentation.dataset import MixtureEvent
    from sed_task4.segmentation.masks import ideal_binary_mask, ideal_ratio_mask
    from sed_task4.segmentation.mixing import mix, normalise_energy

    rate = 32000
    keys = "event_audio_name", "event_label", "onset", "offset"
    events = [MixtureEvent(*(event[key] for key in keys)) for event in inputs["events_json"]]
    sounds = [from_int16(inputs[f"e{number}_int16"]) for number in range(len(events))]
    mixed = mix(sounds, events, from_int16(inputs["scene_int16"]), float(inputs["mix_snr"]), rate)
    sizes = as_frontend(FeatureConfig(kind="ln_mel_density"), rate)
    both = [density_magnitude(channel, sizes) @ sizes.filters for channel in from_int16(mixed).T]
    return {
        "energy_out": np.stack(
            [normalise_energy(inputs["energy_in"], level) for level in inputs["energy_db"].tolist()]
        ),
        "mixed_int16": mixed,
        "events_mel": both[0],
        "scene_mel": both[1],
        "ideal_binary_mask": ideal_binary_mask(*both),
        "ideal_ratio_mask": ideal_ratio_mask(*both),
    }


CASES: dict[str, Callable[[Arrays, dict], dict[str, object]]] = {
    "tfseg_mixture": tfseg_mixture,
    "tfseg_mixing": tfseg_mixing,
}
