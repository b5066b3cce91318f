from types import SimpleNamespace

import keras
import numpy as np
import pytest
from pydantic import ValidationError

from common.errors import ConfigError
from common.models.layers import set_weights_by_name, weights_by_name, with_statistics
from seld.dataset import DatasetConfig, Events
from seld.labels import reference_rows, regression_labels
from seld.losses.directions import seld_losses
from seld.systems.seldnet import NetworkConfig, build_model, check_network, decode, stages
from tests.forks import run_on_jax
from tests.numpy_layers import both_directions, convolve, normalise, pool, random_weights, sigmoid

PUBLISHED = NetworkConfig(
    batch_norm_over="bands", gru_reset_after=False, gru_recurrent_activation="hard_sigmoid_keras2"
)
SMALL = NetworkConfig(n_filters=4, pool_bands=(4, 2), gru_units=(6,), dense_units=(5,))
SMALL_PUBLISHED = PUBLISHED.model_copy(update=SMALL.model_dump(exclude_defaults=True))
SMALL_SHAPE = (None, 16, 3)
N_CLASSES = 3


def small_model(**settings) -> keras.Model:
    return build_model(SMALL_SHAPE, N_CLASSES, SMALL.model_copy(update=settings))


def spectra(frames: int = 10, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(2, frames, *SMALL_SHAPE[1:])).astype(np.float32)


@pytest.fixture
def mixed_float16():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    yield
    keras.config.set_dtype_policy(before)


@pytest.mark.parametrize(
    ("network", "total", "trainable"),
    [(NetworkConfig(), 611_169, 610_785), (PUBLISHED, 613_537, 611_201)],
)
def test_the_published_sizes_have_the_published_numbers_of_parameters(network, total, trainable):
    model = build_model((128, 1024, 8), 11, network)
    assert model.count_params() == total
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == trainable


def test_the_number_of_layers_is_the_length_of_the_lists():
    sizes = {
        "pool_bands": (2, 2, 2, 1),
        "pool_frames": (1, 2, 1, 1),
        "gru_units": (7, 6, 5),
        "dense_units": (4, 3),
    }
    weights = weights_by_name(
        build_model((None, 16, 2), 3, NetworkConfig(n_filters=(4, 8, 8, 16), **sizes))
    )
    layers = {name.split("/")[0] for name in weights if name.endswith("/kernel")}
    recurrent_and_conv = {"conv0", "conv1", "conv2", "conv3", "gru0", "gru1", "gru2"}
    assert layers == recurrent_and_conv | {
        f"{h}_{part}" for h in ("sed", "doa") for part in ("fnn0", "fnn1", "out")
    }
    assert [weights[f"conv{number}/bias"].shape for number in range(4)] == [(4,), (8,), (8,), (16,)]


def test_a_network_without_recurrent_and_dense_layers_is_possible():
    outputs = small_model(gru_units=(), dense_units=())(spectra())
    assert {name: tuple(value.shape) for name, value in outputs.items()} == {
        "sed": (2, 10, 3),
        "doa": (2, 10, 6),
    }


@pytest.mark.parametrize("frames", [1, 7, 30])
def test_any_number_of_frames_is_accepted(frames):
    assert small_model()(spectra(frames))["sed"].shape == (2, frames, N_CLASSES)


def test_pooling_in_time_shortens_the_outputs():
    network = SMALL.model_copy(update={"pool_frames": (5, 2)})
    outputs = build_model(SMALL_SHAPE, N_CLASSES, network)(spectra(40))
    assert network.time_pooling == 10
    assert outputs["sed"].shape == (2, 4, N_CLASSES)


def test_probabilities_and_vectors_are_bounded_and_angles_are_not():
    loud = 100 * spectra()
    outputs = small_model(doa_output="xyz")(loud)
    assert outputs["doa"].shape == (2, 10, 3 * N_CLASSES)
    assert np.abs(outputs["doa"]).max() <= 1
    assert np.min(outputs["sed"]) >= 0
    assert np.max(outputs["sed"]) <= 1
    polar = small_model()
    weight = weights_by_name(polar)["doa_out/bias"]
    weight.assign(np.full(weight.shape, 3.0))
    assert np.max(polar(loud)["doa"]) > 1


