"""Decoders against literal loops over frames and classes."""

import itertools

import numpy as np

from seld.decoding import (
    decode_accdoa,
    decode_classwise,
    decode_multi_accdoa,
    decode_tracks,
    in_label_frames,
    mean_of_tracks,
    to_rows,
)


def angle_deg(a, b):
    cosine = np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b)
    return np.rad2deg(np.arccos(np.clip(cosine, -1, 1)))


def loop(values, unify_deg):
    """The published decoding of three tracks (T, 3, 4, K), frame by frame and class by class."""
    found = []
    for frame, k in itertools.product(range(len(values)), range(values.shape[-1])):
        tracks = values[frame, :, :, k]
        active = [n for n in range(3) if np.linalg.norm(tracks[n, :3]) > 0.5]
        pairs = [
            (a, b)
            for a, b in itertools.combinations(active, 2)
            if angle_deg(tracks[a, :3], tracks[b, :3]) < unify_deg
        ]
        if len(pairs) == 1:
            groups = [[n] for n in active if n not in pairs[0]] + [list(pairs[0])]
        else:
            groups = [active] if pairs else [[n] for n in active]
        for group in groups if active else []:
            clipped = np.column_stack([tracks[group, :3], np.maximum(tracks[group, 3], 0)])
            found.append([frame, k, *clipped.mean(axis=0)])
    return np.array(found)


def test_close_tracks_of_a_class_are_one_source():
    rng = np.random.default_rng(0)
    centre = rng.normal(size=(40, 1, 4, 5))
    values = (centre + rng.normal(0, 0.25, (40, 3, 4, 5))).astype(np.float32)
    found = decode_multi_accdoa(values, unify_deg=20.0)
    got = np.column_stack([found.frame, found.klass, found.xyz, found.distance_m])
    np.testing.assert_allclose(got, loop(values, 20.0), atol=1e-6)
    assert len(found) < len(decode_multi_accdoa(values, unify_deg=None))


def test_a_vector_longer_than_the_threshold_is_a_source():
    values = np.zeros((2, 3, 2))
    values[0, 1, 0], values[1, :, 1] = 0.51, [0.3, 0.3, 0.2]
    found = decode_accdoa(values)
    assert (found.frame.tolist(), found.klass.tolist()) == ([0], [0])
    np.testing.assert_allclose(to_rows(found)[0, 2:4], [90, 0])


def test_activity_and_direction_of_separate_heads():
    sed, doa = np.array([[0.2, 0.9], [0.6, 0.5]]), np.zeros((2, 3, 2))
    doa[0, :, 1], doa[1, :, 0] = [0, 0, 2], [-1, 0, 0]
    rows = to_rows(decode_classwise(sed, doa))
    np.testing.assert_allclose(rows[:, :4], [[0, 1, 0, 90], [1, 0, 180, 0]])


def test_only_the_most_probable_class_of_a_track_counts():
    sed = np.array([[[0.6, 0.7], [0.8, 0.1]], [[0.4, 0.3], [0.0, 0.9]]])
    found = decode_tracks(sed, np.ones((2, 2, 3)))
    assert found.frame.tolist() == [0, 0, 1]
    assert found.klass.tolist() == [1, 0, 1]


def test_tracks_of_models_are_brought_into_one_order_before_the_mean():
    rng = np.random.default_rng(1)
    sed, doa = rng.uniform(size=(6, 3, 4)), rng.normal(size=(6, 3, 3))
    order = np.array([rng.permutation(3) for _ in range(6)])[..., None]
    swapped = [np.take_along_axis(each, order, axis=1) for each in (sed, doa)]
    mean = mean_of_tracks([(sed, doa), tuple(swapped)])
    np.testing.assert_allclose(mean[0], sed)
    np.testing.assert_allclose(mean[1], doa)
    published, _ = mean_of_tracks([(sed, doa), tuple(swapped)], aligned=False)
    np.testing.assert_allclose(published, (sed + swapped[0]) / 2)


def test_sources_are_repeated_in_the_label_frames_of_an_output_frame():
    values = np.zeros((3, 3, 1))
    values[[0, 2], 0] = 1.0
    found = in_label_frames(decode_accdoa(values), np.array([0, 0, 1, 1, 2, 2, 2]))
    assert found.frame.tolist() == [0, 1, 4, 5, 6]
