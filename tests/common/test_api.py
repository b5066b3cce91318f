"""The Python API: the same predictions, features, scores and runs as the commands."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

import sed_task4.score
import seld.score
from common import api
from common.cli.predict import main as predict
from common.data.feature_store import FeatureStore, ShardEntry
from common.data.tfrecord import ArraySpec, ExampleSchema, write_shard
from common.settings.tasks import load_task
from sed_task4.features import extract_features
from tests.documents import ROOT, blocks
from tests.patience import PATIENCE_S
from tests.runs import CNN, PARAMS, SHORT_SELDNET, noises, task_of, write_run

RATE_HZ = 8000
CLIPS = {"dataset__sample_rate_hz": RATE_HZ, "dataset__clip_s": 2.0, "features__fmax_hz": "null"}
EASY = {"decoding__tag_threshold": 0.3, "decoding__high_threshold": 0.5}
EASY |= {"decoding__low_threshold": 0.45, "decoding__smooth_frames": 2}
SIZES = {"pipeline__sequence_frames": 128, "features__n_fft": 512}
SETTINGS = CNN | CLIPS | EASY | SIZES
EVENTS = "filename\tonset\toffset\tevent_label\n"
REFERENCE = f"{EVENTS}a.wav\t0.5\t2.0\tSpeech\nb.wav\t1.0\t4.0\tDog\n"
ESTIMATED = f"{EVENTS}a.wav\t0.55\t2.05\tSpeech\nb.wav\t3.0\t4.0\tDog\n"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    task = task_of("cnn9-demo", folder, **SETTINGS)
    return write_run(task, folder / "run", mean=-30.0, std=15.0)


@pytest.fixture(scope="module")
def array_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("array")
    return write_run(task_of("demo", folder, **SHORT_SELDNET), folder / "run")


def test_code_of_the_page_runs(array_run, tmp_path, monkeypatch):
    page = (ROOT / "docs" / "from-python.md").read_text(encoding="utf-8")
    soundfile.write(tmp_path / "street.wav", noises(4.3, RATE_HZ, 4), RATE_HZ, "PCM_16")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "demo_a").symlink_to(array_run)
    store = write_store(tmp_path / "features")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("common.cli.train.train", lambda *given: array_run)  # tested on its own
    names: dict = {}
    exec("\n".join(code for language, code in blocks(page) if language == "python"), names)
    assert len(names["found"]) > 0 and len(names["found"].scores) == len(names["found"].times_s)
    assert names["features"].ndim == 3
    assert names["record"]["name"] == "a" and names["record"]["features"].shape == store


def write_store(folder):
    """Writes a finished store with one record; returns the shape of its features."""
    shape, schema = (5, 4, 1), ExampleSchema({"features": ArraySpec("float32", (None, 4, 1))})
    folder.mkdir()
    path = folder / "one-00000.tfrecord"
    written = write_shard(path, [("a", {"features": np.ones(shape, np.float32)})], schema)
    entry = ShardEntry(path.name, "one", ("a",), (5,), written.n_bytes, written.crc32)
    FeatureStore(folder, {}, schema, [entry]).write({})
    return shape


def test_shards_outside_a_finished_folder_are_refused(tmp_path):
    write_store(tmp_path / "features")
    with pytest.raises(api.DataError, match=r"such as one-00000\.tfrecord"):
        next(api.read_shard(tmp_path / "features" / "two.tfrecord"))


def test_importing_the_api_loads_no_large_library():
    code = "import sys, common.api; print({'keras', 'tensorflow', 'pandas'} & set(sys.modules))"
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert result.stdout.strip() == "set()", result.stderr


@pytest.mark.parametrize("rate_hz", [RATE_HZ, 11025])
def test_predictions_are_those_of_the_command(run, tmp_path, rate_hz):
    audio = noises(4.3, rate_hz, 1)
    soundfile.write(tmp_path / "a.wav", audio, rate_hz, "PCM_16")
    command = [str(run), str(tmp_path / "a.wav"), "--out", str(tmp_path / "out"), "--frames"]
    assert predict(command) == 0
    written = json.loads((tmp_path / "out" / "a.json").read_text())
    samples, rate = soundfile.read(tmp_path / "a.wav", dtype="int16")
    loaded = api.load_run(run)
    for found in (loaded.predict(tmp_path / "a.wav"), loaded.predict(samples, rate_hz=rate)):
        assert len(found) == len(written["events"]) > 0
        rounded = found.events.round({"onset": 6, "offset": 6, "score": 4})
        assert rounded.to_dict("records") == written["events"]
        np.testing.assert_allclose(found.scores, written["frames"], atol=6e-5)
        np.testing.assert_allclose(np.diff(found.times_s), written["hop_s"])
        assert found.classes == tuple(written["classes"]) and found.rows is None


def test_frames_of_directions_are_those_of_the_command(array_run, tmp_path):
    soundfile.write(tmp_path / "a.wav", noises(4.3, RATE_HZ, 4), RATE_HZ, "FLOAT")
    assert predict([str(array_run), str(tmp_path / "a.wav"), "--out", str(tmp_path)]) == 0
    written = json.loads((tmp_path / "a.json").read_text())
    found = api.load_run(array_run).predict(tmp_path / "a.wav")
    assert list(found.rows.columns) == written["columns"]
    np.testing.assert_allclose(found.rows, np.array(written["frames"]), atol=0.011)
    assert found.scores.shape == (len(found.times_s), len(found.classes))
    np.testing.assert_allclose(np.diff(found.times_s), written["hop_s"])
    assert {"azimuth", "elevation"} < set(found.events.columns)


def test_arrays_of_wrong_shape_type_or_rate_are_refused(run):
    loaded, audio = api.load_run(run), np.zeros(RATE_HZ, np.float32)
    with pytest.raises(api.ConfigError, match="`rate_hz`: expected with arrays"):
        loaded.predict(audio)
    for wrong in (np.zeros((2, 3, 4)), np.zeros(100, np.int64), np.zeros(9, bool)):
        with pytest.raises(api.DataError, match=r"Wrong (shape|type) of audio. Expected"):
            loaded.predict(wrong, rate_hz=RATE_HZ)
    assert len(loaded.predict(audio, rate_hz=RATE_HZ)) == len(
        loaded.predict(audio[:, None], rate_hz=RATE_HZ)
    )


def test_features_are_those_of_the_extraction(run, tmp_path):
    audio = noises(2.0, RATE_HZ, 1)
    soundfile.write(tmp_path / "a.wav", audio, RATE_HZ, "FLOAT")
    task = task_of("cnn9-demo", tmp_path, **SETTINGS)
    expected = extract_features(audio, task.features, RATE_HZ)
    np.testing.assert_array_equal(api.features(tmp_path / "a.wav", run), expected)
    overrides = [f"{k.replace('__', '.')}={v}" for k, v in SETTINGS.items()]
    of_task = api.features(tmp_path / "a.wav", "cnn9-demo", overrides, PARAMS)
    np.testing.assert_array_equal(of_task, expected)
    with pytest.raises(api.ConfigError, match="has its own settings"):
        api.features(tmp_path / "a.wav", run, ["seed=1"])


@pytest.mark.parametrize("as_tables", [False, True])
def test_scores_of_event_tables_are_those_of_the_command(tmp_path, as_tables, capsys):
    paths = tmp_path / "estimated.tsv", tmp_path / "reference.tsv"
    for path, text in zip(paths, (ESTIMATED, REFERENCE), strict=True):
        path.write_text(text)
    given = [pd.read_csv(path, sep="\t") for path in paths] if as_tables else paths
    report = api.score(*given, "crnn", params=PARAMS)
    options = ["--task", "crnn", "--params", str(PARAMS), "--json", str(tmp_path / "s.json")]
    assert sed_task4.score.main([*map(str, paths), *options]) == 0
    text = capsys.readouterr().out
    assert report.to_text().strip() == text.strip() and "event" in text


def test_scores_of_folders_with_directions_are_those_of_the_command(tmp_path, capsys):
    for name in ("estimated", "reference"):
        (tmp_path / name).mkdir()
    header = "sound_event_recording,start_time,end_time,ele,azi,dist\n"
    row = "speech,1.0,3.0,0,30,1.0\n"
    (tmp_path / "reference" / "split1_ir0_ov1_1.csv").write_text(header + row)
    rows = "".join(f"{frame},7,30,0\n" for frame in range(60, 150))
    (tmp_path / "estimated" / "split1_ir0_ov1_1.csv").write_text(rows)
    paths = [str(tmp_path / name) for name in ("estimated", "reference")]
    report = api.score(*paths, "seldnet-foa", params=PARAMS)
    assert seld.score.main([*paths, "--task", "seldnet-foa", "--params", str(PARAMS)]) == 0
    assert report.to_text().strip() == capsys.readouterr().out.strip()


def test_tables_without_the_columns_are_refused(tmp_path):
    table = pd.DataFrame({"start": [0.0]})
    with pytest.raises(api.DataError, match=r"Received: start\. Rename"):
        api.score(table, table, "crnn", params=PARAMS)


def test_event_lists_of_predictions_can_be_scored(run, tmp_path):
    found = api.load_run(run).predict(noises(2.0, RATE_HZ, 1), rate_hz=RATE_HZ)
    events = found.event_list("a.wav")
    assert list(events.columns) == ["filename", "onset", "offset", "event_label"]
    assert len(events) == max(1, len(found))


def test_training_hands_the_command_the_same_settings(monkeypatch):
    calls = []
    monkeypatch.setattr("common.cli.train.train", lambda *given: calls.append(given) or Path("x"))
    changes = {"training": {"epochs": 3, "schedule": {"fall": "none"}}, "network.filters": [2, 4]}
    assert api.train("demo", changes, "b") == Path("x")
    assert api.train("demo", ["seed=1"], params="own.yaml") == Path("x")
    texts = ["training.epochs=3", 'training.schedule.fall="none"', "network.filters=[2, 4]"]
    assert calls == [("demo", "b", texts, None), ("demo", "1", ["seed=1"], Path("own.yaml"))]
    assert load_task(PARAMS, "demo", texts[:2]).training.epochs == 3
    with pytest.raises(api.ConfigError, match="a list of key=value"):
        api.train("demo", "seed=1")
