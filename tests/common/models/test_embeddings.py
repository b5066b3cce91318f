import math

import keras
import numpy as np
import pytest

from common.models.embeddings import AlignFrames, DropFrames, LastFrame


def vectors(length: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(2, length, 3)).astype(np.float32)


def aligned(kind: str, length: int, n_frames: int) -> np.ndarray:
    return np.asarray(AlignFrames(kind)(vectors(length), like=np.zeros((2, n_frames, 1))))


@pytest.mark.parametrize(("length", "n_frames"), [(496, 156), (23, 10), (10, 10), (4, 9), (1, 5)])
def test_pooled_frames_are_means_of_the_frames_at_the_same_time(length, n_frames):
    given = vectors(length)
    for t, found in enumerate(aligned("pool1d", length, n_frames).swapaxes(0, 1)):
        first, end = t * length // n_frames, math.ceil((t + 1) * length / n_frames)
        np.testing.assert_allclose(found, given[:, first:end].mean(axis=1), atol=1e-5)


@pytest.mark.parametrize(("length", "n_frames"), [(496, 155), (23, 10), (10, 10), (4, 9), (1, 5)])
def test_interpolated_frames_are_those_in_the_middle(length, n_frames):
    source = [int((t + 0.5) * length / n_frames) for t in range(n_frames)]
    found = aligned("interpolate", length, n_frames)
    np.testing.assert_array_equal(found, vectors(length)[:, source])


def test_one_vector_is_repeated_for_all_frames():
    given = vectors(1)[:, 0]
    found = np.asarray(AlignFrames("repeat")(given, like=np.zeros((2, 4, 7))))
    np.testing.assert_array_equal(found, np.repeat(given[:, None], 4, axis=1))


def test_lengths_are_free_in_a_stored_model(tmp_path):
    embeddings, like = keras.Input((None, 3)), keras.Input((None, 1))
    outputs = [
        AlignFrames(kind, name=kind)(embeddings, like=like) for kind in ("pool1d", "interpolate")
    ]
    outputs.append(AlignFrames("repeat")(LastFrame()(embeddings)[:, 0], like=like))
    keras.Model([embeddings, like], outputs).save(tmp_path / "m.keras")
    model = keras.saving.load_model(tmp_path / "m.keras")
    for length, n_frames in ((5, 2), (3, 8)):
        found = model.predict_on_batch([vectors(length), np.zeros((2, n_frames, 1))])
        for kind, value in zip(("pool1d", "interpolate"), found, strict=False):
            np.testing.assert_allclose(value, aligned(kind, length, n_frames), atol=1e-6)
        np.testing.assert_array_equal(found[2][:, 0], vectors(length)[:, -1])


def dropped(max_frames: int, share: float, n_examples: int = 400, n_frames: int = 20) -> np.ndarray:
    """True for the frames (B, T) that were set to 0."""
    layer = DropFrames(max_frames, share, seed=3)
    found = np.asarray(layer(np.ones((n_examples, n_frames, 2)), training=True))
    assert set(np.unique(found)) <= {0.0, 1.0} and (found[..., 0] == found[..., 1]).all()
    return found[..., 0] == 0


def test_a_run_of_frames_is_dropped_in_each_example():
    lengths = dropped(max_frames=8, share=1.0).sum(axis=1)
    assert set(lengths) == set(range(8))  # fewer than 8, all lengths occur
    edges = np.diff(np.pad(dropped(8, 1.0).astype(int), ((0, 0), (1, 1))), axis=1)
    assert ((edges == 1).sum(axis=1) <= 1).all()  # one run at most
    assert dropped(8, 1.0).any(axis=0).all()  # anywhere


def test_a_run_is_no_larger_than_its_share():
    assert dropped(max_frames=16, share=0.3).sum(axis=1).max() == 5  # fewer than 0.3 * 20


def test_frames_are_dropped_in_training_only():
    x = vectors(9)
    layer = DropFrames(8, 1.0, seed=1)
    np.testing.assert_array_equal(layer(x, training=False), x)
    first, second = (np.asarray(layer(x, training=True)) for _ in range(2))
    assert np.abs(first - second).max() > 0  # new draws


def test_draws_depend_on_the_seed_only():
    runs = [DropFrames.from_config(DropFrames(8, 1.0, seed=5).get_config()) for _ in range(2)]
    first, second = (layer(np.ones((50, 20, 1)), training=True) for layer in runs)
    np.testing.assert_array_equal(first, second)
