"""Runs steps of this project's networks, one for each line of JSON on the standard input.

    python -m benchmarks.our_steps

Commands, each answered by one line of JSON: {"do": "load", "task", "overrides", "shape": [B, T or
null], "precision", "training"}; {"do": "load_adpit", "arrays"}, by the loss of the arrays of a
file; {"do": "step"}, by its seconds; {"do": "memory"}, by the peak of the process in MB; {"do":
"peak", "size"}, by the operations of a matrix product in a second.
"""

import json
import os
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.measure import peak_megabytes, task, wall_s
from benchmarks.operations import operations

STEPS_PER_EPOCH = 100  # of schedules that count epochs
PRECISIONS = {"float32": "float32", "tf32": "float32", "bfloat16": "mixed_bfloat16"}


class Steps:
    """A network with a batch of random data.

    Attributes:
        operations: of one forward pass of the batch.
        parameters: trainable weights of the network.
        shape: of the batch, (B, T, F, C).
        run: does one step.
    """

    def __init__(self, request: dict[str, Any]):
        import keras
        import numpy as np

        from common.family import load
        from common.runtime import distribution

        precision = f"run.mixed_precision={PRECISIONS[request['precision']]}"
        backend = f"run.backend={keras.backend.backend()}"
        with tempfile.TemporaryDirectory() as folder:
            settings = task(
                request["task"], Path(folder), precision, backend, *request.get("overrides", ())
            )
        distribution.prepare(settings.run)
        experiment = load(settings.family, "experiment").Experiment.prepare(settings)
        bands_channels = experiment.new_network().input_shape[2:]
        examples, frames = request["shape"]
        self.shape = (examples, frames or settings.pipeline.sequence_frames, *bands_channels)
        stage = experiment.system.stages(settings)[0]
        keras.utils.set_random_seed(0)
        with distribution.devices(settings.run):
            network = stage.build(self.shape[1:])  # to count operations and outputs
            model = new_model(experiment, stage, bands_channels)
            self.operations = operations(network) * examples
        self.parameters = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
        route = _training if request["training"] else _prediction
        self.run: Callable[[], object] = route(settings, stage, network, model, self.shape)


def new_model(experiment: Any, stage: Any, bands_channels: tuple[int, ...]) -> Any:
    """The model that a stage trains, student and teacher included, for features (F, C)."""
    import numpy as np

    from common.models.layers import with_statistics
    from common.training.system import ModelParts

    statistics = np.zeros(bands_channels), np.ones(bands_channels)

    def build(frontend: Any = None) -> Any:
        inner = stage.build((None, *bands_channels))
        return with_statistics(inner, *statistics, frontend, experiment.levels())

    if stage.join is None:
        return build()
    return stage.join(ModelParts(build, None, STEPS_PER_EPOCH))


def _training(
    settings: Any, stage: Any, network: Any, model: Any, shape: tuple[int, ...]
) -> Callable[[], object]:
    import keras
    import numpy as np

    from common.models.optimizer import build_optimizer
    from common.runtime.distribution import jit_setting

    model.compile(
        build_optimizer(settings.training, STEPS_PER_EPOCH),
        dict(stage.losses),
        dict(stage.loss_weights),
        jit_compile=jit_setting(settings.run),
    )
    rng = np.random.default_rng(0)
    n_classes = settings.dataset.n_classes
    if stage.event_targets is None:
        targets = random_targets(stage, network, n_classes, shape, rng)
        hide_unknown(targets, stage, settings)
    else:
        targets = targets_of_events(stage, n_classes, shape, rng)
    y = {name: keras.ops.convert_to_tensor(each) for name, each in targets.items()}
    x = keras.ops.convert_to_tensor(rng.normal(size=shape).astype(np.float32))
    return partial(model.train_on_batch, x, y)


