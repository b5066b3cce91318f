import keras
import numpy as np
import pytest
from pydantic import ValidationError

from common.errors import CheckpointError, ConfigError
from common.models.layers import set_weights_by_name, weights_by_name
from common.models.saving import load_model
from common.models.torch_weights import load_state, torch_state
from seld.systems.accdoa import NetworkConfig, build_model, check_network, torch_names
from tests.numpy_layers import (
    attend,
    both_directions,
    convolve,
    dense,
    gru_reset_after,
    hard_sigmoid,
    layer_norm,
    normalise,
    pool,
    random_weights,
    sigmoid,
    transformer,
)

BANDS, CHANNELS, N_CLASSES, N_FRAMES = 9, 3, 2, 11
SMALL = {
    "n_filters": 3,
    "pool_bands": (2, 2),
    "pool_frames": (2, 1),
    "gru_units": (4, 4),
    "dense_units": (5,),
    "attention_heads": 2,
}
OF_2020 = {
    "merge": "each_layer",
    "batch_norm_over": "bands",
    "batch_norm_epsilon": 1e-3,
    "gru_reset_after": False,
    "gru_recurrent_activation": "hard_sigmoid_keras2",
    "dropout_of": "entries",
    "gru_units": (4, 3),
}
OF_2025 = {
    "attention": "2023",
    "end_activation": "tanh_relu",
    "axes": "xy",
    "distance": True,
    "video_features": 6,
    "idle_decoder_layer": True,
    "onscreen": True,
}
FORMS = {
    "2020": OF_2020 | {"output": "sed_doa"},
    "2021": OF_2020 | {"output": "accdoa", "gru_recurrent_activation": "sigmoid"},
    "2022": {"attention": "2022", "dense_units": (5, 4)},
    "2022 single": {"output": "accdoa"},
    "2023": {"attention": "2023", "n_tracks": 2},
    "2024": {"attention": "2023", "end_activation": "linear", "distance": True},
    "2025": {**OF_2025, "video_features": 0, "onscreen": False},
    "2025 video": OF_2025,
    "2025 video single": OF_2025 | {"output": "accdoa"},
}
GRU_PARTS = ("kernel", "recurrent_kernel", "bias")
OF_TORCH = [name for name in FORMS if name >= "2022"]


def small(form: str, **settings) -> NetworkConfig:
    return NetworkConfig(**SMALL | FORMS[form] | settings)


def small_model(form: str, **settings) -> keras.Model:
    return build_model((None, BANDS, CHANNELS), N_CLASSES, small(form, **settings))


def features(network: NetworkConfig, frames: int = N_FRAMES, seed: int = 0):
    """Features (2, T, F, C), and the video where the network sees one."""
    rng = np.random.default_rng(seed)
    spectra = rng.normal(size=(2, frames, BANDS, CHANNELS)).astype(np.float32)
    if not network.video_features:
        return spectra
    shape = 2, frames // network.time_pooling, network.video_features
    return [spectra, rng.normal(size=shape).astype(np.float32)]


@pytest.fixture
def mixed_bfloat16():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    yield
    keras.config.set_dtype_policy(before)


