"""Work spread over processes of one machine, or over machines through joblib's other backends."""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, TypeVar

from pydantic import Field

from common.section import Section

Item = TypeVar("Item")
Result = TypeVar("Result")


class ParallelConfig(Section):
    """How many processes work at once, and which engine starts them."""

    jobs: int | None = Field(None, ge=1, description="Processes at once; null: one per core.")
    backend: Literal["loky", "threading", "dask", "ray"] = Field(
        "loky", description="Engine of joblib: loky (this machine); dask or ray where one machine is too small."
    )

    @property
    def n_jobs(self) -> int:
        """Number of processes, at least one."""
        if self.jobs is not None:
            return self.jobs
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def parallel_map(
    function: Callable[[Item], Result], items: Sequence[Item], parallel: ParallelConfig
) -> Iterator[Result]:
    """Applies `function` to all items; results come as they are finished, in any order.

    With one process, everything happens in this one. Numerical libraries use one thread per process, so that
    processes do not compete and results do not depend on their number.
    """
    if parallel.n_jobs == 1 or len(items) <= 1:
        yield from (_single_threaded(function, item) for item in items)
        return
    import joblib  # here: settings that mention this module stay fast to read

    n_jobs = min(parallel.n_jobs, len(items))
    with joblib.parallel_config(backend=parallel.backend, n_jobs=n_jobs):
        pool = joblib.Parallel(return_as="generator_unordered", batch_size=1, pre_dispatch="2*n_jobs")
        yield from pool(joblib.delayed(_single_threaded)(function, item) for item in items)


def _single_threaded(function: Callable[[Item], Result], item: Item) -> Result:
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        return function(item)
