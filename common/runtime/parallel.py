"""Work spread over the processes of one machine, or over several machines by a dask cluster."""

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from itertools import islice
from types import ModuleType
from typing import Any, TypeVar

from common.errors import ConfigError, DataError
from common.runtime.memory import keep_freed_memory
from common.runtime.optional import leave_out_unused, optional_module
from common.settings.parallel import ParallelConfig

Item = TypeVar("Item")
Result = TypeVar("Result")
# For the scheduler; for a first worker; between checks for lost ones.
CONNECTING_S, WORKERS_S, LOOKING_S = 10, 30, 10
LOKYS_WORKER = "joblib.externals.loky.process_executor"
_AGAIN = "What is finished stays: run the same command again."
_NANNYS_TRIM = ("MALLOC_TRIM_THRESHOLD_", "65536")  # set by dask in its processes, not by the user
_LOOKS_S = 0.2  # between two checks that the parent lives


def parallel_map(
    function: Callable[[Item], Result], items: Sequence[Item], parallel: ParallelConfig
) -> Iterator[Result]:
    """Applies `function` to all items; results come as they are finished, in any order.

    With one process of this machine, everything happens in this one. Numerical libraries use one
    thread per process, so that processes do not compete and results do not depend on their number.
    Processes keep the memory that one item frees for the next, and end when this one is killed. On
    other machines relative paths mean the same as here, so this folder must be there too.

    Raises:
        ConfigError: the engine is not installed, or the cluster is unreachable or lacks workers.
        DataError: the cluster or all of its workers were lost.
    """
    from threadpoolctl import threadpool_limits  # here: this module stays fast to import

    if not items or (parallel.local and (parallel.n_jobs == 1 or len(items) == 1)):
        for item in items:
            keep_freed_memory()
            with threadpool_limits(limits=1):
                result = function(item)
            yield result
    elif parallel.backend == "dask":
        with _dask_client(parallel) as client:
            yield from _on_dask(client, partial(_on_worker, function, os.getcwd()), items)
    else:
        import joblib

        # The limit holds for a whole process: each thread would lift that of the others.
        threads = parallel.backend == "threading"
        limits = threadpool_limits(limits=1) if threads else nullcontext()
        work = function if threads else partial(_on_worker, function, os.getcwd())
        started: dict[str, Any] = {}
        if parallel.backend == "loky":
            started = {"initializer": _begin_work, "initargs": (os.getpid(),)}
        n_jobs = min(parallel.n_jobs, len(items))
        with limits, joblib.parallel_config(parallel.backend, n_jobs=n_jobs, **started):
            pool = joblib.Parallel(return_as="generator_unordered", batch_size=1)
            yield from pool(joblib.delayed(work)(item) for item in items)


def _on_worker(function: Callable[[Item], Result], folder: str, item: Item) -> Result:
    """Computes one item in a process of its own; relative paths start from `folder`."""
    from threadpoolctl import threadpool_limits

    if os.getcwd() != folder:
        try:
            os.chdir(folder)
        except OSError as error:
            raise DataError(
                f"A worker on {os.uname().nodename} cannot enter {folder} ({error.strerror})."
                " Expected: a folder that all machines share, under the same path. Start the"
                " command in such a folder."
            ) from None
    keep_freed_memory(dict(each for each in os.environ.items() if each != _NANNYS_TRIM))
    if loky := sys.modules.get(LOKYS_WORKER):  # with psutil, loky takes kept memory for a leak
        loky._MAX_MEMORY_LEAK_SIZE = sys.maxsize  # type: ignore[attr-defined]
    threadpool_limits(limits=1)  # never lifted: other threads may be at work on other items
    return function(item)


