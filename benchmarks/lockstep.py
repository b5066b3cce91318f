"""Our networks and PyTorch's, step by step, from the same initial weights and batches.

python -m benchmarks.lockstep [--quick]
"""

import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from benchmarks.measure import ROOT, Figure, Goal, run_alone, short, table, task
from benchmarks.workers import NO_TORCH, torch_python
from common.family import load
from common.models.layers import weights_by_name
from common.models.torch_weights import KINDS, torch_state

TITLE = (
    "Our networks and the same ones in PyTorch, at their published widths: first weights carried"
    " over, the same batches, plain Adam; gradients of the first batch and losses of all"
)
THEIRS = ROOT / "benchmarks" / "baselines" / "torch_lockstep.py"
LEARNING_RATE, EPSILON = 1e-3, 1e-8
# Published name in a state dict -> name in `baselines/torch_models.py`.
RENAMED = (
    (r"^bottleneck\.", ""),
    (r"^final_conv", "final"),
    (r"^(event|azimuth|elevation)_fc", r"\1"),
)


@dataclass(frozen=True)
class Pair:
    """A network here and there.

    Attributes:
        name: its name.
        task_id: task of params.yaml that describes it.
        torch: its name in `baselines/torch_models.py`.
        shape: of a batch, examples and frames.
        amsgrad: True for the AMSGrad variant of Adam.
        overrides: settings other than the task's, `key=value`.
    """

    name: str
    task_id: str
    torch: str
    shape: tuple[int, int]
    amsgrad: bool
    overrides: tuple[str, ...] = ()


PAIRS = (
    Pair("CNN9", "cnn9", "cnn9", (4, 128), True),
    Pair("CRNN10", "two-stage", "crnn10", (4, 128), True, ("network.mode=seld",)),
    Pair("segmentation", "segmentation", "segmentation", (2, 64), False),
)


@dataclass(frozen=True)
class FirstStep:
    """First batch: loss, outputs by name, gradients by the names in `baselines/torch_models.py`."""

    loss: float
    outputs: Mapping[str, np.ndarray]
    gradients: Mapping[str, np.ndarray]


