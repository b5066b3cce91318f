import keras
import numpy as np
import pytest
import tensorflow as tf

from common.models.layers import (
    Aggregate,
    BatchNormalization,
    NormOptions,
    RecurrentGates,
    Standardize,
    conv_block,
    hard_sigmoid_keras2,
    set_weights_by_name,
    stacked_conv_block,
    weights_by_name,
    with_statistics,
)
from common.runtime import distribution


def small_network() -> keras.Model:
    inputs = x = keras.Input((None, 4, 2))
    x = conv_block(x, 3, pool=(1, 2), name="0")
    x = keras.layers.Reshape((-1, 6))(x)
    gru = keras.layers.GRU(5, return_sequences=True, recurrent_activation=hard_sigmoid_keras2)
    return keras.Model(
        inputs, keras.layers.Bidirectional(gru, merge_mode="mul", name="gru0")(x), name="small"
    )


def statistics() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return rng.normal(-40, 5, (4, 2)), rng.uniform(5, 20, (4, 2))


@pytest.fixture
def mixed_float16():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    yield
    keras.config.set_dtype_policy(before)


def test_the_hard_sigmoid_of_keras_2_is_linear_within_2p5():
    values = hard_sigmoid_keras2(keras.ops.convert_to_tensor([-3.0, -2.5, 0.0, 1.0, 2.5, 3.0]))
    np.testing.assert_allclose(values, [0.0, 0.0, 0.5, 0.7, 1.0, 1.0], atol=1e-7)


def test_a_relu_after_the_pooling_changes_neither_values_nor_gradients():
    inputs = keras.Input((10, 8, 2))
    model = keras.Model(inputs, conv_block(inputs, 3, pool=(5, 4), name="0"))
    conv, norm = model.get_layer("conv0"), model.get_layer("bn0")
    x = np.random.default_rng(0).normal(size=(4, 10, 8, 2)).astype(np.float32)

    def published(values):
        return tf.nn.max_pool2d(
            tf.nn.relu(norm(conv(values), training=True)), (5, 4), (5, 4), "VALID"
        )

    found = []
    for run in (lambda values: model(values, training=True), published):
        with tf.GradientTape() as tape:
            values = run(x)
            total = tf.reduce_sum(values * values)
        found.append((values, *tape.gradient(total, model.trainable_variables)))
    assert float(tf.reduce_mean(found[0][0])) > 0.0 and len(found[0]) == 5
    for ours, expected in zip(*found, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-6, atol=1e-6)


def test_standardised_training_data_have_mean_0_and_deviation_1():
    features = np.random.default_rng(0).normal(-40, 7, (6, 50, 4, 2)).astype(np.float32)
    layer = Standardize((4, 2))
    layer.set_weights([features.mean((0, 1)), features.std((0, 1))])
    standardised = np.asarray(layer(features))
    np.testing.assert_allclose(standardised.mean((0, 1)), 0, atol=1e-5)
    np.testing.assert_allclose(standardised.std((0, 1)), 1, atol=1e-5)


def test_values_that_never_vary_are_only_centred():
    layer = Standardize((1, 2))
    layer.set_weights([np.array([[3.0, 3.0]]), np.array([[0.0, 2.0]])])
    np.testing.assert_array_equal(layer(np.full((1, 1, 1, 2), 5.0)), [[[[2.0, 1.0]]]])


def test_statistics_are_float32_fixed_and_exact_for_float16_features(mixed_float16):
    layer = Standardize((1, 1))
    layer.set_weights([np.array([[1000.25]]), np.array([[0.5]])])
    standardised = layer(np.array([[[[1001.0]]]], np.float16))
    assert keras.backend.standardize_dtype(standardised.dtype) == "float32"
    assert np.asarray(standardised).item() == 1.5  # 1000.25 does not exist in float16
    assert not layer.trainable_weights
    assert [weight.dtype for weight in layer.weights] == ["float32", "float32"]


def test_a_network_with_statistics_equals_it_on_standardised_features():
    network, (mean, std) = small_network(), statistics()
    raw = np.random.default_rng(2).normal(-40, 10, (2, 7, 4, 2)).astype(np.float32)
    expected = network(((raw - mean) / std).astype(np.float32))
    np.testing.assert_allclose(with_statistics(network, mean, std)(raw), expected, atol=1e-6)


def test_statistics_do_not_count_as_parameters_of_the_network():
    network = small_network()
    before = network.count_params()
    model = with_statistics(network, *statistics())
    assert network.count_params() == before
    assert model.count_params() == before + 2 * 4 * 2
    assert len(model.trainable_weights) == len(network.trainable_weights)


def test_a_saved_model_predicts_the_same_in_safe_mode(tmp_path):
    model = with_statistics(small_network(), *statistics())
    raw = np.random.default_rng(3).normal(-40, 10, (2, 7, 4, 2)).astype(np.float16)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(loaded(raw), model(raw))


