import keras
import numpy as np
import pytest

from common.errors import ConfigError
from common.models.layers import set_weights_by_name, weights_by_name
from common.models.saving import load_model
from common.models.torch_weights import load_state, torch_state
from seld.systems.salsa_resnet import NetworkConfig, build_model, check_network, torch_names
from tests.numpy_layers import convolve, dense, gru_reset_after, normalise, pool, random_weights

BANDS, CHANNELS, N_CLASSES = 9, 3, 2
SMALL = {"filters": (2, 3), "n_blocks": (1, 2), "gru_units": 3}
FORMS = [{}, {"over_bands": "max", "repeat": 2, "gru_layers": 1}]


def small(**settings) -> NetworkConfig:
    return NetworkConfig(**SMALL | settings)


def small_model(**settings) -> keras.Model:
    return build_model((None, BANDS, CHANNELS), N_CLASSES, small(**settings))


def features(frames: int = 14, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(2, frames, BANDS, CHANNELS)).astype(np.float32)


def numpy_network(x, weights, network) -> dict[str, np.ndarray]:
    """The network on one example (T, F, C), by the formulas."""

    def layer(y: np.ndarray, name: str, number: object) -> np.ndarray:
        y = convolve(y, weights[f"{name}_conv{number}/kernel"])
        return normalise(y, weights, f"{name}_bn{number}", 1e-5)

    x = np.maximum(layer(np.maximum(layer(x, "stem", 1), 0), "stem", 2), 0)
    x = pool(x, 2, 2, np.mean)
    for group, n_blocks in enumerate(network.n_blocks):
        for block in range(n_blocks):
            name, pools = f"group{group}_block{block}", group > 0 and block == 0
            x = pool(x, 2, 2, np.mean) if pools else x
            y = layer(np.maximum(layer(x, name, 1), 0), name, 2)
            x = np.maximum((layer(x, name, "_skip") if pools else x) + y, 0)
    x = {"average": np.mean, "max": np.max}[network.over_bands](x, axis=1)
    for number in range(network.gru_layers):
        forward, backward = (
            [
                weights[f"gru{number}/{way}/{part}"]
                for part in ("kernel", "recurrent_kernel", "bias")
            ]
            for way in ("forward", "backward")
        )
        back = gru_reset_after(x[::-1], *backward)[::-1]
        x = np.concatenate([gru_reset_after(x, *forward), back], axis=1)
    ends = {
        head: np.repeat(
            dense(np.maximum(dense(x, weights, f"{head}_fc_1"), 0), weights, f"{head}_fc_2"),
            network.repeat,
            axis=0,
        )
        for head in ("event", "x", "y", "z")
    }
    return {"logits": ends["event"], "doa": np.tanh(np.stack([ends[c] for c in "xyz"], axis=1))}


@pytest.mark.parametrize("form", FORMS)
def test_the_network_equals_the_formulas(form):
    network, model, x = small(**form), small_model(**form), features()
    weights = random_weights(weights_by_name(model), seed=3)
    set_weights_by_name(model, weights)
    expected = [numpy_network(example.astype(float), weights, network) for example in x]
    for name, value in model(x, training=False).items():
        np.testing.assert_allclose(value, [each[name] for each in expected], atol=2e-4)


def test_the_published_sizes_have_the_published_number_of_parameters():
    model = build_model((None, 200, 7), 12, NetworkConfig())
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == 14_111_216
    assert sum(int(np.prod(weight.shape)) for weight in model.non_trainable_weights) == 9_728


def test_residual_blocks_pass_on_their_input_at_first():
    model = small_model()
    scales = [w for name, w in weights_by_name(model).items() if name.endswith("bn2/gamma")]
    assert sum(not np.asarray(scale).any() for scale in scales) == 3  # not that of the stem
    assert len(scales) == 4


def test_any_number_of_frames_gives_repeated_decisions():
    model = small_model(repeat=2)
    for frames in (8, 14, 15):
        sizes = {name: value.shape for name, value in model(features(frames)).items()}
        n_outputs = frames // 4 * 2
        assert sizes == {"logits": (2, n_outputs, 2), "doa": (2, n_outputs, 3, 2)}
    assert small(repeat=2).time_pooling == 2


def test_a_saved_network_loads_without_running_its_code(tmp_path):
    model, x = small_model(), features()
    model.save(tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras")
    for name, value in model(x).items():
        np.testing.assert_allclose(loaded(x)[name], value, atol=1e-6)


def test_weights_go_to_pytorch_names_and_back():
    network, model = small(), small_model()
    weights = random_weights(weights_by_name(model), seed=1)
    set_weights_by_name(model, weights)
    state = torch_state(model, torch_names(network))
    wanted = {"encoder.conv_block1.bn2.running_var", "encoder.resnet.layer2.0.downsample.1.weight"}
    assert wanted | {"decoder.gru.bias_hh_l1_reverse", "decoder.z_fc_2.weight"} <= set(state)
    copy = small_model()
    load_state(copy, state, torch_names(network))
    for name, weight in weights_by_name(copy).items():
        np.testing.assert_array_equal(weight, weights[name].astype(np.float32))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_blocks": (1,)}, "one entry for each"),
        ({"repeat": 3}, "divide the 4 frames"),
        ({"filters": (2, 2, 2, 2), "n_blocks": (1, 1, 1, 1)}, "no fewer bands"),
        ({"filters": (2, 2, 2), "n_blocks": (1, 1, 1)}, "multiple of 8"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        check_network(small(**settings), (20, BANDS, CHANNELS))
