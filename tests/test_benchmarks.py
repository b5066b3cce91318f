"""Every benchmark runs, and what it writes stands in its place."""

import contextlib
import importlib
import json
import math
import re

import numpy as np
import pytest

from benchmarks import demo_seeds, our_steps, run, training_steps
from benchmarks.measure import (
    ROOT,
    Figure,
    Goal,
    figures_table,
    in_turns,
    replace_between,
    run_alone,
    short,
    task,
)
from common.training.system import load_system

# Measured in processes of their own, which take long to start.
LONG = {"inference", "large_stores", "memory", "recordings", "training_steps", "waiting", "windows"}


class Here(contextlib.nullcontext):
    """Does in this process what a worker of the benchmarks does in one of its own."""

    steps = None

    def ask(self, do, **request):
        reply, self.steps = our_steps.execute({"do": do, **request}, self.steps)
        return reply

    def seconds(self):
        return self.ask("step")["seconds"]

    def __enter__(self):
        return self


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.soak) if name in LONG else name for name in run.NAMES],
)
def test_a_quick_benchmark_measures_positive_figures(name, tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.multi_accdoa.our_worker", Here)
    benchmark = importlib.import_module(f"benchmarks.{name}")
    results = benchmark.measure(True, tmp_path)
    figures = [each for each in results if isinstance(each, Figure)]
    goals = [each for each in results if isinstance(each, Goal)]
    assert all(goal.value is None or goal.value > 0 for goal in goals)
    assert len({goal.work for goal in goals}) == len(goals)
    assert len({figure.name for figure in figures}) == len(figures) and len(results) > 0
    assert all(math.isfinite(figure.value) and figure.value >= 0 for figure in figures)
    assert all(figure.value > 0 for figure in figures if "once, at the start" not in figure.name)


@pytest.mark.parametrize(
    ("value", "at_least", "verdict"),
    [
        (2.0, True, "met"),
        (1.9, True, "missed: slow disk"),
        (2.1, False, "missed: slow disk"),
        (2.0, False, "met"),
        (None, True, "not measured: slow disk"),
    ],
)
def test_goal_is_met_at_its_bound_or_gives_a_reason(value, at_least, verdict):
    assert Goal("work", value, 2.0, "times faster", at_least, reason="slow disk").verdict == verdict


def test_routes_are_measured_in_turns_after_an_uncounted_round():
    order = []
    routes = {
        name: lambda name=name: order.append(name) or float(len(order))
        for name in ("ours", "theirs")
    }
    timings = in_turns(routes, 2)
    assert order == ["ours", "theirs"] * 3
    assert timings["ours"].values == (3.0, 5.0) and timings["theirs"].median == 5.0


def test_a_single_benchmark_prints_its_table_and_writes_json(tmp_path, capsys):
    path = tmp_path / "result.json"
    run_alone(
        "Title",
        lambda quick, folder: [Figure("all of it", 2.0, "s")],
        ["--quick", "--json", str(path)],
    )
    assert "| all of it | 2 | s |" in capsys.readouterr().out
    content = json.loads(path.read_text())
    assert content["figures"] == [{"name": "all of it", "value": 2.0, "unit": "s", "aim": ""}]
    assert content["machine"]["cores"] >= 1


def test_all_benchmarks_replace_only_the_text_between_their_markers(tmp_path, capfd):
    markdown, results = tmp_path / "table.md", tmp_path / "results.json"
    markdown.write_text(
        "before\n<!-- event_scores:begin -->\nold\n<!-- event_scores:end -->\n"
        "<!-- goals:begin --><!-- goals:end -->"
    )
    goal = {
        "work": "a kept one",
        "value": 3.0,
        "aim": 2.0,
        "unit": "times",
        "at_least": True,
        "details": "",
        "reason": "",
    }
    results.write_text(json.dumps({"simulation": {"goals": [goal]}}))
    files = ["--markdown", str(markdown), "--json", str(results)]
    run.main(["--quick", "--only", "event_scores", *files])
    text = markdown.read_text()
    assert text.startswith("before\n<!-- event_scores:begin -->\nScores of events")
    assert "| a kept one | at least 2 times | 3 |  | met |" in text
    assert "old" not in text and "python -m benchmarks.event_scores" in text
    assert json.loads(results.read_text()).keys() == {"simulation", "event_scores"}


@pytest.mark.parametrize("name", ["goals", *run.NAMES, *run.ON_REQUEST, *demo_seeds.DEMOS])
def test_the_report_has_a_place_for_each_benchmark(name):
    text = (ROOT / "BENCHMARKS.md").read_text()
    assert replace_between(replace_between(text, name, "@old@"), name, "@new@").count("@") == 2


def test_a_report_without_markers_is_refused():
    with pytest.raises(
        ValueError, match=r"Expected: the markers <!-- demo:begin --> and <!-- demo:end -->"
    ):
        replace_between("<!-- demo:end --> <!-- demo:begin -->", "demo", "new")


@pytest.mark.parametrize(
    ("value", "text"), [(0.25629, "0.256"), (63.81, "63.8"), (1234.5, "1,230"), (98765, "98,800")]
)
def test_figures_have_three_significant_digits(value, text):
    assert short(value) == text
    assert f"| {text} |" in figures_table([Figure("x", value, "s")])


def test_each_network_is_one_row_of_the_training_steps():
    figures = [
        Figure(f"{name}: {what}", value, unit)
        for name in ("A, 8 x 640", "B, 16 x 500")
        for what, value, unit in (
            ("trainable parameters", 75497802, ""),
            ("one step", 12345.6, "ms"),
        )
    ]
    header, _, *rows = training_steps.steps_table(figures).splitlines()
    assert header.endswith("| trainable parameters | one step, ms |")
    assert rows == [f"| {name} | 75,497,802 | 12,300 |" for name in ("A, 8 x 640", "B, 16 x 500")]


@pytest.mark.parametrize(
    ("size", "expected"),
    [(training_steps.MULTI_ACCDOA, (2, 16, 6, 4, 13)), (training_steps.EINV2, (2, 20, 2, 17))],
)
def test_training_steps_learn_from_random_events_where_a_system_does(size, expected, tmp_path):
    settings = task(size.task_id, tmp_path)
    stage = load_system(settings.family, settings.system).stages(settings)[0]
    rng = np.random.default_rng(0)
    made = our_steps.targets_of_events(stage, settings.dataset.n_classes, (2, 80), rng)
    (found,) = made.values()
    assert found.shape == expected and found.dtype == np.float32
    assert found.any(axis=tuple(range(1, found.ndim))).all()


def test_training_steps_of_a_teacher_hide_labels_as_its_parts_do(tmp_path):
    size = training_steps.TEACHER_2023
    settings = task(size.task_id, tmp_path, *size.overrides)
    stage = load_system(settings.family, settings.system).stages(settings)[0]
    targets = {"frames": np.ones((12, 3, 10)), "clip": np.ones((12, 10))}
    our_steps.hide_unknown(targets, stage, settings)
    number = np.arange(12)
    strong, weak = number < 3, (number >= 3) & (number < 6)
    for name, known in (("frames", strong), ("clip", weak)):
        assert (targets[name][known] == 1).all() and (targets[name][~known] == -1).all()


def _finished_run(folder, seed, er):
    official = {"er": er, "f": 0.8, "doa_error_deg": 20.0, "frame_recall": 0.9, "seld_error": 0.2}
    rows = [
        {
            "label": "all",
            "scores": {"dcase2019": official, "corrected": official | {"doa_error_deg": 18.0}},
        }
    ]
    silent = {"er": 1.0, "f": 0.0, "doa_error_deg": None, "frame_recall": 0.4, "seld_error": 0.6}
    for label in ("always silent", "labels of another recording"):
        rows.append({"label": label, "scores": {"dcase2019": silent, "corrected": silent}})
    path = folder / f"demo_s{seed}"
    path.mkdir()
    (path / "scores.json").write_text(json.dumps({"rows": rows}))


def test_the_demo_seeds_become_one_table_and_finished_ones_stay(tmp_path, capsys):
    markdown = tmp_path / "table.md"
    markdown.write_text("<!-- demo:begin --><!-- demo:end -->")
    _finished_run(tmp_path, 0, er=0.1)
    _finished_run(tmp_path, 1, er=0.3)
    demo_seeds.main(["0", "1", "--folder", str(tmp_path), "--markdown", str(markdown)])
    assert re.search(
        r"\| all \| 1 \| 0.30 \| 0.800 \| 20.0 \| 18.0 \| 0.900 \| 0.200 \|", markdown.read_text()
    )
    assert re.search(r"\| all \| mean \| 0.20 \|", markdown.read_text())
    assert re.search(r"\| always silent \| 0 \| 1.00 \| 0.000 \| - \| - \|", markdown.read_text())
