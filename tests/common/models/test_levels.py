"""Levels and their scaling in a model, against numpy and the host."""

import itertools

import keras
import numpy as np
import pytest

from common.features.levels import LevelConfig, magnitude_db
from common.features.scaling import ScalingConfig
from common.models.layers import STATISTICS, with_statistics
from common.models.levels import ClipScaling, MelLevels, level_layers

LEVELS = [
    LevelConfig(top_db=80.0),
    LevelConfig(lowest_db=-50.0, highest_db=40.0),
    LevelConfig(floor=1e-3, top_db=20.0, highest_db=30.0),
]


def magnitudes(batch=3, frames=20):
    """Magnitudes (B, T, F, C) of clips of different loudness, the last one silent."""
    rng = np.random.default_rng(0)
    spread = 10 ** rng.uniform(-6, 2, (batch, frames, 6, 1))
    return (spread * np.array([1, 0.01, 0]).reshape(-1, 1, 1, 1)).astype(np.float32)


@pytest.mark.parametrize("levels", LEVELS)
def test_the_layer_makes_the_levels_of_each_clip(levels):
    given = magnitudes()
    expected = np.stack([magnitude_db(clip, levels) for clip in given])
    np.testing.assert_allclose(np.asarray(MelLevels(levels)(given)), expected, atol=1e-4)


def scaled_by_numpy(levels, scaling):
    axes = {"clip": (1,), "batch": (0, 1)}[scaling.of] + ((2,) if scaling.bands == "all" else ())
    mean = levels.mean(axis=axes, keepdims=True)
    if scaling.form == "minmax":
        low, high = (f(levels, axis=axes, keepdims=True) for f in (np.min, np.max))
        start, end = scaling.range
        return (levels - low) / (high - low + 1e-8) * (end - start) + start
    std = levels.std(axis=axes, ddof=1, keepdims=True) if scaling.form == "standard" else 1
    return (levels - mean) / (std + 1e-8)


@pytest.mark.parametrize(
    ("of", "form", "bands"),
    list(itertools.product(("clip", "batch"), ("standard", "mean", "minmax"), ("each", "all"))),
)
def test_scaling_is_that_of_numpy(of, form, bands):
    levels = np.random.default_rng(1).normal(-30, 15, (3, 12, 5, 1))
    for ends in ((-1.0, 1.0), (0.0, 1.0)):
        scaling = ScalingConfig(of=of, form=form, bands=bands, range=ends)
        received = np.asarray(ClipScaling(scaling)(levels.astype(np.float32)))
        np.testing.assert_allclose(received, scaled_by_numpy(levels, scaling), atol=1e-4)


def test_a_clip_is_scaled_without_regard_to_the_others():
    levels = np.random.default_rng(2).normal(-30, 15, (4, 12, 5, 1)).astype(np.float32)
    scaling = {"form": "minmax", "bands": "each", "range": (0.0, 1.0)}
    for of, depends in (("clip", False), ("batch", True)):
        layer = ClipScaling({"of": of, **scaling})
        alone, together = np.asarray(layer(levels[:1])), np.asarray(layer(levels))[:1]
        assert (np.abs(alone - together).max() > 1e-3) == depends


@pytest.mark.parametrize("form", ["standard", "mean", "minmax"])
def test_silent_clips_stay_finite(form):
    silent = np.full((2, 8, 4, 1), -50.0, np.float32)
    scaled = np.asarray(ClipScaling(ScalingConfig(of="clip", form=form, bands="all"))(silent))
    assert (scaled == (-1 if form == "minmax" else 0)).all()


def small_model(scaling):
    inputs = keras.Input((None, 6, 1))
    outputs = keras.layers.Dense(2, name="dense")(inputs)
    statistics = np.full((6, 1), -20.0), np.full((6, 1), 9.0)
    if scaling.of != "dataset":
        statistics = np.zeros((6, 1)), np.ones((6, 1))
    network = keras.Model(inputs, outputs)
    return network, with_statistics(network, *statistics, levels=level_layers(LEVELS[0], scaling))


@pytest.mark.parametrize("scaling", [ScalingConfig(), ScalingConfig(of="clip", bands="all")])
def test_a_model_takes_magnitudes_and_comes_back_from_its_file(scaling, tmp_path):
    network, model = small_model(scaling)
    given = magnitudes()
    levels = np.stack([magnitude_db(clip, LEVELS[0]) for clip in given])
    expected = (levels + 20) / 9 if scaling.of == "dataset" else scaled_by_numpy(levels, scaling)
    np.testing.assert_allclose(
        np.asarray(model(given)), np.asarray(network(expected.astype(np.float32))), atol=1e-3
    )
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(np.asarray(again(given)), np.asarray(model(given)))
    assert [layer.name for layer in again.layers].index("levels") < [
        layer.name for layer in again.layers
    ].index(STATISTICS)


def test_levels_are_float32_whatever_the_policy():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        layers = level_layers(LEVELS[1], ScalingConfig(of="clip", form="minmax", bands="all"))
    finally:
        keras.config.set_dtype_policy("float32")
    given = magnitudes()
    for layer in layers:
        given = layer(given)
    assert np.asarray(given).dtype == np.float32 and len(layers) == 2
