"""The base of the experiments: folds in turn, their reports, and stages to train again."""

import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from common.settings.folds import FoldConfig
from common.training.experiment import FoldedExperiment
from common.training.system import Stage


@dataclass(frozen=True)
class Row:
    group: str
    label: str


@dataclass(frozen=True)
class Report:
    notes: tuple[str, ...]
    rows: tuple[Row, ...] = (Row("all", "all"), Row("published", "published"))

    def to_dict(self):
        return {"notes": list(self.notes), "labels": [row.label for row in self.rows]}

    def to_text(self):
        return "\n".join(self.notes)


class Experiment(FoldedExperiment):
    """Scores a fold by its name."""

    frontend = None

    @staticmethod
    def feature_shape(task):
        return 4, 1

    def decisive_score(self, stage):
        return "val_f", "max"

    def learning_panels(self, stage):
        return []

    def run_fold(self, fold, stores, folder):
        folder.mkdir()
        return fold.name

    def report(self, results, folder):
        return self.write_scores(Report(tuple(results)), folder)


def experiment(*names: str, overwrite: tuple[str, ...] = ()) -> Experiment:
    folds = [
        FoldConfig(name=name, train=(1,), validate_on=(2,), test=(3 + number,))
        for number, name in enumerate(names)
    ]
    stages = [Stage(name, lambda shape: None, {}, {}, {}) for name in ("first", "second")]
    task = SimpleNamespace(
        folds=folds,
        published_notes=("published",),
        published_label="published, X",
        overwrite=overwrite,
    )
    return Experiment(task, SimpleNamespace(stages=lambda task: stages), None)


def scores(folder: Path) -> list[str]:
    return json.loads((folder / "scores.json").read_text())["notes"]


def test_each_fold_has_scores_and_all_together(tmp_path):
    assert experiment("a", "b").run([], tmp_path) == "a\nb\npublished"
    assert [scores(tmp_path / name) for name in "ab"] == [["a", "published"], ["b", "published"]]
    assert scores(tmp_path) == ["a", "b", "published"]
    assert (tmp_path / "scores.txt").read_text() == "a\nb\npublished\n"


def test_published_scores_stand_beside_others_with_their_dataset(tmp_path):
    experiment("a").run([], tmp_path)
    assert json.loads((tmp_path / "scores.json").read_text())["labels"] == ["all", "published, X"]


def test_a_single_fold_has_no_scores_of_its_own(tmp_path):
    experiment("a").run([], tmp_path)
    assert scores(tmp_path) == ["a", "published"] and not list((tmp_path / "a").iterdir())


@pytest.mark.parametrize(
    ("overwrite", "left"), [((), ["first", "second"]), (("second",), ["first"]), (("first",), [])]
)
def test_stages_to_train_again_lose_their_folders(tmp_path, overwrite, left):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    stages = experiment("a", overwrite=overwrite).begin_stages(tmp_path)
    assert [stage.name for stage in stages] == ["first", "second"]
    assert sorted(path.name for path in tmp_path.iterdir()) == left
