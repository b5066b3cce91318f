"""The network of time-frequency segmentation against its formulas."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
from pydantic import ValidationError

from common.errors import ConfigError
from common.models.layers import set_weights_by_name, weights_by_name, with_statistics
from common.models.torch_weights import load_state, torch_state
from sed_task4.decoding import DecodingConfig, decode_clip
from sed_task4.segmentation.dataset import DatasetConfig
from sed_task4.segmentation.systems.tf_segmentation import (
    NetworkConfig,
    build_model,
    check_network,
    probabilities,
    stages,
    torch_names,
)
from tests.numpy_layers import convolve, normalise, random_weights, sigmoid

BANDS, N_CLASSES, FILTERS = 6, 3, (2, 3, 4, 3)


def small(**settings) -> NetworkConfig:
    return NetworkConfig(**{"filters": FILTERS, "gwrp_decay": 0.9, **settings})


def small_model(**settings) -> keras.Model:
    return build_model((None, BANDS, 1), N_CLASSES, small(**settings))


def spectra(frames: int = 9, n: int = 2) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, frames, BANDS, 1)).astype(np.float32)


def task(**settings) -> SimpleNamespace:
    network = {"filters": list(FILTERS), "gwrp_decay": 0.9, **settings}
    return SimpleNamespace(network=network, dataset=DatasetConfig(classes=("a", "b", "c")))


@pytest.fixture
def mixed_bfloat16():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    yield
    keras.config.set_dtype_policy(before)


@pytest.mark.parametrize("pooling", ["gwrp", "gmp", "gap"])
def test_the_published_sizes_have_the_published_numbers_of_parameters(pooling):
    model = build_model((311, 64, 1), 41, NetworkConfig(pooling=pooling))
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == 587_593
    assert sum(int(np.prod(weight.shape)) for weight in model.non_trainable_weights) == 1_408


def numpy_network(
    x: np.ndarray, weights: dict[str, np.ndarray], network: NetworkConfig
) -> dict[str, np.ndarray]:
    """The network on one example (T, F, C)."""
    for conv, norm in (pair for block in network.layer_names for pair in block):
        x = np.maximum(normalise(convolve(x, weights[f"{conv}/kernel"]), weights, norm, 1e-5), 0)
    masks = sigmoid(x @ weights["masks/kernel"][0, 0] + weights["masks/bias"])  # (T, F, K)
    values = masks.reshape(-1, masks.shape[-1])
    if network.pooling == "gwrp":
        decay = network.gwrp_decay ** np.arange(len(values))
        return {"clip": decay / decay.sum() @ np.sort(values, axis=0)[::-1], "masks": masks}
    return {
        "clip": values.max(axis=0) if network.pooling == "gmp" else values.mean(axis=0),
        "masks": masks,
    }


@pytest.mark.parametrize("pooling", ["gwrp", "gmp", "gap"])
def test_the_network_equals_its_formulas_at_any_length(pooling):
    network, model = small(pooling=pooling), small_model(pooling=pooling)
    weights = random_weights(weights_by_name(model), seed=3)
    set_weights_by_name(model, weights)
    for frames in (1, 9):
        expected = [numpy_network(example, weights, network) for example in spectra(frames)]
        for name, value in model(spectra(frames)).items():
            np.testing.assert_allclose(value, [outputs[name] for outputs in expected], atol=1e-5)


def test_masks_start_out_at_the_bias_that_is_set():
    model = small_model(output_bias=-1.0)
    np.testing.assert_allclose(weights_by_name(model)["masks/bias"], -1)
    bound = np.sqrt(6 / np.prod(model.get_layer("block4_conv2").kernel.shape[:-1]))  # He uniform
    assert 0.8 * bound < np.abs(model.get_layer("block4_conv2").kernel).max() <= bound * 1.0001


def test_weights_map_to_published_names_and_back():
    model, names = small_model(), torch_names(small())
    set_weights_by_name(model, random_weights(weights_by_name(model), seed=5))
    state = torch_state(model, names)
    assert state["bottleneck.conv_block2.conv1.weight"].shape == (3, 2, 3, 3)
    assert state["bottleneck.final_conv.weight"].shape == (N_CLASSES, FILTERS[-1], 1, 1)
    other = small_model(pooling="gap")
    load_state(other, state, names)
    np.testing.assert_allclose(other(spectra())["masks"], model(spectra())["masks"], atol=1e-6)


def test_the_outputs_stay_float32_under_mixed_precision(mixed_bfloat16):
    model = small_model()
    assert {name: value.dtype for name, value in model.output.items()} == {
        "clip": "float32",
        "masks": "float32",
    }
    assert model.get_layer("block1_conv1").compute_dtype == "bfloat16"


def test_a_compiled_model_is_saved_and_loaded_in_safe_mode(tmp_path):
    model = with_statistics(small_model(), np.full((BANDS, 1), -2.0), np.full((BANDS, 1), 3.0))
    (stage,) = stages(task())
    model.compile("adam", loss=dict(stage.losses), loss_weights=dict(stage.loss_weights))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    for name, value in model(spectra()).items():
        np.testing.assert_allclose(loaded(spectra())[name], value, atol=1e-6)


def test_each_pooling_of_a_run_is_a_stage():
    found = stages(task(compared=["gmp", "gap"]))
    assert (
        [stage.name for stage in found]
        == [stage.part_of for stage in found]
        == ["gwrp", "gmp", "gap"]
    )
    for stage in found:
        assert stage.targets["clip"] == ("tags",) and list(stage.losses) == list(
            stage.loss_weights
        ) == ["clip"]
        assert (
            stage.losses["clip"](np.zeros((1, N_CLASSES)), np.ones((1, N_CLASSES))) == 100
        )  # as in PyTorch
        assert stage.build((None, BANDS, 1)).name == f"segmentation_{stage.name}"


def test_training_on_tags_localises_the_sound():
    """The class is a strong band in some frames; no frame is labelled."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x = 0.1 * rng.normal(size=(16, 12, BANDS, 1)).astype(np.float32)
    tags = np.zeros((16, N_CLASSES), np.float32)
    tags[::2, 0] = 1
    x[::2, 4:8, 2] += 2
    (stage,) = stages(task(gwrp_decay=0.8, filters=[8, 8, 8, 8]))
    model = stage.build((None, BANDS, 1))
    model.compile(
        keras.optimizers.Adam(2e-2), loss=dict(stage.losses), loss_weights=dict(stage.loss_weights)
    )
    model.fit(x, {"clip": tags}, epochs=20, verbose=0)
    # With batch statistics: so few steps do not settle the running ones.
    masks = np.asarray(model(x, training=True)["masks"])[::2, :, :, 0].mean(axis=(0, 2))  # (T,)
    assert masks[4:8].mean() > 2 * masks[[0, 1, 2, 10, 11]].mean()


