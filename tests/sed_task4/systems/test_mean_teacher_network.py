import logging

import keras
import numpy as np
import pytest
from pydantic import ValidationError

from common.errors import CheckpointError, ConfigError
from common.models.layers import set_weights_by_name, weights_by_name
from common.models.torch_weights import load_state, torch_state
from sed_task4.systems._mean_teacher_network import (
    NetworkConfig,
    build_model,
    check_network,
    published_state,
    torch_names,
)
from tests.numpy_layers import convolve, gru_reset_after, normalise, pool, random_weights, sigmoid

BANDS, N_CLASSES, SIZE = 8, 3, 5
SMALL = {
    "n_filters": (4, 6),
    "pool_bands": (4, 2),
    "pool_frames": (2, 1),
    "gru_units": (3,),
    "dropout": 0.0,
}
DYNAMIC = {"dynamic_layers": (False, True), "activation": "cg", "dynamic_kernels": 2}
JOINED = {"embeddings": "pool1d", "embedding_size": SIZE}
VARIANTS = {
    "glu": {},
    "no attention": {"attention": "none"},
    "layer norm": {"normalization": "layer", "activation": "leakyrelu"},
    "relu": {"activation": "relu", "attention": "time", "kernel_size": (5, 3)},
    "dynamic": DYNAMIC,
    "dynamic in time": DYNAMIC | {"dynamic_pooling": "frequency"},
    "dynamic by clip": DYNAMIC | {"dynamic_pooling": "both"},
    "heads": {"heads": (1, 2), "class_masks": True},
    "pool1d": JOINED,
    "frame": JOINED | {"embeddings": "frame", "embedding_units": 3, "class_masks": True},
    "global": JOINED | {"embeddings": "global"},
}


def settings(**own) -> NetworkConfig:
    return NetworkConfig(**{**SMALL, **own})


def small_model(channels: int = 1, **own) -> keras.Model:
    return build_model((None, BANDS, channels), N_CLASSES, settings(**own))


def spectra(frames: int = 7, channels: int = 1, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(2, frames, BANDS, channels)).astype(np.float32)


def inputs_of(model: keras.Model, frames: int = 7, length: int = 4):
    """Random inputs, as many as the model takes."""
    if not isinstance(model.input, dict):
        return spectra(frames)
    rng = np.random.default_rng(1)
    given = {
        "features": spectra(frames),
        "embeddings": rng.normal(size=(2, length, SIZE)).astype(np.float32),
        "valid_classes": np.array([[1, 1, 0], [0, 1, 1]], bool),
    }
    return {name: given[name] for name in model.input}


def filled(model: keras.Model, seed: int = 2) -> dict[str, np.ndarray]:
    """Random weights of a model, which gets them."""
    weights = random_weights(weights_by_name(model), seed)
    set_weights_by_name(model, weights)
    return weights


def numbers(outputs: dict) -> dict[str, np.ndarray]:
    return {name: np.asarray(value) for name, value in outputs.items()}


@pytest.fixture
def mixed_bfloat16():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    yield
    keras.config.set_dtype_policy(before)


YEAR_2019 = {"n_filters": 64, "pool_bands": (4, 4, 4), "pool_frames": 2, "gru_units": (64, 64)}
FDY = {"n_filters": (32, 64, 128, 256, 256, 256, 256), "activation": "cg", "gru_units": (256, 256)}
BEATS = {"embedding_size": 768, "embeddings": "pool1d"}


@pytest.mark.parametrize(
    ("own", "bands", "n_classes", "trainable", "statistics"),
    [
        (YEAR_2019, 64, 10, 214_356, 384),
        ({}, 128, 10, 1_112_420, 1_248),
        ({"attention": "none"}, 128, 10, 1_109_850, 1_248),
        (BEATS | {"embeddings": "frame"}, 128, 10, 5_215_076, 1_248),
        (BEATS, 128, 10, 1_227_236, 1_248),
        (BEATS | {"gru_units": (192, 192)}, 128, 27, 1_785_094, 1_248),
        (BEATS | {"gru_units": (192,), "heads": (10, 17)}, 128, 27, 1_119_238, 1_248),
        (FDY | {"dynamic_layers": (False,) + 6 * (True,)}, 128, 10, 11_061_468, 2_992),
        (FDY, 128, 10, 4_427_956, 2_496),
    ],
)
def test_published_sizes_have_the_published_numbers_of_parameters(
    own, bands, n_classes, trainable, statistics
):
    model = build_model((None, bands, 1), n_classes, NetworkConfig(**own))
    found = [
        sum(int(np.prod(weight.shape)) for weight in weights)
        for weights in (model.trainable_weights, model.non_trainable_weights)
    ]
    assert found == [trainable, statistics]


