"""The command line: output and error messages."""

from pathlib import Path

import pytest
import yaml

from common.cli.base import run_safely
from common.cli.extract import main as extract
from common.cli.simulate import main as simulate
from common.cli.train import plan_lines, task_lines
from common.errors import TrainingError
from common.settings.tasks import load_task, read_tasks, resolve
from seld.cli import main

PARAMS = Path(__file__).parents[2] / "params.yaml"


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    """Runs each test in an empty folder: nothing may be written into the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _listed(lines):
    """Ids below the systems, and the lines of published scores by the id above them."""
    ids, published = [], {}
    for line in lines:
        if line.startswith("  ") and line.split()[0] == "published:":
            published[ids[-1]] = line
        elif line.startswith("  "):
            ids.append(line.split()[0])
    return ids, published


def test_list_shows_every_id_of_the_family_and_the_data_of_published_scores(capsys):
    assert main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    ids, published = _listed(lines)
    read = read_tasks(PARAMS)
    tasks = {name: resolve(read, name) for name in read}
    own = [name for name, task in tasks.items() if task["family"] == "seld"]
    assert sorted(ids) == sorted(own) and set(published) == {
        name for name in own if tasks[name].get("published")
    }
    assert all("; on " in line for line in published.values())
    first = next(line for line in lines if line.startswith("  "))
    assert first.split()[:2] == ["seldnet-foa", "hours"] and first.endswith("(alias 1, 4)")
    demo = next(line for line in lines if line.startswith("  demo "))
    assert demo.split()[1] == "minutes" and "seldnet (seld):" in lines
    assert lines[-1].startswith(f"{len(tasks) - len(own)} tasks of other families: ")


def test_the_list_without_a_family_has_all_tasks():
    lines = task_lines(PARAMS)
    ids, published = _listed(lines)
    assert sorted(ids) == sorted(read_tasks(PARAMS))
    assert "segment_200ms_macro_f 0.631" in published["cnn9"]


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


@pytest.mark.parametrize(
    ("given", "near"), [("17", None), ("seldnet-fao", "`seldnet-foa`"), ("dmeo", "`demo`")]
)
def test_an_unknown_id_is_one_line_that_names_what_looks_like_it(given, near, capsys):
    assert main([given, "x"]) == 2
    message = capsys.readouterr().err
    assert "Unknown task id" in message and repr(given) in message and "--list" in message
    assert message.count("\n") == 1 and len(message) < 300
    assert near in message if near else "Did you mean" not in message


@pytest.mark.parametrize(
    ("task", "command"),
    [
        ("crnn-demo", "python task4_crnn.py crnn-demo mine"),
        ("cnn9-demo", "python task4_cnn.py cnn9-demo mine"),
        ("segmentation-demo", "python task4_segmentation.py segmentation-demo mine"),
    ],
)
def test_a_task_of_another_family_is_refused_with_its_command(task, command, capsys, empty_folder):
    assert main([task, "mine"]) == 2
    assert command in capsys.readouterr().err and not list(empty_folder.iterdir())


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
    own = "tasks: {mine: {description: my own task, family: seld, system: seldnet}}"
    (empty_folder / "params.yaml").write_text(own)
    assert main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].split() == ["mine", "hours", "my", "own", "task"]


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
