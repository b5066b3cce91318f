"""Outputs of the stages of a system joined, and of folds averaged."""

import keras
import numpy as np
import pytest

from common.errors import CheckpointError
from common.models.layers import copy_weights
from common.training.ensemble import EarlierOutputs, Ensemble
from common.training.evaluation import predict_recordings
from common.training.system import Stage, parts
from tests.forks import run_on_jax

T, F = 4, 3


def stage(name: str, outputs_used: tuple[str, ...] = (), part_of: str = "") -> Stage:
    return Stage(name, lambda shape: None, {}, {}, {}, outputs_used=outputs_used, part_of=part_of)


def constant(a: float, b: float) -> keras.Model:
    """A network whose outputs a and b are constants in every frame."""
    x = keras.Input((None, F, 1))
    frames = keras.layers.Reshape((-1, F))(x)[..., :1] * 0.0
    return keras.Model(x, {"a": frames + a, "b": frames + b})


def recordings(*names: str) -> list[dict]:
    return [
        {
            "name": np.array(name.encode()),
            "features": np.zeros((1, T, F, 1), np.float32),
            "targets": {},
            "events": np.zeros((0, 3)),
            "labelled": True,
            "frames": T,
            "sequence_frames": T,
        }
        for name in names
    ]


FIRST = stage("first", ("a",)), constant(1.0, 2.0)


def values(outputs) -> dict[str, set[float]]:
    return {name: set(np.ravel(output)) for name, output in outputs.items()}


def test_the_last_stage_gives_outputs_that_no_earlier_one_gives():
    ensemble = Ensemble([[FIRST, (stage("last"), constant(3.0, 4.0))]])
    earlier = EarlierOutputs([FIRST], lambda: [recordings("x", "y")])
    joined = [
        *predict_recordings(ensemble, recordings("x", "y")),
        *map(earlier.joined, predict_recordings(constant(3.0, 4.0), recordings("x", "y"))),
    ]
    assert [values(prediction.outputs) for prediction in joined] == 4 * [{"a": {1.0}, "b": {4.0}}]


def test_outputs_of_folds_are_averaged():
    folds = [[(stage("only"), constant(*pair))] for pair in ((1.0, 2.0), (3.0, 6.0))]
    batch = np.zeros((1, T, F, 1), np.float32)
    assert values(Ensemble(folds).predict_on_batch(batch)) == {"a": {2.0}, "b": {4.0}}
    largest = Ensemble(folds, lambda of_folds: {"a": max(each["a"].max() for each in of_folds)})
    assert largest.predict_on_batch(batch) == {"a": 3.0}


def test_earlier_stages_predict_once_and_on_request():
    calls = []

    def streams():
        calls.append(1)
        return [recordings("x"), recordings("y")]

    earlier = EarlierOutputs([FIRST], streams)
    assert not calls
    for prediction in predict_recordings(constant(3.0, 4.0), recordings("x", "y")):
        earlier.joined(prediction)
    assert len(calls) == 1


def test_without_earlier_stages_nothing_changes():
    (prediction,) = predict_recordings(constant(3.0, 4.0), recordings("x"))
    assert EarlierOutputs([], list).joined(prediction) is prediction


def test_stages_are_grouped_by_their_system_in_order():
    stages = [stage("one", part_of="p"), stage("two", part_of="q"), stage("three", part_of="p")]
    assert {name: [each.name for each in group] for name, group in parts(stages).items()} == {
        "p": ["one", "three"],
        "q": ["two"],
    }


def dense(units: tuple[int, int], seed: int) -> keras.Model:
    keras.utils.set_random_seed(seed)
    x = keras.Input((3,))
    return keras.Model(
        x, keras.layers.Dense(units[1], name="head")(keras.layers.Dense(units[0], name="body")(x))
    )


def test_only_selected_layers_are_copied():
    source, target = dense((4, 2), 0), dense((4, 2), 1)
    head = target.get_layer("head").get_weights()[0]
    copy_weights(source, target, lambda layer: layer == "body")
    np.testing.assert_array_equal(
        target.get_layer("body").get_weights()[0], source.get_layer("body").get_weights()[0]
    )
    np.testing.assert_array_equal(target.get_layer("head").get_weights()[0], head)


ON_JAX = """
import keras, numpy as np
assert keras.backend.backend() == "jax"
from common.models.layers import copy_weights
layers = [[keras.Input((3,)), keras.layers.Dense(2, name="body")] for _ in range(2)]
source, target = map(keras.Sequential, layers)
copy_weights(source, target, lambda layer: True)
target.compile("sgd", "mse")
target.train_on_batch(np.ones((1, 3)), np.ones((1, 2)))
source.predict_on_batch(np.ones((1, 3)))
"""


def test_a_model_predicts_on_jax_after_another_starts_from_it(tmp_path):
    run_on_jax(ON_JAX, tmp_path)


def test_a_model_of_another_form_is_refused_without_copies():
    source, target = dense((4, 2), 0), dense((4, 5), 1)
    before = target.get_weights()
    with pytest.raises(CheckpointError, match=r"head/kernel of shape \(4, 5\). Received: \(4, 2\)"):
        copy_weights(source, target, lambda layer: True)
    for one, other in zip(before, target.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_recordings_that_are_drawn_later_get_earlier_outputs_too():
    drawn = [recordings("x")]
    earlier = EarlierOutputs([FIRST], lambda: drawn)
    for names in (("x",), ("y", "z")):
        drawn[:] = [recordings(*names)]
        for prediction in predict_recordings(constant(3.0, 4.0), recordings(*names)):
            assert values(earlier.joined(prediction).outputs)["a"] == {1.0}
