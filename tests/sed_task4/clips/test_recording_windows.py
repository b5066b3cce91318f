"""Names and times of windows of recordings: by hand."""

import pytest

from common.errors import DataError
from sed_task4.clips.clip_groups import scene_of, sources_of
from sed_task4.clips.recording_windows import Window, windows_of
from sed_task4.dataset import Clip


def test_names_of_windows_hold_their_times():
    window = Window.of("city_center_03-000500-001530.wav")
    assert window == Window("city_center_03", 5.0, 15.3)
    assert window.name == "city_center_03-000500-001530" and window.scene == "city_center"
    assert window.length_s == pytest.approx(10.3)
    assert Window.of(window.name) == window
    long = Window("a", 12345.0, 12355.0)
    assert Window.of(long.name) == long and long.scene is None


@pytest.mark.parametrize(
    "name", ["a-1.wav", "a-0-1000.wav", "a-001000-000500.wav", "Yabc_30.000_40.000.wav"]
)
def test_other_names_are_none_of_windows(name):
    assert Window.find(name) is None and scene_of(name) is None
    with pytest.raises(DataError, match="is not a window of a recording"):
        Window.of(name)


@pytest.mark.parametrize(
    ("length_s", "hop_s", "spans"),
    [
        (21.0, 5.0, [(0, 10), (5, 15), (10, 20), (15, 21)]),
        (20.0, 5.0, [(0, 10), (5, 15), (10, 20)]),
        (12.5, 1.0, [(0, 10), (1, 11), (2, 12), (3, 12.5)]),
        (8.0, 5.0, [(0, 8)]),
        (10.0, 1.0, [(0, 10)]),
        (11.0, 20.0, [(0, 10)]),  # what follows would begin after the end
    ],
)
def test_the_last_window_is_shorter_where_the_hop_does_not_fit(length_s, hop_s, spans):
    found = windows_of("a", length_s, 10.0, hop_s)
    assert [(each.begin_s, each.end_s) for each in found] == spans


def test_windows_of_a_recording_are_one_source(tmp_path):
    names = ["a_01-000000-001000.wav", "a_01-000100-001100.wav", "a_02-000000-001000.wav"]
    names += ["dog-1-2.wav", "dog-2-3.wav"]
    sources = sources_of("x", [Clip(name, "x", tmp_path, None, None) for name in names])
    assert [sources.source(name) for name in names] == ["a_01", "a_01", "a_02", *names[3:]]
