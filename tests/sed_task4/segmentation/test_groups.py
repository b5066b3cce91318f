"""Sounds and scenes of one source: in one fold of the mixtures."""

import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from common.cli.check_dataset import check_dataset
from common.errors import DataError
from common.settings.tasks import load_task
from sed_task4.segmentation.dataset import LIST_NAME, EventFile, read_scene_groups
from sed_task4.segmentation.mixing import LIST_SETTINGS_NAME, make_mixtures
from sed_task4.segmentation.mixture_lists import (
    draw_folds,
    draw_mixtures,
    folds_of,
    groups_in_folds,
    mixture_problems,
)
from tests.sed_task4.segmentation.test_mixing import DATASET, ONE, source  # noqa: F401

PARAMS = Path(__file__).parents[3] / "params.yaml"
SCENES = "TUT-urban-acoustic-scenes-2018-development"


def files(groups: list[str | None], labels: str = "Bark Flute") -> list[EventFile]:
    names = labels.split()
    return [
        EventFile(f"{n}.wav", names[n % len(names)], True, group) for n, group in enumerate(groups)
    ]


@pytest.mark.parametrize("seed", range(20))
def test_no_group_is_in_two_folds(seed):
    draw = random.Random(seed)
    dataset = DATASET.model_copy(update={"n_folds": 3, "mixture_seed": seed})
    sounds = files([f"g{draw.randint(0, 12)}" for _ in range(60)])
    scenes = {f"s{n}.wav": f"place {draw.randint(0, 7)}" for n in range(20)}
    durations_s = {file.name: 1.0 for file in sounds}
    mixtures = draw_mixtures(sounds, durations_s, list(scenes), dataset, scene_groups=scenes)
    places = groups_in_folds(mixtures, sounds, scenes)
    assert set(places) == {"sounds", "scenes"} and mixture_problems(places, "list") == []
    labels = [
        {event.label for m in mixtures if m.fold == fold for event in m.events}
        for fold in (1, 2, 3)
    ]
    assert labels == [{"Bark", "Flute"}] * 3
    shuffled = draw.sample(sounds, len(sounds))
    fold_of = dict(
        zip((file.name for file in sounds), folds_of(sounds, dataset).tolist(), strict=True)
    )
    assert [fold_of[file.name] for file in shuffled] == folds_of(shuffled, dataset).tolist()


def test_without_groups_the_folds_are_the_published_ones():
    np.testing.assert_array_equal(folds_of(files([None] * 40), DATASET), draw_folds(40, 2, 1234))


def test_too_few_groups_of_a_class_are_refused():
    sounds = files(["g", "h", "g", "i"])  # barks only of g
    with pytest.raises(
        DataError, match=r"train.csv: .*Bark has 1 group\(s\) \(g with 2.*`dataset.n_folds`"
    ):
        folds_of(sounds, DATASET, "train.csv")


@pytest.fixture
def copied(source, tmp_path) -> Path:  # noqa: F811
    root = Path(shutil.copytree(source, tmp_path / "copy"))
    shutil.rmtree(root / "mixtures")
    return root


def add_column(path: Path, separator: str, groups: list[str]) -> None:
    header, *rows = path.read_text().splitlines()
    lines = [
        f"{header}{separator}group",
        *(f"{row}{separator}{group}" for row, group in zip(rows, groups, strict=True)),
    ]
    path.write_text("\n".join(lines) + "\n")


def check(root: Path) -> list[str]:
    overrides = [
        f"dataset_dir={root}",
        "parallel.jobs=1",
        "features={n_fft: 512, fmax_hz: 4000}",
        "pipeline.sequence_frames=61",
        "folds=[{name: f, train: [1], validate_on: [], test: [2]}]",
    ]
    values = DATASET.model_dump(mode="json", exclude_defaults=True)
    overrides += [f"dataset.{key}={value}" for key, value in values.items()]
    return [
        each.text
        for each in check_dataset(load_task(PARAMS, "segmentation", overrides)).findings
        if each.level == "error"
    ]


def test_tables_with_a_column_group_are_mixed_by_it(copied, caplog):
    sounds, scenes = copied / "dcase2018_task2/train.csv", copied / SCENES / "meta.csv"
    add_column(sounds, ",", [f"author {n // 4}" for n in range(12)] + ["author 9"])
    add_column(scenes, "\t", ["park", "park", "street", "street"])
    with caplog.at_level("INFO"):
        mixtures = make_mixtures(copied, DATASET, ONE, progress=False)
    assert len([line for line in caplog.messages if "none is in two folds" in line]) == 2
    groups = read_scene_groups(copied, DATASET)
    assert set(groups.values()) == {"park", "street"} and check(copied) == []
    by_fold = [{groups[m.scene_name] for m in mixtures if m.fold == fold} for fold in (1, 2)]
    assert all(len(each) == 1 for each in by_fold) and by_fold[0] != by_fold[1]


def test_a_missing_group_column_is_logged(copied, caplog):
    with caplog.at_level("INFO"):
        make_mixtures(copied, DATASET, ONE, progress=False)
    (line,) = [line for line in caplog.messages if "source of its own" in line]
    assert "sounds (train.csv) and scenes (meta.csv)" in line


@pytest.mark.parametrize("table", ["sounds", "scenes"])
def test_checker_and_mixing_refuse_too_few_groups_alike(copied, table):
    if table == "sounds":
        add_column(copied / "dcase2018_task2/train.csv", ",", ["me"] * 13)
    else:
        add_column(copied / SCENES / "meta.csv", "\t", ["park"] * 4)
    with pytest.raises(DataError, match=r"too few groups for the splits") as caught:
        make_mixtures(copied, DATASET, ONE, progress=False)
    assert f"{table}: {caught.value}" in check(copied)
    assert not list((copied / "mixtures").rglob("*.wav"))


def test_a_given_list_with_overlapping_folds_is_refused(copied):
    make_mixtures(copied, DATASET, ONE, progress=False)
    (copied / "mixtures" / LIST_SETTINGS_NAME).unlink()  # from now on it counts as given
    add_column(copied / "dcase2018_task2/train.csv", ",", ["me"] * 13)
    with pytest.raises(
        DataError, match=rf"{LIST_NAME}, sounds: 1 group\(s\) are in two splits.*'me' in fold 1"
    ) as caught:
        make_mixtures(copied, DATASET, ONE, progress=False)
    assert check(copied) == [str(caught.value)]


@pytest.mark.parametrize(("table", "separator", "row"), [("sounds", ",", 3), ("scenes", "\t", 3)])
def test_an_empty_group_is_named_with_its_row(copied, table, separator, row):
    path = copied / ("dcase2018_task2/train.csv" if table == "sounds" else f"{SCENES}/meta.csv")
    n_rows = len(path.read_text().splitlines()) - 1
    add_column(path, separator, ["" if n == row - 2 else f"g{n}" for n in range(n_rows)])
    with pytest.raises(DataError, match=rf"{path.name}, line {row}: expected a group"):
        make_mixtures(copied, DATASET, ONE, progress=False)
