"""Benchmark of steps on a GPU: its counts, its goals, and its minimal form on the CPU."""

import keras
import pytest

from benchmarks import gpu
from benchmarks.measure import Figure, Goal, Timing
from benchmarks.operations import operations


def test_operations_are_those_of_all_layers_with_each_use():
    x = keras.Input((10, 6, 3))
    y = keras.layers.Conv2D(4, (3, 5), padding="same")(x)  # (10, 6, 4)
    y = keras.layers.BatchNormalization()(y)
    y = keras.layers.Reshape((10, 24))(y)
    y = keras.layers.Bidirectional(keras.layers.GRU(7, return_sequences=True))(y)  # (10, 14)
    head = keras.layers.Dense(2)
    network = keras.Model(x, [head(y), head(keras.ops.max(y, axis=1))])
    convolution = 2 * 10 * 6 * 4 * 3 * 5 * 3
    recurrent = 2 * 2 * 10 * 3 * 7 * (24 + 7)
    assert operations(network) == convolution + recurrent + 2 * 14 * 2 * (10 + 1)


def test_operations_of_unknown_sizes_are_refused():
    x = keras.Input((None, 6))
    with pytest.raises(ValueError, match="without None"):
        operations(keras.Model(x, keras.layers.Dense(2)(x)))


def test_without_a_gpu_nothing_is_measured_and_goals_give_reasons(monkeypatch, tmp_path):
    monkeypatch.setattr(gpu, "gpu_names", lambda: "")
    results = gpu.measure(False, tmp_path)
    assert results and {goal.verdict for goal in results} == {"not measured: no GPU found"}


def test_a_step_has_its_share_of_peak_and_pytorchs_time():
    steps = gpu.Steps(
        (32, 640, 64, 1), 3e9, 1e12, {"ours": Timing((0.006,)), "PyTorch": Timing((0.012,))}
    )
    values = {figure.name: figure.value for figure in gpu.figures(gpu.SIZES[0], "tf32", steps)}
    assert values["CNN9, average pooling, tf32: share of the matrix peak"] == pytest.approx(50.0)
    goals = {goal.work: goal for goal in gpu.goals({("CNN9, average pooling", "tf32"): steps})}
    assert goals["training step of CNN9, average pooling on a GPU, tf32"].value == pytest.approx(
        6.0
    )
    ratio = goals["training step of CNN9, average pooling on a GPU, tf32, against PyTorch"]
    assert ratio.value == pytest.approx(0.5) and ratio.verdict == "met"
    assert goals["training step of CRNN10 on a GPU, tf32"].verdict == "not measured: no GPU found"


@pytest.mark.soak
def test_the_minimal_form_runs_on_the_cpu_without_a_goal(monkeypatch, tmp_path):
    monkeypatch.setattr(gpu, "gpu_names", lambda: "")
    results = gpu.measure(True, tmp_path)
    figures = {each.name: each.value for each in results if isinstance(each, Figure)}
    assert figures["SELDnet, float32: one step"] > 0
    assert "SELDnet, float32: share of its GRUs" in figures
    assert all(each.value is None for each in results if isinstance(each, Goal))
