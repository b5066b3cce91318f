"""Windows over recordings of known and of unknown length."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from common.inference.windows import Window, Windows


@st.composite
def all_windows(draw) -> Windows:
    frames = draw(st.integers(1, 400))
    overlap = draw(st.integers(0, frames - 1))
    after = draw(st.none() | st.integers(0, overlap))
    return Windows(frames, overlap, draw(st.booleans()), after, draw(st.booleans()))


@given(st.integers(1, 3000), all_windows())
def test_windows_count_each_frame_once_and_overlap(n_frames, windows):
    found = list(windows.of(n_frames))
    assert [frame for each in found for frame in range(each.first, each.end)] == list(
        range(n_frames)
    )
    lengths = [window.stop - window.start for window in found[:-1]]
    assert lengths == [*windows.lengths, *[windows.frames] * len(lengths)][: len(lengths)]
    last = found[-1]
    assert last.stop == n_frames
    assert not windows.last_is_whole or last.stop - last.start == min(windows.frames, n_frames)
    for left, right in pairwise(found):
        assert left.start <= right.start <= right.first < right.end <= right.stop
        assert left.start < right.start or windows.grow
        assert left.stop - right.start >= min(windows.overlap, left.stop)
        assert left.stop - left.end == (
            windows.overlap // 2 if windows.after is None else windows.after
        )


@given(st.integers(1, 1000), all_windows(), st.integers(1, 97))
def test_windows_of_a_stream_are_those_of_the_whole_recording(n_frames, windows, step):
    found = []
    last: Window | None = None
    for known in [*range(step, n_frames, step), n_frames]:
        while (window := windows.next_after(last, known, ended=False)) is not None:
            found.append(last := window)
    while (window := windows.next_after(last, n_frames, ended=True)) is not None:
        found.append(last := window)
    assert found == list(windows.of(n_frames))


def test_sequences_side_by_side_and_clips_that_overlap_are_these():
    assert list(Windows(10).of(25)) == [
        Window(0, 10, 0, 10),
        Window(10, 20, 10, 20),
        Window(20, 25, 20, 25),
    ]
    assert list(Windows(10, 4, last_is_whole=True).of(20)) == [
        Window(0, 10, 0, 8),
        Window(6, 16, 8, 14),
        Window(10, 20, 14, 20),
    ]
    assert list(Windows(10, 7, after=3, grow=True).of(15)) == [
        Window(0, 6, 0, 3),
        Window(0, 9, 3, 6),
        Window(2, 12, 6, 9),
        Window(5, 15, 9, 15),
    ]
    assert list(Windows(10, 4, last_is_whole=True).of(7)) == [Window(0, 7, 0, 7)]
