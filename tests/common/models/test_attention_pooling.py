import keras
import numpy as np
import pytest

from common.models.attention import SMALLEST_SHARE, AttentionPooling, ValidClasses

RNG = np.random.default_rng(0)
FRAMES = RNG.random((2, 6, 4)).astype(np.float32)  # (B, T, K)
SCORES = RNG.normal(0, 3, (2, 6, 4)).astype(np.float32)
VALID = np.array([[1, 0, 1, 1], [0, 0, 0, 1]], bool)


def softmax(x: np.ndarray, axis: int) -> np.ndarray:
    powers = np.exp(x - x.max(axis=axis, keepdims=True))
    return powers / powers.sum(axis=axis, keepdims=True)


@pytest.mark.parametrize(("over", "axis"), [("classes", -1), ("time", 1)])
def test_clips_are_weighted_means_of_their_frames(over, axis):
    shares = np.clip(softmax(SCORES, axis), SMALLEST_SHARE, 1)
    found = AttentionPooling(over)(FRAMES, SCORES)
    np.testing.assert_allclose(found, np.average(FRAMES, axis=1, weights=shares), atol=1e-6)


@pytest.mark.parametrize(
    ("over", "groups", "sums"),
    [
        ("classes", (), lambda shares: shares.sum(axis=-1)),
        ("classes", (1, 3), lambda shares: [shares[..., 0], shares[..., 1:].sum(axis=-1)]),
        ("time", (1, 3), lambda shares: shares.sum(axis=1)),
    ],
)
def test_attention_adds_up_to_1(over, groups, sums):
    shares = np.asarray(AttentionPooling(over, groups).attention(SCORES))
    np.testing.assert_allclose(sums(shares), 1.0, atol=1e-6)


@pytest.mark.parametrize("over", ["classes", "time"])
def test_equal_scores_give_the_mean_over_time(over):
    found = AttentionPooling(over)(FRAMES, np.zeros_like(SCORES))
    np.testing.assert_allclose(found, FRAMES.mean(axis=1), atol=1e-6)


def test_other_classes_get_no_attention():
    layer = AttentionPooling("classes")
    shares = np.asarray(layer.attention(SCORES, VALID))
    assert not shares[0, :, 1].any() and not shares[1, :, :3].any()
    alone = softmax(SCORES[0][:, [0, 2, 3]], -1)
    np.testing.assert_allclose(shares[0][:, [0, 2, 3]], alone, atol=1e-6)
    np.testing.assert_allclose(  # of the only valid class, all frames weigh the same
        np.asarray(layer(FRAMES, SCORES, valid=VALID))[1, 3], FRAMES[1, :, 3].mean(), atol=1e-6
    )


def test_probabilities_of_other_classes_are_0():
    layer = ValidClasses()
    frames, clip = np.asarray(layer(FRAMES, VALID)), np.asarray(layer(FRAMES[:, 0], VALID))
    for found, given in ((frames, FRAMES), (clip[:, None], FRAMES[:, :1])):
        mask = np.broadcast_to(VALID[:, None], found.shape)
        np.testing.assert_array_equal(found[mask], given[mask])
        assert not found[~mask].any()


def test_a_stored_pooling_gives_the_same(tmp_path):
    frames, scores = keras.Input((None, 4)), keras.Input((None, 4))
    valid = keras.Input((4,), dtype="bool")
    pooled = AttentionPooling("classes", (1, 3))(frames, scores, valid=valid)
    model = keras.Model([frames, scores, valid], ValidClasses()(pooled, valid))
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    given = [FRAMES, SCORES, VALID]
    np.testing.assert_allclose(loaded(given), model(given), atol=1e-7)
