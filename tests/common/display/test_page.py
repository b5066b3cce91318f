"""Pages are self-contained, and escape untrusted text."""

import base64
import hashlib

import pytest

from common.display.page import (
    Cards,
    Chapter,
    Chart,
    Lane,
    Line,
    Note,
    Page,
    Picture,
    Sound,
    Sounds,
    Table,
    Timeline,
    Tree,
    link_to,
    write_page,
)
from tests.pages import read_report

HOSTILE = "<script>alert(1)</script>\" onload='x' {{ 7 * 7 }} &amp;"
LINE = Line(HOSTILE, [[(0.0, 1.0), (2.0, 3.0)]], "#123456")
CHART = Chart(HOSTILE, [LINE], (0.0, 2.0), (0.0, 5.0), [(0.0, HOSTILE)])
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
    Timeline(
        HOSTILE, HOSTILE, 2.0, [(0.0, "0")], [PICTURE], [LANE], True, [CHART], SOUND, [HOSTILE]
    ),
)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "page.html"
    chapters = [Chapter(HOSTILE, BLOCKS), Chapter("folded", [Note("here")], folded=True)]
    write_page(path, Page(HOSTILE, HOSTILE, {HOSTILE: HOSTILE}, chapters, HOSTILE))
    return read_report(path)


def test_names_and_settings_are_shown_as_text_and_never_run(page):
    assert len(page.named("script")) == 1 and "alert" not in page.script
    assert HOSTILE in page.text and "49" not in page.text
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)


def test_the_policy_allows_only_the_pages_own_script(page):
    (policy,) = [meta["content"] for meta in page.named("meta") if meta.get("http-equiv")]
    digest = base64.b64encode(hashlib.sha256(page.script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert (
        policy.startswith("default-src 'none'; img-src data:; media-src data:;")
        and "http" not in policy
    )


def test_links_to_files_are_relative_and_have_no_protocol(tmp_path):
    link = link_to(tmp_path / "javascript:a" / "b #1?.wav", tmp_path / "page" / "deep")
    assert link == "./../../javascript%3Aa/b%20%231%3F.wav"
    assert link_to(tmp_path / "c:d", tmp_path) == "./c%3Ad"


def test_tables_have_headings_of_rows_and_columns(page):
    assert [heading["scope"] for heading in page.named("th")] == ["col", "row"]


def test_each_image_sound_and_drawing_has_a_text(page):
    assert (
        len(page.named("img")) == 2
        and len(page.named("audio")) == 2
        and len(page.named("svg")) == 1
    )
    (lane,) = [each for each in page.named("div") if each.get("class") == "plot lane"]
    assert lane["aria-label"].endswith("reference 0.0 to 1.0 s. estimate 0.5 to 2.0 s. ")


def test_a_line_spans_the_drawing_and_exceeds_its_limits():
    line = Line("a", [[(0.0, 1.0), (2.0, 4.0)], [(1.0, 6.0), (2.0, 6.0)]], "red")
    chart = Chart("angle", [line], (0.0, 2.0), (0.0, 5.0))
    assert chart.path(line) == "M0.0 80.00L1000.0 20.00M500.0 -20.00L1000.0 -20.00"
