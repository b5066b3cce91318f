"""Files of a run: histories, scores, states to resume from, and records of simulations."""

import csv
import functools
import io
from pathlib import Path
from typing import Any

import keras
import numpy as np
from hypothesis import strategies as st

from common.cli.import_torch import read_mean_std
from common.errors import CheckpointError
from common.reports.comparison import scores_of
from common.settings.tasks import load_task
from common.simulation.dataset_folder import SETTINGS_FILE, prepare_root, read_settings
from common.training.callbacks import latest_state, restore_variables
from common.training.run_directory import DATA, record_data
from common.training.stage import FINISHED, _cut_history, finished_epochs
from sed_task4.clips.training_sets import SPLIT, read_split
from sed_task4.experiment import THRESHOLDS, read_thresholds
from sed_task4.scores.score_curves import CURVES, read_curves
from sed_task4.segmentation.mixing import _check_same
from tests.fuzz.damage import (
    Draw,
    damaged_bytes,
    damaged_json,
    damaged_npy,
    damaged_table,
    damaged_zip,
    garbage,
)
from tests.fuzz.engine import Files, Target
from tests.fuzz.settings import PARAMS

HISTORY = {"loss": [1.5, 0.25], "val_error": [0.5, None], "training_s": [1.0, 1.25]}
MEMORY = {
    "KeepBest": {"best": 0.5},
    "EarlyStopping": {"best": 0.5, "wait": 1.0, "stopped_epoch": 0.0, "best_epoch": 0.0},
}
STATE = {"epochs": 2, "history": HISTORY, "callbacks": MEMORY}
TRAINED = {"epochs": 2, "iterations_per_epoch": 8, "best_epoch": 1, "history": HISTORY}
SCORES = {
    "rows": [
        {
            "group": "all",
            "label": "all",
            "scores": {"dcase2019": {"er": 0.25, "f": None}, "map": 0.5},
        },
        {
            "group": "baseline",
            "label": "always silent",
            "n_recordings": 4,
            "scores": {"dcase2019": {"er": 1.0}},
        },
    ],
    "counts": {"dcase2019": {"n": 3}},
    "notes": [],
}
SWEPT = {
    "rows": [
        {
            "label": "cnn",
            "threshold": 0.5,
            "psds": {"psds1": {"psds": 0.25, "rates": [0.0], "found": [0.25], "max_rate": 100.0}},
            "thresholds": [0.0, 0.5, 1.0],
            "f": {
                "event": {
                    "macro": [0.1, 0.5, None],
                    "classes": {"Cat": [0.1, 0.5, 0.0]},
                    "best": {"Cat": [0.5, 0.5]},
                }
            },
        }
    ]
}
SIMULATION = {
    "simulated": True,
    "generator": "simulate.py",
    "settings": {"seed": 1, "clips": {"weak": 2}},
}
VARIABLES = {"0000": np.arange(6.0, dtype=np.float32).reshape(2, 3), "0001": np.array(7, np.int64)}
CLASSES = ("Cat", "Dog")


def _json(name: str, valid: Any) -> Any:
    return lambda: (damaged_json(valid) | garbage()).map(lambda content: {name: content})


def _state(folder: Path) -> None:
    state = latest_state(folder)
    assert state.folder == folder / "epoch-00002" and state.epochs == 2
    assert all(isinstance(value, float) for values in state.history.values() for value in values)
    for name, memory in state.callbacks.items():
        assert set(memory) == set(MEMORY[name])


def _variables_cases() -> st.SearchStrategy[Files]:
    written = io.BytesIO()
    np.savez(written, allow_pickle=False, **VARIABLES)
    inner = {f"{name}.npy": damaged_npy(array) for name, array in VARIABLES.items()}
    return (damaged_zip(written.getvalue(), inner) | garbage()).map(
        lambda content: {"variables.npz": content}
    )


@functools.cache
def _targets() -> list[keras.Variable]:
    return [keras.Variable(np.zeros(array.shape, array.dtype)) for array in VARIABLES.values()]


def _variables(folder: Path) -> None:
    targets = _targets()
    for variable in targets:
        variable.assign(np.zeros(variable.shape))
    try:
        restore_variables(folder / "variables.npz", targets)
    except CheckpointError:
        # nothing half restored
        assert not any(np.any(np.asarray(variable)) for variable in targets)
        raise
    assert [tuple(variable.shape) for variable in targets] == [
        array.shape for array in VARIABLES.values()
    ]


