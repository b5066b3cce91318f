"""The folder of a run: whose it is, what it was made of, and by which commands."""

import json

import pytest

from common.errors import CheckpointError
from common.training.run_directory import open_run, record_data

SETTINGS = {"seed": 1, "training": {"epochs": 3}, "run": {"device": "auto"}}


def test_each_part_of_a_run_is_on_record(tmp_path):
    for command in ("first", "second", "third"):
        open_run(tmp_path, SETTINGS, [command])
    environment = json.loads((tmp_path / "environment.json").read_text())
    assert environment["command"] == ["third"]
    assert [part["command"] for part in environment["earlier"]] == [["first"], ["second"]]
    assert all(
        part["versions"]["numpy"] and "earlier" not in part for part in environment["earlier"]
    )


def test_partial_files_of_a_killed_part_are_removed(tmp_path):
    stage = tmp_path / "fold1" / "seld"
    (stage / "resume" / ".epoch-00002.tmp").mkdir(parents=True)
    (stage / "resume" / ".epoch-00002.tmp" / "variables.npz").write_bytes(b"half")
    (stage / ".best.keras.17.tmp.keras").write_bytes(b"half")
    (stage / "best.keras").write_bytes(b"whole")
    open_run(tmp_path, SETTINGS, [])
    assert [path.name for path in stage.rglob("*") if path.is_file()] == ["best.keras"]
    assert not list((stage / "resume").iterdir())


def test_a_run_resumes_only_with_the_data_it_began_with(tmp_path):
    record_data(tmp_path, {"dev": "a1", "eval": "b2"})
    record_data(tmp_path, {"dev": "a1", "eval": "b2"})
    with pytest.raises(
        CheckpointError, match=r"begun with other data.*features of eval .*another job"
    ):
        record_data(tmp_path, {"dev": "a1", "eval": "c3"})
    assert json.loads((tmp_path / "data.json").read_text())["fingerprints"] == {
        "dev": "a1",
        "eval": "b2",
    }


def test_folders_of_a_job_may_change_but_not_computations(tmp_path):
    open_run(tmp_path, SETTINGS, [])
    open_run(tmp_path, {**SETTINGS, "run": {"device": "cpu"}}, [])
    with pytest.raises(CheckpointError, match=r"training.epochs: 3 there, 4 now"):
        open_run(tmp_path, {**SETTINGS, "training": {"epochs": 4}}, [])


@pytest.mark.parametrize(
    "content", ["[]", '{"fingerprints": 1}', '{"fingerprints": {"dev": 1}}', "{", "[" * 9999]
)
def test_a_record_of_the_data_of_another_form_is_refused(tmp_path, content):
    (tmp_path / "data.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"data\.json (is damaged|cannot be read)"):
        record_data(tmp_path, {"dev": "a1"})


@pytest.mark.parametrize("content", ["[]", '{"earlier": 1}', '{"earlier": [1]}', "\0"])
def test_a_record_of_the_environment_of_another_form_is_refused(tmp_path, content):
    open_run(tmp_path, SETTINGS, [])
    (tmp_path / "environment.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"environment\.json (is damaged|cannot be read)"):
        open_run(tmp_path, SETTINGS, [])
