"""Curves of PSDS and F that a run keeps, and their figures."""

import json

import numpy as np
import pytest

from common.errors import CheckpointError
from sed_task4.curve_figures import in_use, psds_figure, threshold_figure
from sed_task4.decoding import DecodingConfig, decision_scores, decode_clip
from sed_task4.scores.score_curves import CURVES, MOST_POINTS, read_curves, write_curves
from sed_task4.scores.systems import ScoringConfig, SystemOutput, TestSet, score_report

CLASSES = ("Cat", "Dog", "Speech")
HOP_S = 0.1
DECODINGS = {
    "half_open": DecodingConfig(tag_threshold=None, high_threshold=0.6, low_threshold=0.4),
    "reached": DecodingConfig(decoder="median", median_frames=3, tag_threshold=None),
    "exceeded": DecodingConfig(
        decoder="median", median_frames=3, tag_threshold=None, threshold_rule="exceeded"
    ),
    "zero": DecodingConfig(decoder="median", median_frames=1, tag_threshold=None, threshold=0.0),
}


def clips_of(seed: int, n_clips: int = 12) -> tuple[TestSet, list[np.ndarray]]:
    """Events of two of the classes, and scores in steps of 0.1, so that some equal thresholds."""
    rng = np.random.default_rng(seed)
    truth, frames = [], []
    for _ in range(n_clips):
        # Times off the frames: shares of exactly a half would be a matter of rounding.
        rows = [(k, onset := rng.integers(0, 60) / 10 + 0.013, onset + 2.0) for k in range(2)]
        scores = rng.integers(0, 6, (10, 3)).repeat(10, axis=0) / 10
        for k, onset_s, offset_s in rows:
            scores[round(onset_s / HOP_S) : round(offset_s / HOP_S), k] += rng.integers(1, 6) / 10
        truth.append(np.array(rows))
        frames.append(np.minimum(scores, 1.0))
    return TestSet([f"{number}.wav" for number in range(n_clips)], truth, CLASSES), frames


def output_of(frames, decoding: DecodingConfig) -> SystemOutput:
    return SystemOutput(
        [decode_clip(each, None, decoding, HOP_S, clip_s=10.0) for each in frames],
        np.stack([each.max(axis=0) for each in frames]),
        [decision_scores(each, None, decoding) for each in frames],
        HOP_S,
        threshold=decoding.swept_threshold,
    )


