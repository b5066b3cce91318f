"""Work spread over processes of one machine, or over machines through joblib's other backends."""

import functools
import importlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, Literal, TypeVar

from pydantic import Field

from common.errors import ConfigError
from common.memory import keep_freed_memory
from common.section import Section

Item = TypeVar("Item")
Result = TypeVar("Result")
_LOOKS_S = 0.2  # between two looks at whether the parent lives


class ParallelConfig(Section):
    """How many processes work at once, and which engine starts them."""

    jobs: int | None = Field(None, ge=1, description="Processes at once; null: one per core.")
    backend: Literal["loky", "threading", "dask", "ray"] = Field(
        "loky", description="Engine of joblib: loky (this machine); dask or ray where one machine is too small."
    )
    scheduler: str | None = Field(None, description="Address of a running dask or ray cluster; null: one is started.")

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

    With one process of this machine, everything happens in this one. Numerical libraries use one thread per process,
    so that processes do not compete and results do not depend on their number. Processes keep the memory that one item
    frees for the next, and end when this one is killed.

    Raises:
        ConfigError: the engine is not installed.
    """
    from threadpoolctl import threadpool_limits  # here: settings that mention this module stay fast to read

    local = parallel.backend in ("loky", "threading")
    if local and (parallel.n_jobs == 1 or len(items) <= 1):
        yield from (_single_threaded(function, item) for item in items)
        return
    import joblib

    # The limit holds for a whole process: threads that set and lift it one by one would lift each other's.
    limits = threadpool_limits(limits=1) if parallel.backend == "threading" else nullcontext()
    with limits, _engine(parallel), joblib.parallel_config(parallel.backend, n_jobs=min(parallel.n_jobs, len(items))):
        pool = joblib.Parallel(return_as="generator_unordered" if parallel.backend != "ray" else "list", batch_size=1)
        parent = os.getpid() if parallel.backend == "loky" else None
        work = function if parallel.backend == "threading" else partial(_single_threaded, function, parent=parent)
        yield from pool(joblib.delayed(work)(item) for item in items)


@contextmanager
def _engine(parallel: ParallelConfig) -> Iterator[None]:
    """Connects to a cluster, or starts one for the time of the work, where the engine needs that."""
    if parallel.backend == "dask":
        local = {"n_workers": parallel.n_jobs, "threads_per_worker": 1, "dashboard_address": None}
        options = {"address": parallel.scheduler} if parallel.scheduler else local
        with _installed("distributed", "dask").Client(**options):
            yield
    elif parallel.backend == "ray":
        ray, joblib_ray = _installed("ray", "ray"), _installed("ray.util.joblib", "ray")
        if not ray.is_initialized():
            ray.init(**({"address": parallel.scheduler} if parallel.scheduler else {"num_cpus": parallel.n_jobs}))
        joblib_ray.register_ray()
        yield
    else:
        yield


def _installed(module: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"`parallel.backend: {package}` needs the package {package}, which is not installed. "
            f"Install it, e.g. pip install '{package}', or set `parallel.backend: loky`."
        ) from error


def _single_threaded(function: Callable[[Item], Result], item: Item, parent: int | None = None) -> Result:
    from threadpoolctl import threadpool_limits

    keep_freed_memory()
    if parent is not None:
        _end_with(parent)
    with threadpool_limits(limits=1):
        return function(item)


@functools.cache
def _end_with(parent: int) -> None:
    """Ends this process soon after its parent, which would otherwise go on writing beside the parent's next run."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOKS_S)
        os._exit(1)  # no clean-up: whoever would need it is gone

    threading.Thread(target=watch, daemon=True).start()