def numpy_network(x: np.ndarray, weights: dict[str, np.ndarray], kind: str) -> dict:
    """Outputs of the form of 2019 for one example (T, F, C), by its formulas."""

    def dense(values: np.ndarray, name: str) -> np.ndarray:
        return values @ weights[f"{name}/kernel"] + weights[f"{name}/bias"]

    for n, pools in enumerate(zip(SMALL["pool_frames"], SMALL["pool_bands"], strict=True)):
        x = convolve(x, weights[f"conv{n}/kernel"]) + weights[f"conv{n}/bias"]
        x = normalise(x, weights, f"bn{n}", 1e-3)
        linear = dense(x, f"gate{n}")
        x = linear * sigmoid(x) if kind == "glu" else x * sigmoid(linear)
        x = pool(x, *pools, reduce=np.mean)
    x = x.reshape(len(x), -1)
    for n in range(2):
        ways = [
            [weights[f"gru{n}/{way}/{part}"] for part in ("kernel", "recurrent_kernel", "bias")]
            for way in ("forward", "backward")
        ]
        halves = gru_reset_after(x, *ways[0]), gru_reset_after(x[::-1], *ways[1])[::-1]
        x = np.concatenate(halves, axis=-1)
    frames, scores = sigmoid(dense(x, "dense")), np.exp(dense(x, "dense_softmax"))
    shares = np.clip(scores / scores.sum(axis=-1, keepdims=True), 1e-7, 1)
    return {"frames": frames, "clip": np.average(frames, axis=0, weights=shares)}


@pytest.mark.parametrize("kind", ["glu", "cg"])
def test_the_form_of_2019_equals_its_formulas(kind):
    model = small_model(activation=kind, gru_units=(5, 4))
    weights, x = filled(model), spectra()
    expected = [numpy_network(example, weights, kind) for example in x]
    for name, value in model(x).items():
        joined = np.stack([outputs[name] for outputs in expected])
        np.testing.assert_allclose(value, joined, atol=3e-5)


