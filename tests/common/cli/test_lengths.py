"""Commands on runs that end early or go on longer, before anything is trained."""

import subprocess
import sys
from pathlib import Path

import pytest

from common.io.locks import only_one
from common.training.early_finish import REQUEST, request_of_stopped, stages_under_way
from common.training.run_directory import FINISHED, open_run
from seld.cli import main
from tests.runs import PARAMS, SELDNET, task_of

ROOT = Path(__file__).parents[3]
WITHOUT_TENSORFLOW = """
import sys
from seld.cli import main
status = main(sys.argv[1:])
loaded = [name for name in ("tensorflow", "keras", "jax", "torch") if name in sys.modules]
assert not loaded, loaded
sys.exit(status)
"""


@pytest.fixture
def run(tmp_path):
    """A run of two folds of the demo: the first one finished, the second one after three epochs."""
    folder = tmp_path / "output" / "demo_a"
    task = task_of("demo", tmp_path, **SETTINGS)
    open_run(folder, task.model_dump(mode="json"), ["seld.py"])
    for fold, epochs in (("one", 40), ("two", 3)):
        (folder / fold / "seld" / "resume" / f"epoch-{epochs:05d}").mkdir(parents=True)
    finished = '{"epochs": 40, "iterations_per_epoch": 2, "best_epoch": 7, "history": {}}'
    (folder / "one" / "seld" / FINISHED).write_text(finished)
    return folder


SETTINGS = {
    **{key.replace(".", "__"): value for key, value in SELDNET.items()},
    "training__epochs": 40,
    "folds": "[{name: one, train: [1, 2], validate_on: [3], test: [4]},"
    " {name: two, train: [2, 3], validate_on: [4], test: [1]}]",
}


def arguments(run, *options, **changes):
    """Options of the command for a run, with some settings changed."""
    folders = {f"{name}_dir": run.parents[1] / name for name in ("dataset", "feature", "output")}
    settings = folders | {**SETTINGS, **changes}
    given = [f"{key.replace('__', '.')}={value}" for key, value in settings.items()]
    sets = [part for each in given for part in ("--set", each)]
    return ["demo", "a", *options, *sets, "--params", str(PARAMS)]


def called(line):
    """Runs a command in a process that must not load a backend."""
    command = [sys.executable, "-c", WITHOUT_TENSORFLOW, *line]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_change_that_no_run_may_go_on_with_is_refused_before_tensorflow_is_loaded(run):
    done = called(arguments(run, training__epochs=60, seed=3))
    assert done.returncode == 2, done.stderr
    assert "seed: 0 there, 3 now" in done.stderr and "epochs: 40" not in done.stderr
    assert "May become longer: training.epochs, " in done.stderr


def test_a_run_in_use_is_asked_to_end_before_tensorflow_is_loaded(run):
    with only_one(run, "no"):
        done = called(arguments(run, "--finish"))
    assert done.returncode == 0, done.stderr
    first, second, _ = done.stdout.splitlines()[1:]
    assert first.startswith(f"{run} is in use by process ")
    assert second.startswith(f"{run}/two/seld: ends after the epoch under way, number 4")
    assert (run / "two" / "seld" / REQUEST).is_file()
    assert not (run / "one" / "seld" / REQUEST).exists()


def test_a_run_that_prepares_its_data_is_not_asked_to_end(run, capsys):
    (run / "two" / "seld" / FINISHED).touch()
    with only_one(run, "no"):
        assert main(arguments(run, "--finish")) == 2
    assert "no training is under way" in capsys.readouterr().err


def test_a_stopped_run_is_asked_for_the_stages_that_have_an_epoch(run):
    (run / "three" / "seld" / "resume").mkdir(parents=True)
    (run / "evaluations" / "x" / "resume").mkdir(parents=True)
    three, two = request_of_stopped(run)
    assert two.endswith("two/seld: ends after epoch 3, its last one; trains no further.")
    assert three.endswith("three/seld: no epoch has ended, so that it is trained as always.")
    assert [path.parent.name for path in stages_under_way(run)] == ["three", "two"]
    assert [path.parents[1].name for path in run.rglob(REQUEST)] == ["two"]


@pytest.mark.parametrize(
    ("job", "changes", "message"),
    [
        ("b", {}, "there is no run in"),
        ("a", {"training__epochs": 30}, "training.epochs: 40 there, 30 now; it may only"),
        ("begun", {}, "no epoch has ended in"),
    ],
)
def test_a_run_that_cannot_end_early_is_refused(run, job, changes, message, capsys):
    begun = run.with_name("demo_begun")
    begun.mkdir()
    (begun / "settings.yaml").write_bytes((run / "settings.yaml").read_bytes())
    task_id, _, *rest = arguments(run, "--finish", **changes)
    assert main([task_id, job, *rest]) == 2
    assert message in capsys.readouterr().err
    assert not list(run.parent.rglob(REQUEST)) and not run.with_name("demo_b").exists()


def test_a_finished_stage_without_the_state_of_its_last_epoch_cannot_go_on(run, capsys):
    (run / "one" / "seld" / "resume" / "epoch-00040").rename(run / "one" / "elsewhere")
    before = (run / "settings.yaml").read_bytes()
    assert main(arguments(run, training__epochs=60)) == 2
    said = capsys.readouterr().err
    assert "one/seld cannot go on" in said and "epoch-00040/. Received: no such folder" in said
    assert (run / "settings.yaml").read_bytes() == before
