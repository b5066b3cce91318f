"""The benchmark of real sounds, with sounds made here: small runs, interruptions, bad folders."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from benchmarks import real_sounds, seed_runs
from benchmarks.measure import ROOT
from benchmarks.real_sounds import EXPERIMENTS
from benchmarks.real_studies import Mean
from benchmarks.sound_folders import find_halves, link
from common.cli.base import run_safely
from common.errors import ConfigError, DataError
from common.settings.tasks import load_task
from common.simulation.own_recordings import find_own_recordings
from tests.documents import run_program

PARAMS = ROOT / "params.yaml"
SELD_CLASSES = load_task(PARAMS, "demo").dataset.classes
CLIP_CLASSES = ("Speech", "Cat", "Dog")
RATE_HZ = 16000
MARKERS = [f"real-{name}" for name in (*EXPERIMENTS, "rebuilt-published", "rebuilt-mic-published")]


def write_sounds(folder: Path, classes: Sequence[str], halves: dict[str, int]) -> Path:
    """Writes short sounds, each of a source of its own, and their table."""
    rng, rows = np.random.default_rng(0), ["file,label,group,split,active"]
    for half, n in halves.items():
        for name in classes:
            (folder / half / name).mkdir(parents=True)
            for number in range(n):
                file = f"{half}/{name}/{number}.wav"
                soundfile.write(folder / file, rng.normal(0, 0.1, RATE_HZ // 2), RATE_HZ)
                rows.append(f'{file},{name},"{name}, {half} {number}",{half},0.1-0.4')
    (folder / "metadata.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """The four folders that a user may give, by option."""
    top = tmp_path_factory.mktemp("material")
    rng, rooms = np.random.default_rng(1), top / "rooms"
    rooms.mkdir()
    for number in range(4):
        response = 0.01 * rng.normal(size=(1000, 4)) * np.exp(-np.arange(1000) / 200)[:, None]
        response[100] = (1.0, 0.0, 0.0, 1.0)  # from the front
        soundfile.write(rooms / f"{number}.wav", 0.5 * response, 48000, "FLOAT")
    rows = [f"{number}.wav,0,0,hall {number}" for number in range(4)]
    (rooms / "metadata.csv").write_text("\n".join(["file,azimuth,elevation,place", *rows]))
    for half in ("train", "test"):
        (top / "backgrounds" / half).mkdir(parents=True)
        noise = rng.normal(0, 0.1, RATE_HZ)
        soundfile.write(top / "backgrounds" / half / f"{half}.wav", noise, RATE_HZ)
    return {
        "sounds": write_sounds(top / "sounds", SELD_CLASSES, {"train": 3, "test": 1}),
        "clips": write_sounds(top / "clips", CLIP_CLASSES, {"train": 1, "test": 1}),
        "rooms": rooms,
        "backgrounds": top / "backgrounds",
    }


@pytest.fixture
def markdown(tmp_path):
    path = tmp_path / "table.md"
    path.write_text("\n".join(f"<!-- {name}:begin --><!-- {name}:end -->" for name in MARKERS))
    return path


def words(material, *more):
    return [*(word for name, path in material.items() for word in (f"--{name}", path)), *more]


def run(folder, markdown, material, *more):
    given = words(material, "--quick", "--folder", folder, "--markdown", markdown, *more)
    real_sounds.main([str(word) for word in given])
    return markdown.read_text()


def section(text, name):
    return re.search(f"<!-- {name}:begin -->\n(.*?)<!-- {name}:end -->", text, re.S)[1]


@dataclass
class Programs:
    """Plays the programs: writes what they write in the end, with scores that depend on the run.

    Attributes:
        stop_at: number of the command that is interrupted; None: none is.
    """

    stop_at: int | None = None
    commands: list[list[str]] = field(default_factory=list)

    def __call__(self, command):
        if len(self.commands) == self.stop_at:
            self.stop_at = None
            raise KeyboardInterrupt
        self.commands.append(list(command))
        settings = dict(word.split("=", 1) for word in command if "=" in word)
        if command[0] == "simulate.py":
            root = Path(json.loads(settings["dataset_dir"]))
            root.mkdir(parents=True)
            (root / "simulation.json").write_text('{"finished": true}')
        elif command[0] == "-m":
            assert (Path(command[2]) / "scores.json").exists()
            for name, _ in (each.split("=") for each in command if "=" in each):
                place = Path(command[2]) / "evaluations" / name
                self.write(place, 0.5 if name == "simulated" else 0.9)
        else:
            place = Path(json.loads(settings["output_dir"])) / f"{command[1]}_{command[2]}"
            self.write(place, 0.1 * int(settings["seed"]) + 0.1)

    @staticmethod
    def write(folder, error):
        folder.mkdir(parents=True)
        seld = {"er": error, "f": 1 - error, "doa_error_deg": 9.0}
        seld |= {"frame_recall": 0.5, "seld_error": error}
        clips = {"segment_macro_f": 1 - error, "event_macro_f": 0.25, "map": 0.75}
        labels = ("all", "pass2", "always silent", "always active", "labels of another recording")
        scores = {label: clips | {"dcase2019": seld} for label in labels}
        scores |= {f"split {n}": {"dcase2019": seld | {"er": error + n}} for n in range(1, 5)}
        scores["published"] = {"dcase2019": seld | {"er": 0.34}}
        rows = [{"group": label, "label": label, "scores": each} for label, each in scores.items()]
        (folder / "scores.json").write_text(json.dumps({"rows": rows}))


@pytest.fixture
def programs(monkeypatch):
    played = Programs()
    monkeypatch.setattr(seed_runs, "start", played)
    return played


def n_rows(name):
    """Kinds of runs of a study: synthetic sounds, each of the means, real sounds."""
    return 2 + len(EXPERIMENTS[name].means)


def times(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.mark.usefixtures("programs")
def test_every_experiment_with_its_folders_becomes_a_table(tmp_path, markdown, material):
    text = run(tmp_path / "runs", markdown, material, "--seeds", 0, 1)
    seld = section(text, "real-seld")
    assert "| synthetic sounds | synthetic sounds | 0.50 (0.50 to 0.50) |" in seld
    assert "| + wide recipes | real sounds | 0.90 (0.90 to 0.90) |" in seld
    assert "| nothing: always silent | real sounds |" in seld
    assert (
        "    python -m benchmarks.real_sounds --sounds DIR --only seld --seeds 0 1 --quick\n"
        in seld
    )
    rooms = section(text, "real-measured-rooms")
    assert "| real sounds | measured | 0.90 |" in rooms and "--rooms DIR" in rooms
    rebuilt = section(text, "real-rebuilt")
    assert "| fold2 | 2.15 (2.10 to 2.20) |" in rebuilt
    assert "| mean of the folds | 1.65 (1.60 to 1.70) |" in rebuilt
    assert "| *published, the recordings themselves, mean of the folds* | 0.34 |" in rebuilt
    assert "rooms are computed, so that the rows are not the same experiment" in rebuilt
    clips = section(text, "real-task4")
    assert "| real sounds | real sounds | 0.100 (0.100 to 0.100) | 0.250" in clips
    assert "Left out for want of sounds: Alarm_bell_ringing, Blender, Dishes, Electric" in clips
    assert "<!-- real-rebuilt-mic:begin --><!-- real-rebuilt-mic:end -->" in text
    assert str(tmp_path) not in text and str(material["sounds"]) not in text


def test_runs_learn_from_one_half_and_all_rows_share_their_test_recordings(
    tmp_path, markdown, material, programs
):
    run(tmp_path / "runs", markdown, material, "--only", "seld", "task4", "--seeds", 3, 4)
    simulated = [each for each in programs.commands if each[0] == "simulate.py"]
    assert [each[1] for each in simulated] == ["demo", "crnn-demo"]
    assert all("seed=0" in each for each in simulated)
    evaluated = [each for each in programs.commands if each[0] == "-m"]
    data = {word for each in evaluated for word in each if word.startswith("real_")}
    assert len(data) == 2 and len(evaluated) == 2 * (n_rows("seld") + n_rows("task4"))
    assert sum("simulated=" in " ".join(each) for each in evaluated) == 4
    trained = [each for each in programs.commands if each[0] == "seld.py"]
    with_sounds = [each for each in trained if "simulation.source_dir" in " ".join(each)]
    assert [each[2][-3:] for each in with_sounds] == ["_s3", "_s4"]
    assert all("simulation.on_missing=error" in each for each in with_sounds)
    clips = [" ".join(each) for each in programs.commands if each[1] == "crnn-demo"]
    assert all('dataset.classes=["Cat", "Dog", "Speech"]' in each for each in clips)
    assert all("features.fmax_hz=8000" in each for each in clips)
    assert sum("simulation.background_dir" in each for each in clips) == 1 + 2


def test_a_row_takes_the_settings_of_the_rows_before_it(
    tmp_path, markdown, material, programs, monkeypatch
):
    means = (Mean("one", ("simulation.variation=0.5",)), Mean("two", ("training.epochs=2",)))
    monkeypatch.setitem(EXPERIMENTS, "seld", replace(EXPERIMENTS["seld"], means=means))
    run(tmp_path / "runs", markdown, material, "--only", "seld", "--seeds", 0)
    plain, one, two, _ = (each for each in programs.commands if each[0] == "seld.py")
    assert "simulation.variation=0.5" in one and "simulation.variation=0.5" in two
    assert "training.epochs=2" in two and "training.epochs=2" not in one
    places = [next(w for w in each if w.startswith("dataset_dir=")) for each in (plain, one, two)]
    assert places[0] != places[1] == places[2]  # recordings of the same settings are shared


@pytest.mark.parametrize("stop_at", [0, 2, 3, 9, 19])
def test_an_interrupted_benchmark_goes_on_and_repeats_nothing(
    tmp_path, markdown, material, programs, stop_at
):
    programs.stop_at = stop_at
    more = ("--only", "seld", "measured-rooms", "rebuilt", "--seeds", 0, 1)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "runs", markdown, material, *more)
    before = times(tmp_path / "runs")
    run(tmp_path / "runs", markdown, material, *more)
    after = times(tmp_path / "runs")
    assert before.items() <= after.items()
    found = [" ".join(each) for each in programs.commands]
    assert len(found) == len(set(found)) == 2 + 2 * (2 * n_rows("seld")) + 2 + 2
    run(tmp_path / "runs", markdown, material, *more)
    assert len(programs.commands) == len(found) and times(tmp_path / "runs") == after


def test_a_failed_program_ends_the_benchmark_with_its_command(tmp_path):
    with pytest.raises(DataError, match=r"`python -c 'raise SystemExit\(3\)'` ended with status 3"):
        seed_runs.start(["-c", "raise SystemExit(3)"])
    seed_runs.start(["-c", ""])


def test_the_published_size_has_a_table_of_its_own(tmp_path, markdown, material, programs):
    text = run(tmp_path / "runs", markdown, material, "--only", "rebuilt", "--published")
    assert "Seed 0. Published size" in section(text, "real-rebuilt-published")
    assert "<!-- real-rebuilt:begin --><!-- real-rebuilt:end -->" in text
    (command,) = programs.commands
    assert "network.gru_units=[128, 128]" in command and command[1] == "tau2019-rebuilt"


def test_linked_sounds_keep_sources_and_seconds_and_serve_in_one_set(tmp_path, material):
    found = find_halves(material["sounds"], "--sounds", SELD_CLASSES)
    folder = link(found, tmp_path, {"test": "split 4"})
    again = find_own_recordings(folder, SELD_CLASSES, ("split 4",))
    assert sorted(again.groups.values()) == sorted(found.groups.values())
    assert {again.active(path) for path in again.files} == {((0.1, 0.4),)}
    sets = {path.resolve(): part for path, part in again.parts.items()}
    assert {part for path, part in sets.items() if "test" in path.parts} == {"split 4"}
    assert {part for path, part in sets.items() if "train" in path.parts} == {"train"}
    assert link(found, tmp_path, {"test": "split 4"}) == folder
    anew = link(found, tmp_path)
    assert anew != folder and not find_own_recordings(anew, SELD_CLASSES).parts


def refusal(tmp_path, markdown, material, *more):
    """The one message about something that cannot be used, before any work."""
    with pytest.raises((ConfigError, DataError)) as caught:
        run(tmp_path / "runs", markdown, material, *more)
    return str(caught.value)


def test_bad_folders_are_refused_before_any_work(tmp_path, markdown, material, programs):
    def sounds(name, classes=SELD_CLASSES, halves=(("train", 3), ("test", 1))):
        return {"sounds": write_sounds(tmp_path / name, classes, dict(halves))}

    only_train = sounds("half", halves=[("train", 3)])
    assert "no sounds in test/" in refusal(tmp_path, markdown, only_train)
    fewer = sounds("fewer", SELD_CLASSES[1:])
    assert "none of knock in train/, knock in test/" in refusal(tmp_path, markdown, fewer)
    few = sounds("few", halves=[("train", 2), ("test", 1)])
    assert "too few groups" in refusal(tmp_path, markdown, few)
    absent = material | {"rooms": tmp_path / "absent"}
    assert "--rooms: expected a folder" in refusal(tmp_path, markdown, absent)
    shared = sounds("shared")
    table = shared["sounds"] / "metadata.csv"
    table.write_text(table.read_text().replace("knock, test 0", "knock, train 0"))
    assert "1 group(s) are in two splits" in refusal(tmp_path, markdown, shared)
    no_clips = material | {"clips": material["sounds"]}
    assert "two classes or more" in refusal(tmp_path, markdown, no_clips)
    assert programs.commands == []


def test_bad_options_are_refused_before_any_work(tmp_path, markdown, material, programs):
    alone = {"sounds": material["sounds"]}
    assert "task4 needs --clips" in refusal(tmp_path, markdown, alone, "--only", "task4")
    sized = refusal(tmp_path, markdown, alone, "--only", "seld", "--published")
    assert "--published expects one of the experiments rebuilt, rebuilt-mic" in sized
    assert "--seeds" in refusal(tmp_path, markdown, alone, "--seeds", -1)
    markdown.write_text("no markers")
    assert "real-seld:begin" in refusal(tmp_path, markdown, alone)
    assert programs.commands == []


def test_an_error_is_one_message_without_a_traceback(tmp_path, capfd):
    given = ["--sounds", str(tmp_path / "absent"), "--quick"]
    assert run_safely(real_sounds.main, given, resumes=True) == 2
    assert capfd.readouterr().err.startswith("error: --sounds: expected a folder.")


@pytest.mark.parametrize("name", [n for n, e in EXPERIMENTS.items() if hasattr(e, "means")])
def test_settings_of_all_rows_exist_in_full_size(name, tmp_path):
    experiment = EXPERIMENTS[name]
    overrides = [each for mean in experiment.means for each in mean.overrides]
    assert load_task(PARAMS, experiment.task_id, [*experiment.settings, *overrides])


@pytest.mark.parametrize(("name", "task_id"), [("seld", "demo-wide"), ("task4", "crnn-wide-demo")])
def test_all_means_together_are_the_settings_of_a_task(name, task_id):
    experiment = EXPERIMENTS[name]
    overrides = [each for mean in experiment.means for each in mean.overrides]
    told = {"description", "dataset_dir"}
    together = load_task(PARAMS, experiment.task_id, overrides).model_dump(exclude=told)
    assert together == load_task(PARAMS, task_id).model_dump(exclude=told)


def test_every_table_has_its_place_in_the_benchmarks():
    text = (ROOT / "BENCHMARKS.md").read_text(encoding="utf-8")
    assert all(f"<!-- {name}:begin -->" in text for name in MARKERS)


@pytest.fixture
def here(monkeypatch):
    """Programs in this process: they would import the libraries again, for most of their time."""

    def start(command):
        n_words = 2 if command[0] == "-m" else 1
        assert run_program(command[:n_words], command[n_words:]) == 0

    monkeypatch.setattr(seed_runs, "start", start)
    for name in ("seld", "task4"):
        monkeypatch.setitem(EXPERIMENTS, name, replace(EXPERIMENTS[name], means=()))
    rooms = replace(EXPERIMENTS["measured-rooms"], study=EXPERIMENTS["seld"])
    monkeypatch.setitem(EXPERIMENTS, "measured-rooms", rooms)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    "names", [("seld",), pytest.param(tuple(EXPERIMENTS), marks=pytest.mark.soak)]
)
def test_the_real_programs_learn_from_both_and_are_scored(tmp_path, markdown, material, names):
    text = run(tmp_path / "runs", markdown, material, "--seeds", 0, "--only", *names)
    for name in names:
        table = section(text, f"real-{name}")
        assert re.search(r"\| (real sounds|fold2) (\| [a-z ]+ )?\| \d", table), table
