"""The command line: output and error messages."""

from pathlib import Path

import pytest
import yaml

from common.cli.base import run_safely
from common.cli.extract import main as extract
from common.cli.simulate import main as simulate
from common.cli.train import plan_lines
from common.errors import TrainingError
from common.settings.tasks import load_task, read_tasks, resolve
from seld.cli import main

PARAMS = Path(__file__).parents[2] / "params.yaml"


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    """Runs each test in an empty folder: nothing may be written into the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_list_shows_every_id_and_the_data_of_published_scores(capsys):
    assert main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    published = [number for number, line in enumerate(lines) if line.split()[0] == "published:"]
    ids = {number: line.split()[0] for number, line in enumerate(lines) if number not in published}
    tasks = read_tasks(PARAMS)
    assert list(ids.values()) == list(tasks)
    assert all(len(line.split()) > 2 for line in lines)
    with_scores = [ids[number - 1] for number in published]
    assert with_scores == [name for name in ids.values() if resolve(tasks, name).get("published")]
    assert "segment_200ms_macro_f 0.631" in lines[1 + list(ids)[list(ids.values()).index("cnn9")]]
    assert all("; on " in lines[number] for number in published)
    assert ids[0] == "seldnet-foa" and lines[0].endswith("(alias 1, 4)")


def test_without_arguments_it_prints_its_usage_and_runs_seldnet_foa(capsys):
    assert main([]) == 2  # there is no dataset here
    captured = capsys.readouterr()
    assert "usage" in captured.out and "Task seldnet-foa, job 1" in captured.out
    assert (
        "no recordings in data/tau2019" in captured.err and "python seld.py demo a" in captured.err
    )


def test_a_start_prints_the_plan_of_the_run(capsys):
    main(["2", "x"])  # there is no dataset here
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Task 2, job x: SELDnet, development set")
    plan = {line.split()[0]: line for line in lines[1:] if line.startswith("  ")}
    told = {
        "reads": "data/tau2019",
        "writes": "runs/2_x/",
        "system": "seldnet (seld), stages: seld",
        "folds": "fold1, fold2, fold3, fold4",
        "epochs": "at most 50",
        "batch": "16",
        "computes": "tensorflow on",
        "settings": "runs/2_x/settings.yaml",
    }
    assert all(text in plan[name] for name, text in told.items())
    assert len(plan) <= 10 and all(len(line) <= 100 for line in plan.values())


def test_the_plan_shows_the_epochs_of_single_stages():
    task = load_task(PARAMS, "two-stage", ["training.stage_epochs={sed: 3, doa: 7}"])
    computing = {"backend": "jax", "devices": ["GPU", "GPU"], "precision": "float32"}
    lines = list(plan_lines(task, ["sed", "doa"], computing, Path("runs/a")))
    assert "  epochs      at most sed 3, doa 7" in lines
    assert "  computes    jax on GPU, GPU, float32" in lines


def test_an_unknown_id_lists_the_known_ones(capsys):
    assert main(["17", "x"]) == 2
    message = capsys.readouterr().err
    assert "Unknown task id" in message and "'17'" in message and "demo-published" in message


def test_a_misspelt_key_is_one_line_without_a_traceback(capsys):
    assert main(["1", "x", "--set", "training.epocs=3"]) == 2
    message = capsys.readouterr().err
    assert "Did you mean `training.epochs`" in message and "Traceback" not in message


@pytest.mark.parametrize("command", [extract, simulate])
def test_all_commands_accept_the_same_ids(command, capsys):
    assert command(["17"]) == 2
    assert "Unknown task id" in capsys.readouterr().err


def test_an_unknown_set_lists_the_known_ones(capsys):
    assert extract(["1", "--sets", "evl"]) == 2
    assert "expected some of dev, eval, or both. Received: evl" in capsys.readouterr().err


def test_extraction_without_a_dataset_names_the_folder(capsys, empty_folder):
    assert extract(["1"]) == 2
    assert "data/tau2019" in capsys.readouterr().err
    assert not list(empty_folder.iterdir())


def test_the_standard_settings_can_be_copied_out_but_overwrite_nothing(capsys, empty_folder):
    assert main(["--write-params"]) == 0
    copied = empty_folder / "params.yaml"
    assert yaml.safe_load(copied.read_text()) == yaml.safe_load(PARAMS.read_text())
    copied.write_text("mine")
    assert main(["--write-params"]) == 2
    assert copied.read_text() == "mine" and "not overwritten" in capsys.readouterr().err


def test_settings_of_the_current_folder_come_before_the_installed_ones(capsys, empty_folder):
    (empty_folder / "params.yaml").write_text("tasks: {mine: {description: my own task}}")
    assert main(["--list"]) == 0
    assert capsys.readouterr().out.split() == ["mine", "my", "own", "task"]


def test_an_interrupt_ends_without_a_traceback(capsys, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("common.cli.train.task_lines", interrupted)
    assert main(["--list"]) == 130
    assert "resumes from here" in capsys.readouterr().err


def test_training_that_diverges_has_a_status_of_its_own(capsys):
    def diverged(_):
        raise TrainingError("lower the learning rate")

    assert run_safely(diverged, []) == 3
    assert capsys.readouterr().err == "error: lower the learning rate\n"
