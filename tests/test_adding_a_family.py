"""The family of docs/adding-a-family.md is complete, and works with every command."""

import contextlib
import json
import re
import shlex
import sys
from pathlib import Path

import pytest

from common.__main__ import main as dcase
from common.family import PARTS, is_family, load
from tests.documents import ROOT

PAGE = (ROOT / "docs" / "adding-a-family.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^\*\*`(\S+)`\*\*\n\n```\w+\n(.*?)^```$", PAGE, re.M | re.S))
COMMANDS = re.search(r"```text\n(.*?)```", PAGE, re.S)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the files of the page, which is on Python's path."""
    folder = tmp_path_factory.mktemp("family")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch, contextlib.chdir(folder):
        patch.syspath_prepend(folder)
        yield folder
    for name in [each for each in sys.modules if each.split(".")[0] == "siren"]:
        del sys.modules[name]


def run(line: str) -> int:
    """Runs a command of the page in this process; returns its exit status."""
    program, *arguments = shlex.split(line)
    assert program == "dcase"
    return dcase(arguments)


def test_the_family_of_the_page_satisfies_the_contract(folder):
    assert is_family("siren")
    for part in PARTS.keys() - {"check", "download", "score"}:
        load("siren", part)


def test_the_page_names_every_module_of_the_contract():
    assert sorted(re.findall(r"^\| `([\w.]+)` \|", PAGE, re.M)) == sorted(PARTS)


def test_its_commands_simulate_extract_train_report_and_predict(folder):
    assert COMMANDS is not None
    for line in COMMANDS[1].splitlines():
        assert run(line) == 0, line
    scores = json.loads(Path("runs/siren_a/scores.json").read_text())
    assert scores["rows"][0]["scores"]["accuracy"] > 0.9
    assert "accuracy" in Path("runs/siren_a/report.html").read_text()
    events = Path("runs/siren_a/predictions/test-siren-001.tsv").read_text().splitlines()
    assert len(events) == 2 and events[1].split("\t")[:3] == ["0.0", "2.0", "siren"]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--format dcase", "the family siren has no form of a challenge"),
        ("--threshold 0.3", "the decoding of siren has no threshold"),
        ("--set pipeline.batch_size=2", "Expected: no setting"),
    ],
)
def test_what_it_does_not_define_is_refused_by_predict(folder, capsys, option, message):
    sound = "data/siren/audio/test-siren-001.wav"
    assert run(f"dcase predict runs/siren_a {sound} {option}") == 2
    assert message in capsys.readouterr().err


def test_clips_simulated_with_other_settings_are_refused(folder, capsys):
    changed = "siren --params siren.yaml --set dataset.n_clips=6 --set feature_dir=features/other"
    assert run(f"dcase extract {changed}") == 2
    assert "n_clips: 24 there, 6 wanted" in capsys.readouterr().err