def report_of(decodings=DECODINGS, **scoring):
    test, frames = clips_of(0)
    outputs = {name: output_of(frames, each) for name, each in decodings.items()}
    return score_report(test, outputs, ScoringConfig(sed_eval=False, **scoring))


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A report, its stored curves, and their folder."""
    folder = tmp_path_factory.mktemp("run")
    report = report_of(intersection_f=True, scenarios={"psds_2020": None})
    write_curves(folder / CURVES, report.rows, CLASSES)
    return report, read_curves(folder), folder


def test_curves_of_all_scored_scenarios_have_the_psds_of_the_tables(stored):
    report, curves, _ = stored
    assert [each.label for each in curves] == list(DECODINGS), "without baselines"
    for each in curves:
        assert list(each.psds) == ["psds1", "psds2", "psds_2020"]
        for name, curve in each.psds.items():
            assert curve.psds == report.score(name, each.label)
            steps = np.diff([*curve.rates, curve.max_rate])
            area = np.dot(curve.found, steps) / curve.max_rate
            assert area == pytest.approx(curve.psds, abs=1e-4)


@pytest.mark.parametrize("kind", ["event", "intersection"])
@pytest.mark.parametrize("label", DECODINGS)
def test_f_at_the_threshold_in_use_is_that_of_the_runs_own_events(stored, label, kind):
    report, curves, _ = stored
    (system,) = (each for each in curves if each.label == label)
    row = report.row(label)
    for k, name in enumerate(CLASSES[:2]):
        place = system.thresholds.index(system.threshold)
        own = row.by_class[f"{kind}_f"][k]
        assert system.f[kind].classes[name][place] == pytest.approx(own, abs=1e-5)
        threshold, best = system.f[kind].best[name]
        assert best >= max(system.f[kind].classes[name]) and 0 <= threshold <= 1
    assert "Speech" not in system.f[kind].classes, "no event of it"
    mean = np.mean(row.by_class[f"{kind}_f"][:2])
    assert in_use(system, system.f[kind])[1] == pytest.approx(mean, abs=1e-5)


def test_the_best_thresholds_are_those_of_the_best_f(stored):
    report, curves, _ = stored
    best = [curves[0].f["event"].best[name][1] for name in CLASSES[:2]]
    assert np.mean(best) == pytest.approx(report.score("best_f"), abs=1e-5)


def test_intersections_have_a_curve_only_where_they_are_scored(tmp_path):
    rows = report_of({"reached": DECODINGS["reached"]}).rows
    write_curves(tmp_path / CURVES, rows, CLASSES)
    (system,) = read_curves(tmp_path)
    assert list(system.f) == ["event"] and list(system.psds) == ["psds1", "psds2"]


def test_long_curves_are_stored_in_few_points(tmp_path):
    test, _ = clips_of(0, 200)
    noise = np.random.default_rng(1).random((200, 100, 3))
    output = SystemOutput([np.zeros((0, 3))] * 200, None, list(noise), HOP_S)
    scenario = {"wide": {"dtc": 0.5, "gtc": 0.5, "max_rate": 5000}}
    scoring = ScoringConfig(sed_eval=False, scenarios=scenario)
    report = score_report(test, {"noise": output}, scoring)
    write_curves(tmp_path / CURVES, report.rows, CLASSES)
    (system,) = read_curves(tmp_path)
    curve = system.psds["wide"]
    assert len(report.rows[0].curves.psds["wide"][0].rates) > MOST_POINTS == len(curve.rates)
    assert np.mean(curve.found) == pytest.approx(curve.psds, abs=0.01)
    assert system.threshold is None and in_use(system, system.f["event"]) is None


def test_a_set_without_events_has_undefined_curves(tmp_path):
    test = TestSet(["a.wav"], [np.zeros((0, 3))], CLASSES)
    output = SystemOutput([np.zeros((0, 3))], None, [np.full((100, 3), 0.5)], HOP_S, threshold=0.5)
    report = score_report(test, {"s": output}, ScoringConfig(sed_eval=False))
    write_curves(tmp_path / CURVES, report.rows, CLASSES)
    curves = read_curves(tmp_path)
    assert curves[0].psds["psds1"].psds is None and curves[0].f["event"].macro[0] is None
    assert psds_figure(curves).axes and threshold_figure(curves).axes


def test_without_scores_over_thresholds_there_is_no_file(stored, tmp_path):
    (tmp_path / CURVES).write_text("of an earlier start")
    write_curves(tmp_path / CURVES, report_of(psds=False).rows, CLASSES)
    assert not (tmp_path / CURVES).exists() and read_curves(tmp_path) is None


def test_a_damaged_file_is_named_with_the_remedy(stored, tmp_path):
    content = json.loads((stored[2] / CURVES).read_text())
    content["rows"][0]["thresholds"].pop()
    (tmp_path / CURVES).write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=r"curves\.json is damaged: curves of different len"):
        read_curves(tmp_path)
    del content["rows"][0]["psds"]["psds1"]["rates"]
    (tmp_path / CURVES).write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=r"curves\.json is damaged: .*rates.*Delete it"):
        read_curves(tmp_path)


def texts(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_each_scenario_has_a_panel_and_each_network_a_line_with_its_psds(stored):
    report, curves, _ = stored
    panels = psds_figure(curves[:2]).axes
    titles = [axes.get_title(loc="left") for axes in panels]
    assert titles == ["PSDS 1", "PSDS 2", "PSDS 2020"]
    scores = [report.score("psds1", each.label) for each in curves[:2]]
    assert texts(panels[0]) == [
        f"{each.label}: {score:.3f}" for each, score in zip(curves, scores, strict=False)
    ]


def test_thresholds_in_use_and_best_are_marked(stored):
    _, curves, _ = stored
    panels = threshold_figure(curves[:2]).axes
    titles = [axes.get_title(loc="left") for axes in panels]
    assert titles[:2] == [f"Mean over classes, {kind} F" for kind in _kinds()]
    assert titles[2] == "half_open: classes, event-based F" and len(titles) == 6
    assert texts(panels[0])[0].startswith("half_open, in use 0.60: ")
    assert texts(panels[0])[1].startswith("reached, in use 0.50: ")
    marks = [line.get_marker() for line in panels[0].lines]
    assert marks.count("*") == marks.count("o") == 2
    assert [line.get_marker() for line in panels[2].lines].count("*") == 2, "one a class"


def _kinds():
    return "event-based", "intersection-based"