def numpy_network(x, video, weights, network) -> dict[str, np.ndarray]:
    """The network on one example (T, F, C), by the formulas."""
    axis = -1 if network.batch_norm_over == "channels" else 1
    for block, (frames, bands) in enumerate(
        zip(network.frames_of_blocks, network.pool_bands, strict=True)
    ):
        x = convolve(x, weights[f"conv{block}/kernel"]) + weights[f"conv{block}/bias"]
        x = normalise(x, weights, f"bn{block}", network.batch_norm_epsilon, axis)
        x = pool(np.maximum(x, 0), frames, bands)
    x = x.reshape(len(x), -1)
    activation = sigmoid if network.gru_recurrent_activation == "sigmoid" else hard_sigmoid
    for number in range(len(network.gru_units)):
        if network.merge == "each_layer":
            x = np.multiply(*both_directions(x, weights, f"gru{number}", activation=activation))
        else:
            ways = [
                [weights[f"gru{number}/{way}/{part}"] for part in GRU_PARTS]
                for way in ("forward", "backward")
            ]
            backward = gru_reset_after(x[::-1], *ways[1])[::-1]
            x = np.concatenate([gru_reset_after(x, *ways[0]), backward], axis=1)
    if network.merge == "last_layer":
        x = np.multiply(*np.split(np.tanh(x), 2, axis=1))
    heads = network.attention_heads
    if network.attention == "2022":
        x = np.tanh(attend(x, weights, "attention0", heads))
    if network.attention == "2023":
        for number in range(network.attention_layers):
            y = x + attend(x, weights, f"attention{number}", heads)
            x = layer_norm(y, weights, f"attention{number}_norm")
    if network.video_features:
        memory = dense(video, weights, "video_dense")
        for number in range(network.decoder_layers):
            x = transformer(x, weights, f"decoder{number}", heads, memory)

    def head(name: str) -> np.ndarray:
        y = x
        for number in range(len(network.dense_units)):
            y = dense(y, weights, f"{name}_fnn{number}")
        return dense(y, weights, f"{name}_out")

    relu = {"tanh": np.tanh, "linear": lambda y: y, "relu": lambda y: np.maximum(y, 0)}
    relu["sigmoid"] = sigmoid
    ends = [relu[name] for name in network.axis_activations]
    tracks = (network.n_tracks,) if network.output == "multi_accdoa" else ()
    vectors = head("doa").reshape(len(x), *tracks, len(ends), N_CLASSES)
    vectors = np.stack([end(vectors[..., axis, :]) for axis, end in enumerate(ends)], axis=-2)
    if network.output == "sed_doa":
        return {"sed": sigmoid(head("sed")), "doa": vectors}
    return {"accdoa": vectors}


@pytest.mark.parametrize("form", FORMS)
def test_the_networks_equal_the_formulas(form):
    network, model = small(form), small_model(form)
    given = features(network)
    weights = random_weights(weights_by_name(model), seed=3)
    set_weights_by_name(model, weights)
    x, video = given if network.video_features else (given, (None, None))
    expected = [
        numpy_network(*pair, weights, network) for pair in zip(x.astype(float), video, strict=True)
    ]
    outputs = model(given, training=False)
    assert set(outputs) == set(expected[0])
    for name, value in outputs.items():
        np.testing.assert_allclose(value, [each[name] for each in expected], atol=2e-4)


