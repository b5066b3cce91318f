import keras
import numpy as np
import pytest

from common.errors import CheckpointError
from common.models.layers import weights_by_name
from common.models.torch_weights import load_state, torch_state
from sed_task4.systems import cnn

NETWORKS = {
    "cnn5": cnn.NetworkConfig(architecture="cnn5", filters=(2, 3, 4, 5)),
    "cnn9": cnn.NetworkConfig(architecture="cnn9", filters=(2, 3, 4, 5)),
    "cnn13": cnn.NetworkConfig(architecture="cnn13", filters=(2, 2, 3, 3, 4, 5)),
}


def built(name: str) -> keras.Model:
    return cnn.build_model((None, 32, 1), 3, NETWORKS[name])


def state_of(name: str, seed: int = 0) -> dict[str, np.ndarray]:
    """A state dict with random values, in another order, with the counters of PyTorch."""
    rng = np.random.default_rng(seed)
    state = torch_state(built(name), cnn.torch_names(NETWORKS[name]))
    shuffled = [str(key) for key in rng.permutation(sorted(state))]
    counters = {
        key.replace("running_mean", "num_batches_tracked"): np.array(7)
        for key in state
        if "mean" in key
    }
    return {
        key: rng.uniform(0.5, 1.5, state[key].shape).astype(np.float32) for key in shuffled
    } | counters


def load(model: keras.Model, name: str, state: dict[str, np.ndarray]) -> None:
    load_state(model, state, cnn.torch_names(NETWORKS[name]))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cnn5", {"conv1.weight": (2, 1, 5, 5), "bn4.running_var": (5,), "fc.weight": (3, 5)}),
        (
            "cnn9",
            {
                "conv_block4.conv2.weight": (5, 5, 3, 3),
                "conv_block1.bn2.bias": (2,),
                "fc.bias": (3,),
            },
        ),
        ("cnn13", {"conv_block6.conv1.weight": (5, 4, 3, 3), "conv_block6.bn1.running_mean": (5,)}),
    ],
)
def test_tensors_have_the_published_names_and_layouts(name, expected):
    state = torch_state(built(name), cnn.torch_names(NETWORKS[name]))
    assert {key: state[key].shape for key in expected} == expected
    assert len(state) == len(weights_by_name(built(name)))


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_are_written_back_unchanged(name):
    model, state = built(name), state_of(name)
    load(model, name, state)
    found = torch_state(model, cnn.torch_names(NETWORKS[name]))
    assert set(found) == {key for key in state if not key.endswith("num_batches_tracked")}
    for key, array in found.items():
        np.testing.assert_array_equal(array, state[key])


def test_filters_keep_their_place_in_time_and_frequency():
    model, state = built("cnn5"), state_of("cnn5")
    load(model, "cnn5", state)
    kernel = np.asarray(weights_by_name(model)["conv2/kernel"])
    assert kernel[1, 3, 0, 2] == state["conv2.weight"][2, 0, 1, 3]
    assert np.asarray(weights_by_name(model)["fc/kernel"])[4, 1] == state["fc.weight"][1, 4]


def test_all_tensors_of_wrong_shape_are_listed_before_any_change():
    model, state = built("cnn9"), state_of("cnn9")
    before = model.get_weights()
    del state["conv_block2.bn1.bias"]
    state["gru.weight_ih_l0"] = np.zeros((3, 3))
    state["fc.weight"] = np.zeros((4, 5))
    state["conv_block1.conv1.weight"] = np.full((2, 1, 3, 3), np.nan)
    with pytest.raises(CheckpointError) as caught:
        load(model, "cnn9", state)
    for part in (
        "missing: conv_block2.bn1.bias",
        "unknown: gru.weight_ih_l0",
        "fc.weight: expected shape (3, 5), received (4, 5)",
        "conv_block1.conv1.weight: expected finite numbers",
    ):
        assert part in str(caught.value)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_weights_of_another_architecture_are_refused():
    with pytest.raises(
        CheckpointError, match=r"missing: .*conv_block1.conv1.weight.*unknown: .*conv1.weight"
    ):
        load(built("cnn9"), "cnn9", state_of("cnn5"))


def test_names_of_another_network_are_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match="They differ in"):
        load_state(built("cnn9"), {}, cnn.torch_names(NETWORKS["cnn5"]))
