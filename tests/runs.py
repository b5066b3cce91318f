"""Untrained runs: settings and networks with random weights, in the files of a training."""

from pathlib import Path
from typing import Any

import keras
import numpy as np

from benchmarks.recordings import write_settings, write_stage
from common.family import load
from common.models.audio_features import FRONTEND, AudioFeatures
from common.models.layers import with_statistics
from common.settings.tasks import BaseTask, load_task
from common.training.ensemble import TrainedStage

PARAMS = Path(__file__).parents[1] / "params.yaml"
SELDNET = {"network.n_filters": 4, "network.gru_units": "[6]", "network.dense_units": "[8]"}
# On four seconds of audio at 8 kHz.
SHORT_SELDNET = SELDNET | {
    "dataset__sample_rate_hz": 8000,
    "dataset__recording_s": 4.0,
    "features__n_fft": 512,
    "features__n_mels": 16,
    "network__pool_bands": "[4, 2, 2]",
    "pipeline__sequence_frames": 50,
}
TWO_STAGE = {"network.filters": "[4, 4]", "network.gru_units": 4, "network.also_joint": "false"}
CRNN = {"network.n_filters": 4, "network.gru_units": "[4]"}
CNN = {"network.filters": "[2, 2, 4, 4]"}
SEGMENTATION = {"network.filters": "[2, 2, 4, 4]", "network.compared": "[]"}


def task_of(task_id: str, folder: Path, **settings: object) -> Any:
    """A task of params.yaml with changed settings; `__` stands for the dots between sections."""
    folders = {f"{name}_dir": folder / name for name in ("dataset", "feature", "output")}
    changes = folders | {key.replace("__", "."): value for key, value in settings.items()}
    return load_task(PARAMS, task_id, [f"{key}={value}" for key, value in changes.items()])


def untrained_stages(
    task: BaseTask, seed: int = 0, mean: float = -40.0, std: float = 20.0
) -> list[TrainedStage]:
    """Stages of a task with networks of random weights, whose outputs vary much with the audio.

    Args:
        task: its settings.
        seed: of the weights.
        mean: of all features.
        std: of all features.
    """
    experiment = load(task.family, "experiment").Experiment.prepare(task)
    shape = experiment.new_network().input_shape[1:]
    found = []
    for number, stage in enumerate(experiment.system.stages(task)):
        keras.utils.set_random_seed(10 * seed + number)
        frontend = (
            None
            if experiment.frontend is None
            else AudioFeatures(experiment.frontend, name=FRONTEND)
        )
        statistics = (np.full(shape[1:], value) for value in (mean, std))
        network, levels = lively(stage.build(shape)), experiment.levels()
        found.append((stage, with_statistics(network, *statistics, frontend, levels)))
    return found


def write_run(task: BaseTask, folder: Path, **statistics: float) -> Path:
    """Writes a run of a task, see `untrained_stages`, as a training leaves it."""
    for number, fold in enumerate(task.fold_names or [""]):
        for stage, model in untrained_stages(task, number, **statistics):
            write_stage(model, folder / fold / stage.name)
    write_settings(task, folder)
    return folder


def lively(network: keras.Model) -> keras.Model:
    """Gives a network unusual weights: learned statistics, and outputs far from the middle."""
    rng = np.random.default_rng(0)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            n = layer.gamma.shape[0]
            uniform = [
                rng.uniform(low, high, n)
                for low, high in ((0.5, 1.5), (-0.5, 0.5), (-0.2, 0.2), (0.1, 0.5))
            ]
            layer.set_weights(uniform)
        # a memory of some frames, as a trained one has
        elif isinstance(layer, keras.layers.Bidirectional):
            layer.set_weights([0.1 * weight for weight in layer.get_weights()])
        elif isinstance(layer, keras.layers.Dense | keras.layers.Conv2D):
            kernel, *bias = layer.get_weights()
            layer.set_weights(
                [1.2 * kernel, *(rng.uniform(-0.3, 0.3, each.shape) for each in bias)]
            )
    return network


def noises(seconds: float, rate_hz: int, channels: int) -> np.ndarray:
    """Noise with varying level and colour, slightly different in each channel: float32 (S, C)."""
    rng, n_samples = np.random.default_rng(7), round(seconds * rate_hz)
    corners = np.arange(0, n_samples + rate_hz, rate_hz // 3)
    level = 10 ** np.interp(np.arange(n_samples), corners, rng.uniform(-3.5, -0.7, len(corners)))
    audio = level[:, None] * (
        rng.normal(0, 1, (n_samples, 1)) + 0.5 * rng.normal(0, 1, (n_samples, channels))
    )
    return np.clip(audio, -0.99, 0.99).astype(np.float32)
