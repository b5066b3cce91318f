"""The tables of docs/scale.md follow from the measured rates."""

import json
import re

import pytest

from benchmarks import scale
from benchmarks.measure import ROOT


@pytest.fixture(scope="module")
def results():
    return json.loads((ROOT / "benchmarks" / "results.json").read_text())


def test_costs_grow_with_audio_and_time_shrinks_with_machines(results):
    found = scale.systems(results)
    rows = scale.work_table(found, cores=2).splitlines()[2:]
    assert len(rows) == len(scale.HOURS) * len(found)
    seldnet = next(system for system in found if system.name == "SELDnet")
    # 60 recordings of 49 MB, and of a fifth of a second of one core
    assert seldnet.features_gb == pytest.approx(2.96, rel=0.05)
    assert 3 < seldnet.extraction_core_s < 60
    assert scale.duration(1000 * seldnet.extraction_core_s / 2 / 10) in rows[1]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (12.0, "12 s"),
        (600.0, "10 min"),
        (36_000.0, "10 h"),
        (864_000.0, "10 days"),
        (6.3e8, "20 years"),
    ],
)
def test_durations_are_in_the_unit_that_people_would_use(seconds, text):
    assert scale.duration(seconds) == text


def test_the_page_agrees_with_the_results(tmp_path):
    page = tmp_path / "scale.md"
    page.write_text(scale.PAGE.read_text())
    scale.main(page)
    assert page.read_text() == scale.PAGE.read_text()
    assert re.search(r"\| SELDnet \| 100,000 h \| [\d.,]+ TB \|", page.read_text())
