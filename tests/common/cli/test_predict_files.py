"""Folders of recordings: files for other programs, scores, a page, settings of one prediction."""

import csv
import io
import json
import re
import shutil
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
import soundfile

from common.cli.predict import main
from common.cli.steps.predict_files import Progress, time_text
from common.inference.formats import NAMES
from common.inference.inputs import find_inputs
from sed_task4 import score as sed_score
from sed_task4.submission import CLIPS, EVENTS
from seld import score as seld_score
from seld.submission import read_submission
from tests.pages import ReadPage
from tests.runs import CNN, SHORT_SELDNET, noises, task_of, write_run

RATE_HZ = 8000
CLIPS_OF_2_S = {"dataset__sample_rate_hz": RATE_HZ, "dataset__clip_s": 2.0}
EASY = {
    "decoding__tag_threshold": 0.3,
    "decoding__high_threshold": 0.5,
    "decoding__low_threshold": 0.45,
    "decoding__smooth_frames": 2,
    "decoding__salt_frames": 1,
}
SED = CNN | CLIPS_OF_2_S | EASY
SED |= {"features__fmax_hz": "null", "pipeline__sequence_frames": 128, "features__n_fft": 512}
ALL = ",".join(NAMES)
NAMES_OF = {
    "sed": ("day1/one.wav", "day2/two three.flac"),
    "seld": ("split1_ir0_ov1_1.wav", "split1_ir0_ov1_2.wav"),
}


