from types import SimpleNamespace

import keras
import numpy as np
import pytest
from pydantic import ValidationError

from common.errors import ConfigError
from common.models.layers import set_weights_by_name, weights_by_name, with_statistics
from sed_task4.config import SecondPassConfig
from sed_task4.dataset import DatasetConfig
from sed_task4.decoding import DecodingConfig, decode_clip
from sed_task4.systems.crnn_two_pass import (
    NetworkConfig,
    build_model,
    check_network,
    probabilities,
    stages,
)
from tests.numpy_layers import both_directions, convolve, normalise, pool, random_weights, sigmoid

KERAS2 = {"gru_reset_after": False, "gru_recurrent_activation": "hard_sigmoid_keras2"}
SMALL = {"n_filters": 4, "pool_bands": (4, 2), "gru_units": (5,)}
BANDS, N_CLASSES = 16, 3


def small_model(**settings) -> keras.Model:
    return build_model((None, BANDS, 1), N_CLASSES, NetworkConfig(**{**SMALL, **settings}))


def spectra(frames: int = 10, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(2, frames, BANDS, 1)).astype(np.float32)


@pytest.fixture
def mixed_bfloat16():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    yield
    keras.config.set_dtype_policy(before)


@pytest.mark.parametrize(("settings", "trainable"), [({}, 126_090), (KERAS2, 125_706)])
def test_the_published_size_has_the_published_number_of_parameters(settings, trainable):
    model = build_model((500, 64, 1), 10, NetworkConfig(**settings))
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == trainable
    assert sum(int(np.prod(weight.shape)) for weight in model.non_trainable_weights) == 384
    assert model.output["frames"].shape == (None, 500, 10)


def numpy_crnn(x: np.ndarray, weights: dict[str, np.ndarray]) -> np.ndarray:
    """Frame outputs of the published form on one example (T, F, C)."""
    for block, bands in enumerate(SMALL["pool_bands"]):
        x = convolve(x, weights[f"conv{block}/kernel"]) + weights[f"conv{block}/bias"]
        x = pool(np.maximum(normalise(x, weights, f"bn{block}", 1e-3), 0), 1, bands)
    x = np.concatenate(both_directions(x.reshape(len(x), -1), weights, "gru0"), axis=-1)
    return sigmoid(x @ weights["dense_out/kernel"] + weights["dense_out/bias"])


def test_the_published_form_equals_its_formulas():
    model, x = small_model(**KERAS2), spectra()
    weights = random_weights(weights_by_name(model), seed=2)
    set_weights_by_name(model, weights)
    expected = np.stack([numpy_crnn(example, weights) for example in x])
    outputs = model(x)
    np.testing.assert_allclose(outputs["frames"], expected, atol=2e-5)
    np.testing.assert_allclose(outputs["clip"], expected.mean(axis=1), atol=2e-5)


POOLED = {
    "average": lambda frames: frames.mean(axis=1),
    "linear_softmax": lambda frames: np.stack(
        [np.average(clip, axis=0, weights=clip) for clip in frames]
    ),
    "max": lambda frames: frames.max(axis=1),
}


@pytest.mark.parametrize("kind", POOLED)
def test_clip_pooling_is_average_linear_softmax_or_maximum(kind):
    outputs = {
        name: np.asarray(value) for name, value in small_model(clip_pooling=kind)(spectra()).items()
    }
    np.testing.assert_allclose(outputs["clip"], POOLED[kind](outputs["frames"]), rtol=1e-5)


def test_time_may_be_pooled():
    model = small_model(pool_frames=(5, 1))
    assert model(spectra(20))["frames"].shape == (2, 4, N_CLASSES)


def test_dropout_acts_in_training_only():
    model, x = small_model(), spectra()
    np.testing.assert_array_equal(model(x)["clip"], model(x)["clip"])
    assert (
        np.abs(np.subtract(model(x, training=True)["clip"], model(x, training=True)["clip"])).max()
        > 0
    )
    assert NetworkConfig().dropout == 0.3


def test_the_outputs_stay_float32_under_mixed_precision(mixed_bfloat16):
    model = small_model(clip_pooling="linear_softmax")
    assert {name: value.dtype for name, value in model.output.items()} == {
        "clip": "float32",
        "frames": "float32",
    }
    assert model.get_layer("gru0").compute_dtype == "bfloat16"
    assert all(weight.dtype == "float32" for weight in model.weights)


