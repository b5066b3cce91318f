"""Own clips in the small tasks for them: trained, scored, resumed, predicted and exported."""

import json
from pathlib import Path

import numpy as np
import pytest

from common.audio.files import write_wav
from common.cli.check_dataset import check_dataset
from common.cli.compare import main as compare
from common.cli.evaluate import main as evaluate
from common.cli.export import main as export
from common.cli.predict import main as predict
from common.errors import ConfigError
from common.settings.tasks import load_task, read_tasks, resolve
from sed_task4.cli import main
from sed_task4.simulation.simulator import Task4Simulator

PARAMS = Path(__file__).parents[2] / "params.yaml"
RATE = 16000
SETTINGS = {
    "dataset": "{classes: [low, high], clip_s: 2.0}",
    "pipeline": "{sequence_frames: 100, batch_size: 2, recordings_per_shard: 4}",
    "network": "{n_filters: 4, gru_units: [4]}",
    "training": "{epochs: 1}",
    "parallel.jobs": "1",
    "scoring.sed_eval": "false",
}


def tone(seed: int, is_high: bool, seconds: float = 2.0) -> np.ndarray:
    """Noise with a tone in its second quarter, (samples, 1)."""
    time_s = np.arange(round(seconds * RATE)) / RATE
    audio = np.random.default_rng(seed).normal(0, 0.02, len(time_s))
    heard = (time_s >= seconds / 4) & (time_s < seconds / 2)
    return (audio + 0.3 * heard * np.sin(2 * np.pi * (3000 if is_high else 300) * time_s))[:, None]


def write_clips(root: Path) -> Path:
    """Eight weakly labelled clips and four with times, in the layout of the page."""
    weak = "filename\tevent_labels\n"
    strong = "filename\tonset\toffset\tevent_label\n"
    for number in range(12):
        name, label = f"c{number}.wav", ("low", "high")[number % 2]
        where = "train/weak" if number < 8 else "validation"
        write_wav(root / "audio" / where / name, tone(number, label == "high"), RATE)
        weak += f"{name}\t{label}\n" if number < 8 else ""
        strong += "" if number < 8 else f"{name}\t0.5\t1.0\t{label}\n"
    for path, text in (("train/weak", weak), ("validation/validation", strong)):
        target = root / "metadata" / f"{path}.tsv"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    return root


