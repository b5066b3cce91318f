"""Calls functions of the project on the vectors of `conformance.py`; only renames and reshapes."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.golden import (
    detection,
    features,
    mixtures,
    networks,
    sed_augmentation,
    sed_decoding,
    sed_features,
    sed_networks,
    sed_scores,
    sed_training,
    segmentation,
    segmentation_scores,
    seld_year_features,
    seld_year_networks,
    seld_year_scores,
    seld_year_targets,
    two_stage,
    two_stage_features,
)
from tests.golden.recipes import Arrays, canonical_weights

# Filled in by the groups of cases below: pattern of the case's name -> function of (inputs,
# settings).
CASES: dict[str, Callable[[Arrays, dict], dict[str, object]]] = {
    **detection.CASES,
    **features.CASES,
    **mixtures.CASES,
    **networks.CASES,
    **sed_decoding.CASES,
    **sed_features.CASES,
    **sed_networks.CASES,
    **sed_scores.CASES,
    **sed_augmentation.CASES,
    **sed_training.CASES,
    **seld_year_scores.CASES,
    **segmentation.CASES,
    **segmentation_scores.CASES,
    **seld_year_targets.CASES,
    **seld_year_networks.CASES,
    **seld_year_features.CASES,
    **two_stage.CASES,
    **two_stage_features.CASES,
}


def run(case: str, inputs: Arrays, settings: dict) -> dict[str, object]:
    """Returns the outputs of one case under the names of the manifest."""
    for pattern, function in CASES.items():
        if re.fullmatch(pattern, case):
            return function(inputs, settings)
    raise KeyError(f"No function for the case {case!r}. Known patterns: {sorted(CASES)}.")


def model_seldnet(inputs: Arrays, settings: dict) -> dict[str, object]:
    from common.models.layers import set_weights_by_name
    from seld.systems import seldnet

    config, weights = settings["config"], canonical_weights(settings)
    features = inputs["x_channels_first"].transpose(0, 2, 3, 1)  # (B, T, F, C)
    kernels = [name for name in weights if re.fullmatch("gru0/.*/kernel", name)]
    for name in kernels:  # rows run over (channel, band) there, over (band, channel) here
        shape = (config["nb_cnn2d_filt"], -1, weights[name].shape[1])
        weights[name] = weights[name].reshape(shape).swapaxes(0, 1).reshape(weights[name].shape)
    outputs: dict[str, object] = {}
    for activation, suffix in (("sigmoid", "sigmoid"), ("hard_sigmoid_keras2", "hard_sigmoid")):
        network = seldnet.NetworkConfig(
            n_filters=config["nb_cnn2d_filt"],
            pool_bands=config["pool_size"],
            gru_units=config["rnn_size"],
            dense_units=config["fnn_size"],
            batch_norm_over="bands",
            gru_reset_after=False,
            gru_recurrent_activation=activation,
        )
        model = seldnet.build_model(features.shape[1:], config["classes"], network)
        set_weights_by_name(model, weights)
        outputs |= {
            f"{name}_{suffix}": np.asarray(value)
            for name, value in model(features, training=False).items()
        }
    return outputs


CASES["model_seldnet"] = model_seldnet


def seld2019_features(inputs: Arrays, settings: dict) -> dict[str, object]:
    from common.audio.files import from_int16
    from common.features.settings import as_frontend
    from common.features.spectral import stft
    from common.features.statistics import RunningStatistics
    from seld.features import FeatureConfig, extract_features, fit_length, frames_in

    config, rate, n_frames = FeatureConfig(dtype="float32"), 48000, int(inputs["frames"])
    duration_s = n_frames * config.hop_s
    audio = {
        name: from_int16(samples[:, :4])
        for name, samples in inputs.items()
        if name.startswith("audio")
    }
    padded = fit_length(audio["audio_int16"], round(duration_s * rate))
    spectra = stft(padded, as_frontend(config, rate, 4), frames_in(duration_s, config.hop_s))
    # The manifest names the frames of the second scaler.
    first, last = map(
        int, re.search(r"frames (\d+)\.\.(\d+) of files", settings["tolerance"]).groups()
    )
    statistics = RunningStatistics.empty((1024, 8))
    for name in ("audio1_int16", "audio2_int16"):
        statistics.update(extract_features(audio[name], config, rate, duration_s)[first : last + 1])
    mean, std = (
        np.concatenate([part[:, :4], part[:, 4:]]).ravel() for part in statistics.mean_std()
    )
    return {
        "spec_bins8": spectra[:, 1:][:, inputs["bin_sel"]],
        "scaler2_mean": mean,
        "scaler2_std": std,
    }


CASES["seld2019_features"] = seld2019_features


def seld2019_labels(inputs: Arrays, settings: dict) -> dict[str, object]:
    from common.errors import DataError
    from seld.dataset import DatasetConfig, parse_events
    from seld.labels import reference_rows, regression_labels, rows_to_classification
    from seld.submission import format_submission

    dataset = DatasetConfig()
    outputs: dict[str, object] = {}
    size = dataset.n_frames, dataset.label_hop_s
    for key, text in inputs.items():
        name = key.removesuffix("__csv")
        try:
            events = parse_events(str(text), dataset)
        except DataError:  # angles that the published code only warns of, or stumbles over
            continue
        labels = regression_labels(events, *size, dataset.n_classes)
        rows = reference_rows(events, *size, "dcase2019")
        entries = rows_to_classification(rows, dataset.n_frames, dataset.grid)
        outputs[f"{name}__regr"] = np.hstack(
            [labels[each] for each in ("activity", "azimuth_deg", "elevation_deg")]
        )
        outputs[f"{name}__clas_idx"] = entries
        outputs[f"{name}__clas_output_csv"] = format_submission(
            _rows_of_entries(entries, dataset.grid)
        )
        rows = reference_rows(events, None, dataset.label_hop_s, "dcase2019_files")
        outputs[f"{name}__desc_output_csv"] = format_submission(rows)
    return outputs


def _rows_of_entries(entries: np.ndarray, grid: Any) -> np.ndarray:
    """Output format (n, 4) of the classification form (n, 3)."""
    return np.column_stack([entries[:, :2], *grid.angles_of(entries[:, 2])]).astype(float)


def _scores_as_published(scores: Any) -> np.ndarray:
    """ER, F, DOA error, frame recall, counts of predicted, good, extra, missed; SELD error."""
    counts = scores.directions
    numbers = (
        scores.er,
        scores.f,
        scores.doa_error_deg,
        scores.frame_recall,
        counts.n_estimate,
        counts.good_frames,
    )
    return np.array([*numbers, counts.n_extra, counts.n_missed, scores.seld_error])


def seld2019_metrics_regr(inputs: Arrays, settings: dict) -> dict[str, object]:
    from seld.metrics.dcase2019 import SeldScorer

    def directions(key: str) -> np.ndarray:
        in_radians = inputs.get(f"{key}_doa_rad")
        return (
            in_radians.astype(float)
            if in_radians is not None
            else inputs[f"{key}_doa_deg"] * np.pi / 180.0
        )

    outputs: dict[str, object] = {}
    for case in sorted({key.split("__")[0] for key in inputs}):
        sides = [
            (inputs[f"{case}__{side}_sed"], directions(f"{case}__{side}"))
            for side in ("gt", "pred")
        ]
        scorer = SeldScorer("dcase2019", sides[0][0].shape[-1])
        scorer.update_regression(*sides[0], *sides[1])
        outputs[f"{case}__result"] = _scores_as_published(scorer.result())
    return outputs


def seld2019_metrics_clas(inputs: Arrays, settings: dict) -> dict[str, object]:
    from seld.geometry import AngleGrid
    from seld.metrics.dcase2019 import SeldScorer

    outputs: dict[str, object] = {}
    accumulated, total = [], SeldScorer("dcase2019")
    for case in inputs["cases"].tolist():
        sides = (
            _rows_of_entries(inputs[f"{case}__{side}_idx"], AngleGrid()) for side in ("gt", "pred")
        )
        recording = (*sides, int(inputs[f"{case}__n_frames"]))
        alone = SeldScorer("dcase2019")
        for scorer in (alone, total):
            scorer.update(*recording)
        outputs[f"{case}__result"] = _scores_as_published(alone.result())
        accumulated.append(_scores_as_published(total.result())[[0, 1, 2, 3, 8]])
    return outputs | {"accumulated_results": np.array(accumulated)}


def seld2019_output_format(inputs: Arrays, settings: dict) -> dict[str, object]:
    from seld.dataset import DatasetConfig
    from seld.metrics.dcase2019 import SeldScorer
    from seld.submission import format_submission, parse_submission

    outputs: dict[str, object] = {}
    n_frames, n_classes = DatasetConfig().n_frames, DatasetConfig().n_classes
    for name in sorted({key.split("_")[0] for key in inputs if key.startswith("csv")}):
        reference, estimate = (
            parse_submission(str(inputs[f"{name}_{side}"]), n_classes) for side in ("gt", "pred")
        )
        scorer = SeldScorer("dcase2019")
        scorer.update(reference, estimate, n_frames)
        outputs[f"{name}_result"] = _scores_as_published(scorer.result())[[8, 0, 1, 2, 3]]
    azimuth_deg, elevation_deg = np.split(inputs["regr_doa_deg"], 2, axis=1)
    active = np.nonzero(inputs["regr_sed"] > 0.5)
    rows = np.column_stack([*active, azimuth_deg[active], elevation_deg[active]])
    outputs["regr_csv"] = format_submission(rows)
    return outputs


def seld2019_folder_table(inputs: Arrays, settings: dict) -> dict[str, object]:
    from seld.dataset import DatasetConfig, parse_events, parse_name
    from seld.score import ScoredRecording, score_report

    dataset = DatasetConfig()
    recordings = [
        ScoredRecording(
            name,
            *parse_name(name),
            parse_events(str(text), dataset),
            inputs[f"pred__{name}"],
            dataset.n_frames,
        )
        for name, text in (
            (key[5:], text) for key, text in inputs.items() if key.startswith("ref__")
        )
    ]
    report = score_report(recordings, dataset)
    labels = {"all": "all", "split": "split {}", "ir": "room {}", "ov": "overlap {}"}
    columns = "seld_error", "er", "f", "doa_error_deg", "frame_recall"
    rows = [labels[kind].format(key) for kind, key in inputs["table_keys"].tolist()]
    return {
        "table_values": np.array(
            [[report.score("dcase2019", name, row) for name in columns] for row in rows]
        )
    }


CASES |= {
    "seld2019_labels": seld2019_labels,
    "seld2019_metrics_regr": seld2019_metrics_regr,
    "seld2019_metrics_clas": seld2019_metrics_clas,
    "seld2019_output_format": seld2019_output_format,
    "seld2019_folder_table": seld2019_folder_table,
}


def _event_arrays(tsv: object, classes: list[str]) -> dict[str, np.ndarray]:
    """Events (n, 3) of each clip of a strong metadata file, in the order of the file."""
    from sed_task4.dataset import events_by_name, parse_strong
    from sed_task4.labels import event_array

    by_name = events_by_name(*parse_strong(str(tsv), classes, strict=False))
    return {name: event_array(events, classes) for name, events in by_name.items()}


def kong_labels(inputs: Arrays, settings: dict) -> dict[str, object]:
    from sed_task4.dataset import parse_weak
    from sed_task4.labels import frame_activity, multi_hot, tags_of_events

    classes = inputs["labels"].tolist()
    events = _event_arrays(inputs["tsv"], classes)
    tags = parse_weak(str(inputs["weak_tsv"]), classes)
    names, weak_names = inputs["names"].tolist(), inputs["weak_names"].tolist()
    return {
        "strong_target": np.stack(
            [frame_activity(events[name], 640, 64, len(classes), "kong2019") for name in names]
        ),
        "weak_target": np.stack([tags_of_events(events[name], len(classes)) for name in names]),
        "weak_target2": np.stack([multi_hot(tags[name], classes) for name in weak_names]),
    }


def dcase2018_manyhot(inputs: Arrays, settings: dict) -> dict[str, object]:
    from sed_task4.dataset import parse_weak
    from sed_task4.labels import multi_hot

    classes = inputs["label_list"].tolist()
    tags = parse_weak(str(inputs["weak_tsv"]), classes)
    return {"many_hot": np.stack([multi_hot(labels, classes) for labels in tags.values()])}


CASES |= {"kong_labels": kong_labels, "dcase2018_manyhot": dcase2018_manyhot}