def task(**settings) -> SimpleNamespace:
    return SimpleNamespace(
        network={**SMALL, **settings},
        dataset=DatasetConfig(classes=("a", "b", "c")),
        second_pass=SecondPassConfig(),
    )


@pytest.mark.parametrize("settings", [{}, {"clip_pooling": "linear_softmax", **KERAS2}])
def test_a_compiled_model_is_saved_and_loaded_in_safe_mode(settings, tmp_path):
    model = with_statistics(
        small_model(**settings), np.full((BANDS, 1), -2.0), np.full((BANDS, 1), 3.0)
    )
    stage = stages(task(**settings))[0]
    model.compile("adam", loss=dict(stage.losses), loss_weights=dict(stage.loss_weights))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    x = spectra()
    for name, value in model(x).items():
        np.testing.assert_allclose(loaded(x)[name], value, atol=1e-6)


def test_pass_1_learns_from_tags_and_pass_2_from_frames():
    first, second = stages(task(pool_frames=(5, 1)))
    assert (first.name, second.name) == ("pass1", "pass2")
    assert (list(first.losses), list(second.losses)) == (["clip"], ["frames"])
    assert first.targets == second.targets == {"clip": ("tags",), "frames": ("activity",)}
    assert first.target_stride == second.target_stride == 5
    names = [set(weights_by_name(stage.build((None, BANDS, 1)))) for stage in (first, second)]
    assert names[0] == names[1]  # the second pass may start from the first


@pytest.mark.parametrize("number", [0, 1])
def test_training_reduces_the_loss(number):
    keras.utils.set_random_seed(0)
    stage = stages(task(clip_pooling="linear_softmax", dropout=0.0))[number]
    model = stage.build((None, BANDS, 1))
    model.compile(
        keras.optimizers.Adam(1e-1),
        loss=dict(stage.losses),
        loss_weights=dict(stage.loss_weights),
        run_eagerly=True,  # tracing takes longer than training
    )
    tags = np.array([[1.0, 0, 0], [0, 0.9, -1]], np.float32)  # pseudo labels may be probabilities
    y = {"clip": tags, "frames": np.repeat(tags[:, None], 4, axis=1)}
    losses = model.fit(spectra(4), y, epochs=3, verbose=0).history["loss"]
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize(
    ("settings", "shape", "message"),
    [
        ({"pool_bands": (4, 4, 8)}, (None, 64, 1), r"divides 64. Received: \[4, 4, 8\]"),
        ({"pool_frames": (5, 1, 1)}, (501, 64, 1), "multiple of 5 frames. Received: 501"),
        ({"n_filters": (4, 4)}, (None, 64, 1), "Expected: 3 entries"),
    ],
)
def test_layers_that_do_not_fit_are_refused_before_any_work(settings, shape, message):
    with pytest.raises(ConfigError, match=message):
        check_network(NetworkConfig(**settings), shape)


def test_impossible_settings_are_refused():
    for settings in (
        {"clip_pooling": "mean"},
        {"gru_units": (0,)},
        {"dropout": 1.0},
        {"doa_output": "xyz"},
    ):
        with pytest.raises(ValidationError):
            NetworkConfig(**settings)


def test_pooled_outputs_are_repeated_and_the_last_one_is_held():
    outputs = {
        "frames": np.array([[0.1], [0.9]]),
        "clip": np.array([[0.2], [0.8]]),
    }  # two sequences of one clip
    frames, clip = probabilities(outputs, network=NetworkConfig(pool_frames=(5, 1, 1)), n_frames=12)
    np.testing.assert_allclose(frames[:, 0], [0.1] * 5 + [0.9] * 7)
    np.testing.assert_allclose(clip, [0.8])


def test_probabilities_become_events_in_seconds():
    frames = np.zeros((20, 2))
    frames[5:10, 1] = 0.8
    outputs = {"frames": frames, "clip": frames.max(axis=0)}
    found = probabilities(outputs, network=NetworkConfig(pool_frames=(5, 1, 1)), n_frames=100)
    decoding = DecodingConfig(decoder="median", median_frames=5, tag_threshold=0.5)
    events = decode_clip(*found, decoding, hop_s=0.02, clip_s=2.0)
    np.testing.assert_allclose(events, [[1, 0.5, 1.0]])