def options(folder: Path, **changes: str) -> list[str]:
    folders = {f"{name}_dir": str(folder / name) for name in ("dataset", "feature", "output")}
    settings = SETTINGS | folders | changes
    given = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    return [*given, "--params", str(PARAMS)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with a finished run of the first pass alone, on own clips."""
    folder = tmp_path_factory.mktemp("own")
    write_clips(folder / "dataset")
    assert main(["own-crnn", "a", *options(folder)]) == 0
    return folder


def test_the_first_pass_alone_is_a_whole_run(folder):
    run = folder / "output" / "own-crnn_a"
    assert (run / "pass1" / "best.keras").exists() and not (run / "pass2").exists()
    labels = [row["label"] for row in json.loads((run / "scores.json").read_text())["rows"]]
    assert labels[:2] == ["pass1", "pass1, tags over the clip"]
    assert not any("pass2" in label for label in labels)
    assert (run / "report.html").exists()


def test_the_first_pass_alone_predicts_exports_evaluates_and_compares(folder, tmp_path):
    run, data = folder / "output" / "own-crnn_a", folder / "dataset"
    assert predict([str(run), str(data / "audio/validation/c8.wav"), "--out", str(tmp_path)]) == 0
    assert list(tmp_path.glob("c8*"))
    assert export([str(run), "--format", "saved_model", "--out", str(tmp_path / "model")]) == 0
    assert evaluate([str(run), "--set", f"dataset_dir={data}", "--name", "again"]) == 0
    assert (run / "evaluations" / "again" / "scores.json").exists()
    again = run / "evaluations" / "again"
    assert compare([str(run), str(again), "--out", str(tmp_path / "compared.html")]) == 0
    assert (tmp_path / "compared.html").exists()


def test_the_first_pass_alone_goes_on_with_more_epochs(folder, caplog):
    longer = options(folder, training="{epochs: 2}")
    assert main(["own-crnn", "a", *longer]) == 0
    state = json.loads((folder / "output" / "own-crnn_a" / "pass1" / "training.json").read_text())
    assert len(state["history"]["loss"]) == 2


def test_unlabelled_clips_without_a_second_pass_are_refused():
    with pytest.raises(ConfigError, match=r"second_pass: null.*sets\.unlabelled"):
        load_task(PARAMS, "crnn", ["second_pass=null"])


def test_a_second_pass_without_unlabelled_clips_names_the_setting(folder):
    more = options(folder, second_pass="{epochs: 1}")
    assert main(["own-crnn", "b", *more]) == 2


def test_parents_for_own_data_simulate_nothing():
    tasks = read_tasks(PARAMS)
    own = {name: resolve(tasks, name) for name in tasks if name.startswith(("own-", "sounds-"))}
    assert len(own) == 10
    for name, task in own.items():
        assert task.get("simulate_missing_dataset", False) == name.startswith("sounds-")
        if name.startswith("sounds-"):
            assert task["simulation"]["on_missing"] == "error"


def findings(folder: Path, *changes: str, deep: bool = True) -> list[str]:
    settings = ["dataset={classes: [low, high]}", f"dataset_dir={folder}", "parallel.jobs=1"]
    task = load_task(PARAMS, "own-crnn", [*settings, *changes])
    return [each.text for each in check_dataset(task, deep).findings]


@pytest.mark.parametrize("deep", [False, True])
def test_isolated_sounds_for_scenes_are_told_with_the_remedy(tmp_path, deep):
    write_clips(tmp_path)
    told = [text for text in findings(tmp_path, deep=deep) if "isolated sounds" in text]
    assert len(told) == 1 and "8 of 8" in told[0] and "scenes of 10 s" in told[0]
    assert "sounds-crnn" in told[0] and "simulation.source_dir" in told[0]
    assert not any("isolated" in text for text in findings(tmp_path, "dataset.clip_s=2.0"))


def test_silence_at_the_ends_counts_as_isolation(tmp_path):
    write_clips(tmp_path)
    for number in range(8):
        padded = np.zeros((10 * RATE, 1))
        padded[RATE : RATE + 8000] = tone(number, bool(number % 2))[:8000] + 0.1
        write_wav(tmp_path / f"audio/train/weak/c{number}.wav", padded, RATE)
    assert any("isolated sounds" in text for text in findings(tmp_path))
    assert not any("isolated sounds" in text for text in findings(tmp_path, deep=False))


def test_all_faulty_rows_of_all_subsets_are_listed(tmp_path):
    write_clips(tmp_path)
    with (tmp_path / "metadata/train/weak.tsv").open("a") as file:
        file.write("c0.wav\tmiddle\nc1.wav\ttop\n")
    with (tmp_path / "metadata/validation/validation.tsv").open("a") as file:
        file.write("c8.wav\t1.5\t1.0\tlow\nc8.wav\tx\t1.0\tlow\nc9.wav\t0\t1\tmiddle\n")
    text = "\n".join(findings(tmp_path))
    for part in ("line 10: unknown class 'middle'", "line 11: unknown class 'top'"):
        assert part in text
    for part in ("line 6: expected onset <= offset", "line 7: expected onset and", "line 8: unk"):
        assert part in text


def test_copies_that_a_hold_out_may_divide_are_told(tmp_path):
    write_clips(tmp_path)
    copied = (tmp_path / "audio/train/weak/c0.wav").read_bytes()
    (tmp_path / "audio/train/weak/c2.wav").write_bytes(copied)
    assert any("c2.wav = c0.wav" in text for text in findings(tmp_path))


def test_advice_for_own_clips_is_not_to_unpack_a_dataset(tmp_path):
    write_clips(tmp_path)
    (tmp_path / "metadata/train/weak.tsv").unlink()
    own = next(text for text in findings(tmp_path) if "no metadata file" in text)
    assert "filename, event_labels" in own and "Unpack" not in own
    task = load_task(PARAMS, "cnn9", [f"dataset_dir={tmp_path}"])
    published = [each.text for each in check_dataset(task).findings]
    assert any("Unpack the dataset" in text for text in published)


def test_a_simulation_counts_groups_files_and_changes_of_own_sounds(tmp_path, caplog):
    for label in ("low", "high"):
        for number in range(4):
            path = tmp_path / "sounds" / label / f"source{number}" / "a.wav"
            write_wav(path, tone(number, label == "high", 6.0 if number == 0 else 1.0), 8000)
    (tmp_path / "sounds" / "low" / "notes.txt").write_text("no sound")
    settings = [f"simulation.source_dir={tmp_path / 'sounds'}", f"dataset_dir={tmp_path / 'd'}"]
    settings += ["dataset={classes: [low, high]}", "parallel.jobs=1"]
    task = load_task(PARAMS, "sounds-crnn", settings)
    with caplog.at_level("INFO"):
        Task4Simulator.of_task(task).select_sounds([0, 1, 2])
    assert "low: training 1 / 1, validation and test 1 / 1, evaluation 2 / 2" in caplog.text
    # Tones are written as if at 8000 Hz, so that they last twice as long.
    assert "8 file(s); 2 longer than `simulation.longest_source_s`, 5 s" in caplog.text
    assert "; 8 resampled to 16000 Hz." in caplog.text
    assert "1 file(s) in folders of classes are left out" in caplog.text
    assert "notes.txt" in caplog.text
