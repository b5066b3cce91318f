"""Items spread over processes: results, errors, and missing engines."""

import importlib
import sys

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from common.errors import ConfigError, DataError
from common.runtime.parallel import LOKYS_WORKER, parallel_map
from common.settings.parallel import ParallelConfig


def square_or_refuse(number: int) -> int:
    if number < 0:
        raise DataError(f"Negative: {number}.")
    return number**2


def threads_of_libraries(size: int) -> int:
    np.ones((size, size)) @ np.ones(
        (size, size)
    )  # the library whose threads are counted is at work
    blas = [
        library for library in threadpool_info() if library["user_api"] == "blas"
    ]  # OpenMP counts per thread
    return max((library["num_threads"] for library in blas), default=1)


@pytest.mark.parametrize(("jobs", "backend"), [(1, "loky"), (2, "loky"), (3, "threading")])
def test_every_item_gives_one_result_with_one_thread_per_process(jobs, backend):
    parallel = ParallelConfig(jobs=jobs, backend=backend)
    assert sorted(parallel_map(square_or_refuse, range(7), parallel)) == [0, 1, 4, 9, 16, 25, 36]
    assert set(parallel_map(threads_of_libraries, [8, 9, 10, 11], parallel)) == {1}


@pytest.mark.parametrize("jobs", [1, 2])
def test_errors_of_the_work_pass_through(jobs):
    with pytest.raises(DataError, match=r"Negative: -1\."):
        list(parallel_map(square_or_refuse, [1, -1, 2], ParallelConfig(jobs=jobs)))


def test_an_engine_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(
        ConfigError, match=r"needs the package distributed.*pip install .dask.*backend: loky"
    ):
        list(parallel_map(square_or_refuse, [1, 2], ParallelConfig(backend="dask", jobs=2)))


def test_loky_still_has_the_limit_that_workers_lift():
    assert importlib.import_module(LOKYS_WORKER)._MAX_MEMORY_LEAK_SIZE > 0


def test_all_cores_are_used_unless_a_number_is_given():
    assert ParallelConfig().n_jobs >= 1
    assert ParallelConfig(jobs=3).n_jobs == 3