@contextmanager
def _dask_client(parallel: ParallelConfig) -> Iterator[Any]:
    """Connects to a dask cluster that has workers, or starts one on this machine."""
    distributed = _dask()
    for name in ("distributed", "distributed.client"):  # errors below replace their tracebacks
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if parallel.address is None:
        options = {"n_workers": parallel.n_jobs, "threads_per_worker": 1, "dashboard_address": ":0"}
    else:
        options = {"address": parallel.address, "timeout": CONNECTING_S}
    try:
        client = distributed.Client(**options)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"No dask scheduler replies at `parallel.address: {parallel.address}` within"
            f" {CONNECTING_S} s ({error}). Expected: the address that `python -m dask scheduler`"
            " prints, such as tcp://10.0.0.1:8786. Start the scheduler, or correct the address."
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=WORKERS_S)
        except TimeoutError:
            raise ConfigError(
                f"The dask scheduler at {parallel.address} had no worker for {WORKERS_S} s. Start"
                f" some, e.g. with `python -m dask worker {parallel.address} --nthreads 1`, in this"
                " environment and this folder."
            ) from None
        lost = distributed.client.FutureCancelledError, distributed.client.FuturesCancelledError
        try:
            yield client
        except (*lost, distributed.comm.CommClosedError) as error:
            problem = f"The connection to the dask scheduler was lost. {_AGAIN} ({error})"
            raise DataError(problem) from error


def _on_dask(
    client: Any, work: Callable[[Item], Result], items: Sequence[Item]
) -> Iterator[Result]:
    """Keeps the workers of a cluster busy; the scheduler moves items of a lost one to another.

    joblib's own backend waits for ever once the scheduler gives up an item that killed workers.
    """
    import distributed

    waiting, running = iter(items), set[Any]()
    while True:
        wanted = max(2 * sum(client.ncores().values()) - len(running), 1)
        running |= set(client.map(work, list(islice(waiting, wanted)), pure=False))
        if not running:
            return
        how = {"timeout": LOOKING_S, "return_when": "FIRST_COMPLETED"}
        try:
            finished, running = distributed.wait(running, **how)
        except TimeoutError:
            finished = ()
        if not finished and not client.ncores():
            raise DataError(
                f"All workers of the dask cluster are gone, and at least {len(running)} items are"
                " unfinished. The logs of the workers give the reason: they need this program"
                " (start them in the same environment and folder) and enough memory. What is"
                " finished stays: start workers and run the same command again."
            )
        for future in finished:
            yield _result(future, distributed)


def _result(future: Any, distributed: Any) -> Any:
    """The result of an item on a cluster.

    Raises:
        DataError: workers died of it; or an exception of the item itself.
        ConfigError: the workers lack this program.
    """
    try:
        return future.result()
    except distributed.scheduler.KilledWorker as error:
        raise DataError(
            f"Several workers of the dask cluster died of one item ({error}). They may need more"
            f" memory: see their logs, and start fewer on each machine. {_AGAIN}"
        ) from error
    except (ImportError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "deserialization" not in str(error):
            raise
        raise ConfigError(
            "Scheduler or workers of the dask cluster cannot load this program. Start them in the"
            " same environment and from the same folder as this command, with `python -m dask"
            " scheduler` and `python -m dask worker`, or install it there."
            f" ({str(error).splitlines()[0]})"
        ) from error


def require_engine(parallel: ParallelConfig) -> None:
    """Loads the packages of the engine that the settings name, before any work.

    Raises:
        ConfigError: one is not installed, or cannot be imported.
    """
    if parallel.backend == "dask":
        _dask()


def _dask() -> ModuleType:
    remedy = "Install it, e.g. pip install 'dask[distributed]', or set `parallel.backend: loky`."
    return optional_module("distributed", "`parallel.backend: dask`", remedy)


def _begin_work(parent: int) -> None:
    """Prepares a process that works for another one."""
    leave_out_unused()
    _end_with(parent)


def _end_with(parent: int) -> None:
    """Ends this process soon after its parent, lest it writes next to the parent's next run."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOKS_S)
        os._exit(1)  # without clean-up, which nobody needs any more

    threading.Thread(target=watch, daemon=True).start()
