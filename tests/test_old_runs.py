"""Runs, models and feature stores of earlier versions are still read, see `old_run/README.md`."""

from pathlib import Path

import numpy as np
import pytest

from common.errors import DataError
from common.inference.loading import load_predictor
from common.settings.tasks import check_task
from common.training.run_directory import read_environment, read_settings
from common.training.stage import finished_epochs, load_trained
from seld.extraction import open_store
from tests.runs import noises, task_of

OLD = Path(__file__).parent / "old_run"
RUN = OLD / "run"


@pytest.fixture(scope="module")
def expected():
    """Predictions of the earlier version."""
    with np.load(OLD / "predictions.npz") as arrays:
        return dict(arrays)


def test_settings_and_records_of_an_old_run_are_read():
    task = check_task(read_settings(RUN), "the settings of the old run")
    assert task.system == "seldnet" and task.features.n_mels == 8
    assert read_environment(RUN)["git_revision"] == "71b5409038db"
    assert finished_epochs(RUN / "fold1" / "seld")["best_epoch"] == 1


def test_an_old_model_predicts_as_it_did(expected):
    model = load_trained(RUN / "fold1" / "seld")
    outputs = model.predict_on_batch(expected["features"][None])
    for name in ("sed", "doa"):
        np.testing.assert_allclose(outputs[name][0], expected[name], atol=1e-5)


def test_an_old_run_predicts_recordings_as_it_did(expected):
    session = load_predictor(RUN).stream()
    parts = [*session.feed(noises(3.0, 16000, 4)), *session.finish()]
    rows = np.concatenate([part.rows for part in parts])
    assert len(rows) > 400
    np.testing.assert_array_equal(rows[:, :2], expected["frames"][:, :2])
    np.testing.assert_allclose(rows[:, 2:], expected["frames"][:, 2:], atol=1e-2)


def test_old_store_opens_or_names_the_command_that_remakes_it(expected, tmp_path):
    settings = {"dataset__recording_s": 0.5, "dataset__sample_rate_hz": 16000}
    features = {"features__n_fft": 1024, "features__n_mels": 8, "feature_dir": OLD / "features"}
    task = task_of("demo", tmp_path, **settings, **features)
    try:
        store = open_store(task, "dev")
    except DataError as error:
        assert "batch_feature_extraction.py" in str(error) and "\n" not in str(error)
        return
    record = store.record(("1",), "split1_ir0_ov2_11")
    np.testing.assert_array_equal(record["features"], expected["features"])
    for found, name in zip(store.statistics(None), ("mean", "deviation"), strict=True):
        np.testing.assert_allclose(found, expected[name], atol=1e-6)