class Ours:
    """A network of this project with batches of random data.

    Attributes:
        names: of its weights in a PyTorch state dict, see `common.models.torch_weights`.
        x: (steps, B, T, F, C).
        y: targets of the network by output, (steps, B, ...).
    """

    def __init__(self, pair: Pair, steps: int, folder: Path, examples: int, frames: int):
        settings = task(pair.task_id, folder, *pair.overrides)
        experiment = load(settings.family, "experiment").Experiment.prepare(settings)
        self.pair, self.stage = pair, experiment.system.stages(settings)[0]
        bands_channels = experiment.new_network().input_shape[2:]
        keras.utils.set_random_seed(0)
        self.network = self.stage.build((None, *bands_channels))
        self.names = experiment.system.torch_names(experiment.network)
        rng = np.random.default_rng(0)
        self.x = rng.standard_normal((steps, examples, frames, *bands_channels), np.float32)
        self.y = self._targets(rng, settings, steps, examples, frames)
        self.weights = torch_state(self.network, self.names)

    def _targets(
        self, rng: np.random.Generator, settings: Any, steps: int, examples: int, frames: int
    ) -> dict[str, np.ndarray]:
        """Random activity, and angles where the network has directions."""
        shape: tuple[int, ...] = (steps, examples, settings.dataset.n_classes)
        if "doa" not in self.stage.targets:
            return {
                output: rng.integers(0, 2, shape).astype(np.float32)
                for output in self.stage.targets
            }
        shape = (steps, examples, frames, settings.dataset.n_classes)
        activity = rng.integers(0, 2, shape).astype(np.float32)
        azimuth, elevation = rng.integers(-18, 18, shape) * 10.0, rng.integers(-4, 5, shape) * 10.0
        return {
            "sed": activity,
            "doa": np.concatenate([activity, azimuth, elevation], -1).astype(np.float32),
        }

    @property
    def y_there(self) -> np.ndarray:
        """The targets as PyTorch's losses take them: angles in radians."""
        if "doa" not in self.y:
            return next(iter(self.y.values()))
        activity, *angles = np.split(self.y["doa"].astype(np.float64), 3, -1)
        return np.concatenate([activity, *map(np.deg2rad, angles)], -1)

    def first_step(self, kind: str) -> "FirstStep":
        """Computes the first batch in a floating-point type."""
        import tensorflow as tf

        network = self.network if kind == "float32" else in_type(self.network, kind)
        with tf.GradientTape() as tape:
            outputs = network(keras.ops.cast(self.x[0], kind), training=True)
            loss: Any = sum(
                self.stage.loss_weights[name]
                * keras.ops.mean(
                    self.stage.losses[name].call(
                        keras.ops.cast(self.y[name][0], kind), outputs[name]
                    )
                )
                for name in self.stage.losses
            )
        trained = {weight.path: weight for weight in network.trainable_variables}
        found = dict(zip(trained, tape.gradient(loss, list(trained.values())), strict=True))
        kept = {name: np.asarray(outputs[name]) for name in self.stage.losses}
        return FirstStep(float(loss), kept, self._by_names_there(network, found))

    def _by_names_there(
        self, network: keras.Model, found: Mapping[str, Any]
    ) -> dict[str, np.ndarray]:
        arrays: dict[str, np.ndarray] = {}
        for here, weight in weights_by_name(network).items():
            if found.get(weight.path) is None:  # statistics of batch normalisation
                continue
            there, kind = self.names[here]
            gradient = np.asarray(found[weight.path])
            names = map(renamed, (there,) if isinstance(there, str) else there)
            arrays |= zip(names, KINDS[kind].to_torch(gradient), strict=True)
        return arrays

    def losses(self) -> list[float]:
        """Trains on one batch after another; returns their losses."""
        self.network.compile(
            keras.optimizers.Adam(LEARNING_RATE, epsilon=EPSILON, amsgrad=self.pair.amsgrad),
            dict(self.stage.losses),
            dict(self.stage.loss_weights),
            jit_compile=False,
        )
        losses = []
        for step in range(len(self.x)):
            y = {name: each[step] for name, each in self.y.items()}
            self.network.reset_metrics()
            losses.append(
                float(self.network.train_on_batch(self.x[step], y, return_dict=True)["loss"])
            )
        return losses


