"""params.yaml, overrides of the command line, and the settings that a run keeps."""

import functools
import json
from pathlib import Path
from typing import Any
from unittest import mock

import yaml
from hypothesis import strategies as st

from common.family import families
from common.settings.tasks import load_task, parse_overrides, read_tasks, resolve
from common.training.run_directory import ENVIRONMENT, open_run, read_settings
from tests.fuzz.damage import ODD_TEXTS, YAML_LINES, damaged_json, damaged_yaml, garbage, yaml_bomb
from tests.fuzz.engine import Files, Target

PARAMS = Path(__file__).parents[2] / "params.yaml"


@functools.cache
def _tasks() -> dict[str, Any]:
    """One small task of each family, resolved."""
    tasks = read_tasks(PARAMS)
    ids = {
        "seld": "seldnet-quick",
        "sed_task4": "cnn5",
        "sed_task4.segmentation": "segmentation-demo",
    }
    small = {family: resolve(tasks, ids[family]) for family in families()}
    return json.loads(json.dumps(small))


def _params() -> st.SearchStrategy[Files]:
    def one(family: str) -> st.SearchStrategy[bytes]:
        valid = {"tasks": {"base": _tasks()[family], "7": {"inherits": "base", "seed": 3}}}
        return damaged_yaml(valid)

    contents = st.one_of(*map(one, sorted(_tasks())), garbage())
    return contents.map(lambda content: {"params.yaml": content})


def _load(folder: Path) -> None:
    tasks = read_tasks(folder / "params.yaml")
    assert tasks
    assert all(isinstance(name, str) and isinstance(task, dict) for name, task in tasks.items())
    task = load_task(folder / "params.yaml", "7")
    assert task.seed >= 0 and task.family in families()
    json.dumps(task.model_dump(mode="json"))


def _overrides() -> st.SearchStrategy[Files]:
    keys = st.sampled_from(
        [
            "training.epochs",
            "seed",
            "folds",
            "network.gru_units",
            "a.b.c",
            "",
            ".",
            "a..b",
            "tasks",
            "x" * 3000,
        ]
    )
    values = st.sampled_from(
        [*ODD_TEXTS, *YAML_LINES, "3", "[1, 2]", "{a: 1}", yaml_bomb().replace("\n", " ")]
    ) | st.text(max_size=20)
    line = st.tuples(keys, st.sampled_from(["=", "=", "=", "", "=="]), values).map("".join)
    return st.lists(line, max_size=3).map(
        lambda lines: {"overrides": "\n\n".join(lines).encode("utf-8", "replace")}
    )


def _parse(folder: Path) -> None:
    lines = (folder / "overrides").read_text("utf-8").split("\n\n")
    settings = parse_overrides(lines)
    assert set(settings) == {line.partition("=")[0].split(".")[0] for line in lines}
    load_task(PARAMS, "seldnet-quick", lines)


def _stored() -> st.SearchStrategy[Files]:
    settings = damaged_yaml(_tasks()["seld"]) | garbage()
    valid = yaml.safe_dump(_tasks()["seld"]).encode()
    environment = damaged_json(
        {"command": ["seld.py"], "python": "3.11.7", "earlier": [{"python": "3.11.7"}]}
    )
    return settings.map(lambda content: {"run/settings.yaml": content}) | environment.map(
        lambda content: {"run/settings.yaml": valid, f"run/{ENVIRONMENT}": content}
    )


def _reopen(folder: Path) -> None:
    settings = read_settings(folder / "run")
    assert isinstance(settings, dict)
    # asks another program
    with mock.patch("common.training.run_directory.git_revision", return_value=None):
        open_run(folder / "run", _tasks()["seld"], ["seld.py"])


TARGETS = [
    Target("params", _params, _load, 12, 25),
    Target("overrides", _overrides, _parse, 12, 20, named=r"--set|task 'seldnet-quick'"),
    Target("run-settings", _stored, _reopen, 12, 25, named="case/run"),
]