@pytest.mark.parametrize("form", ["2020", "2025 video"])
def test_any_number_of_frames_is_pooled_to_the_labels(form):
    network, model = small(form), small_model(form)
    for frames in (4, 7, 10):
        for value in model(features(network, frames)).values():
            assert value.shape[:2] == (2, frames // 2)


PUBLISHED = [  # settings, channels, bands, classes: trainable parameters
    ({"output": "accdoa"}, 7, 64, 13, 594_471),
    ({}, 7, 382, 13, 1_046_901),
    ({"attention": "2023", "end_activation": "linear", "distance": True}, 7, 64, 13, 742_172),
    (FORMS["2025"], 2, 64, 13, 734_261),
]


@pytest.mark.parametrize(("form", "channels", "bands", "classes", "trainable"), PUBLISHED)
def test_the_published_sizes_have_the_published_numbers_of_parameters(
    form, channels, bands, classes, trainable
):
    model = build_model((None, bands, channels), classes, NetworkConfig(**form))
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == trainable
    assert sum(int(np.prod(weight.shape)) for weight in model.non_trainable_weights) == 384


def test_the_form_of_2020_has_its_number_of_parameters():
    form = OF_2020 | {"output": "sed_doa", "gru_units": (128, 128)}
    model = build_model((None, 64, 7), 14, NetworkConfig(**form))
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == 513_120


@pytest.mark.parametrize("form", ["2022", "2025 video"])
def test_a_saved_network_loads_without_running_its_code(form, tmp_path):
    network, model = small(form), small_model(form)
    model.save(tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras")
    given = features(network)
    for name, value in model(given).items():
        np.testing.assert_allclose(loaded(given)[name], value, atol=1e-6)


@pytest.mark.parametrize("form", ["2020", "2025 video"])
def test_outputs_stay_float32_in_half_precision(form, mixed_bfloat16):
    outputs = small_model(form)(features(small(form)))
    for value in outputs.values():
        assert keras.backend.standardize_dtype(value.dtype) == "float32"
        assert np.isfinite(np.asarray(value)).all()


def test_dropout_of_channels_drops_whole_maps():
    layers = {layer.name: layer for layer in small_model("2022").layers}
    assert isinstance(layers["drop0"], keras.layers.SpatialDropout2D)
    assert layers["gru0"].forward_layer.dropout == 0.0 and layers["gru1_drop"].rate == 0.05
    layers = {layer.name: layer for layer in small_model("2020").layers}
    assert type(layers["drop0"]) is keras.layers.Dropout
    assert layers["gru0"].forward_layer.dropout == layers["sed_drop0"].rate == 0.05


@pytest.mark.parametrize("form", ["2022", "2025 video"])
def test_weights_go_to_pytorch_names_and_back(form):
    network, model = small(form), small_model(form)
    weights = random_weights(weights_by_name(model), seed=1)
    set_weights_by_name(model, weights)
    state = torch_state(model, torch_names(network))
    copy = small_model(form)
    load_state(copy, state, torch_names(network))
    for name, weight in weights_by_name(copy).items():
        np.testing.assert_array_equal(weight, weights[name].astype(np.float32))


def test_published_names_are_those_of_their_year():
    names = {
        form: {
            part
            for there, _ in torch_names(small(form)).values()
            for part in ((there,) if isinstance(there, str) else there)
        }
        for form in OF_TORCH
    }
    assert {"conv_block_list.3.bn.running_var", "attn.fc_v.weight"} <= names["2022"]
    assert {"mhsa_block_list.1.in_proj_weight", "layer_norm_list.0.bias"} <= names["2024"]
    wanted = {"conv_blocks.1.conv.bias", "mhsa_layers.0.out_proj.bias", "layer_norms.1.weight"}
    assert wanted | {"gru.weight_hh_l1_reverse", "fnn_list.1.weight"} <= names["2025"]
    idle = {name for name in names["2025 video"] if name.startswith("transformer_decoder_layer.")}
    assert len(idle) == 18


def test_published_recurrent_weights_run_over_channels_before_bands():
    model, network = small_model("2022 single"), small("2022 single")
    state = torch_state(model, torch_names(network))
    bands, filters = BANDS // 4, SMALL["n_filters"]
    reset = state["gru.weight_ih_l0"][:4].reshape(4, filters, bands)  # gates r, z, n
    here = np.asarray(weights_by_name(model)["gru0/forward/kernel"])  # gates z, r, n
    here = here[:, 4:8].reshape(bands, filters, 4)
    np.testing.assert_array_equal(reset, here.transpose(2, 1, 0))


def test_weights_of_other_sizes_are_refused():
    state = torch_state(small_model("2023"), torch_names(small("2023")))
    other = small("2023", dense_units=(6,))
    with pytest.raises(CheckpointError, match=r"fnn_list\.0\.weight"):
        load_state(small_model("2023", dense_units=(6,)), state, torch_names(other))


@pytest.mark.parametrize("form", ["2020", "2021"])
def test_the_forms_of_keras_have_no_pytorch_names(form):
    with pytest.raises(ConfigError, match="from 2022 on"):
        torch_names(small(form))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pool_bands": (4, 4)}, "a product of at most 9"),
        ({"gru_units": ()}, "gru_units"),
        ({"attention_heads": 3}, "attention_heads"),
        ({"pool_frames": (2, 3)}, "multiple of 6"),
        ({"n_filters": (2, 2, 2)}, "n_filters"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(settings, message):
    network = NetworkConfig(**SMALL | {"attention": "2023"} | settings)
    with pytest.raises(ConfigError, match=message):
        check_network(network, (20, BANDS, CHANNELS))


def test_a_distance_cannot_be_learned_with_tanh():
    with pytest.raises(ValidationError, match="linear"):
        NetworkConfig(distance=True)
