"""The installed command and its verbs."""

import subprocess
import sys
from pathlib import Path

import pytest

from common.__main__ import VERBS, main

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("verb", ["", "--help"])
def test_help_lists_each_verb_on_a_line(verb, capsys):
    assert main([verb] if verb else []) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line.startswith("  ")] == list(VERBS)


@pytest.mark.parametrize(
    ("word", "near"), [("trian", "train"), ("checkdataset", "check-dataset"), ("xyz", None)]
)
def test_an_unknown_verb_is_an_error_that_names_the_nearest(word, near, capsys):
    assert main([word]) == 2
    message = capsys.readouterr().err
    assert f"Received: '{word}'" in message and "Expected: one of train, extract" in message
    assert (f"Did you mean `{near}`?" in message) == (near is not None)


def test_a_verb_hands_on_its_arguments(capsys):
    assert main(["train", "--list", "--params", str(ROOT / "params.yaml")]) == 0
    assert "SELDnet" in capsys.readouterr().out


def test_a_training_without_a_task_asks_for_one(capsys):
    with pytest.raises(SystemExit) as end:
        main(["train"])
    assert end.value.code == 2 and "--list shows all" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("task", "option"), [("1", "--splits"), ("cnn9", "--collar"), ("segmentation", "--collar")]
)
def test_scores_are_those_of_the_family_of_a_task(task, option, capsys):
    with pytest.raises(SystemExit) as end:
        main(["score", "--task", task, "--params", str(ROOT / "params.yaml"), "--help"])
    assert end.value.code == 0 and option in capsys.readouterr().out


def test_only_the_module_of_a_verb_is_loaded():
    code = (
        "import sys; sys.argv = ['dcase', 'train', '--help']\n"
        "from common.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "loaded = {'pydantic', 'numpy', 'yaml', 'keras', 'matplotlib'} & set(sys.modules)\n"
        "print('loaded:', *sorted(loaded))"
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.startswith("usage: dcase train ")
    assert result.stdout.splitlines()[-1].split() == ["loaded:"]
