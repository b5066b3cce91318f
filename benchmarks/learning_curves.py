"""Training of segmentation here and in PyTorch, from equal weights and batches, over several seeds.

    python -m benchmarks.learning_curves [--quick]

In float32 both round, ReLUs with inputs near zero flip, and two trainings diverge after some dozens
of steps. Differences of speed are seen in means over seeds, next to our training from weights
disturbed by as much as rounding.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from benchmarks.lockstep import EPSILON, train_there
from benchmarks.measure import Figure, Goal, run_alone, short, table, task
from benchmarks.workers import NO_TORCH, torch_python
from common.cli.steps.prepare import prepare_data
from common.data.pipeline import train_stream
from common.data.selection import Selection
from common.data.sequences import SequenceFormat
from common.models.torch_weights import load_state, torch_state
from common.training.system import load_system

TITLE = (
    "Segmentation learned from the demo's mixtures here and in PyTorch: mean loss of each hundred"
    " iterations from the same first weights and batches, and here from weights disturbed by 5e-6"
)
ROUNDS, PART = 7, 100  # parts, and iterations of each
DISTURBED = 5e-6  # of each weight, about what float32 rounds in the first step


class Data:
    """The demo's mixtures as batches.

    Attributes:
        settings: of the task.
        system: module of the network.
        network: its settings.
    """

    def __init__(self, folder: Path, quick: bool):
        preset = ("simulation.preset=fixture",) if quick else ()
        self.settings = task("segmentation-demo", folder, *preset)
        self.system = load_system(self.settings.family, self.settings.system)
        self.network = self.system.NetworkConfig(**self.settings.network)
        (self.store,) = prepare_data(self.settings)
        self.groups = [
            str(number)
            for number in self.settings.folds[0].train
            if str(number) in self.store.groups
        ]

    def batches(self, seed: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """Standardised features (steps, B, T, F, C) and tags (steps, B, K), ordered by a seed."""
        pipeline, stage = self.settings.pipeline, self.stage
        mean, std = self.store.statistics(self.groups)
        stream = train_stream(
            Selection(self.store, tuple(self.groups)),
            SequenceFormat(stage.targets),
            pipeline.model_copy(update={"last_batch": "drop"}),
            seed=seed,
        )
        taken = list(stream.take(steps).as_numpy_iterator())
        x = np.stack([(features.astype(np.float32) - mean) / std for features, _ in taken])
        return x, np.stack([targets["clip"] for _, targets in taken])

    @property
    def stage(self) -> Any:
        """The training of the network, global weighted rank pooling."""
        return self.system.stages(self.settings)[0]

    def new_network(self, seed: int) -> keras.Model:
        """A network with the first weights of a seed."""
        keras.utils.set_random_seed(seed)
        return self.stage.build((None, *self.store.statistics(self.groups)[0].shape))


def learn_here(data: Data, network: keras.Model, x: np.ndarray, y: np.ndarray) -> list[float]:
    """Trains on one batch after another; returns their losses."""
    rate = data.settings.training.learning_rate
    network.compile(
        keras.optimizers.Adam(rate, epsilon=EPSILON), dict(data.stage.losses), jit_compile=False
    )
    losses = []
    for features, tags in zip(x, y, strict=True):
        network.reset_metrics()
        losses.append(
            float(network.train_on_batch(features, {"clip": tags}, return_dict=True)["loss"])
        )
    return losses


def learn(data: Data, seed: int, steps: int, folder: Path) -> dict[str, list[float]]:
    """Losses of a seed's batches: here, in PyTorch, and here from disturbed weights."""
    x, y = data.batches(seed, steps)
    network, names = data.new_network(seed), data.system.torch_names(data.network)
    weights = torch_state(network, names)
    rng = np.random.default_rng(seed)
    disturbed = {
        name: array * (1 + DISTURBED * rng.standard_normal(array.shape)).astype(np.float32)
        for name, array in weights.items()
    }
    options = {
        "n_classes": y.shape[2],
        "decay": data.network.gwrp_decay,
        "filters": data.network.filters,
    }
    there = train_there(
        folder,
        weights,
        x,
        y,
        model="segmentation",
        options=json.dumps(options),
        amsgrad=False,
        rate=data.settings.training.learning_rate,
        gradients=False,
    )
    other = data.new_network(seed)
    load_state(other, disturbed, names)
    return {
        "ours": learn_here(data, network, x, y),
        "PyTorch": there["losses"].tolist(),
        "ours, disturbed": learn_here(data, other, x, y),
    }


WORK = "mean loss of segmentation in the last hundred of 700 iterations, ours over PyTorch's"


def measure(quick: bool, folder: Path) -> list[Figure | Goal]:
    """Learns from several seeds, of which each gives the batches and the first weights."""
    seeds, steps = (1, 4) if quick else (5, ROUNDS * PART)
    if torch_python() is None:
        return [Goal(WORK, None, 1.1, "times", False, reason=NO_TORCH)]
    data = Data(folder, quick)
    return results_of([learn(data, seed, steps, folder) for seed in range(seeds)])


def results_of(curves: Sequence[Mapping[str, Sequence[float]]]) -> list[Figure | Goal]:
    """Compares the losses of all seeds, see `learn`."""
    parts = {
        side: np.array([_means_of_parts(curve[side]) for curve in curves]) for side in curves[0]
    }  # (seeds, parts) each
    last = {side: values[:, -1] for side, values in parts.items()}
    spread = {
        side: f"{short(values.min())} to {short(values.max())}" for side, values in last.items()
    }
    details = "; ".join(
        f"{side} {short(float(values.mean()))} ({spread[side]})" for side, values in last.items()
    )
    ratio = float(last["ours"].mean() / last["PyTorch"].mean())
    reason = (
        "the seeds, and weights disturbed by as much as rounding, differ by more: see the table"
    )
    results: list[Figure | Goal] = [Goal(WORK, ratio, 1.1, "times", False, details, reason)]
    for side, values in parts.items():
        for seed, row in [*enumerate(values), ("mean", values.mean(axis=0))]:
            for number, value in enumerate(row, start=1):
                results.append(Figure(f"{side}, seed {seed}: {number}", float(value), "nats"))
    return results


def _means_of_parts(losses: Sequence[float]) -> list[float]:
    return [float(np.mean(part)) for part in np.array_split(losses, ROUNDS) if len(part)]


def curves_table(figures: Sequence[Figure]) -> str:
    """One row for each training, one column for each hundred of iterations."""
    rows: dict[str, list[str]] = {}
    for figure in figures:
        rows.setdefault(figure.name.partition(": ")[0], []).append(short(figure.value))
    columns = [f"{PART * number}" for number in range(1, 1 + len(next(iter(rows.values()), [])))]
    return table(
        ["mean loss up to iteration", *columns], [[name, *cells] for name, cells in rows.items()]
    )


if __name__ == "__main__":
    run_alone(TITLE, measure, to_table=curves_table)
