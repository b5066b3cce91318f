"""How long one training step of each published network takes on random data, and how much memory.

python -m benchmarks.training_steps [--quick]
"""

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.measure import Figure, median_wall_s, peak_megabytes, pivot_table, run_alone, task

TITLE = "Training steps on random data: forward, backward and optimizer, in float32, without the pipeline"


@dataclass(frozen=True)
class Size:
    """A published network.

    Attributes:
        name: its name.
        task_id: task of params.yaml with its features, sizes, loss and optimizer.
        examples: of one batch; fewer than published where a step would take a minute on two cores.
        overrides: settings other than the task's, `key=value`.
    """

    name: str
    task_id: str
    examples: int
    overrides: tuple[str, ...] = ()


SIZES = (
    Size("SELDnet", "1", 16),
    Size("CRNN", "crnn", 16),
    Size("CNN5", "cnn5", 8),
    Size("CNN9, average pooling", "cnn9", 8),
    Size("CNN9, max pooling", "cnn9-max", 8),
    Size("CNN13", "cnn13", 8),
    # With all heads: the two stages train one network with either of them.
    Size("CRNN10", "two-stage", 32, ("network.mode=seld",)),
    Size("VGG9", "two-stage-vgg9", 32, ("network.mode=seld",)),
    Size("segmentation, rank pooling", "segmentation", 24),
    Size("segmentation, maximum", "segmentation-gmp", 24),
    Size("segmentation, average", "segmentation-gap", 24),
)


def measure_size(size: Size, quick: bool, folder: Path) -> list[Figure]:
    """Measures one network; in a process of its own, since memory is counted from the start of the process."""
    import importlib

    import keras
    import numpy as np

    from common.distribution import jit_setting
    from common.layers import with_statistics
    from common.optimizer import build_optimizer
    from common.system import load_system

    settings = task(size.task_id, folder, *size.overrides)
    stage = load_system(settings.family, settings.system).stages(settings)[0]
    features = importlib.import_module(f"{settings.family.split('.')[0]}.features")  # a room has those of its family
    bands_channels = features.feature_shape(settings.features)
    frames, examples = (settings.pipeline.sequence_frames, size.examples) if not quick else (20, 1)
    keras.utils.set_random_seed(0)
    network = stage.build((None, *bands_channels))
    model = with_statistics(network, np.zeros(bands_channels), np.ones(bands_channels))
    model.compile(
        build_optimizer(settings.training),
        loss=dict(stage.losses),
        loss_weights=dict(stage.loss_weights),
        jit_compile=jit_setting(settings.run),
    )
    rng = np.random.default_rng(0)
    x = rng.normal(size=(examples, frames, *bands_channels)).astype(np.float32)
    y = {}
    for output, arrays in stage.targets.items():
        time = () if len(network.output[output].shape) == 2 else (frames // stage.target_stride,)
        y[output] = rng.integers(0, 2, (examples, *time, settings.dataset.n_classes * len(arrays))).astype(np.float32)
    seconds = median_wall_s(partial(model.train_on_batch, x, y), 1 if quick else 5)
    trainable = sum(int(np.prod(weight.shape)) for weight in network.trainable_weights)
    name = f"{size.name}, {examples} x {frames} x {bands_channels[0]} x {bands_channels[1]}"
    return [
        Figure(f"{name}: trainable parameters", trainable, ""),
        Figure(f"{name}: one step", 1000 * seconds, "ms"),
        Figure(f"{name}: examples", examples / seconds, "1/s"),
        Figure(f"{name}: peak memory of the process", peak_megabytes(), "MB"),
    ]


def measure(quick: bool, folder: Path) -> list[Figure]:
    """Measures all networks one after another; with `quick` only the smallest."""
    figures = []
    for size in SIZES[1:2] if quick else SIZES:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            figures += pool.submit(measure_size, size, quick, folder).result()
    return figures


def steps_table(figures: Sequence[Figure]) -> str:
    """One row for each network, one column for each of its figures."""
    return pivot_table(figures, "network, batch x frames x bands x channels")


if __name__ == "__main__":
    run_alone(TITLE, measure, to_table=steps_table)
