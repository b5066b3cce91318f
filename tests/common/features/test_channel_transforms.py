import numpy as np
import pytest

from common.features.channel_transforms import ChannelTransforms


def two_rows() -> ChannelTransforms:
    """Row 0: identity; row 1: swap, channel 0 negated, phase of channel 1 shifted by pi, angles."""
    return ChannelTransforms(
        channel_permutation=np.array([[0, 1], [1, 0]]),
        channel_sign=np.array([[1, 1], [-1, 1]], np.float32),
        channel_shift_rad=np.array([[0, 0], [0, np.pi]], np.float32),
        periodic=np.array([False, True]),
        angles={"azimuth_deg": (np.array([1, -1], np.float32), np.array([0, 90], np.float32))},
    )


def test_channels_are_taken_negated_and_shifted():
    features = np.array([[1.0, 2.0]], np.float32)  # (T=1, C=2)
    moved = two_rows().apply_to_features(features, 1)
    np.testing.assert_allclose(moved, [[-2.0, 1.0 + np.pi - 2 * np.pi]], rtol=1e-6)


def test_phases_are_wrapped_to_half_open_circle_ending_at_pi():
    features = np.array([[0.0, 0.0], [0.5, 0.0], [-0.5, 0.0]], np.float32)
    moved = two_rows().apply_to_features(features, 1)[:, 1]
    np.testing.assert_allclose(moved, [np.pi, 0.5 - np.pi, np.pi - 0.5], rtol=1e-6)


def test_the_stored_type_is_kept():
    assert two_rows().apply_to_features(np.zeros((2, 3, 2), np.float16), 1).dtype == np.float16


def test_angles_of_active_classes_turn_and_wrap_and_others_stay():
    angles = np.array([[-170, 0, 180]], np.int16)
    active = np.array([[True, True, False]])
    turned = two_rows().apply_to_angles("azimuth_deg", angles, active, 1)
    np.testing.assert_array_equal(turned, [[-100, 90, 180]])  # 170 + 90 = 260 = -100
    assert turned.dtype == np.int16


def test_half_a_turn_is_written_as_minus_180():
    turned = two_rows().apply_to_angles("azimuth_deg", np.array([[-90]]), np.array([[True]]), 1)
    assert turned.item() == -180


def test_arrays_without_a_rule_come_back_unchanged():
    angles = np.array([[30]])
    assert two_rows().apply_to_angles("distance_m", angles, np.array([[True]]), 1) is angles


def test_tables_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match=r"`channel_sign`.*Expected: \(1, 2\). Received: \(2, 2\)"):
        ChannelTransforms(
            np.zeros((1, 2), int), np.ones((2, 2)), np.zeros((1, 2)), np.zeros(2, bool)
        )
    with pytest.raises(ValueError, match=r"`periodic`.*Expected: \(2,\). Received: \(3,\)"):
        ChannelTransforms(
            np.zeros((1, 2), int), np.ones((1, 2)), np.zeros((1, 2)), np.zeros(3, bool)
        )
    with pytest.raises(ValueError, match="azimuth_deg"):
        tables = {"azimuth_deg": (np.ones(2), np.ones(1))}
        ChannelTransforms(
            np.zeros((1, 2), int), np.ones((1, 2)), np.zeros((1, 2)), np.zeros(2, bool), tables
        )
