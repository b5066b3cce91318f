"""Comparison of runs: scores, settings, curves."""

import csv
import json
from pathlib import Path

import pytest
import yaml
from matplotlib.image import imread

from common.cli.compare import main
from common.reports.comparison import comparison_figure, read_runs
from tests.pages import read_report


def write_run(
    folder: Path, rows: list, settings: dict | None = None, history: dict | None = None
) -> None:
    (folder / "cnn").mkdir(parents=True)
    (folder / "scores.json").write_text(json.dumps({"rows": rows}))
    (folder / "settings.yaml").write_text(
        yaml.safe_dump({"family": "sed_task4", **(settings or {})})
    )
    if history:
        finished = {
            "epochs": len(history["val_map"]),
            "iterations_per_epoch": 1,
            "best_epoch": 1,
            "history": history,
        }
        (folder / "cnn" / "training.json").write_text(json.dumps(finished))


@pytest.fixture
def runs(tmp_path):
    for name, f, er in (("weak", 0.5, None), ("synthetic", 0.25, 2.0)):
        rows = [
            {"label": "cnn", "scores": {"f": f, "er": er}},
            {"group": "baseline", "label": "silent", "scores": {"f": 0.0, "er": 1.0}},
        ]
        settings = {
            "sets": {"train": name},
            "seed": 1,
            "output_dir": name,
            **({"extra": 3} if er else {}),
        }
        write_run(
            tmp_path / name, rows, settings, {"val_map": [f, None, 0.9], "loss": [3.0, 2.0, 1.0]}
        )
    return [str(tmp_path / "weak"), str(tmp_path / "synthetic")]


def test_each_run_is_one_row_with_dashes_for_undefined(runs, capsys):
    assert main(runs) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[:3] == [
        ["run", "f", "er"],
        ["weak", "0.500", "-"],
        ["synthetic", "0.250", "2.000"],
    ]


def test_settings_that_differ_are_listed_and_no_others(runs, capsys):
    assert main(runs) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[4:] == [
        ["setting", "weak", "synthetic"],
        ["sets.train", "weak", "synthetic"],
        ["extra", "-", "3"],
    ]


def test_another_line_is_compared_and_an_unknown_one_refused(runs, capsys):
    assert main([*runs, "--line", "silent", "--markdown"]) == 0
    assert "| weak | 0.000 | 1.000 |" in capsys.readouterr().out
    assert main([*runs, "--line", "loud"]) == 2
    assert "There are: cnn, silent" in capsys.readouterr().err


def test_definitions_become_columns_of_their_own(tmp_path, capsys):
    scores = {"dcase2019": {"er": 0.2}, "corrected": {"er": 0.3}}
    write_run(tmp_path / "a", [{"label": "all", "scores": scores}])
    assert main([str(tmp_path / "a")]) == 0
    assert "dcase2019 er" in capsys.readouterr().out


