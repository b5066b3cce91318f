"""Rank, shares and folders of processes; `tests/test_joint_training.py` runs two of them."""

import jax
import keras
import numpy as np
import pytest

from common.errors import ConfigError
from common.runtime import multi_host
from common.runtime.multi_host import SINGLE, World
from common.settings.tasks import MultiHostConfig


def test_a_single_process_reads_all_in_the_given_folder(tmp_path):
    assert multi_host.world() == SINGLE and SINGLE.is_coordinator
    assert multi_host.agreed({"val_error": 0.1}) == {"val_error": 0.1}
    with multi_host.own_folder(tmp_path / "run") as own:
        assert own == tmp_path / "run"


def test_parts_of_a_batch_are_side_by_side():
    parts = [World(number, 3).part_of(np.arange(12).reshape(6, 2)) for number in range(3)]
    np.testing.assert_array_equal(np.concatenate(parts), np.arange(12).reshape(6, 2))
    assert [len(part) for part in parts] == [2, 2, 2]


def test_processes_that_nobody_introduces_to_each_other_are_an_error(monkeypatch):
    monkeypatch.setattr(
        keras.distribution, "initialize", jax.distributed.initialize
    )  # as it is on JAX
    with pytest.raises(
        ConfigError, match=r"did not find each other\. Expected: `run\.multi_host\.address`.*srun"
    ):
        multi_host.start(MultiHostConfig())


def test_a_missing_coordinator_is_an_error(monkeypatch):
    monkeypatch.setattr("common.runtime.multi_host.WAITING_S", 0)
    with pytest.raises(ConfigError, match=r"which every machine can reach.*'localhost:9'.*refused"):
        multi_host.start(MultiHostConfig(address="localhost:9", n_processes=2, process=1))
