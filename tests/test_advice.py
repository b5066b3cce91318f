"""Commands and pages in messages exist, and belong to the family and the system of the task."""

import ast
import configparser
import importlib.util
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from common.__main__ import VERBS
from common.cli import base
from common.cli.base import as_called_here, training_command
from common.cli.extract import main as extract
from common.cli.steps.prepare import demo_command
from common.family import FAMILIES, load
from common.settings.tasks import read_tasks, resolve
from common.training.system import systems

ROOT = Path(__file__).resolve().parents[1]
PARAMS = ROOT / "params.yaml"
READ = read_tasks(PARAMS)
TASKS = {name: resolve(READ, name) for name in READ}
SYSTEMS = [(family, system) for family in FAMILIES for system in systems(family)]
# script, its family's command line with the arguments that the script gives, and the demo of its
# own system
MAINS = {
    "seld.py": ("seld", {}, "python seld.py demo a"),
    "task4_crnn.py": ("sed_task4", {"default_task": "crnn"}, "python task4_crnn.py crnn-demo a"),
    "task4_cnn.py": ("sed_task4", {"default_task": "cnn9"}, "python task4_cnn.py cnn9-demo a"),
    "task4_segmentation.py": (
        "sed_task4.segmentation",
        {},
        "python task4_segmentation.py segmentation-demo a",
    ),
}
MESSAGES = [
    (path, node.value)
    for folder in ("common", "seld", "sed_task4")
    for path in sorted((ROOT / folder).rglob("*.py"))
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    if isinstance(node, ast.Constant) and isinstance(node.value, str)
]


def installed_commands() -> set[str]:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    lines = setup["options.entry_points"]["console_scripts"].splitlines()
    return {line.split("=")[0].strip() for line in lines if line}


@pytest.mark.parametrize(("family", "system"), SYSTEMS)
def test_the_demo_of_each_system_is_its_own_task(family, system):
    _, script, task_id, job = str(
        demo_command(SimpleNamespace(family=family, system=system), PARAMS)
    ).split()
    demo = TASKS[task_id]
    assert (demo["family"], demo["system"], demo["simulate_missing_dataset"]) == (
        family,
        system,
        True,
    )
    assert (ROOT / script).is_file() and job == "a"


@pytest.mark.parametrize(("family", "system"), SYSTEMS)
def test_installed_programs_advise_the_installed_command(family, system, monkeypatch, tmp_path):
    monkeypatch.setattr(base, "_TOP", tmp_path)
    assert training_command(family, system) == "dcase train"
    command = str(demo_command(SimpleNamespace(family=family, system=system), PARAMS)).split()
    assert command[:2] == ["dcase", "train"] and command[2] in TASKS


@pytest.mark.parametrize("script", MAINS)
def test_a_script_without_data_advises_its_own_demo(script, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    family, options, expected = MAINS[script]
    assert load(family, "cli").main([], **options) == 2
    assert f"or try the demo: {expected}" in capsys.readouterr().err


# One task of each system: the advice depends on nothing else of it.
WITHOUT_DEMO = {
    (task["family"], task["system"]): name
    for name, task in TASKS.items()
    if not task.get("simulate_missing_dataset")
}


@pytest.mark.parametrize("task_id", [*WITHOUT_DEMO.values()])
def test_extraction_without_data_advises_the_demo_of_its_task(
    task_id, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert extract([task_id]) == 2
    demo = re.search(r"try the demo: python (\S+) (\S+) a\n", capsys.readouterr().err)
    assert demo and (ROOT / demo[1]).is_file()
    assert all(TASKS[demo[2]][key] == TASKS[task_id][key] for key in ("family", "system"))


def test_a_demo_without_data_advises_its_simulation_too(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert extract(["cnn9-demo"]) == 2
    message = capsys.readouterr().err
    assert "python simulate.py <task-id>" in message
    assert "python task4_cnn.py cnn9-demo a" in message


OWN = {"family": "seld", "system": "seldnet"}


@pytest.mark.parametrize("content", [{"tasks": {"own": OWN}}, "text", {"tasks": {}}])
def test_a_settings_file_without_demos_advises_none(content, tmp_path, monkeypatch):
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(content))
    assert (
        demo_command(SimpleNamespace(family="seld", system="seldnet"), tmp_path / "own.yaml")
        is None
    )


def test_a_system_without_a_demo_gets_one_of_its_family(tmp_path):
    task = SimpleNamespace(family="sed_task4", system="own")
    assert str(demo_command(task, PARAMS)).startswith("python task4_crnn.py crnn-demo")


def test_scripts_and_modules_in_messages_have_installed_names(monkeypatch, tmp_path):
    text = (
        "Run `python batch_feature_extraction.py <task-id>`, or python simulate.py x; python"
        " predict.py; python seld.py 1 a; python -m common.cli.check_dataset 1; python -m"
        " seld.score A B"
    )
    assert as_called_here(text) == text
    monkeypatch.setattr(base, "_TOP", tmp_path)
    assert as_called_here(text) == (
        "Run `dcase extract <task-id>`, or dcase simulate x; dcase predict; dcase train 1 a;"
        " dcase check-dataset 1; python -m seld.score A B"
    )


def test_installed_names_in_messages_are_verbs():
    scripts = {path.stem for path in ROOT.glob("*.py")}
    modules = {path.stem for path in (ROOT / "common" / "cli").glob("*.py")}
    assert set(base._VERBS) <= scripts and set(base._VERBS.values()) <= set(VERBS)
    assert {verb.replace("-", "_") for verb in VERBS} <= modules
    assert installed_commands() == {"dcase"}


def test_every_command_in_a_message_exists():
    for path, text in MESSAGES:
        for script in re.findall(r"python (\w+\.py)", text):
            assert (ROOT / script).is_file(), (path, script)
        for module in re.findall(r"python -m ([a-z0-9_.]+[a-z0-9_])", text):
            own = module.split(".")[0] in (
                "common",
                "seld",
                "sed_task4",
                "benchmarks",
                "docs",
                "tests",
            )
            assert not own or importlib.util.find_spec(module), (path, module)
        for page in re.findall(r"\bdocs/[\w-]+\.md", text):
            assert (ROOT / page).is_file(), (path, page)


def test_every_section_of_the_readme_in_a_message_exists():
    headings = re.findall(r"^#+ (.+)$", (ROOT / "README.md").read_text(encoding="utf-8"), re.M)
    named = [
        section
        for _, text in MESSAGES
        for section in re.findall(r"README, (?:section )?'([^']+)'", text)
    ]
    assert named and set(named) <= set(headings)


def test_common_names_no_script_of_a_family():
    scripts = set(MAINS)
    wrong = [
        (path.name, text)
        for path, text in MESSAGES
        if path.is_relative_to(ROOT / "common")
        for script in scripts
        if f"python {script}" in text
    ]
    assert not wrong


@pytest.mark.parametrize("script", ["simulate.py", "batch_feature_extraction.py"])
def test_advised_scripts_that_need_a_task_are_given_one(script):
    bare = [
        (path.name, text)
        for path, text in MESSAGES
        if re.search(rf"python {script}(?! [<\[\w])", text)
    ]
    needs = [each for each in bare if each[0] not in ("base.py",)]
    assert not needs