def test_statistics_of_other_features_are_refused():
    with pytest.raises(ValueError, match=r"`mean`.*Expected: \(4, 2\). Received: \(2, 4\)"):
        with_statistics(small_network(), np.zeros((2, 4)), np.ones((4, 2)))
    with pytest.raises(ValueError, match=r"`std` must be finite\. Received: 1 NaN"):
        with_statistics(
            small_network(), np.zeros((4, 2)), np.array([[1.0, np.nan]] + 3 * [[1.0, 1.0]])
        )


def test_weights_have_the_same_names_with_and_without_statistics():
    network = small_network()
    names = set(weights_by_name(network))
    assert {
        "conv0/kernel",
        "bn0/moving_variance",
        "gru0/forward/kernel",
        "gru0/backward/bias",
    } <= names
    joined = weights_by_name(with_statistics(network, *statistics()))
    assert set(joined) == names | {"standardize/mean", "standardize/deviation"}
    assert (
        joined["gru0/forward/recurrent_kernel"]
        is weights_by_name(network)["gru0/forward/recurrent_kernel"]
    )


def test_weights_set_by_name_make_two_networks_agree():
    first, second = small_network(), small_network()
    set_weights_by_name(
        second, {name: np.asarray(weight) for name, weight in weights_by_name(first).items()}
    )
    x = np.random.default_rng(4).normal(size=(1, 5, 4, 2)).astype(np.float32)
    np.testing.assert_array_equal(first(x), second(x))


def test_weights_that_do_not_fit_are_refused_without_changes():
    network = small_network()
    arrays = {name: np.asarray(weight) + 1 for name, weight in weights_by_name(network).items()}
    before = network.get_weights()
    with pytest.raises(ValueError, match=r"Missing: \['conv0/bias'\]. Unknown: \['conv9/bias'\]"):
        set_weights_by_name(
            network, {name.replace("conv0/b", "conv9/b"): array for name, array in arrays.items()}
        )
    with pytest.raises(
        ValueError, match=r"gru0/backward/bias: expected shape \(2, 15\). Received: \(3,\)"
    ):
        set_weights_by_name(network, {**arrays, "gru0/backward/bias": np.zeros(3)})
    for old, new in zip(before, network.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_an_axis_becomes_its_average_maximum_or_linear_softmax():
    values = np.array([[[0.5, 0.0], [1.0, 0.0], [0.0, 0.0]]], np.float32)  # (1, 3, 2)
    for kind, expected in (
        ("average", [0.5, 0]),
        ("max", [1, 0]),
        ("linear_softmax", [1.25 / 1.5, 0]),
    ):
        layer = Aggregate(kind, axis=1)
        np.testing.assert_allclose(layer(values), [expected], rtol=1e-6)
        assert layer.compute_output_shape((None, 3, 2)) == (None, 2)


def test_aggregation_is_float32_in_half_precision(mixed_float16):
    many = np.full((1, 5000, 1), 100.0, np.float16)  # the sum does not exist in float16
    assert float(Aggregate("linear_softmax", axis=1)(many)[0, 0]) == 100.0
    assert keras.backend.standardize_dtype(Aggregate("average", axis=1)(many).dtype) == "float32"


@pytest.mark.parametrize(("pooling", "expected"), [("average", 2.5), ("max", 4.0)])
def test_a_block_drops_frames_of_incomplete_pools(pooling, expected):
    inputs = keras.Input((None, 3, 1))
    outputs = stacked_conv_block(
        inputs,
        1,
        kernel=1,
        pool=(2, 2),
        pooling=pooling,
        initialisation="ones",
        norm=NormOptions(1e-12, 0.9),
        names=[("a", "b")],
    )
    x = np.array([[1, 2, 9], [3, 4, 9], [9, 9, 9]], np.float32)[None, ..., None]
    np.testing.assert_allclose(keras.Model(inputs, outputs)(x), [[[[expected]]]], rtol=1e-5)


def test_a_block_has_one_convolution_per_name_and_optional_pooling():
    inputs = keras.Input((None, 6, 1))
    outputs = stacked_conv_block(
        inputs,
        4,
        kernel=3,
        pool=(1, 1),
        pooling="max",
        initialisation="he_uniform",
        norm=NormOptions(1e-5, 0.9),
        names=[("c1", "n1"), ("c2", "n2")],
    )
    model = keras.Model(inputs, outputs)
    assert model.output_shape == (None, None, 6, 4)
    assert {name for name in weights_by_name(model) if name.startswith("c")} == {
        "c1/kernel",
        "c2/kernel",
    }


def test_initial_scales_vary_about_one_on_request():
    inputs = keras.Input((None, 6, 1))
    outputs = stacked_conv_block(
        inputs,
        500,
        kernel=1,
        pool=(1, 1),
        pooling="max",
        initialisation="he_uniform",
        norm=NormOptions(1e-5, 0.9, 0.1),
        names=[("c1", "n1"), ("c2", "n2")],
    )
    scales = [
        np.asarray(weights_by_name(keras.Model(inputs, outputs))[f"{name}/gamma"])
        for name in ("n1", "n2")
    ]
    for scale in scales:
        assert abs(scale.mean() - 1) < 0.02 and abs(scale.std() - 0.1) < 0.02
    assert np.abs(scales[0] - scales[1]).max() > 0.1


def test_recurrent_gates_are_uniform_and_candidates_orthogonal():
    weights = np.asarray(
        keras.initializers.deserialize(keras.initializers.serialize(RecurrentGates()))((50, 150))
    )
    gates, candidate = weights[:, :100], weights[:, 100:]
    bound = np.sqrt(3 / 50)
    assert 0.95 * bound < np.abs(gates).max() <= bound
    assert abs(gates.std() - bound / np.sqrt(3)) < 0.01
    np.testing.assert_allclose(candidate @ candidate.T, np.eye(50), atol=1e-5)


KerasNormalization = keras.layers.BatchNormalization


def _normalised(kind, axis, dtype, trainable=True):
    """Output of a layer, gradients by input, scale and offset, and statistics after one step."""
    rng = np.random.default_rng(0)
    x = tf.constant(rng.normal(1.0, 2.0, (3, 4, 5, 6)).astype(np.float32), dtype)
    weights = tf.constant(rng.normal(size=x.shape).astype(np.float32), dtype)
    layer = kind(
        axis=axis,
        momentum=0.9,
        epsilon=1e-5,
        dtype="float32" if dtype == "float32" else f"mixed_{dtype}",
    )
    layer.build(x.shape)
    layer.trainable = trainable
    layer.set_weights([rng.uniform(0.5, 1.5, weight.shape) for weight in layer.weights])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, training=True)
        loss = tf.reduce_sum(y * weights)
    gradients = tape.gradient(loss, [x, layer.gamma.value, layer.beta.value])
    after = layer(x, training=False)
    arrays = [y, after, *gradients, *layer.non_trainable_weights]
    return [np.asarray(keras.ops.cast(array, "float32")) for array in arrays]