def numpy_seldnet(
    x: np.ndarray, weights: dict[str, np.ndarray], pools: tuple[int, ...]
) -> np.ndarray:
    """Published detection head for one example (T, F, C): one GRU and one dense layer."""
    for block, bands in enumerate(pools):
        x = convolve(x, weights[f"conv{block}/kernel"]) + weights[f"conv{block}/bias"]
        x = pool(
            np.maximum(normalise(x, weights, f"bn{block}", 1e-3, axis=1), 0), 1, bands
        )  # statistics per band
    forward, backward = both_directions(x.reshape(len(x), -1), weights, "gru0")
    x = forward * backward @ weights["sed_fnn0/kernel"] + weights["sed_fnn0/bias"]
    return sigmoid(x @ weights["sed_out/kernel"] + weights["sed_out/bias"])


def test_the_published_form_equals_the_formulas():
    network = SMALL_PUBLISHED
    model = build_model(SMALL_SHAPE, N_CLASSES, network)
    weights = random_weights(weights_by_name(model), seed=5)
    set_weights_by_name(model, weights)
    x = spectra(8)
    expected = np.stack([numpy_seldnet(example, weights, network.pool_bands) for example in x])
    np.testing.assert_allclose(model(x)["sed"], expected, atol=2e-5)


def test_dropout_acts_in_training_only():
    model = small_model(dropout=0.5)
    x = spectra()
    np.testing.assert_array_equal(model(x)["sed"], model(x)["sed"])
    assert (
        np.abs(np.subtract(model(x, training=True)["doa"], model(x, training=True)["doa"])).max()
        > 0
    )


def test_heads_stay_float32_under_mixed_precision(mixed_float16):
    model = small_model()
    assert {name: value.dtype for name, value in model.output.items()} == {
        "sed": "float32",
        "doa": "float32",
    }
    assert model.get_layer("conv0").compute_dtype == "float16"
    assert all(weight.dtype == "float32" for weight in model.weights)


@pytest.mark.parametrize("network", [SMALL, SMALL_PUBLISHED])
def test_a_compiled_model_is_saved_and_loaded_in_safe_mode(network, tmp_path):
    model = with_statistics(
        build_model(SMALL_SHAPE, N_CLASSES, network), np.full((16, 3), -2.0), np.full((16, 3), 3.0)
    )
    model.compile("adam", loss=seld_losses("mse", "polar"), loss_weights={"sed": 1.0, "doa": 50.0})
    x = spectra().astype(np.float16)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    for name, value in model(x).items():
        np.testing.assert_allclose(loaded(x)[name], value, atol=1e-6)


def test_training_reduces_the_loss():
    keras.utils.set_random_seed(0)
    model = small_model(doa_output="xyz", gru_units=())  # whose graph takes long to build
    model.compile(
        keras.optimizers.Adam(1e-2),
        seld_losses("masked_mse", "xyz"),
        loss_weights={"sed": 1.0, "doa": 0.3},
    )
    activity = np.zeros((2, 10, 3))
    activity[:, :5, 1] = 1
    y = {"sed": activity, "doa": np.concatenate([activity, 90 * activity, 30 * activity], axis=-1)}
    losses = model.fit(spectra(), y, epochs=20, verbose=0).history["loss"]
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize(
    ("settings", "shape", "message"),
    [
        (
            {"pool_bands": (3, 2)},
            (None, 16, 3),
            r"divides 16. Received: \[3, 2\], whose product is 6",
        ),
        ({"pool_bands": (16, 2)}, (None, 16, 3), r"divides 16. Received: \[16, 2\]"),
        ({"pool_frames": (5, 1)}, (128, 16, 3), "multiple of 5 frames. Received: 128"),
        ({"pool_frames": (5,)}, (None, 16, 3), "`network.pool_frames` must have one entry"),
        (
            {"n_filters": (4, 4, 4)},
            (None, 16, 3),
            r"2 entries, or one number. Received: \[4, 4, 4\]",
        ),
    ],
)
def test_layers_that_do_not_fit_are_refused_before_any_work(settings, shape, message):
    with pytest.raises(ConfigError, match=message):
        check_network(NetworkConfig(**{"pool_bands": (4, 2), **settings}), shape)