def random_targets(
    stage: Any, network: Any, n_classes: int, shape: tuple[int, ...], rng: Any
) -> dict[str, Any]:
    """Zeros and ones, also in place of angles: (B, K), or (B, T', K times arrays)."""
    targets = {}
    for output, arrays in stage.targets.items():
        time = () if len(network.output[output].shape) == 2 else (shape[1] // stage.target_stride,)
        width = n_classes * len(arrays)
        targets[output] = rng.integers(0, 2, (shape[0], *time, width)).astype("float32")
    return targets


def hide_unknown(targets: dict[str, Any], stage: Any, settings: Any) -> None:
    """Sets what parts of a batch have no labels of to -1, in place."""
    start = 0
    for part in getattr(getattr(settings, "sets", None), "parts", ()):
        for output, arrays in stage.targets.items():
            if {*arrays} & {*part.unknown}:
                targets[output][start : start + part.batch_size] = -1
        start += part.batch_size


def targets_of_events(
    stage: Any, n_classes: int, shape: tuple[int, ...], rng: Any
) -> dict[str, Any]:
    """Targets of random events, two of them at once on average, by output, (B, T', ...)."""
    import numpy as np

    made, stride, (examples, n_frames) = stage.event_targets, stage.target_stride, shape[:2]
    duration_s = n_frames * made.feature_hop_s
    middles = np.arange(n_frames // stride) * stride + stride // 2
    sequences = []
    for _ in range(examples):
        onset_s = np.sort(rng.uniform(0.0, duration_s, 8))
        columns = [
            rng.integers(0, n_classes, 8),
            onset_s,
            onset_s + duration_s / 4,
            rng.integers(-180, 180, 8),
            rng.integers(-40, 41, 8),
            rng.uniform(1.0, 4.0, 8),
        ]
        table = made.table(np.stack(columns, axis=1), n_frames, True)
        sequences.append(made.make(table, middles))
    return {name: np.stack([each[name] for each in sequences]) for name in made.shapes}


def _prediction(
    settings: Any, stage: Any, network: Any, model: Any, shape: tuple[int, ...]
) -> Callable[[], object]:
    import numpy as np

    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    return partial(model.predict_on_batch, x)


class Adpit:
    """ADPIT of the `target` and `output` of a file, and its gradient, on TensorFlow.

    Attributes:
        run: computes both; returns the loss.
    """

    def __init__(self, path: str):
        import numpy as np
        import tensorflow as tf

        from common.runtime.memory import keep_freed_memory
        from seld.losses.accdoa import MultiAccdoaError

        keep_freed_memory()  # as training does
        arrays, loss = np.load(path, allow_pickle=False), MultiAccdoaError()
        target, output = (tf.constant(arrays[name]) for name in ("target", "output"))

        @tf.function
        def with_gradient(output: Any) -> tuple[Any, Any]:
            with tf.GradientTape() as tape:
                tape.watch(output)
                value = loss(target, output)
            return value, tape.gradient(value, output)

        self.run: Callable[[], float] = lambda: float(with_gradient(output)[0])


def matrix_peak(size: int, precision: str) -> float:
    """Operations per second of products of square matrices, the best of five times ten in a row."""
    import keras
    import numpy as np

    kind = "bfloat16" if precision == "bfloat16" else "float32"
    matrix = keras.ops.cast(keras.random.normal((size, size), seed=0), kind)

    def ten() -> None:
        products = [keras.ops.matmul(matrix, matrix) for _ in range(10)]
        np.asarray(products[-1][0, :1])  # waits

    ten()
    return 10 * 2 * size**3 / min(wall_s(ten) for _ in range(5))


def execute(
    request: dict[str, Any], steps: Steps | Adpit | None
) -> tuple[dict[str, Any], Steps | Adpit | None]:
    """Executes a request; returns the reply, and the loaded network or loss."""
    if request["do"] == "load":
        steps = Steps(request)
        loaded = {
            "parameters": steps.parameters,
            "shape": steps.shape,
            "operations": steps.operations,
        }
        return loaded, steps
    if request["do"] == "load_adpit":
        steps = Adpit(request["arrays"])
        return {"loss": steps.run()}, steps
    if request["do"] == "memory":
        return {"megabytes": peak_megabytes()}, steps
    if request["do"] == "peak":
        return {"operations_per_s": matrix_peak(request["size"], request["precision"])}, steps
    if steps is None:
        raise ValueError("There is no network to run. Expected: a request to load one before this.")
    return {"seconds": wall_s(steps.run)}, steps


def main() -> None:
    """Serves requests until the input ends; output of libraries is kept out of the replies."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    steps: Steps | Adpit | None = None
    for line in sys.stdin:
        reply, steps = execute(json.loads(line), steps)
        print(json.dumps(reply), file=replies, flush=True)


if __name__ == "__main__":
    main()
