"""Settings that may change when a run goes on: one table, checked, recorded and on the pages."""

import re
from pathlib import Path

import pytest
import yaml

from common.errors import CheckpointError
from common.training.run_directory import open_run, read_environment, read_settings
from common.training.setting_changes import MAY_CHANGE, changed_settings, differences, remarks
from tests.runs import task_of

ROOT = Path(__file__).parents[3]
SETTINGS = {
    "seed": 1,
    "dataset_dir": "a",
    "training": {
        "epochs": 30,
        "stage_epochs": {"sed": 40},
        "patience_epochs": 5,
        "checkpoint_every_epochs": None,
        "learning_rate": 0.1,
    },
    "second_pass": {"epochs": None},
}


def changed(**changes):
    """The settings with other values; `__` stands for the dots between sections."""
    settings = yaml.safe_load(yaml.safe_dump(SETTINGS))
    for key, value in changes.items():
        section, _, name = key.rpartition("__")
        (settings[section] if section else settings)[name] = value
    return settings


@pytest.mark.parametrize(
    "changes",
    [
        {"training__epochs": 60},
        {"training__stage_epochs": {"sed": 50}},
        {"training__stage_epochs": {"sed": 40, "doa": 30}},  # as long as without
        {"training__stage_epochs": {}, "training__epochs": 40},
        {"second_pass__epochs": 31},
        {"training__patience_epochs": 0},
        {"training__patience_epochs": 6, "training__checkpoint_every_epochs": 2},
    ],
)
def test_a_run_goes_on_with_longer_settings_and_keeps_them(tmp_path, changes):
    open_run(tmp_path, SETTINGS, ["first"])
    wanted = changed(**changes)
    open_run(tmp_path, wanted | {"dataset_dir": "b"}, ["second"], extends=True)
    assert read_settings(tmp_path) == wanted, "the place of the data is that of the beginning"
    noted = read_environment(tmp_path)["changed"]
    assert noted == changed_settings(SETTINGS, wanted) and noted
    open_run(tmp_path, wanted, ["third"], extends=True)
    assert not read_environment(tmp_path)["changed"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"training__epochs": 29},
            r"training\.epochs: 30 there, 29 now; it may only become longer",
        ),
        ({"training__stage_epochs": {}}, r"stage_epochs\.sed: 40 there, None now; it may only"),
        ({"training__stage_epochs": {"sed": 40, "doa": 20}}, r"stage_epochs\.doa: None there, 20"),
        ({"second_pass__epochs": 20}, r"second_pass\.epochs: None there, 20 now; it may only"),
        ({"training__patience_epochs": 4}, r"patience_epochs: 5 there, 4 now; it may only become"),
        ({"training__epochs": 60, "seed": 2}, r"other settings, which.*\n  seed: 1 there, 2 now\n"),
        ({"training__learning_rate": 1}, r"May become longer: training\.epochs, .* dataset_dir, "),
    ],
)
def test_other_changes_are_refused_with_the_settings_that_may_change(tmp_path, changes, message):
    open_run(tmp_path, SETTINGS, ["first"])
    before = (tmp_path / "settings.yaml").read_bytes()
    with pytest.raises(CheckpointError, match=message):
        open_run(tmp_path, changed(**changes), ["second"], extends=True)
    assert (tmp_path / "settings.yaml").read_bytes() == before


@pytest.mark.parametrize(
    "schedule, key, told",
    [
        ({"fall": "half_cosine", "fall_until_epoch": None}, "training__epochs", True),
        ({"fall": "half_cosine", "fall_until_epoch": 20}, "training__epochs", False),
        ({"fall": "half_cosine", "fall_until_epoch": None}, "training__patience_epochs", False),
        ({"fall": "none", "fall_until_epoch": None}, "training__epochs", False),
    ],
)
def test_a_fall_until_the_last_epoch_is_remarked_on(schedule, key, told):
    wanted = changed(**{key: 60})
    changes = differences(SETTINGS, wanted)
    wanted["training"]["schedule"] = schedule
    found = remarks(wanted, changes)
    assert bool(found) == told and all("differs from one of this length" in each for each in found)


def test_the_pages_list_all_settings_that_may_change():
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    listed = {
        key
        for line in page.splitlines()
        if line.startswith("| `")
        for key in re.findall(r"`([a-z_.]+)`", line.split("|")[1])
    }
    assert {each.key for each in MAY_CHANGE} <= listed


def test_the_settings_that_may_change_are_settings_of_tasks(tmp_path):
    tasks = [task_of(name, tmp_path) for name in ("demo", "crnn-demo")]
    known = set()
    for task in tasks:
        for key, value in task.model_dump(mode="json").items():
            names = value if isinstance(value, dict) else ()
            known |= {key, *(f"{key}.{name}" for name in names)}
    assert {each.key for each in MAY_CHANGE} <= known
