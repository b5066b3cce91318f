"""Pages hold all that they show, and show untrusted text as text."""

import base64
import hashlib
import math

import pytest

from common.display.charts import Series, epochs_chart, panel_chart
from common.display.page import (
    Cards,
    Charts,
    Lane,
    Note,
    Page,
    Picture,
    Section,
    Sound,
    Sounds,
    Table,
    Timeline,
    Tree,
    write_page,
)
from common.display.plotting import Curve, Panel
from tests.pages import read_report

HOSTILE = "<script>alert(1)</script>\" onload='x' {{ 7 * 7 }} &amp;"
CHART = epochs_chart(HOSTILE, [Series(HOSTILE, [1.0, None, 3.0], "#123456")], best_epoch=2)
LANE = Lane(HOSTILE, "#123456", [(0.0, 1.0)], [(0.5, 2.0)])
PICTURE = Picture("data:image/png;base64,AA==", HOSTILE, HOSTILE)
SOUND = Sound("data:audio/mpeg;base64,AA==", HOSTILE, 2.0)
BLOCKS = (
    Note(HOSTILE, problem=True),
    Cards([(HOSTILE, HOSTILE, HOSTILE)]),
    Table(HOSTILE, [["", HOSTILE], [HOSTILE, HOSTILE]], ["baseline"], [[0.5]], HOSTILE),
    Tree({HOSTILE: {HOSTILE: [HOSTILE]}, "empty": {}}),
    PICTURE,
    Sounds(HOSTILE, [SOUND]),
    Charts(HOSTILE, [CHART]),
    Timeline(
        HOSTILE, HOSTILE, 2.0, [(0.0, "0")], [PICTURE], [LANE], True, [CHART], SOUND, [HOSTILE]
    ),
)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "page.html"
    sections = [Section(HOSTILE, BLOCKS), Section("folded", [Note("here")], folded=True)]
    write_page(path, Page(HOSTILE, HOSTILE, {HOSTILE: HOSTILE}, sections, HOSTILE))
    return read_report(path)


def test_names_and_settings_are_shown_as_text_and_never_run(page):
    assert len(page.named("script")) == 1 and "alert" not in page.script
    assert HOSTILE in page.text and "49" not in page.text
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)


def test_the_policy_lets_the_page_run_its_own_script_alone_and_load_nothing(page):
    (policy,) = [meta["content"] for meta in page.named("meta") if meta.get("http-equiv")]
    digest = base64.b64encode(hashlib.sha256(page.script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert (
        policy.startswith("default-src 'none'; img-src data:; media-src data:;")
        and "http" not in policy
    )


def test_tables_have_headings_of_rows_and_columns(page):
    assert [heading["scope"] for heading in page.named("th")] == ["col", "row"]


def test_each_image_sound_and_drawing_is_told_in_words(page):
    assert (
        len(page.named("img")) == 2
        and len(page.named("audio")) == 2
        and len(page.named("svg")) == 2
    )
    (lane,) = [each for each in page.named("div") if each.get("class") == "plot lane"]
    assert lane["aria-label"].endswith("reference 0.0 to 1.0 s. estimate 0.5 to 2.0 s. ")


def test_a_line_leaves_out_what_is_unknown_and_spans_the_drawing():
    chart = epochs_chart(
        "loss", [Series("a", [1.0, None, math.nan, 4.0], "red")], limits=(0.0, 5.0)
    )
    assert chart.path(chart.lines[0]) == "M0.0 80.00L1000.0 20.00"
    assert [text for _, text in chart.x_ticks] == ["1", "2", "3", "4"]


def test_values_beyond_the_limits_leave_the_drawing():
    chart = epochs_chart("error rate", [Series("a", [3.0, 1.0], "red")], limits=(0.0, 2.0))
    assert chart.path(chart.lines[0]) == "M0.0 -50.00L1000.0 50.00"


def test_a_single_epoch_is_a_dot_and_no_epoch_is_no_line():
    one, none = (epochs_chart("loss", [Series("a", values, "red")]) for values in ([2.0], [None]))
    assert one.path(one.lines[0]).startswith("M0.0 50.00L0.0 50.00") and not none.lines


def test_logarithmic_curves_are_labelled_with_their_values():
    chart = epochs_chart("loss", [Series("a", [1.0, 0.0, 100.0], "red")], logarithmic=True)
    assert [text for _, text in chart.y_ticks] == ["1", "10", "100"]
    assert len(chart.lines[0].strokes[0]) == 2  # the logarithm of 0 is left out


def test_long_histories_are_thinned_to_what_a_page_can_show():
    chart = epochs_chart("loss", [Series("a", list(range(5001)), "red")])
    points = chart.lines[0].strokes[0]
    assert 450 <= len(points) <= 500 and points[-1] == (5001, 5000)


def test_curves_of_a_panel_keep_its_scale_colours_and_limits():
    panel = Panel(
        "Scores",
        "score",
        (Curve("a", "A", 0.5, colour=3), Curve("b", "B", dashed=True)),
        limits=(0.0, 1.0),
    )
    chart = panel_chart(panel, {"a": [1.0, 2.0], "c": [1.0]}, best_epoch=1)
    assert [line.label for line in chart.lines] == ["A"] and chart.y_limits == (0.0, 1.0)
    assert chart.lines[0].strokes[0] == [(1, 0.5), (2, 1.0)] and chart.mark == (1, "best: 1")
