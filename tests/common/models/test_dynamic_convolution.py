import keras
import numpy as np
import pytest

from common.models.dynamic_convolution import DynamicOptions, KernelMixture, dynamic_convolution
from common.models.layers import set_weights_by_name, weights_by_name
from tests.numpy_layers import convolve, normalise, random_weights

FRAMES, BANDS, CHANNELS, FILTERS = 7, 6, 5, 3
POOLINGS = ("time", "frequency", "both", "channels")


def built(pooling: str = "time", n_kernels: int = 4, temperature: float = 31.0) -> keras.Model:
    """A dynamic convolution; its outputs are the maps and the weights of the kernels."""
    x = keras.Input((None, BANDS, CHANNELS))
    options = DynamicOptions(n_kernels, pooling, temperature)
    y = dynamic_convolution(x, FILTERS, 3, options, "conv")
    shares = keras.Model(x, y).get_layer("conv_attention").output
    model = keras.Model(x, [y, shares])
    set_weights_by_name(model, random_weights(weights_by_name(model), seed=1))
    return model


def maps(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(2, FRAMES, BANDS, CHANNELS)).astype(np.float32)


def arrays(model: keras.Model) -> dict[str, np.ndarray]:
    return {name: np.asarray(weight, float) for name, weight in weights_by_name(model).items()}


@pytest.mark.parametrize("pooling", POOLINGS)
def test_one_basis_kernel_is_a_convolution(pooling):
    model = built(pooling, n_kernels=1)
    plain = keras.layers.Conv2D(FILTERS, 3, padding="same", use_bias=False)
    plain.build((None, None, BANDS, CHANNELS))
    plain.kernel.assign(weights_by_name(model)["conv/kernel"])
    np.testing.assert_allclose(model(maps())[0], plain(maps()), atol=1e-5)


@pytest.mark.parametrize(
    ("pooling", "shape"), [("time", (2, BANDS, 4)), ("frequency", (2, FRAMES, 4)), ("both", (2, 4))]
)
def test_weights_of_kernels_add_up_to_1_for_each_band_frame_or_clip(pooling, shape):
    shares = np.asarray(built(pooling, temperature=1.0)(maps())[1])
    assert shares.shape == shape and np.ptp(shares) > 0.1
    np.testing.assert_allclose(shares.sum(axis=-1), 1.0, atol=1e-6)


def test_high_temperatures_make_weights_equal():
    ranges = [np.ptp(built(temperature=t)(maps())[1]) for t in (1.0, 31.0, 1e6)]
    assert ranges[0] > ranges[1] > ranges[2] and ranges[2] < 1e-5


def conv1d(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Zero-padded convolution of (L, C) with (k, C, N) -> (L, N)."""
    return convolve(x[:, None], kernel[:, None])[:, 0]


def shares_by_hand(x: np.ndarray, weights: dict[str, np.ndarray], pooling: str) -> np.ndarray:
    """Weights (F or T, n) from the maps (T, F, C) of one clip."""
    pooled = x.mean(axis={"time": 0, "frequency": 1, "channels": 2}[pooling])
    hidden = conv1d(pooled, weights["conv_attention_conv1/kernel"])
    hidden = np.maximum(normalise(hidden, weights, "conv_attention_norm", 1e-5), 0)
    scores = hidden @ weights["conv_attention_conv2/kernel"][0]
    scores = np.exp((scores + weights["conv_attention_conv2/bias"]) / 31)
    return scores / scores.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("pooling", ["time", "frequency", "channels"])
def test_outputs_of_basis_kernels_are_mixed_by_the_formula(pooling):
    model = built(pooling)
    weights = arrays(model)
    kernels = np.split(weights["conv/kernel"], 4, axis=-1)
    found, found_shares = model(maps())
    for x, y, found_share in zip(maps(), found, found_shares, strict=True):
        shares = shares_by_hand(x, weights, pooling)
        outputs = np.stack([convolve(x, kernel) for kernel in kernels], axis=-1)  # (T, F, N, n)
        over = shares[None] if pooling == "time" else shares[:, None]
        np.testing.assert_allclose(found_share, shares, atol=1e-5)
        np.testing.assert_allclose(y, (outputs * over[:, :, None]).sum(axis=-1), atol=1e-4)


def test_the_weights_of_a_clip_come_from_its_mean():
    model = built("both", temperature=2.0)
    weights = arrays(model)
    hidden = maps().mean(axis=(1, 2)) @ weights["conv_attention_dense1/kernel"]
    hidden = np.maximum(hidden + weights["conv_attention_dense1/bias"], 0)
    scores = hidden @ weights["conv_attention_dense2/kernel"]
    scores = np.exp((scores + weights["conv_attention_dense2/bias"]) / 2)
    expected = scores / scores.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(model(maps())[1], expected, atol=1e-5)


def test_an_attention_has_a_quarter_of_the_channels_but_4_at_least():
    for channels, hidden in ((5, 4), (16, 4), (40, 10)):
        x = keras.Input((None, BANDS, channels))
        model = keras.Model(x, dynamic_convolution(x, 2, 3, DynamicOptions(), "conv"))
        weights = weights_by_name(model)
        assert weights["conv_attention_conv1/kernel"].shape == (3, channels, hidden)
        assert weights["conv/kernel"].shape == (3, 3, channels, 8)


def test_first_filters_have_the_variance_of_he():
    x = keras.Input((None, BANDS, 64))
    model = keras.Model(x, dynamic_convolution(x, 64, 3, DynamicOptions(), "conv"))
    weights = arrays(model)
    np.testing.assert_allclose(weights["conv/kernel"].std(), np.sqrt(2 / (9 * 64)), rtol=0.02)
    assert np.abs(weights["conv/kernel"]).max() > 3 * np.sqrt(2 / (9 * 64))  # not truncated
    assert not weights["conv_attention_conv2/bias"].any()


def test_frozen_attention_keeps_its_statistics():
    x = keras.Input((None, BANDS, CHANNELS))
    for frozen in (True, False):
        options = DynamicOptions(frozen=frozen)
        model = keras.Model(x, dynamic_convolution(x, FILTERS, 3, options, "conv"))
        model(maps(), training=True)
        kept = not np.any(weights_by_name(model)["conv_attention_norm/moving_mean"])
        assert kept == frozen


def test_a_mixture_is_built_again_from_its_settings():
    layer = KernelMixture(3, "both", name="m")
    again = KernelMixture.from_config(layer.get_config())
    assert (again.n_kernels, again.pooling, again.name) == (3, "both", "m")
