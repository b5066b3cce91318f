"""Tables over runs."""

import json

import pytest

from common.compare import main


@pytest.fixture
def runs(tmp_path):
    for name, f, er in (("weak", 0.5, None), ("synthetic", 0.25, 2.0)):
        rows = [{"label": "cnn", "scores": {"f": f, "er": er}}, {"label": "silent", "scores": {"f": 0.0, "er": 1.0}}]
        (tmp_path / name).mkdir()
        (tmp_path / name / "scores.json").write_text(json.dumps({"rows": rows}))
    return [str(tmp_path / "weak"), str(tmp_path / "synthetic")]


def test_each_run_is_one_row_and_what_is_undefined_a_dash(runs, capsys):
    assert main(runs) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [["run", "f", "er"], ["weak", "0.500", "-"], ["synthetic", "0.250", "2.000"]]


def test_another_line_can_be_compared_and_an_unknown_one_lists_them(runs, capsys):
    assert main([*runs, "--line", "silent", "--markdown"]) == 0
    assert "| weak | 0.000 | 1.000 |" in capsys.readouterr().out
    assert main([*runs, "--line", "loud"]) == 2
    assert "There are: cnn, silent" in capsys.readouterr().err


def test_definitions_become_columns_of_their_own(tmp_path, capsys):
    scores = {"dcase2019": {"er": 0.2}, "corrected": {"er": 0.3}}
    (tmp_path / "scores.json").write_text(json.dumps({"rows": [{"label": "all", "scores": scores}]}))
    assert main([str(tmp_path)]) == 0
    assert "dcase2019 er" in capsys.readouterr().out


def test_a_folder_without_scores_is_named(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert "scores.json cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content",
    ["[]", "{}", '{"rows": 1}', '{"rows": [{"label": "a"}]}', '{"rows": [{"label": "a", "scores": {"f": "x"}}]}'],
)
def test_scores_of_another_form_are_refused(tmp_path, capsys, content):
    (tmp_path / "scores.json").write_text(content)
    assert main([str(tmp_path)]) == 2
    assert "scores.json is damaged" in capsys.readouterr().err
