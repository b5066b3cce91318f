"""Events of curves that come in pieces are those of the whole curves."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sed_task4.decoding import DecodingConfig, OnlineDecoder, decode_clip

RULES = {
    "half open": DecodingConfig(
        decoder="half_open", high_threshold=0.7, low_threshold=0.4, smooth_frames=3, salt_frames=2
    ),
    "one threshold": DecodingConfig(
        decoder="half_open", high_threshold=0.6, low_threshold=None, smooth_frames=0
    ),
    "published": DecodingConfig(
        decoder="kong2019", high_threshold=0.7, low_threshold=0.4, smooth_frames=4, salt_frames=1
    ),
    "published, high": DecodingConfig(
        decoder="kong2019", high_threshold=0.6, low_threshold=None, smooth_frames=2
    ),
    "published, turned": DecodingConfig(
        decoder="kong2019", high_threshold=0.4, low_threshold=0.7, smooth_frames=2
    ),
    "median": DecodingConfig(decoder="median", threshold=0.5, median_frames=7),
    "medians": DecodingConfig(decoder="median", threshold=0.5, median_frames=(1, 5, 9)),
    "mirror": DecodingConfig(
        decoder="median",
        threshold_rule="exceeded",
        median_frames=(1, 5, 21),
        median_edges="reflect",
    ),
    "output frames": DecodingConfig(
        decoder="median",
        median_frames=5,
        median_edges="reflect",
        median_of="scores",
        frame_stride=4,
    ),
    "output frames, half open": DecodingConfig(high_threshold=0.6, smooth_frames=2, frame_stride=3),
}


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n_frames=st.integers(0, 200),
    step=st.integers(1, 60),
    busy=st.floats(0.05, 0.9),
)
@pytest.mark.parametrize("name", RULES)
def test_pieces_give_the_events_of_the_whole(name, seed, n_frames, step, busy):
    rng = np.random.default_rng(seed)
    curves = np.where(
        rng.uniform(size=(n_frames, 3)) < busy, rng.uniform(size=(n_frames, 3)), 0
    ).astype(np.float32)
    decoder, found = OnlineDecoder(3, RULES[name]), []
    for start in range(0, n_frames, step):
        found += decoder.push(curves[start : start + step])
    found += decoder.finish()
    expected = decode_clip(curves, None, RULES[name], hop_s=1.0)
    assert sorted(each[:3] for each in found) == sorted(map(tuple, expected.tolist()))


def test_an_event_is_final_as_soon_as_possible():
    decoder = OnlineDecoder(1, RULES["half open"])
    curve = np.array([0, 0.5, 0.8, 0.8, 0.5, 0, 0, 0, 0, 0.9], np.float32)[:, None]
    assert decoder.push(curve[:8]) == []
    ((k, onset, offset, score),) = decoder.push(curve[8:9])
    assert (k, onset, offset) == (0, 1, 5) and score == pytest.approx(0.65)
    assert decoder.push(curve[9:]) == [] and decoder.finish() == []  # one frame is dropped


def test_silence_and_finished_events_are_dropped():
    decoder = OnlineDecoder(1, RULES["half open"])
    for _ in range(50):
        decoder.push(np.full((20, 1), 0.9, np.float32))
        decoder.push(np.zeros((20, 1), np.float32))
        assert len(decoder._classes[0]._curve) == 0
