import keras
import numpy as np
import pytest

from common.errors import ConfigError
from common.models.layers import set_weights_by_name, weights_by_name
from common.models.merging import CrossStitch
from common.models.saving import load_model
from common.models.torch_weights import load_state, torch_state
from seld.losses.tracks import TrackError
from seld.systems.einv2 import NetworkConfig, build_model, check_network, torch_names
from tests.numpy_layers import convolve, dense, normalise, pool, random_weights, transformer

BANDS, CHANNELS, N_CLASSES, N_FRAMES = 9, 5, 2, 11
SMALL = {
    "filters": (2, 3, 4),
    "pool_frames": (2, 1, 2),
    "sed_channels": 3,
    "encoder_heads": 2,
    "encoder_units": 5,
}


def small(**settings) -> NetworkConfig:
    return NetworkConfig(**SMALL | settings)


def small_model(**settings) -> keras.Model:
    return build_model((None, BANDS, CHANNELS), N_CLASSES, small(**settings))


def features(frames: int = N_FRAMES, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(2, frames, BANDS, CHANNELS)).astype(np.float32)


@pytest.fixture
def mixed_bfloat16():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    yield
    keras.config.set_dtype_policy(before)


def numpy_network(x, weights, network) -> np.ndarray:
    """The network on one example (T, F, C), by the formulas."""
    maps = {"sed": x[..., : network.sed_channels], "doa": x}
    n_blocks = len(network.filters)
    for block, frames in enumerate(network.pool_frames, start=1):
        for branch in maps:
            for n in (1, 2):
                y = convolve(maps[branch], weights[f"{branch}_block{block}_conv{n}/kernel"])
                maps[branch] = np.maximum(
                    normalise(y, weights, f"{branch}_block{block}_bn{n}", 1e-5), 0
                )
            maps[branch] = pool(maps[branch], frames, network.pool_bands, np.mean)
        if block < n_blocks:
            stitch = weights[f"stitch{block - 1}/stitch"]
            maps["sed"] = stitch[:, 0, 0] * maps["sed"] + stitch[:, 0, 1] * maps["doa"]
            # The detection branch has changed already, as published.
            maps["doa"] = stitch[:, 1, 0] * maps["sed"] + stitch[:, 1, 1] * maps["doa"]
    tracks = []
    for track in range(1, network.n_tracks + 1):
        ends = {}
        for branch, y in maps.items():
            y = y.mean(axis=1)
            for number in range(network.encoder_layers):
                layer = f"{branch}_track{track}_layer{number}"
                y = transformer(y, weights, layer, network.encoder_heads)
            ends[branch] = dense(y, weights, f"fc_{branch}_track{track}")
        tracks.append(np.concatenate([ends["sed"], np.tanh(ends["doa"])], axis=-1))
    return np.stack(tracks, axis=1)


@pytest.mark.parametrize("form", [{}, {"n_tracks": 3, "encoder_layers": 1, "pool_bands": 1}])
def test_the_network_equals_the_formulas(form):
    network, model, x = small(**form), small_model(**form), features()
    weights = random_weights(weights_by_name(model), seed=3)
    set_weights_by_name(model, weights)
    expected = [numpy_network(example.astype(float), weights, network) for example in x]
    outputs = model(x, training=False)
    assert list(outputs) == ["tracks"]
    np.testing.assert_allclose(outputs["tracks"], expected, atol=2e-4)


def test_the_published_sizes_have_the_published_number_of_parameters():
    model = build_model((None, 256, 7), 14, NetworkConfig())
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == 26_218_978
    assert sum(int(np.prod(weight.shape)) for weight in model.non_trainable_weights) == 7_680
    assert model.output["tracks"].shape == (None, None, 2, 17)


def test_any_number_of_frames_is_pooled_to_the_labels():
    model = small_model()
    for frames in (8, 11, 16):
        assert model(features(frames))["tracks"].shape == (2, frames // 4, 2, N_CLASSES + 3)


def test_branches_exchange_between_a_tenth_and_nine_tenths_at_first():
    stitch = np.asarray(CrossStitch(200).stitch)
    assert stitch.shape == (200, 2, 2)
    assert 0.1 <= stitch.min() < 0.12 and 0.88 < stitch.max() <= 0.9


def test_a_saved_network_loads_without_running_its_code(tmp_path):
    model, x = small_model(), features()
    model.save(tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded(x)["tracks"], model(x)["tracks"], atol=1e-6)


def test_outputs_stay_float32_in_half_precision(mixed_bfloat16):
    output = small_model()(features())["tracks"]
    assert keras.backend.standardize_dtype(output.dtype) == "float32"
    assert np.isfinite(np.asarray(output)).all()


def test_training_learns_classes_and_directions_of_tracks():
    keras.utils.set_random_seed(0)
    x = features(16)
    y = np.zeros((2, 4, 2, N_CLASSES + 3), np.float32)
    y[:, :, 0], y[0, :2, 1] = (1, 0, 1, 0, 0), (0, 1, 0, 0, 1)
    sizes = {"filters": (2, 4), "pool_frames": (2, 2), "encoder_layers": 1, "dropout": 0.0}
    model = small_model(**sizes)
    # Eagerly, since a graph of so many layers takes longer to build than to run.
    model.compile(keras.optimizers.Adam(3e-2), {"tracks": TrackError()}, run_eagerly=True)
    losses = model.fit(x, {"tracks": y}, epochs=8, verbose=0).history["loss"]
    assert losses[-1] < 0.5 * losses[0]


def test_weights_go_to_pytorch_names_and_back():
    network, model = small(n_tracks=3), small_model(n_tracks=3)
    weights = random_weights(weights_by_name(model), seed=1)
    set_weights_by_name(model, weights)
    state = torch_state(model, torch_names(network))
    wanted = {"sed_conv_block2.0.double_conv.3.weight", "doa_conv_block1.0.double_conv.4.bias"}
    wanted |= {"stitch.1", "doa_trans_track3.layers.1.norm2.weight", "fc_sed_track1.bias"}
    assert wanted <= set(state)
    copy = small_model(n_tracks=3)
    load_state(copy, state, torch_names(network))
    for name, weight in weights_by_name(copy).items():
        np.testing.assert_array_equal(weight, weights[name].astype(np.float32))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pool_frames": (2, 2)}, "one entry for each"),
        ({"sed_channels": 6}, "at most 5"),
        ({"pool_bands": 3}, "no fewer bands"),
        ({"encoder_heads": 3}, "encoder_heads"),
        ({"pool_frames": (2, 1, 3)}, "multiple of 6"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        check_network(small(**settings), (16, BANDS, CHANNELS))