FAMILIES = {"sed": ("cnn9-demo", SED, 1), "seld": ("demo", SHORT_SELDNET, 4)}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run of each family, and a folder of two recordings and a broken one for it."""
    folder = tmp_path_factory.mktemp("runs")
    found = {}
    for name, task_id, settings, channels in (
        ("sed", "cnn9-demo", SED, 1),
        ("seld", "demo", SHORT_SELDNET, 4),
    ):
        statistics = {"mean": -30.0, "std": 15.0} if name == "sed" else {}
        run = write_run(task_of(task_id, folder, **settings), folder / name, **statistics)
        audio = folder / f"audio {name}"
        for number, path in enumerate(NAMES_OF[name]):
            (audio / path).parent.mkdir(parents=True, exist_ok=True)
            sound = noises(2.5 + 1.5 * number, RATE_HZ, channels)[:: 1 - 2 * number]
            soundfile.write(audio / path, sound, RATE_HZ)
        found[name] = run, audio
    return found


@pytest.fixture(scope="module")
def results(runs, tmp_path_factory):
    """Results in all formats, with frames, of the folders of both families."""
    found = {}
    for name, (run, audio) in runs.items():
        found[name] = tmp_path_factory.mktemp(name)
        arguments = [str(run), str(audio), "--out", str(found[name]), "--format", ALL, "--frames"]
        assert main(arguments) == 0
    return found


@pytest.fixture
def no_figures(monkeypatch):
    monkeypatch.setattr("common.inference.outputs.save_figure", lambda _, path: path.touch())


def table(path):
    return pd.read_csv(path, sep="\t")


def reference(results, name):
    """Events of a recording, as the table of predict.py has them."""
    return table(results / f"{name}.tsv")


def active_s(results, name):
    """Sum of the lengths of all events."""
    events = reference(results, name)
    return float((events["offset"] - events["onset"]).sum())


def test_the_tree_of_the_results_is_that_of_the_recordings(results):
    found = {
        path.relative_to(results["sed"]).as_posix()
        for path in results["sed"].rglob("*")
        if path.is_file()
    }
    endings = ("tsv", "json", "csv", "txt", "rttm", "jams", "png")
    each = {f"{name}.{end}" for name in ("day1/one", "day2/two three") for end in endings}
    joined = {"sed_eval/one.txt", "sed_eval/two three.txt", f"dcase/{EVENTS}", f"dcase/{CLIPS}"}
    assert found == each | joined | {"predictions.html"}


def test_csv_and_json_hold_the_events_of_the_table(results):
    for family, name in (("sed", "day1/one"), ("seld", "split1_ir0_ov1_1")):
        events = reference(results[family], name)
        assert len(events) > 3
        pd.testing.assert_frame_equal(pd.read_csv(results[family] / f"{name}.csv"), events)
        written = json.loads((results[family] / f"{name}.json").read_text())
        assert next(iter(written)) == "events"
        pd.testing.assert_frame_equal(pd.DataFrame(written["events"]), events)


def test_audacity_gets_a_label_track(results):
    events = reference(results["sed"], "day1/one")
    lines = (results["sed"] / "day1" / "one.txt").read_text().splitlines()
    rows = [line.split("\t") for line in lines]
    assert all(re.fullmatch(r"\d+\.\d{6}", time) for row in rows for time in row[:2])
    assert [(float(a), float(b), label) for a, b, label in rows] == [
        *events[["onset", "offset", "label"]].itertuples(index=False, name=None)
    ]


def test_rttm_has_ten_fields_without_spaces(results):
    events = reference(results["sed"], "day2/two three")
    lines = (results["sed"] / "day2" / "two three.rttm").read_text().splitlines()
    rows = [line.split(" ") for line in lines]
    assert len(rows) == len(events) and {len(row) for row in rows} == {10}
    for row, (_, event) in zip(rows, events.iterrows(), strict=True):
        assert row[:3] == ["SPEAKER", "day2/two_three", "1"]
        assert row[5:7] == ["<NA>", "<NA>"] and row[9] == "<NA>"
        assert float(row[3]) == pytest.approx(event["onset"], abs=6e-4)
        assert float(row[4]) == pytest.approx(event["offset"] - event["onset"], abs=6e-4)
        assert row[7] == event["label"] and float(row[8]) == event["score"]


def test_jams_has_the_form_of_its_schema(results):
    events = reference(results["seld"], "split1_ir0_ov1_1")
    written = json.loads((results["seld"] / "split1_ir0_ov1_1.jams").read_text())
    assert set(written) == {"annotations", "file_metadata", "sandbox"}
    assert written["file_metadata"]["duration"] == 2.5
    assert re.fullmatch(r"\d\.\d\.\d", written["file_metadata"]["jams_version"])
    (annotation,) = written["annotations"]
    assert annotation["namespace"] == "segment_open" and annotation["duration"] == 2.5
    assert {"annotation_metadata", "data", "sandbox", "time"} <= set(annotation)
    assert set(annotation["annotation_metadata"]["curator"]) == {"name", "email"}
    for each, (_, event) in zip(annotation["data"], events.iterrows(), strict=True):
        assert set(each) == {"time", "duration", "value", "confidence"}
        assert each["time"] == event["onset"] and each["duration"] >= 0
        assert each["value"] == event["label"] and each["confidence"] == event["score"]


def test_the_package_jams_opens_its_files(results):
    jams = pytest.importorskip("jams")
    opened = jams.load(str(results["sed"] / "day1" / "one.jams"), validate=True, strict=True)
    assert len(opened.annotations[0].data) == len(reference(results["sed"], "day1/one"))


@pytest.mark.filterwarnings("ignore")
def test_sed_eval_and_dcase_util_open_the_event_lists(results):
    import dcase_util
    import sed_eval

    events = reference(results["sed"], "day1/one")
    opened = sed_eval.io.load_event_list(str(results["sed"] / "sed_eval" / "one.txt"))
    assert [(e.onset, e.offset, e.event_label) for e in opened] == [
        *events[["onset", "offset", "label"]].itertuples(index=False, name=None)
    ]
    joined = results["sed"] / "dcase" / EVENTS
    with joined.open() as file:
        rows = [*csv.DictReader(file, delimiter="\t")]
    assert {row["filename"] for row in rows} == {"one.wav", "two three.flac"}
    text = results["sed"] / "dcase.txt"
    try:
        text.write_text("".join(joined.read_text().splitlines(keepends=True)[1:]))
        container = dcase_util.containers.MetaDataContainer().load(str(text), delimiter="\t")
    finally:
        text.unlink()
    assert (
        len(container)
        == len(rows)
        == sum(map(len, (events, reference(results["sed"], "day2/two three"))))
    )


def test_event_files_of_a_prediction_are_scored_as_they_are(results, runs, tmp_path, capsys):
    estimates = results["sed"] / "dcase" / EVENTS, results["sed"] / "sed_eval"
    shutil.copy(estimates[0], tmp_path / "reference.tsv")
    classes = ",".join(task_of("cnn9-demo", tmp_path).dataset.classes)
    for estimate in estimates:
        shown = tmp_path / "scores.json"
        arguments = [str(estimate), str(tmp_path / "reference.tsv"), "--classes", classes]
        arguments += ["--durations", str(results["sed"] / "dcase" / CLIPS), "--json", str(shown)]
        assert sed_score.main(arguments) == 0, capsys.readouterr().err
        assert "2 clips" in capsys.readouterr().out
        (row, *_) = json.loads(shown.read_text())["rows"]
        assert row["label"] == estimate.stem
        assert row["scores"]["event_micro_f"] == 1.0


def test_submission_files_of_a_prediction_are_scored_as_they_are(results, tmp_path, capsys):
    place = results["seld"] / "dcase"
    header = "sound_event_recording,start_time,end_time,ele,azi,dist\n"
    for path in place.iterdir():
        frames = json.loads((results["seld"] / f"{path.stem}.json").read_text())["frames"]
        whole = np.trunc(np.array(frames))  # as submissions cut angles
        np.testing.assert_array_equal(read_submission(path, 11), whole)
        (tmp_path / path.name).write_text(f"{header}knock,0.2,0.9,10,-30,1\n")
    assert sorted(path.name for path in place.iterdir()) == [
        "split1_ir0_ov1_1.csv",
        "split1_ir0_ov1_2.csv",
    ]
    assert seld_score.main([str(place), str(tmp_path)]) == 0, capsys.readouterr().err
    assert re.search(r"^all +2 ", capsys.readouterr().out, re.M)


def test_frames_of_sed_are_the_probabilities_before_the_tag_gate(results):
    written = json.loads((results["sed"] / "day1" / "one.json").read_text())
    frames = np.array(written["frames"])
    assert [*written][-1] == "frames" and frames.shape == (160, len(written["classes"]))
    assert written["hop_s"] * len(frames) == pytest.approx(2.5)
    quiet = [k for k, name in enumerate(written["classes"]) if written["tags"][name] < 0.3]
    assert quiet and frames[:, quiet].max() > 0
    assert {event["label"] for event in written["events"]}.isdisjoint(
        written["classes"][k] for k in quiet
    )


@pytest.mark.parametrize("family", ["sed", "seld"])
def test_a_folder_gets_a_page_with_players_events_and_files(results, runs, family):
    path = results[family] / "predictions.html"
    page = ReadPage(path)
    assert page.problems == []
    (policy,) = [meta["content"] for meta in page.named("meta") if meta.get("http-equiv")]
    assert "img-src data:; media-src data: 'self' file:;" in policy and "http" not in policy
    sounds = [path.parent / unquote(each["src"]) for each in page.named("audio")]
    assert [sound.resolve() for sound in sounds] == [
        (runs[family][1] / name).resolve() for name in sorted(NAMES_OF[family])
    ]
    links = [each["href"] for each in page.named("a") if not each["href"].startswith("#")]
    assert all(link.startswith("./") and (path.parent / unquote(link)).is_file() for link in links)
    assert sum(link.endswith(".png") for link in links) == 2
    first = Path(NAMES_OF[family][0]).with_suffix("").as_posix()
    assert f"{len(reference(results[family], first))} events in 2.5 s" in page.text


@pytest.mark.usefixtures("no_figures")
def test_a_broken_file_is_told_at_the_end_and_the_others_are_done(runs, tmp_path, capsys):
    run, audio = runs["sed"]
    shutil.copytree(audio, tmp_path / "in")
    (tmp_path / "in" / "bad.wav").write_text("no sound")
    out = tmp_path / "out"
    assert main([str(run), str(tmp_path / "in"), str(tmp_path / "no.wav"), "--out", str(out)]) == 4
    error = capsys.readouterr().err
    assert "error: 2 of 4 recordings cannot be used:\n" in error
    assert "There is no" in error and "bad.wav" in error
    assert len([*out.rglob("*.tsv")]) == 2
    assert "bad.wav" in (out / "predictions.html").read_text()


@pytest.mark.usefixtures("no_figures")
def test_several_recordings_are_counted_with_the_time_left(runs, tmp_path, caplog):
    run, audio = runs["sed"]
    caplog.set_level("INFO")
    pattern = str(audio / "**" / "*.*")
    assert main([str(run), pattern, "--out", str(tmp_path), "--format", "tsv"]) == 0
    lines = [record.getMessage() for record in caplog.records]
    assert any(re.match(r"\[1/2, \d+ (s|min) left\] ", line) for line in lines)
    assert any(line.startswith("[2/2] ") for line in lines)
    assert not [*tmp_path.rglob("*.json")] and len([*tmp_path.rglob("*.tsv")]) == 2


def test_a_terminal_has_a_bar_with_the_time_left(runs, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    recordings = find_inputs([runs["sed"][1]]).recordings
    with Progress(recordings) as progress:
        for recording in recordings:
            progress.begin(recording)
            progress.heard(100.0)  # more than the header says
            progress.show("done")
    lines = terminal.getvalue().split("\r")
    assert any(re.match(r"2 recordings +0%\|.*\| 00:00, \? left", line) for line in lines)
    assert any(re.match(r"2 recordings 100%\|.*, 00:00 left", line) for line in lines)
    assert [time_text(seconds) for seconds in (7.4, 200, 4800)] == ["7 s", "3 min", "1 h 20 min"]


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("family", ["sed", "seld"])
def test_a_threshold_and_settings_count_for_one_prediction(runs, results, tmp_path, caplog, family):
    run, audio = runs[family]
    path, before = audio / NAMES_OF[family][0], (run / "settings.yaml").read_bytes()
    caplog.set_level("INFO")
    assert main([str(run), str(path), "--out", str(tmp_path), "--threshold", "0.995"]) == 0
    first = Path(NAMES_OF[family][0]).with_suffix("").as_posix()
    assert active_s(tmp_path, path.stem) < 0.9 * active_s(results[family], first)
    assert (run / "settings.yaml").read_bytes() == before
    key = {"sed": "decoding.tag_threshold=1.0", "seld": "scoring.threshold=0.999"}[family]
    assert main([str(run), str(path), "--out", str(tmp_path), "--set", key]) == 0
    assert json.loads((tmp_path / f"{path.stem}.json").read_text())["events"] == []
    line = caplog.records[-1].getMessage()
    reached = r"\w+ reaches [\d.]+ in a frame \(threshold [\d.]+\)"
    tag = r", [\d.]+ as a tag \(threshold 1\)" if family == "sed" else ""
    assert re.search(rf"Nothing found: ({reached}{tag}(; |\.$)){{3}}", line), line


@pytest.mark.parametrize(
    ("family", "arguments", "message"),
    [
        ("sed", ["--set", "network.filters=[2]"], "settings of decoding, `decoding`"),
        ("seld", ["--set", "scoring.scorer=dcase2024"], "`scoring.threshold`"),
        ("seld", ["--threshold", "0"], "scoring.threshold"),
        ("sed", ["--set", "decoding=3"], "decoding"),
        ("sed", ["--set", "decoding.low_threshold=0.9"], "low_threshold"),
    ],
)
def test_settings_that_a_prediction_cannot_change_are_refused(
    runs, capsys, monkeypatch, family, arguments, message
):
    monkeypatch.setattr("common.cli.predict.load_predictor", None)
    run, audio = runs[family]
    assert main([str(run), str(audio), *arguments]) == 2
    assert message in capsys.readouterr().err