def test_unlabelled_clips_change_nothing():
    (stage,) = stages(task())
    loss = stage.losses["clip"](-np.ones((2, N_CLASSES)), np.full((2, N_CLASSES), 0.3))
    assert float(np.sum(loss)) == 0


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(ConfigError, match=r"Expected: 4 entries. Received: \[4, 4, 4\]"):
        check_network(NetworkConfig(filters=(4, 4, 4)), (None, 64, 1))
    for settings in (
        {"pooling": "mean"},
        {"compared": ["gwrp"]},
        {"gwrp_decay": 1.5},
        {"initialisation": "he"},
        {"filters": (0,)},
    ):
        with pytest.raises(ValidationError):
            NetworkConfig(**settings)


def test_masks_become_frames_and_frames_become_events_in_seconds():
    masks = np.zeros((80, 4, 2), np.float32)
    masks[16:48, 1:, 1] = 0.8
    outputs = {"masks": masks, "clip": np.array([0.1, 0.9])}
    frames, clip = probabilities(outputs, network=small(), n_frames=82)
    np.testing.assert_allclose(frames[:, 1], [0.0] * 16 + [0.6] * 32 + [0.0] * 34, atol=1e-6)
    assert frames.dtype == np.float32 and clip.tolist() == [np.float32(0.1), np.float32(0.9)]
    decoding = DecodingConfig(tag_threshold=0.5, high_threshold=0.5, low_threshold=0.2)
    np.testing.assert_allclose(
        decode_clip(frames[:80], clip, decoding, hop_s=1 / 64), [[1, 0.25, 0.75]]
    )
    assert decode_clip(frames, np.array([0.9, 0.4]), decoding, hop_s=1 / 64).shape == (0, 3)
    with pytest.raises(ValueError, match="the clip of 4 frames"):
        probabilities(
            {"masks": np.zeros((0, 4, 1)), "clip": np.zeros(1)}, network=small(), n_frames=4
        )