def _trained(folder: Path) -> None:
    finished = finished_epochs(folder)
    assert finished["epochs"] >= 1
    assert all(isinstance(values, list) for values in finished["history"].values())


def _scores(folder: Path) -> None:
    for line in (None, "always silent"):
        scores = scores_of(folder, line)
        assert scores
        assert all(value is None or isinstance(value, int | float) for value in scores.values())


def _simulation(folder: Path) -> None:
    settings = read_settings(folder / SETTINGS_FILE)
    assert isinstance(settings, dict)
    prepare_root(folder, SIMULATION["settings"], [folder], "DCASE")  # type: ignore[arg-type]
    assert read_settings(folder / SETTINGS_FILE) == SIMULATION["settings"]


def _mixing(folder: Path) -> None:
    _check_same(folder / "mixing.json", {"seed": 1, "snr_db": 0.0}, folder)


def _split(folder: Path) -> None:
    held_out = read_split(folder / SPLIT, ["a.wav", "b.wav", "c.wav"])
    assert held_out and held_out < {"a.wav", "b.wav", "c.wav"}


def _thresholds(folder: Path) -> None:
    thresholds = read_thresholds(folder / THRESHOLDS, CLASSES)
    assert thresholds.shape == (2,) and np.isfinite(thresholds).all()


def _curves(folder: Path) -> None:
    curves = read_curves(folder)
    assert curves and all(each.is_whole for each in curves)


def _history(folder: Path) -> None:
    _cut_history(folder / "history.csv", 1)
    with (folder / "history.csv").open(newline="", encoding="utf-8") as file:
        assert len(list(csv.reader(file))) <= 2


@st.composite
def _mean_std_cases(draw: Draw) -> Files:
    arrays = {"mean": np.zeros((4, 2)), "std": np.ones((4, 2))}
    written = io.BytesIO()
    np.savez_compressed(written, allow_pickle=False, **arrays)
    inner = {f"{name}.npy": damaged_npy(array) for name, array in arrays.items()}
    content = damaged_zip(written.getvalue(), inner) | damaged_npy(arrays["mean"]) | garbage()
    return {"statistics.npz.npz": draw(content)}


@functools.cache
def _task() -> Any:
    return load_task(PARAMS, "two-stage")


def _mean_std(folder: Path) -> None:
    mean, std = read_mean_std(folder / "statistics.npz.npz", _task())
    assert mean.dtype == std.dtype == np.float32  # shapes and values are checked with the network


def _data(folder: Path) -> None:
    record_data(folder, {"dev": "a1", "eval": "b2"})


TARGETS = [
    Target(
        "data-record",
        _json(DATA, {"fingerprints": {"dev": "a1", "eval": "b2"}}),
        _data,
        8,
        20,
        named="case",
    ),
    Target(
        "resume-state", _json("epoch-00002/state.json", STATE), _state, 15, 30, named=r"state\.json"
    ),
    Target("resume-variables", _variables_cases, _variables, 10, 20),
    Target("trained", _json(FINISHED, TRAINED), _trained, 15, 30),
    Target("scores", _json("scores.json", SCORES), _scores, 15, 30, named="case"),
    Target("simulation", _json(SETTINGS_FILE, SIMULATION), _simulation, 12, 25, named="case"),
    Target(
        "mixing-record",
        _json("mixing.json", {"seed": 1, "snr_db": 0.0}),
        _mixing,
        12,
        25,
        named="case",
    ),
    Target("validation-split", _json(SPLIT, {"validation": ["a.wav"]}), _split, 8, 20),
    Target("thresholds", _json(THRESHOLDS, {"Cat": 0.5, "Dog": 0.25}), _thresholds, 8, 20),
    Target("curves", _json(CURVES, SWEPT), _curves, 12, 30, named=r"curves\.json"),
    Target(
        "history",
        lambda: (
            damaged_table(["epoch", "loss"], [["0", "1.5"], ["1", "0.5"]], ",")
            | damaged_bytes(b"epoch,loss\n0,1\n")
        ).map(lambda content: {"history.csv": content}),
        _history,
        8,
        20,
    ),
    Target("mean-std", _mean_std_cases, _mean_std, 8, 15),
]