def test_impossible_sizes_are_refused():
    for settings in ({"gru_units": (0,)}, {"dropout": 1.0}, {"pool_bands": ()}, {"n_filter": 64}):
        with pytest.raises(ValidationError):
            NetworkConfig(**settings)


def test_the_system_has_one_stage_whose_labels_follow_the_pooling():
    task = SimpleNamespace(
        network={"pool_frames": [5, 1, 1], "doa_output": "xyz", "n_filters": 4},
        dataset=DatasetConfig(),
        training=SimpleNamespace(doa_loss="masked_mse", loss_weights={"sed": 1.0, "doa": 0.3}),
    )
    (stage,) = stages(task)
    assert stage.target_stride == 5
    assert stage.targets == {
        "sed": ("activity",),
        "doa": ("activity", "azimuth_deg", "elevation_deg"),
    }
    assert stage.build((None, 256, 2)).output["doa"].shape == (None, None, 33)


def two_events() -> Events:
    """A source at azimuth -180 and one at azimuth 60, elevation -40, for some time together."""
    return Events.from_array([[0, 0.1, 0.4, -180, 30, 1], [2, 0.2, 0.5, 60, -40, 2]])


def perfect_outputs(doa_output: str, n_frames: int) -> dict[str, np.ndarray]:
    """Outputs of a perfect network for `two_events`."""
    labels = regression_labels(two_events(), n_frames, 0.02, N_CLASSES, "half_open")
    azimuth, elevation = (labels[name].astype(float) for name in ("azimuth_deg", "elevation_deg"))
    if doa_output == "polar":
        doa = np.concatenate([azimuth * np.pi / 180, elevation * np.pi / 50], axis=-1)
    else:
        a, e = np.deg2rad(azimuth), np.deg2rad(elevation)
        doa = 0.8 * np.concatenate(
            [np.cos(a) * np.cos(e), np.sin(a) * np.cos(e), np.sin(e)], axis=-1
        )
    return {"sed": 0.9 * labels["activity"].astype(np.float32), "doa": doa}


@pytest.mark.parametrize("doa_output", ["polar", "xyz"])
def test_perfect_outputs_decode_to_the_reference(doa_output):
    rows = decode(
        perfect_outputs(doa_output, 40),
        network=NetworkConfig(doa_output=doa_output),
        threshold=0.5,
        n_frames=40,
    )
    np.testing.assert_allclose(rows, reference_rows(two_events(), 40, 0.02, "half_open"), atol=1e-6)
    assert rows.dtype == np.float64


def test_a_class_at_the_threshold_is_silent():
    outputs = {"sed": np.full((2, 1), 0.5, np.float32), "doa": np.zeros((2, 2))}
    assert decode(outputs, network=NetworkConfig(), threshold=0.5, n_frames=2).shape == (0, 4)


def test_pooled_outputs_are_repeated_and_the_last_one_is_held():
    outputs = {
        "sed": np.array([[0.9], [0.1], [0.9]]),
        "doa": np.array([[0.1, 0.0], [0.2, 0.0], [0.3, 0.0]]),
    }
    network = NetworkConfig(pool_bands=(8, 8), pool_frames=(2, 1))
    rows = decode(outputs, network=network, threshold=0.5, n_frames=8)
    np.testing.assert_array_equal(rows[:, 0], [0, 1, 4, 5, 6, 7])
    np.testing.assert_allclose(rows[:, 2], np.rad2deg([0.1, 0.1, 0.3, 0.3, 0.3, 0.3]))
    assert decode(outputs, network=network, threshold=0.5, n_frames=3)[:, 0].tolist() == [0, 1]


