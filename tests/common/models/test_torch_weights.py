"""Recurrent layers from PyTorch, compared with PyTorch's formulas."""

import keras
import numpy as np
import pytest

from common.errors import CheckpointError
from common.models.layers import weights_by_name
from common.models.torch_weights import load_state, torch_state
from tests.numpy_layers import sigmoid

UNITS, INPUTS = 3, 4
NAMES = {
    f"gru/{way}/{here}": (there, f"gru_{kind}")
    for way, ending in (("forward", "l0"), ("backward", "l0_reverse"))
    for here, there, kind in (
        ("kernel", f"gru.weight_ih_{ending}", "kernel"),
        ("recurrent_kernel", f"gru.weight_hh_{ending}", "recurrent"),
        ("bias", (f"gru.bias_ih_{ending}", f"gru.bias_hh_{ending}"), "bias"),
    )
}


def torch_gru(x: np.ndarray, state: dict[str, np.ndarray], ending: str) -> np.ndarray:
    """GRU of PyTorch on a sequence (T, D) -> (T, U): rows of reset, update gate, new state."""
    hidden, states = np.zeros(UNITS), []
    for frame in x:
        of_input = state[f"gru.weight_ih_{ending}"] @ frame + state[f"gru.bias_ih_{ending}"]
        of_state = state[f"gru.weight_hh_{ending}"] @ hidden + state[f"gru.bias_hh_{ending}"]
        reset, update = np.split(sigmoid((of_input + of_state)[: 2 * UNITS]), 2)
        new = np.tanh(of_input[2 * UNITS :] + reset * of_state[2 * UNITS :])
        hidden = (1 - update) * new + update * hidden
        states.append(hidden)
    return np.array(states)


def gru_model() -> keras.Model:
    x = keras.Input((None, INPUTS))
    gru = keras.layers.GRU(UNITS, return_sequences=True)
    return keras.Model(x, keras.layers.Bidirectional(gru, name="gru")(x))


def random_state(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    shapes = {"weight_ih": (3 * UNITS, INPUTS), "weight_hh": (3 * UNITS, UNITS)}
    return {
        f"gru.{part}_{ending}": (
            rng.normal(0, 0.7, shapes.get(part, (3 * UNITS,))).astype(np.float32)
        )
        for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        for ending in ("l0", "l0_reverse")
    }


def test_a_bidirectional_gru_equals_pytorchs_formulas():
    model, state = gru_model(), random_state()
    load_state(model, state, NAMES)
    x = np.random.default_rng(1).normal(size=(6, INPUTS))
    expected = np.hstack(
        [torch_gru(x, state, "l0"), torch_gru(x[::-1], state, "l0_reverse")[::-1]]
    )  # (T, 2U)
    np.testing.assert_allclose(np.asarray(model(x[None]))[0], expected, atol=1e-6)


def test_a_bidirectional_gru_equals_pytorch_itself():
    torch = pytest.importorskip("torch")
    there = torch.nn.ModuleDict(
        {"gru": torch.nn.GRU(INPUTS, UNITS, batch_first=True, bidirectional=True)}
    )
    model = gru_model()
    load_state(model, {name: tensor.numpy() for name, tensor in there.state_dict().items()}, NAMES)
    x = np.random.default_rng(1).normal(size=(2, 6, INPUTS)).astype(np.float32)
    with torch.no_grad():
        expected, _ = there["gru"](torch.from_numpy(x))
    np.testing.assert_allclose(np.asarray(model(x)), expected.numpy(), atol=1e-6)


def test_its_tensors_come_back_unchanged():
    model, state = gru_model(), random_state()
    load_state(model, state, NAMES)
    found = torch_state(model, NAMES)
    assert set(found) == set(state)
    for name, array in found.items():
        np.testing.assert_array_equal(array, state[name])
        assert array.flags.c_contiguous


def test_both_of_the_arrays_that_make_one_bias_are_needed():
    model, state = gru_model(), random_state()
    before = {name: np.array(weight) for name, weight in weights_by_name(model).items()}
    del state["gru.bias_hh_l0"]
    state["gru.bias_ih_l0_reverse"] = np.zeros(UNITS)
    with pytest.raises(CheckpointError) as caught:
        load_state(model, state, NAMES)
    assert "missing: gru.bias_hh_l0;" in str(caught.value)
    assert "gru.bias_ih_l0_reverse: expected shape (9,), received (3,)" in str(caught.value)
    for name, weight in weights_by_name(model).items():
        np.testing.assert_array_equal(weight, before[name])