@pytest.mark.parametrize("name", VARIANTS)
def test_any_number_of_frames_gives_as_many_pooled_ones(name):
    model = small_model(**VARIANTS[name])
    for frames in (2, 9):
        outputs = numbers(model(inputs_of(model, frames)))
        assert outputs["frames"].shape == (2, frames // 2, N_CLASSES)
        assert outputs["clip"].shape == (2, N_CLASSES)
        for value in outputs.values():
            assert value.dtype == np.float32 and value.min() >= 0 and value.max() <= 1


@pytest.mark.parametrize("name", ["dynamic", "frame", "heads"])
def test_two_steps_change_all_weights_that_matter(name):
    keras.utils.set_random_seed(0)
    model = small_model(**VARIANTS[name] | {"dropstep_frames": 2, "gru_input_dropout": 0.1})
    before = numbers(weights_by_name(model))
    x = inputs_of(model)
    y = {"frames": np.ones((2, 3, N_CLASSES)), "clip": np.ones((2, N_CLASSES))}
    model.compile(keras.optimizers.Adam(0.01), "binary_crossentropy", run_eagerly=True)
    losses = model.fit(x, y, epochs=2, batch_size=2, verbose=0).history["loss"]
    assert np.isfinite(losses).all()
    for weight, new in numbers(weights_by_name(model)).items():
        assert np.isfinite(new).all()
        # Batch normalisation takes away what a bias before it adds; one frame has no state before.
        idle = "conv0/bias", "conv1/bias", "embedding_backward/recurrent_kernel"
        assert np.any(new != before[weight]) or weight in idle


@pytest.mark.parametrize("name", VARIANTS)
def test_published_tensors_are_written_back_unchanged(name):
    network = settings(**VARIANTS[name])
    model, names = build_model((None, BANDS, 1), N_CLASSES, network), torch_names(network)
    rng = np.random.default_rng(0)
    state = {
        tensor: rng.normal(size=array.shape).astype(np.float32)
        for tensor, array in torch_state(model, names).items()
    }
    load_state(model, published_state(state, network), names)
    for tensor, array in torch_state(model, names).items():
        np.testing.assert_array_equal(array, state[tensor])


@pytest.mark.parametrize("name", ["dynamic", "frame", "heads"])
def test_a_stored_network_gives_the_same(name, tmp_path):
    model = small_model(**VARIANTS[name] | {"dropstep_frames": 2})
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras", safe_mode=True)
    for output, value in model(inputs_of(model)).items():
        np.testing.assert_allclose(loaded(inputs_of(model))[output], value, atol=1e-6)


@pytest.mark.parametrize("name", ["layer norm", "dynamic", "frame", "pool1d"])
def test_the_outputs_stay_float32_under_mixed_precision(name, mixed_bfloat16):
    model = small_model(**VARIANTS[name])
    outputs = model(inputs_of(model), training=True)
    kinds = {keras.backend.standardize_dtype(value.dtype) for value in outputs.values()}
    assert kinds == {"float32"}
    assert model.get_layer("gru0").compute_dtype == "bfloat16"


TENSORS = {
    "dynamic": {
        "cnn.cnn.conv0.weight": (4, 1, 3, 3),
        "cnn.cnn.conv1.weight": (2, 6, 4, 3, 3),
        "cnn.cnn.conv1.attention.conv1d1.weight": (4, 4, 3),
        "cnn.cnn.conv1.attention.bn.running_var": (4,),
        "cnn.cnn.conv1.attention.conv1d2.bias": (2,),
        "cnn.cnn.cg1.linear.weight": (6, 6),
    },
    "dynamic by clip": {"cnn.cnn.conv1.attention.fc1.weight": (4, 4)},
    "layer norm": {"cnn.cnn.layernorm1.weight": (6,)},
    "heads": {"dense.1.weight": (2, 6), "dense_softmax.0.bias": (1,)},
    "frame": {
        "frame_embs_encoder.weight_hh_l0_reverse": (9, 3),
        "shrink_emb.0.weight": (6, 6),
        "shrink_emb.1.bias": (6,),
        "cat_tf.weight": (6, 12),
        "rnn.rnn.weight_ih_l0_reverse": (9, 6),
    },
}


@pytest.mark.parametrize("name", TENSORS)
def test_tensors_have_the_published_names_and_layouts(name):
    network = settings(**VARIANTS[name])
    model = build_model((None, BANDS, 1), N_CLASSES, network)
    state = torch_state(model, torch_names(network))
    assert {tensor: state[tensor].shape for tensor in TENSORS[name]} == TENSORS[name]


def test_basis_kernels_keep_their_place():
    model = small_model(**DYNAMIC)
    filled(model)
    state = torch_state(model, torch_names(settings(**DYNAMIC)))
    kernel = np.asarray(weights_by_name(model)["conv1/kernel"])  # (3, 3, 4, 2 * 6)
    assert state["cnn.cnn.conv1.weight"][1, 4, 2, 0, 1] == kernel[0, 1, 2, 6 + 4]


def test_without_attention_in_the_checkpoint_clips_are_means_and_a_warning_says_so(caplog):
    network, model = settings(), small_model()
    filled(model)
    state = torch_state(model, torch_names(network))
    old = {  # as in 2019: the names lack a part, too
        name.replace("cnn.cnn.", "cnn."): array
        for name, array in state.items()
        if "dense_softmax" not in name
    }
    with caplog.at_level(logging.WARNING):
        load_state(model, published_state(old, network), torch_names(network))
    assert "no weights of the attention" in caplog.text
    outputs = numbers(model(spectra()))
    np.testing.assert_allclose(outputs["clip"], outputs["frames"].mean(axis=1), atol=1e-6)
    caplog.clear()
    published_state(state, network)
    published_state(old, settings(attention="none"))
    assert not caplog.text


def test_a_checkpoint_of_two_networks_is_refused_with_a_remedy():
    state = {"sed_student.dense.bias": np.zeros(3), "sed_teacher.dense.bias": np.zeros(3)}
    with pytest.raises(CheckpointError, match=r"sed_student and sed_teacher.*--part"):
        published_state(state, settings())


def test_frozen_batch_normalisation_does_not_move():
    model = small_model(**DYNAMIC, freeze_batch_norm=True)
    before = numbers(weights_by_name(model))
    y = {"frames": np.ones((2, 3, N_CLASSES)), "clip": np.ones((2, N_CLASSES))}
    model.compile("sgd", "binary_crossentropy", run_eagerly=True)
    model.fit(spectra(), y, epochs=1, verbose=0)
    moved = {
        name: bool(np.any(new != before[name]))
        for name, new in numbers(weights_by_name(model)).items()
    }
    frozen = [name for name in moved if name.startswith("bn") or "_norm/" in name]
    assert len(frozen) == 12 and not any(moved[name] for name in frozen)
    assert moved["conv0/kernel"] and moved["dense/kernel"]


def test_running_statistics_of_the_published_momentum_are_those_of_the_last_batch():
    model = small_model(batch_norm_momentum=0.01)
    x = spectra(21)
    model(x, training=True)
    first = keras.Model(model.input, model.get_layer("conv0").output)(x)
    maps = np.asarray(first).reshape(-1, 4)
    found = numbers(weights_by_name(model))
    np.testing.assert_allclose(found["bn0/moving_mean"], 0.99 * maps.mean(axis=0), atol=1e-5)
    expected = 0.01 + 0.99 * maps.var(axis=0, ddof=1)
    np.testing.assert_allclose(found["bn0/moving_variance"], expected, rtol=1e-4)


def test_masked_classes_are_0_and_take_no_attention():
    own = {"class_masks": True}
    model, plain = small_model(**own), small_model()
    set_weights_by_name(plain, filled(model))
    valid = np.array([[1, 1, 1], [0, 1, 0]], bool)
    outputs = numbers(model({"features": spectra(), "valid_classes": valid}))
    expected = numbers(plain(spectra()))
    np.testing.assert_allclose(outputs["frames"], expected["frames"] * valid[:, None], atol=1e-6)
    np.testing.assert_allclose(outputs["clip"][0], expected["clip"][0], atol=1e-6)
    # The only valid class has all the attention in each frame, so all frames weigh the same.
    np.testing.assert_allclose(
        outputs["clip"][1], [0, expected["frames"][1, :, 1].mean(), 0], atol=1e-6
    )


def test_heads_attend_to_their_own_classes():
    one, two = small_model(), small_model(heads=(1, 2))
    set_weights_by_name(two, filled(one))
    frames, apart = numbers(one(spectra())), numbers(two(spectra()))
    np.testing.assert_array_equal(frames["frames"], apart["frames"])
    # A class alone has the attention 1 everywhere.
    np.testing.assert_allclose(apart["clip"][:, 0], apart["frames"][..., 0].mean(axis=1), rtol=1e-5)
    assert np.abs(frames["clip"] - apart["clip"]).max() > 1e-3


def test_channels_share_their_convolutions():
    model = small_model(channels=2, shared_channels=True)
    filled(model)
    x = spectra(channels=2)
    joined = keras.Model(model.input, model.get_layer("frames_of_maps").output)(x)
    one = small_model()
    apart = keras.Model(one.input, one.get_layer("frames_of_maps").output)
    weights = weights_by_name(model)
    kept = {name: np.asarray(weights[name]) for name in weights_by_name(apart)}
    set_weights_by_name(apart, kept)
    expected = [apart(x[..., channel : channel + 1]) for channel in range(2)]
    np.testing.assert_allclose(joined, np.concatenate(expected, axis=-1), atol=1e-5)


def test_the_summary_of_embeddings_is_the_last_output_of_a_bidirectional_gru():
    model = small_model(**VARIANTS["frame"])
    weights = filled(model)
    x = inputs_of(model)
    layer = keras.layers.Bidirectional(keras.layers.GRU(3, return_sequences=True))
    layer.build((None, None, SIZE))
    for way, gru in (("forward", layer.forward_layer), ("backward", layer.backward_layer)):
        parts = ("kernel", "recurrent_kernel", "bias")
        gru.set_weights([weights[f"embedding_{way}/{part}"] for part in parts])
    found = keras.Model(model.input, model.get_layer("embedding_state").output)(x)
    np.testing.assert_allclose(found, layer(x["embeddings"])[:, -1], atol=1e-5)


def test_dropout_and_drop_step_act_in_training_only():
    rates = {"dropout": 0.5, "gru_input_dropout": 0.2, "gru_dropout": 0.1, "dropstep_frames": 4}
    model = small_model(**JOINED, **rates, gru_units=(3, 3))
    x = inputs_of(model)
    np.testing.assert_array_equal(model(x)["clip"], model(x)["clip"])
    runs = [np.asarray(model(x, training=True)["clip"]) for _ in range(2)]
    assert np.abs(runs[0] - runs[1]).max() > 0
    layers = {"drop0": 0.5, "drop1": 0.5, "gru_input_drop": 0.2, "gru1_drop": 0.1, "drop": 0.5}
    assert {name: model.get_layer(name).rate for name in layers} == layers
    steps = [model.get_layer(name).max_frames for name in ("dropstep", "embedding_dropstep")]
    assert steps == [4, 4]


def test_first_weights_of_2019_are_as_published():
    keras.utils.set_random_seed(1)
    network = NetworkConfig(**YEAR_2019, initialisation="dcase2019")
    found = numbers(weights_by_name(build_model((None, 64, 1), 10, network)))
    conv = found["conv1/kernel"]
    assert np.abs(conv).max() <= np.sqrt(2) * np.sqrt(6 / (9 * 128))
    np.testing.assert_allclose(conv.std(), np.sqrt(2) * np.sqrt(2 / (9 * 128)), rtol=0.02)
    np.testing.assert_allclose(found["gate1/kernel"].std(), 0.01, rtol=0.05)
    np.testing.assert_allclose(found["dense/kernel"].std(), 0.01, rtol=0.1)
    scales = np.concatenate([found[f"bn{n}/gamma"] for n in range(3)])
    np.testing.assert_allclose([scales.mean(), scales.std()], [1, 0.02], atol=5e-3)
    for part in ("kernel", "recurrent_kernel"):
        rows = found[f"gru0/backward/{part}"]  # orthogonal as a whole
        np.testing.assert_allclose(rows @ rows.T, np.eye(64), atol=1e-5)
    assert 0.1 < np.abs(found["gru0/forward/bias"]).max() <= 1 / 8
    assert not any(found[f"{name}/bias"].any() for name in ("conv1", "gate1", "dense"))


def test_first_weights_of_pytorch_depend_on_the_inputs():
    found = numbers(weights_by_name(build_model((None, 64, 1), 10, NetworkConfig(**YEAR_2019))))
    sizes = {"conv1": 9 * 64, "gate1": 64, "dense": 128, "gru0/forward": 64}
    for name, fan_in in sizes.items():
        for part in ("kernel", "bias"):
            most = np.abs(found[f"{name}/{part}"]).max()
            assert 0.8 / np.sqrt(fan_in) < most <= 1 / np.sqrt(fan_in)
    assert (found["bn0/gamma"] == 1).all()


@pytest.mark.parametrize(
    ("own", "shape", "message"),
    [
        ({"n_filters": (4, 4, 4)}, (None, 8, 1), "network.n_filters.*Expected: 2 entries"),
        ({"dynamic_layers": (True,)}, (None, 8, 1), "network.dynamic_layers.*2 entries"),
        ({}, (None, 7, 1), "at most 7. Received: .4, 2., whose product is 8"),
        ({}, (1, 8, 1), "at least as many. Received: 1"),
    ],
)
def test_layers_that_do_not_fit_are_refused_before_any_work(own, shape, message):
    with pytest.raises(ConfigError, match=message):
        check_network(settings(**own), shape)


def test_heads_that_are_not_the_classes_are_refused():
    with pytest.raises(ConfigError, match=r"a sum of 3. Received: \[1, 1\]"):
        small_model(heads=(1, 1))


@pytest.mark.parametrize(
    "own",
    [
        {"rnn_layers": 1},  # of the configuration of 2024, which its code does not know
        {"kernel_size": 4},
        {"embeddings": "pool1d"},
        {"embedding_size": 768},
        {"activation": "elu"},
        {"dropstep_share": 0.0},
    ],
)
def test_impossible_settings_are_refused(own):
    with pytest.raises(ValidationError):
        settings(**own)