def test_labels_take_the_output_of_their_time_at_any_hop():
    outputs = {"sed": np.array([[0.9], [0.1], [0.9], [0.1]]), "doa": np.zeros((4, 2))}
    at_half, at_double = (
        decode(outputs, network=NetworkConfig(), threshold=0.5, n_frames=n, hop_ratio=ratio)[
            :, 0
        ].tolist()
        for n, ratio in ((2, 2.0), (8, 0.5))
    )
    assert at_half == [0, 1] and at_double == [0, 1, 4, 5]


def test_a_recording_without_outputs_is_refused():
    with pytest.raises(ValueError, match="Received: no frame"):
        decode(
            {"sed": np.zeros((0, 1)), "doa": np.zeros((0, 2))},
            network=NetworkConfig(),
            threshold=0.5,
            n_frames=4,
        )


JAX_PROGRAM = """
import sys
import keras
import numpy as np
from common.models.layers import set_weights_by_name, weights_by_name, with_statistics
from seld.losses.directions import seld_losses
from seld.systems.seldnet import NetworkConfig, build_model

assert keras.backend.backend() == "jax"
with np.load(sys.argv[1]) as stored:
    given = dict(stored)
x, y = given.pop("x"), {name: given.pop(name) for name in ("sed", "doa")}
network = NetworkConfig.model_validate_json(sys.argv[3])
built = build_model((None, *x.shape[2:]), y["sed"].shape[-1], network)
model = with_statistics(built, x.mean((0, 1)), x.std((0, 1)))
set_weights_by_name(model, given)
results = {f"output_{name}": np.asarray(value) for name, value in model.predict_on_batch(x).items()}
losses, weights = seld_losses("masked_mse", "xyz"), {"sed": 1.0, "doa": 0.3}
model.compile(keras.optimizers.Adam(1e-3), losses, loss_weights=weights)
history = model.fit(x, y, batch_size=len(x), epochs=2, verbose=0).history
results["losses"] = np.array(history["loss"])
results |= {name: np.asarray(weight) for name, weight in weights_by_name(model).items()}
np.savez(sys.argv[2], **results)
"""


def test_training_and_predictions_agree_on_jax_and_tensorflow(tmp_path):
    network = SMALL.model_copy(update={"doa_output": "xyz", "pool_frames": (2, 1)})
    x = spectra()
    model = with_statistics(
        build_model(SMALL_SHAPE, N_CLASSES, network), x.mean((0, 1)), x.std((0, 1))
    )
    before = {name: np.asarray(weight) for name, weight in weights_by_name(model).items()}
    activity = (np.random.default_rng(1).random((2, 5, 3)) > 0.5).astype(np.float32)
    targets = {
        "sed": activity,
        "doa": np.concatenate([activity, 60 * activity, 20 * activity], axis=-1),
    }
    np.savez(tmp_path / "given.npz", x=x, **targets, **before)
    files = [tmp_path / "given.npz", tmp_path / "results.npz"]
    run_on_jax(JAX_PROGRAM, tmp_path, *files, network.model_dump_json())
    with np.load(tmp_path / "results.npz") as stored:
        results = dict(stored)
    for name, value in model(x).items():
        np.testing.assert_allclose(results[f"output_{name}"], value, atol=1e-5)
    assert len(results["losses"]) == 2 and np.isfinite(results["losses"]).all()
    trained = [name for name in before if "standardize" not in name]
    # Batch normalisation takes away what the convolutions' biases add: they have no gradient but
    # rounding errors.
    moved = [name for name in trained if np.abs(results[name] - before[name]).max() > 0]
    assert set(moved) >= {
        name for name in trained if not (name.startswith("conv") and name.endswith("bias"))
    }
    assert all(np.isfinite(results[name]).all() for name in trained)
    np.testing.assert_array_equal(results["standardize/mean"], before["standardize/mean"])