@pytest.mark.parametrize("trainable", [True, False])
@pytest.mark.parametrize("axis", [-1, 2])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("bfloat16", 0.02)])
def test_normalisation_and_its_derivative_and_statistics_are_those_of_keras(
    axis, dtype, tolerance, trainable
):
    ours, theirs = (
        _normalised(kind, axis, dtype, trainable)
        for kind in (BatchNormalization, KerasNormalization)
    )
    for mine, other in zip(ours, theirs, strict=True):
        scale = np.abs(other).max()
        np.testing.assert_allclose(mine / scale, other / scale, atol=tolerance)


def test_maps_are_normalised_over_channels_by_one_kernel(monkeypatch):
    called = []
    kernel = distribution.normalize_channels
    monkeypatch.setattr(
        distribution, "normalize_channels", lambda *given: called.append(1) or kernel(*given)
    )
    for axis, expected in ((-1, 1), (2, 1)):
        BatchNormalization(axis=axis)(np.ones((2, 3, 4, 5), np.float32), training=True)
        assert len(called) == expected


def test_a_saved_normalisation_is_loaded_as_such(tmp_path):
    x = keras.Input((3, 4, 5))
    model = keras.Model(x, BatchNormalization(momentum=0.7, name="bn")(x))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True).get_layer("bn")
    assert type(loaded) is BatchNormalization and loaded.momentum == 0.7


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 6, 5)])  # with the fused kernel, and without
def test_the_running_variance_may_be_the_estimate_for_all_data(shape):
    x = np.random.default_rng(0).normal(2, 3, shape).astype(np.float32)
    values = x.reshape(-1, 5)
    for unbiased in (False, True):
        layer = NormOptions(1e-3, 0.01, unbiased=unbiased).layer("bn")
        layer(x, training=True)
        expected = 0.01 + 0.99 * values.var(axis=0, ddof=int(unbiased))
        np.testing.assert_allclose(layer.moving_variance, expected, rtol=1e-5)
        np.testing.assert_allclose(layer.moving_mean, 0.99 * values.mean(axis=0), rtol=1e-5)
    again = BatchNormalization.from_config(layer.get_config())
    assert again.unbiased


def test_frozen_batch_normalisation_keeps_its_statistics_and_uses_them():
    layer = NormOptions(1e-3, 0.9, frozen=True).layer("bn")
    x = np.random.default_rng(0).normal(2, 3, (2, 3, 4, 5)).astype(np.float32)
    np.testing.assert_allclose(layer(x, training=True), x / np.sqrt(1 + 1e-3), rtol=1e-5)
    assert not np.any(layer.moving_mean) and not layer.trainable_weights
