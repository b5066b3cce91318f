from types import SimpleNamespace

import keras
import numpy as np
import pytest
from pydantic import ValidationError

from common.errors import ConfigError
from common.models.layers import set_weights_by_name, weights_by_name, with_statistics
from sed_task4.dataset import DatasetConfig
from sed_task4.decoding import DecodingConfig, decode_clip
from sed_task4.systems.cnn import NetworkConfig, build_model, check_network, probabilities, stages
from tests.numpy_layers import convolve, normalise, pool, random_weights, sigmoid

SMALL_FILTERS = {"cnn5": (2, 3, 4, 5), "cnn9": (2, 3, 4, 5), "cnn13": (2, 2, 3, 3, 4, 5)}
BANDS, N_CLASSES = 32, 3
FORMS = [
    {"architecture": "cnn5"},
    {"architecture": "cnn9"},
    {"architecture": "cnn9", "pooling": "max"},
    {"architecture": "cnn13", "strong_training": True},
]


def small(architecture: str = "cnn9", **settings) -> NetworkConfig:
    return NetworkConfig(architecture=architecture, filters=SMALL_FILTERS[architecture], **settings)


def small_model(architecture: str = "cnn9", **settings) -> keras.Model:
    return build_model((None, BANDS, 1), N_CLASSES, small(architecture, **settings))


def spectra(frames: int = 32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(2, frames, BANDS, 1)).astype(np.float32)


@pytest.fixture
def mixed_bfloat16():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    yield
    keras.config.set_dtype_policy(before)


@pytest.mark.parametrize(
    ("settings", "trainable", "statistics"),
    [
        ({"architecture": "cnn5"}, 4_309_450, 1_920),
        ({"architecture": "cnn9"}, 4_691_274, 3_840),
        ({"architecture": "cnn9", "pooling": "max"}, 4_691_274, 3_840),
        ({"architecture": "cnn13"}, 75_497_802, 16_128),
    ],
)
def test_the_published_sizes_have_the_published_numbers_of_parameters(
    settings, trainable, statistics
):
    model = build_model((640, 64, 1), 10, NetworkConfig(**settings))
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == trainable
    assert sum(int(np.prod(weight.shape)) for weight in model.non_trainable_weights) == statistics


def numpy_cnn(
    x: np.ndarray, weights: dict[str, np.ndarray], network: NetworkConfig
) -> dict[str, np.ndarray]:
    """The network on one example (T, F, C)."""
    for number, block in enumerate(network.layer_names, 1):
        for conv, norm in block:
            x = np.maximum(
                normalise(convolve(x, weights[f"{conv}/kernel"]), weights, norm, 1e-5), 0
            )
        if number < len(network.layer_names):
            x = pool(x, 2, 2, np.mean if network.pooling == "average" else np.max)
    x = x.mean(axis=1) if network.architecture == "cnn5" else x.max(axis=1)  # (T // p, filters)

    def head(values: np.ndarray) -> np.ndarray:
        return sigmoid(values @ weights["fc/kernel"] + weights["fc/bias"])

    clip = head(x).max(axis=0) if network.strong_training else head(x.max(axis=0))
    return {"clip": clip, "frames": np.repeat(head(x), network.time_pooling, axis=0)}


@pytest.mark.parametrize("form", FORMS)
def test_the_networks_equal_their_formulas(form):
    network, model, x = (
        small(**form),
        small_model(**form),
        spectra(71),
    )  # frames that do not fill a pool
    weights = random_weights(weights_by_name(model), seed=3)
    set_weights_by_name(model, weights)
    expected = [numpy_cnn(example, weights, network) for example in x]
    for name, value in model(x).items():
        np.testing.assert_allclose(value, [outputs[name] for outputs in expected], atol=1e-4)