def in_type(network: keras.Model, kind: str) -> keras.Model:
    """Builds a network again, with the same weights, all layers in one floating-point type."""

    def layer_in_type(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config()
        parts = [config[name]["config"] for name in ("layer", "backward_layer") if config.get(name)]
        for part in (config, *parts):
            part["dtype"] = kind
        return type(layer).from_config(config)

    copy = keras.models.clone_model(network, clone_function=layer_in_type)
    copy.set_weights([np.asarray(weight, kind) for weight in network.get_weights()])
    return copy


def renamed(name: str) -> str:
    """The name in `baselines/torch_models.py` for a published one."""
    for pattern, replacement in RENAMED:
        name = re.sub(pattern, replacement, name)
    return re.sub(r"^conv_block(\d+)\.", lambda found: f"blocks.{int(found[1]) - 1}.", name)


def theirs(ours: Ours, folder: Path) -> dict[str, np.ndarray]:
    """PyTorch's results from the same weights and batches, see `baselines/torch_lockstep.py`."""
    return train_there(
        folder,
        ours.weights,
        ours.x,
        ours.y_there,
        model=ours.pair.torch,
        amsgrad=ours.pair.amsgrad,
        rate=LEARNING_RATE,
        gradients=True,
    )


def train_there(
    folder: Path, weights: Mapping[str, np.ndarray], x: np.ndarray, y: np.ndarray, **settings: Any
) -> dict[str, np.ndarray]:
    """Trains a network in PyTorch, see `baselines/torch_lockstep.py`.

    Args:
        folder: for files.
        weights: the first ones, by published names.
        x: batches, (steps, B, T, F, C).
        y: targets, (steps, B, ...).
        settings: `model`, `rate`, `amsgrad` and `gradients`; if there are any, `options` of the
            model as JSON.
    """
    given, result = folder / "given.npz", folder / "result.npz"
    arrays: dict[str, Any] = {f"weights/{renamed(name)}": array for name, array in weights.items()}
    np.savez(given, x=x, y=y, **{"options": "{}", "epsilon": EPSILON, **settings, **arrays})
    subprocess.run([str(torch_python()), str(THEIRS), str(given), str(result)], check=True)
    return dict(np.load(result, allow_pickle=False))


def largest_difference(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> float:
    """Largest difference of two sets of gradients, relative to the maximum of each gradient.

    Raises:
        ArithmeticError: they are not of the same weights.
    """
    if set(one) != set(other):
        raise ArithmeticError(f"Gradients of different weights: {sorted(set(one) ^ set(other))}.")
    shares = [
        np.abs(one[name] - value).max() / max(np.abs(value).max(), 1e-300)
        for name, value in other.items()
    ]
    return float(max(shares))


def parts(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The arrays whose names begin with a prefix, without it."""
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }


def compare(pair: Pair, steps: int, folder: Path, shape: tuple[int, int]) -> dict[str, float]:
    """Trains a network here and there.

    Args:
        pair: the network.
        steps: batches.
        folder: for files.
        shape: examples and frames of a batch.

    Returns:
        How far both are apart, by what is compared: gradients and outputs as `largest_difference`,
        losses as shares.
    """
    ours = Ours(pair, steps, folder, *shape)
    there = theirs(ours, folder)
    exact = ours.first_step("float64")
    rounded = ours.first_step("float32")
    outputs = {
        name: array for name, array in parts(there, "outputs/").items() if name in exact.outputs
    }
    losses = np.array(ours.losses()), there["losses"]
    return {
        "gradients in float64, ours from theirs": largest_difference(
            exact.gradients, parts(there, "float64/")
        ),
        "gradients in float32, ours from float64": largest_difference(
            rounded.gradients, exact.gradients
        ),
        "gradients in float32, theirs from float64": largest_difference(
            parts(there, "float32/"), exact.gradients
        ),
        "outputs in float32, ours from float64": largest_difference(rounded.outputs, exact.outputs),
        "outputs in float32, theirs from float64": largest_difference(outputs, exact.outputs),
        "first loss, ours from float64": abs(losses[0][0] / exact.loss - 1),
        "first loss, theirs from float64": abs(losses[1][0] / exact.loss - 1),
        "losses of all steps, ours from theirs, at most": float(
            np.abs(losses[0] / losses[1] - 1).max()
        ),
        "last loss, ours": float(losses[0][-1]),
        "last loss, theirs": float(losses[1][-1]),
    }


GOALS = {"gradients in float64, ours from theirs": 1e-12, "first loss, ours from float64": 1e-5}


def measure(quick: bool, folder: Path) -> list[Figure | Goal]:
    """Compares all networks; with `quick` three steps on small batches."""
    results: list[Figure | Goal] = []
    for pair in PAIRS:
        found = (
            compare(pair, 3 if quick else 25, folder, (2, 32) if quick else pair.shape)
            if torch_python()
            else {}
        )
        for name, bound in GOALS.items():
            work = f"{pair.name} in lockstep with PyTorch, {name}"
            results.append(
                Goal(work, found.get(name), bound, "apart", False, reason="" if found else NO_TORCH)
            )
        results += [Figure(f"{pair.name}: {name}", value, "") for name, value in found.items()]
    return results


def lockstep_table(figures: Sequence[Figure]) -> str:
    """One row for each comparison, one column for each network."""
    rows: dict[str, list[str]] = {}
    networks: dict[str, None] = {}
    for figure in figures:
        network, _, compared = figure.name.partition(": ")
        networks[network] = None
        rows.setdefault(compared, []).append(short(figure.value))
    return table(
        ["share apart (losses: nats)", *networks], [[name, *cells] for name, cells in rows.items()]
    )


if __name__ == "__main__":
    run_alone(TITLE, measure, to_table=lockstep_table)
