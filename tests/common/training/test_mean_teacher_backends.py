"""The mean teacher trains on JAX and PyTorch, to the weights that TensorFlow finds."""

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest

from tests.common.training.teacher_networks import QUIET, teacher_model, two_batches
from tests.forks import run_on_jax
from tests.patience import PATIENCE_S

PROGRAM = """
import sys
import keras
import numpy as np
from tests.common.training.teacher_networks import ALL_CHANGES, QUIET, teacher_model, two_batches

model = teacher_model(QUIET)
with np.load(sys.argv[1]) as stored:
    weights = [stored[name] for name in sorted(stored.files)]
model.student.set_weights(weights)
model.teacher.set_weights(weights)
x, y = two_batches()
loss = model.fit(x, y, batch_size=8, verbose=0, shuffle=False).history["loss"]
changes = {name: ALL_CHANGES[name] for name in ("mixup", "time_mask", "filter_augment")}
changed = teacher_model({}, changes, dropout=0.5)
states = [np.asarray(each.generator.state)[1] for each in changed.augmentations]
changed.fit(x, y, batch_size=8, verbose=0, shuffle=False)
drawn = [np.asarray(each.generator.state)[1] for each in changed.augmentations]
assert all(after > before for before, after in zip(states, drawn))  # not the same draws again
assert all(np.isfinite(each).all() for each in changed.get_weights())
assert keras.backend.backend() == sys.argv[3]
assert (int(model.iterations), int(changed.iterations)) == (2, 2)
results = {f"{number:02d}": each for number, each in enumerate(model.get_weights())}
np.savez(sys.argv[2], loss=loss, **results)
"""


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_two_steps_equal_those_on_tensorflow(backend, tmp_path):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    model = teacher_model(QUIET)
    weights = {f"{number:02d}": each for number, each in enumerate(model.student.get_weights())}
    np.savez(tmp_path / "weights.npz", **weights)
    x, y = two_batches()
    history = model.fit(x, y, batch_size=8, verbose=0, shuffle=False).history
    places = [tmp_path / "weights.npz", tmp_path / "results.npz", backend]
    if backend == "jax":
        run_on_jax(PROGRAM, tmp_path, *places)
    else:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, *places],
            env={**os.environ, "KERAS_BACKEND": backend},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "results.npz") as results:
        np.testing.assert_allclose(results["loss"], history["loss"], rtol=1e-5)
        for number, expected in enumerate(model.get_weights()):
            np.testing.assert_allclose(results[f"{number:02d}"], expected, atol=1e-5)