@pytest.mark.parametrize(("architecture", "repeated"), [("cnn5", 8), ("cnn9", 8), ("cnn13", 32)])
def test_each_decision_is_repeated_to_the_hop_of_the_features(architecture, repeated):
    frames = np.asarray(small_model(architecture)(spectra(70))["frames"])
    assert frames.shape == (2, repeated * (70 // repeated), N_CLASSES)
    decisions = frames.reshape(2, -1, repeated, N_CLASSES)
    np.testing.assert_array_equal(decisions, np.broadcast_to(decisions[:, :, :1], decisions.shape))


def test_strong_training_changes_the_clip_output_and_no_weight():
    weak, strong = small_model(), small_model(strong_training=True)
    set_weights_by_name(
        strong, {name: np.asarray(weight) for name, weight in weights_by_name(weak).items()}
    )
    x = spectra()
    np.testing.assert_allclose(weak(x)["frames"], strong(x)["frames"])
    np.testing.assert_array_equal(strong(x)["clip"], np.max(strong(x)["frames"], axis=1))
    assert np.all(np.asarray(weak(x)["clip"]) != np.asarray(strong(x)["clip"]))


def test_the_first_weights_are_those_of_the_published_code():
    model = build_model((None, 64, 1), 10, NetworkConfig())
    weights = {name: np.asarray(weight) for name, weight in weights_by_name(model).items()}
    for name in ("block1_conv2/kernel", "block4_conv2/kernel", "fc/kernel"):
        bound = np.sqrt(6 / np.prod(weights[name].shape[:-1]))  # He uniform
        assert 0.95 * bound < np.abs(weights[name]).max() <= bound * 1.0001
    assert not weights["fc/bias"].any() and not weights["block1_bn1/beta"].any()
    assert (weights["block1_bn1/gamma"] == 1).all()
    norm = model.get_layer("block1_bn1")
    assert norm.epsilon == 1e-5 and norm.momentum == 0.9


def test_the_outputs_stay_float32_under_mixed_precision(mixed_bfloat16):
    model = small_model()
    assert {name: value.dtype for name, value in model.output.items()} == {
        "clip": "float32",
        "frames": "float32",
    }
    assert model.get_layer("block1_conv1").compute_dtype == "bfloat16"
    assert all(weight.dtype == "float32" for weight in model.weights)


@pytest.mark.parametrize("form", FORMS)
def test_a_compiled_model_is_saved_and_loaded_in_safe_mode(form, tmp_path):
    model = with_statistics(
        small_model(**form), np.full((BANDS, 1), -2.0), np.full((BANDS, 1), 3.0)
    )
    (stage,) = stages(task(**form))
    model.compile("adam", loss=dict(stage.losses), loss_weights=dict(stage.loss_weights))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    x = spectra()
    for name, value in model(x).items():
        np.testing.assert_allclose(loaded(x)[name], value, atol=1e-6)


def task(**settings) -> SimpleNamespace:
    architecture = settings.get("architecture", "cnn9")
    network = {"filters": list(SMALL_FILTERS[architecture]), **settings}
    return SimpleNamespace(network=network, dataset=DatasetConfig(classes=("a", "b", "c")))


@pytest.mark.parametrize(("strong", "output"), [(False, "clip"), (True, "frames")])
def test_one_stage_learns_from_tags_or_frames(strong, output):
    (stage,) = stages(task(strong_training=strong))
    assert stage.targets == {"clip": ("tags",), "frames": ("activity",)}
    assert list(stage.losses) == list(stage.loss_weights) == [output]
    assert (
        stage.losses[output](np.zeros((1, N_CLASSES)), np.ones((1, N_CLASSES))) == 100
    )  # as in PyTorch
    assert stage.target_stride == 1
    assert stage.build((None, BANDS, 1)).output["clip"].shape == (None, N_CLASSES)


@pytest.mark.parametrize("strong", [False, True])
def test_training_reduces_the_loss_of_labelled_entries_only(strong):
    keras.utils.set_random_seed(0)
    (stage,) = stages(task(strong_training=strong))
    model = stage.build((None, BANDS, 1))
    model.compile(
        keras.optimizers.Adam(3e-2, amsgrad=True),
        loss=dict(stage.losses),
        loss_weights=dict(stage.loss_weights),
        run_eagerly=True,  # tracing takes longer than training
    )
    tags = np.array([[1.0, 0, 0], [0, 1, -1]], np.float32)
    y = {"clip": tags, "frames": np.repeat(tags[:, None], 32, axis=1)}
    losses = model.fit(spectra(), y, epochs=3, verbose=0).history["loss"]
    assert losses[-1] < 0.7 * losses[0]
    unknown = {name: -np.ones_like(target) for name, target in y.items()}
    assert model.evaluate(spectra(), unknown, verbose=0, return_dict=True)["loss"] == 0


@pytest.mark.parametrize(
    ("settings", "shape", "message"),
    [
        (
            {"filters": (4, 4, 4)},
            (None, 64, 1),
            r"each block of cnn9. Expected: 4 entries. Received: \[4, 4, 4\]",
        ),
        ({"architecture": "cnn13", "filters": (4,) * 4}, (None, 64, 1), "Expected: 6 entries"),
        ({"architecture": "cnn13"}, (None, 16, 1), "at least 32 bands. Received: 16"),
        ({}, (643, 64, 1), "a multiple of 8 frames. Received: 643"),
        ({"architecture": "cnn13"}, (648, 64, 1), "a multiple of 32 frames. Received: 648"),
        ({}, (0, 64, 1), "Received: 0"),
    ],
)
def test_layers_that_do_not_fit_are_refused_before_any_work(settings, shape, message):
    with pytest.raises(ConfigError, match=message):
        check_network(NetworkConfig(**settings), shape)


def test_impossible_settings_are_refused():
    for settings in (
        {"architecture": "cnn7"},
        {"filters": (0, 1, 1, 1)},
        {"pooling": "sum"},
        {"filter": (1,)},
    ):
        with pytest.raises(ValidationError):
            NetworkConfig(**settings)


def test_outputs_are_cut_or_the_last_is_held():
    outputs = {"frames": np.repeat([[0.1], [0.9]], 8, axis=0), "clip": np.array([[0.8]])}
    frames, clip = probabilities(outputs, network=NetworkConfig(), n_frames=19)
    np.testing.assert_allclose(frames[:, 0], [0.1] * 8 + [0.9] * 11)
    assert clip.tolist() == [np.float32(0.8)]
    assert len(probabilities(outputs, network=NetworkConfig(), n_frames=3)[0]) == 3
    with pytest.raises(ValueError, match="the clip of 4 frames"):
        probabilities(
            {"frames": np.zeros((0, 1)), "clip": np.zeros(1)}, network=NetworkConfig(), n_frames=4
        )


def test_probabilities_become_events_in_seconds():
    frames = np.zeros((80, 2))
    frames[16:48, 1] = 0.95
    outputs = {"frames": frames, "clip": frames.max(axis=0)}
    found = probabilities(outputs, network=NetworkConfig(), n_frames=80)
    rule = (*found, DecodingConfig(), 1 / 64)
    np.testing.assert_allclose(decode_clip(*rule), [[1, 0.25, 0.75]])
    np.testing.assert_allclose(decode_clip(*rule, clip_s=0.5), [[1, 0.25, 0.5]])
    assert decode_clip(*rule, tag_thresholds=np.array([0.5, 0.99])).shape == (0, 3)