def test_many_scores_have_a_row_each_and_runs_a_column(tmp_path, capsys):
    names = [f"s{number}" for number in range(20)]
    for run, value in (("a", 0.25), ("b", 0.5)):
        scores = {"dcase2024": {"macro": dict.fromkeys(names, value)}}
        write_run(tmp_path / run, [{"label": "all", "scores": scores}])
    assert main([str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["score", "a", "b"]
    assert lines[20] == ["dcase2024", "macro", "s19", "0.250", "0.500"]


@pytest.mark.parametrize("columns", [80, 100])
def test_a_comparison_fits_the_terminal(tmp_path, capsys, monkeypatch, columns):
    for name, value in (("a_run_with_quite_a_long_name", 0.25), ("another_run", 0.5)):
        scores = {f"a_long_name_of_a_score_{n}": value + n for n in range(9)}
        settings = {"sets": {"train": f"{name} " * 9}}
        write_run(tmp_path / name, [{"label": "all", "scores": scores}], settings)
    monkeypatch.setenv("COLUMNS", str(columns))
    assert (
        main([str(tmp_path / "a_run_with_quite_a_long_name"), str(tmp_path / "another_run")]) == 0
    )
    lines = capsys.readouterr().out.splitlines()
    tables = [line for line in lines if not line.startswith("Warning")]
    assert max(map(len, tables)) <= columns
    words = {word for line in lines for word in line.split()}
    assert {f"a_long_name_of_a_score_{n}" for n in range(9)} | {"8.250", "8.500"} <= words


def _with_baseline(folder, f, name="always active", group="baseline"):
    rows = [
        {"group": "system", "label": "all", "scores": {"f": 0.5}},
        {"group": group, "label": name, "scores": {"f": f}},
    ]
    write_run(folder, rows)
    return str(folder)


def test_runs_that_were_scored_on_other_recordings_are_told(tmp_path, capsys):
    runs = [
        _with_baseline(tmp_path / name, f) for name, f in zip("abc", (0.1, 0.1, 0.2), strict=True)
    ]
    page = tmp_path / "page.html"
    assert main([*runs, "--out", str(page)]) == 0
    printed = capsys.readouterr().out
    warnings = [line for line in printed.splitlines() if line.startswith("Warning: ")]
    assert len(warnings) == 1 and warnings[0].startswith("Warning: c was scored on other")
    assert f"Wrote {page}." in printed and "c was scored on other" in page.read_text()
    assert main(runs[:2]) == 0 and "Warning" not in capsys.readouterr().out


def test_runs_without_a_common_baseline_are_told(tmp_path, capsys):
    runs = [_with_baseline(tmp_path / name, 0.1, name) for name in "ab"]
    assert main(runs) == 0 and "Whether b and a were scored on the same" in capsys.readouterr().out


def test_runs_of_different_families_are_refused(runs, tmp_path, capsys):
    write_run(tmp_path / "other", [{"label": "all", "scores": {}}], {"family": "seld"})
    assert main([runs[0], str(tmp_path / "other")]) == 2
    message = capsys.readouterr().err
    assert "weak of sed_task4" in message and "other of seld" in message


def test_a_folder_without_a_run_or_scores_is_named(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert f"is {tmp_path} a run directory?" in capsys.readouterr().err
    (tmp_path / "settings.yaml").write_text("family: seld")
    assert main([str(tmp_path)]) == 2
    assert "scores.json cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "{}",
        '{"rows": 1}',
        '{"rows": [{"label": "a"}]}',
        '{"rows": [{"label": "a", "scores": {"f": "x"}}]}',
    ],
)
def test_scores_of_another_form_are_refused(tmp_path, capsys, content):
    (tmp_path / "settings.yaml").write_text("family: seld")
    (tmp_path / "scores.json").write_text(content)
    assert main([str(tmp_path)]) == 2
    assert "scores.json is damaged" in capsys.readouterr().err


def test_runs_of_the_same_name_are_named_by_folders(runs, tmp_path):
    write_run(tmp_path / "deep" / "weak", [{"label": "cnn", "scores": {"f": 1.0}}])
    folders = [Path(runs[0]), tmp_path / "deep" / "weak"]
    assert list(read_runs(folders)) == list(map(str, folders))


def test_a_table_holds_scores_and_settings_in_full(runs, tmp_path):
    assert main([*runs, "--out", str(tmp_path / "compared.csv")]) == 0
    with (tmp_path / "compared.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {"run": "weak", "f": "0.5", "er": "", "sets.train": "weak", "extra": ""}
    assert rows[1] == {
        "run": "synthetic",
        "f": "0.25",
        "er": "2.0",
        "sets.train": "synthetic",
        "extra": "3",
    }


def test_the_figure_has_bar_and_curve_of_each_run(runs, tmp_path):
    figure = comparison_figure(read_runs([Path(run) for run in runs]))
    drawn = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title(loc="left") for axes in drawn] == ["f", "er", "Tags on validation: mAP"]
    assert [bar.get_height() for bar in drawn[1].patches] == [0.0, 2.0]
    assert [text.get_text() for text in drawn[2].get_legend().get_texts()] == ["weak", "synthetic"]
    assert main([*runs, "--out", str(tmp_path / "compared.png")]) == 0
    assert imread(tmp_path / "compared.png").shape[1] > 1000


def test_the_page_shows_scores_settings_and_curves_over_each_other(runs, tmp_path):
    assert main([*runs, "--out", str(tmp_path / "compared.html")]) == 0
    page = read_report(tmp_path / "compared.html")
    assert all(text in page.text for text in ("0.500", "sets.train", "synthetic"))
    (figure,) = page.named("img")
    assert figure["alt"].endswith(": Tags on validation: mAP")


def test_another_kind_of_file_is_refused(runs, tmp_path, capsys):
    assert main([*runs, "--out", str(tmp_path / "compared.pdf")]) == 2
    assert "expected a name that ends in .html, .csv, .png" in capsys.readouterr().err


def test_a_teacher_is_dotted_beside_its_student(tmp_path):
    history = {"val_map": [0.5, 0.6], "val_teacher_map": [0.4, 0.7]}
    write_run(tmp_path / "mean", [{"label": "m", "scores": {"f": 0.5}}], None, history)
    write_run(tmp_path / "alone", [{"label": "s", "scores": {"f": 0.4}}], None, {"val_map": [0.3]})
    figure = comparison_figure(read_runs([tmp_path / "mean", tmp_path / "alone"]))
    (axes,) = (each for each in figure.axes if each.get_title(loc="left").startswith("Tags"))
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["mean", "alone", "mean, teacher"]
    lines = {line.get_label(): line for line in axes.lines}
    assert lines["mean, teacher"].get_linestyle() == ":"
    assert lines["mean, teacher"].get_color() == lines["mean"].get_color()


def test_sections_in_a_list_are_compared_by_their_names(tmp_path, capsys):
    parts = [{"name": "weak", "batch_size": 2}, {"name": "strong", "batch_size": 4}]
    more = [{"name": "unlabelled", "batch_size": 8}, *parts]
    for name, each in (("a", parts), ("b", more)):
        rows = [
            {"group": group, "label": group, "scores": {"f": 0.5}} for group in ("m", "baseline")
        ]
        write_run(tmp_path / name, rows, {"sets": {"parts": each}})
    assert main([str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[5:] == [
        ["sets.parts.unlabelled.batch_size", "-", "8"],
        ["sets.parts.unlabelled.name", "-", "unlabelled"],
    ]
