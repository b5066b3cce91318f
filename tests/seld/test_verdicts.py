"""Checker, extraction and the start of training agree on a dataset, valid or not."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from common.cli.check_dataset import check_dataset
from common.cli.steps.prepare import prepare_data
from common.errors import UserError
from common.io.files import load_json
from common.settings.tasks import check_task
from seld.experiment import stored_problems
from seld.extraction import open_store, run, store_folder
from seld.recordings.preconditions import refuse_dataset
from tests.seld.recordings.test_lengths import HEADER, RATE, settings_of, write_office

SECONDS = {"a": 2.0, "b": 2.0, "c": 2.0}
Change = Callable[[Path], None]


def rows(text: str, name: str = "c") -> Change:
    return lambda data: (data / f"{name}.csv").write_text(HEADER + text)


def sound(channels: int = 2, rate_hz: int = RATE, seconds: float = 2.0, name: str = "c") -> Change:
    audio = (
        np.random.default_rng(9).normal(0, 0.1, (round(seconds * rate_hz), channels)).clip(-1, 1)
    )
    return lambda data: soundfile.write(data / f"{name}.wav", audio, rate_hz)


def both(*changes: Change) -> Change:
    return lambda data: [change(data) for change in changes]


def without(name: str) -> Change:
    def change(data: Path) -> None:
        path = data / "recordings.csv"
        path.write_text(
            "".join(line for line in path.read_text().splitlines(True) if not line.startswith(name))
        )

    return change


def unlabelled_evaluation(data: Path) -> None:
    path = data / "recordings.csv"
    path.write_text(path.read_text().replace("c.wav,3", "c.wav,0"))
    (data / "c.csv").unlink()


def settings(**changes) -> Callable[[dict], dict]:
    def change(found: dict) -> dict:
        for name, value in changes.items():
            found[name] = {**found[name], **value} if isinstance(value, dict) else value
        return found

    return change


def folds(**changes) -> Callable[[dict], dict]:
    fold = {"name": "only", "train": [1], "validate_on": [2], "test": [3]} | changes
    return settings(folds=[fold], dataset={"mode": "eval" if 0 in fold["test"] else "dev"})


SAME = settings()
CORRECTED = settings(scoring={"scorer": "corrected"})
GOOD = {
    "as it is": (lambda data: None, SAME),
    "an event that lasts longer than the recording": (rows("kettle,0,2.5,0,0,1\n"), SAME),
    "two events of a class at once": (rows("kettle,0,2,0,0,1\nkettle,1,2,0,50,1\n"), SAME),
    "no event": (rows(""), SAME),
    "an event without length": (rows("kettle,1,1,0,0,1\n"), SAME),
    "any degree, exact scorer": (rows("kettle,0,2,3.5,14,1\n"), CORRECTED),
    "a finer grid": (rows("kettle,0,2,3,14,1\n"), settings(dataset={"angle_step_deg": 1.0})),
    "shorter than a sequence": (both(sound(seconds=0.5), rows("kettle,0,0.5,0,0,1\n")), SAME),
    "a sample": (both(sound(seconds=1 / RATE), rows("")), SAME),
    "longer than recording_s": (sound(seconds=3.0), SAME),
    "no labels of the evaluation set": (unlabelled_evaluation, folds(test=[0])),
    "nothing held out": (lambda data: None, folds(validate_on=[])),
}
BAD = {
    "azimuth off the grid": (
        rows("kettle,0,1,0,0,1\nkettle,0,2,0,14,1\n"),
        SAME,
        r"c\.csv, line 3: azimuth 14",
    ),
    "elevation off the grid": (
        rows("kettle,0,2,3,10,1\n"),
        SAME,
        r"line 2: azimuth 10, elevation 3 is off the grid",
    ),
    "a fraction of a degree": (
        rows("kettle,0,2,0,10.5,1\n"),
        SAME,
        r"azimuth 10\.5.*scoring\.scorer=corrected",
    ),
    "an unknown class": (rows("bark,0,2,0,0,1\n"), SAME, "line 2: unknown class 'bark'"),
    "azimuth out of range": (
        rows("kettle,0,2,0,270,1\n"),
        SAME,
        "-90 degrees is the same direction",
    ),
    "elevation out of range": (
        rows("kettle,0,2,50,0,1\n"),
        SAME,
        "ele is outside the dataset's range",
    ),
    "an event after what is used": (
        rows("kettle,2.5,3,0,0,1\n"),
        SAME,
        "line 2: the event starts at 2.5 s",
    ),
    "an event after the sound": (
        both(sound(seconds=1.0), rows("kettle,1.5,2,0,0,1\n")),
        SAME,
        "line 2: the event starts at 1.5 s.*below 1 s",
    ),
    "too many channels": (sound(channels=3), SAME, "channels"),
    "another rate": (sound(rate_hz=8000), SAME, "8000"),
    "a split without recordings": (
        without("b"),
        SAME,
        "fold 'only' uses split 2, of which there is no recording",
    ),
    "too little to train on": (
        lambda data: None,
        settings(pipeline={"batch_size": 9, "last_batch": "drop"}),
        "at least 9 sequences",
    ),
    "validation without labels": (
        unlabelled_evaluation,
        folds(validate_on=[0], test=[0], validate_on_test=True),
        "validates on split 0",
    ),
    "a hop that the labels do not have": (
        lambda data: None,
        settings(features={"hop_s": 0.01}),
        "one hop",
    ),
}


def verdicts(tmp_path: Path, change: Change, adapt: Callable[[dict], dict]) -> dict[str, str]:
    """Error of each step that refuses the dataset, by name; steps that accept it are left out."""
    change(write_office(tmp_path / "data", SECONDS))
    task = check_task(adapt(settings_of(tmp_path, 2.0)), "test")
    report = check_dataset(task, deep=True)
    found = {} if report.usable else {"checker": report.to_text()}
    other = task.model_copy(update={"feature_dir": tmp_path / "training"})
    for name, step in (
        ("extraction", lambda: run(task, task.set_names, progress=False)),
        ("training", lambda: refuse_dataset(stored_problems(other, prepare_data(other)))),
    ):
        try:
            step()
        except UserError as error:
            found[name] = str(error)
    return found


@pytest.mark.parametrize("case", GOOD)
def test_a_dataset_that_can_be_used_is_accepted_by_all(tmp_path, case):
    assert verdicts(tmp_path, *GOOD[case]) == {}


@pytest.mark.parametrize("case", BAD)
def test_an_unusable_dataset_is_refused_by_all(tmp_path, case):
    change, adapt, message = BAD[case]
    found = verdicts(tmp_path, change, adapt)
    assert found.keys() == {"checker", "extraction", "training"}
    assert all(re.search(message, text, re.DOTALL) for text in found.values()), found


def test_stored_features_are_checked_for_the_task_before_training(tmp_path):
    rows("kettle,0,2,0,14,1\n")(write_office(tmp_path / "data", SECONDS))
    found = settings_of(tmp_path, 2.0)
    (store,) = run(check_task(CORRECTED(found), "test"), progress=False)
    strict = check_task(settings_of(tmp_path, 2.0), "test")
    (problem,) = stored_problems(strict, [open_store(strict, "dev")])
    assert "c, event 1: azimuth 14, elevation 0 is off the grid" in problem
    assert len(load_json(store_folder(strict, "dev") / "manifest.json")["shards"]) == 3
    (gone,) = stored_problems(
        check_task(folds(test=[4])(settings_of(tmp_path, 2.0)), "t"), [store]
    )[:1]
    assert "uses split 4" in gone


def test_nothing_is_written_where_the_grid_refuses(tmp_path):
    rows("kettle,0,2,0,14,1\n")(write_office(tmp_path / "data", SECONDS))
    task = check_task(settings_of(tmp_path, 2.0), "test")
    with pytest.raises(UserError, match="off the grid"):
        run(task, progress=False)
    assert not store_folder(task, "dev").exists()
    report = check_dataset(check_task(CORRECTED(settings_of(tmp_path, 2.0)), "test"))
    assert report.usable and "columns of dcase2019 will be undefined" in report.to_text()
