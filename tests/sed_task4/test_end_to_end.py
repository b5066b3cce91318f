"""The CRNN from simulated clips to tables of scores, by the programs themselves."""

import contextlib
import io
import json
import shutil
from pathlib import Path

import pytest

from common.cli.evaluate import main as evaluate
from common.cli.extract import main as extract
from common.cli.simulate import main as simulate
from common.inference.loading import load_predictor
from sed_task4.cli import main
from sed_task4.clips.clip_groups import draw_validation
from sed_task4.score import main as score
from tests.browser import BROWSER, NO_BROWSER, check_layout
from tests.evaluations import check_own_scores
from tests.pages import check_scores, read_report
from tests.sed_task4.tiny_runs import CRNN, arguments


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a finished run of the two-pass demo in a tiny form."""
    folder = tmp_path_factory.mktemp("crnn")
    assert main(["crnn-demo", "a", *arguments(folder, CRNN)]) == 0
    return folder


def test_two_passes_leave_thresholds_tags_events_and_scores(folder):
    run = folder / "output" / "crnn-demo_a"
    assert len(json.loads((run / "validation_split.json").read_text())["validation"]) == 1
    assert len(json.loads((run / "pass1" / "tag_thresholds.json").read_text())) == 10
    tags = (run / "pass2" / "pseudo_labels" / "tags.tsv").read_text().splitlines()
    assert tags[0] == "filename\tevent_labels" and len(tags) == 5
    for stage in ("pass1", "pass2"):
        assert (
            (run / stage / "events.tsv")
            .read_text()
            .startswith("filename\tonset\toffset\tevent_label")
        )
        assert (run / stage / "best.keras").exists() and (run / stage / "curves.png").exists()
    labels = [row["label"] for row in json.loads((run / "scores.json").read_text())["rows"]]
    assert labels[:4] == [
        "pass2",
        "pass2, tags over the clip",
        "pass1",
        "pass1, tags over the clip",
    ]
    assert {"always silent", "always active", "true tags, whole clip"} <= set(labels)
    assert all(
        (run / name).stat().st_size for name in ("class_scores.png", "durations.png", "clip.png")
    )


def test_the_score_command_gives_the_table_of_the_run(folder, tmp_path, capsys):
    run, truth = folder / "output" / "crnn-demo_a", next((folder / "dataset").rglob("test.csv"))
    rows = {
        row["label"]: row["scores"] for row in json.loads((run / "scores.json").read_text())["rows"]
    }
    for stage in ("pass1", "pass2"):
        assert (
            score([str(run / stage / "events.tsv"), str(truth), "--json", str(tmp_path / "s.json")])
            == 0
        )
        found = json.loads((tmp_path / "s.json").read_text())["rows"][0]["scores"]
        names = [name for name in found if name.startswith(("event", "segment"))]
        assert {name: found[name] for name in names} == {
            name: rows[stage][name] for name in names
        } and names


def test_the_report_has_all_scores_and_extreme_clips_with_sound(folder):
    run = folder / "output" / "crnn-demo_a"
    page = read_report(run / "report.html")
    check_scores(page, run / "scores.json")
    assert (
        "best of" in page.text and "F of 1 s segments" in page.text and "median_frames" in page.text
    )
    n_shown = page.text.count(": F of 1 s segments ")
    assert "PSDS: events found over false positives" in page.text
    n_pictures = len(page.pictures()) - 3  # and durations, PSDS, F against the threshold
    assert n_shown == len(page.named("audio")) == n_pictures >= 2


@pytest.mark.skipif(BROWSER is None, reason=NO_BROWSER)
def test_the_report_fits_desktop_and_phone_without_browser_errors(folder, tmp_path):
    check_layout(folder / "output" / "crnn-demo_a" / "report.html", tmp_path)


def test_finished_passes_are_not_trained_again(folder, capsys):
    run = folder / "output" / "crnn-demo_a"
    before = {path: path.stat().st_mtime_ns for path in run.glob("pass*/*.keras")}
    scores = (run / "scores.txt").read_text()
    assert main(["crnn-demo", "a", *arguments(folder, CRNN)]) == 0
    assert {path: path.stat().st_mtime_ns for path in run.glob("pass*/*.keras")} == before
    assert scores.strip() in capsys.readouterr().out


@pytest.fixture(scope="module")
def evaluated(folder):
    """Trains the second pass again, and predicts clips without labels: output, times of models.

    The finished passes of the other run are taken: they do not depend on the clips to test on.
    """
    settings = CRNN | {"sets.test": "[eval]"}
    assert simulate(["crnn-demo", *arguments(folder, settings)]) == 0
    for path in (folder / "dataset").rglob("eval.csv"):
        names = dict.fromkeys(line.split("\t")[0] for line in path.read_text().splitlines())
        path.write_text("\n".join(names) + "\n")
    assert extract(["crnn-demo", *arguments(folder, settings)]) == 0
    run = folder / "output" / "crnn-demo_eval"
    for stage in ("pass1", "pass2"):
        shutil.copytree(folder / "output" / "crnn-demo_a" / stage, run / stage)
    shutil.copy(folder / "output" / "crnn-demo_a" / "validation_split.json", run)
    before = model_times(run)
    with contextlib.redirect_stdout(io.StringIO()) as output:
        options = arguments(folder, settings | {"overwrite": "[pass2]"})
        assert main(["crnn-demo", "eval", *options]) == 0
    return run, output.getvalue(), before


def model_times(run: Path) -> dict[str, int]:
    """When the models of the passes were written."""
    return {path.parent.name: path.stat().st_mtime_ns for path in run.glob("pass*/best.keras")}


def test_the_evaluation_set_without_labels_gets_events_but_no_scores(evaluated):
    run, output, _ = evaluated
    assert "no strong labels" in output
    assert "There are no scores" in read_report(run / "report.html").text
    assert not (run / "scores.json").exists()
    for stage in ("pass1", "pass2"):
        assert (run / stage / "events.tsv").stat().st_mtime_ns > (
            run / "settings.yaml"
        ).stat().st_mtime_ns


# In the suite test_crnn_two_pass.py compares this form with its formulas, test_tasks.py checks its
# settings, and the run above has all the steps of a run.
@pytest.mark.soak
def test_the_published_form_of_the_two_passes_runs(folder):
    assert main(["crnn-demo-published", "a", *arguments(folder, CRNN)]) == 0
    assert (folder / "output" / "crnn-demo-published_a" / "scores.json").exists()


def test_the_split_depends_on_the_seed_not_the_order():
    names = [f"{number}.wav" for number in range(40)]
    drawn = draw_validation(names, 0.2, seed=3)
    assert len(drawn) == 8 and drawn == draw_validation(names[::-1], 0.2, seed=3)
    assert drawn != draw_validation(names, 0.2, seed=4)


def test_a_stage_is_trained_again_on_request(evaluated):
    run, _, before = evaluated
    after = model_times(run)
    assert after["pass1"] == before["pass1"] and after["pass2"] > before["pass2"]


def test_the_mean_of_features_cannot_fill_audio(tmp_path, capsys):
    assert (
        main(["crnn-demo", "device", *arguments(tmp_path, CRNN | {"features.frontend": "device"})])
        == 2
    )
    assert "Set `pipeline.padding: repeat`" in capsys.readouterr().err


def test_an_evaluation_of_the_test_data_gives_the_scores_of_the_run(folder, tmp_path):
    elsewhere = ["--set", f"feature_dir={tmp_path}"]
    check_own_scores(folder / "output" / "crnn-demo_a", *elsewhere)


def test_a_pass_that_goes_on_has_new_thresholds_and_the_next_one_new_labels(folder, caplog):
    run, copy = (folder / "output" / f"crnn-demo_{job}" for job in ("a", "longer"))
    shutil.copytree(run, copy)
    thresholds = copy / "pass1" / "tag_thresholds.json"
    thresholds.write_text(json.dumps(dict.fromkeys(json.loads(thresholds.read_text()), 0.123)))
    (copy / "pass2" / "earlier.json").write_text('{"pass1": 9}')  # as after another best epoch
    labels = copy / "pass2" / "pseudo_labels" / "tags.tsv"
    made = labels.stat().st_mtime_ns
    first = json.loads((run / "pass1" / "training.json").read_text())
    options = CRNN | {"training.epochs": str(first["epochs"] + 1)}
    with caplog.at_level("INFO"):
        assert main(["crnn-demo", "longer", *arguments(folder, options)]) == 0
    second = json.loads((copy / "pass1" / "training.json").read_text())
    assert second["epochs"] == first["epochs"] + 1
    assert 0.123 not in json.loads(thresholds.read_text()).values()
    assert "pass2: learned from another model of pass1" in caplog.text
    assert labels.stat().st_mtime_ns != made and not (copy / "pass2" / "earlier.json").exists()


def test_a_run_in_its_first_pass_is_evaluated_by_that_pass(folder, capsys):
    run, copy = (folder / "output" / f"crnn-demo_{job}" for job in ("a", "begun"))
    shutil.copytree(run, copy, ignore=shutil.ignore_patterns("pass2", "training.json", "tag_thr*"))
    assert evaluate([str(copy)]) == 0
    assert "pass1: run is in training: best model after epoch 2 of 2" in capsys.readouterr().out
    scores = json.loads((copy / "evaluations" / "dataset" / "scores.json").read_text())
    labels = [row["label"] for row in scores["rows"]]
    assert labels[0] == "pass1" and "pass2" not in labels
    assert [each.name for each in load_predictor(copy).models.stages[0][:1]] == ["pass1"]
