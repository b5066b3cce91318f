"""Training of one model in several processes, on one machine or many; on JAX.

Each process reads its part of every batch. All run the same program: they predict the same
recordings and decide by the scores of rank 0, the coordinator, so that they stop and resume
together. Only rank 0 writes into the run's folder; the others work in temporary copies.
"""

import atexit
import logging
import os
import shutil
import socket
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from common.errors import ConfigError, DataError, TrainingError
from common.io.files import storage_error
from common.settings.tasks import MultiHostConfig

WAITING_S = 300  # for the coordinator, as long as it waits for the others


class World(NamedTuple):
    """Rank of this process, and world size: the number of processes that train together."""

    rank: int = 0
    size: int = 1

    @property
    def is_coordinator(self) -> bool:
        """True for the coordinator, the process that writes."""
        return self.rank == 0

    def part_of(self, batch: Any) -> Any:
        """Rows of a joint batch, (B, ...), for this process: (B / size, ...), whole rows."""
        rows = batch.shape[0] // self.size
        return batch[self.rank * rows : (self.rank + 1) * rows]


SINGLE = World()  # one process


def start(multi_host: MultiHostConfig) -> None:
    """Joins the other processes; must come before JAX computes anything.

    Raises:
        ConfigError: no ranks in settings or environment, or a process cannot be reached.
    """
    import keras

    try:
        if multi_host.address and multi_host.process:
            _wait_for(multi_host.address)
        own = (multi_host.address, multi_host.n_processes, multi_host.process)
        keras.distribution.initialize(*own)
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        raise ConfigError(
            "The processes of `run.distribution: multi_host` did not find each other. Expected:"
            " `run.multi_host.address` (host:port of process 0, which every machine can reach),"
            " `n_processes` and `process`, another number for each; or a start by Slurm's `srun`."
            f" Received: {multi_host.model_dump()}: {error}"
        ) from error
    atexit.register(_leave)
    if not world().is_coordinator:
        logging.disable(logging.INFO)


def _wait_for(address: str) -> None:
    """Waits until the coordinator accepts connections; JAX would crash without it."""
    host, port = address.rsplit(":", 1)
    deadline = time.monotonic() + WAITING_S
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
        time.sleep(1)


def _leave() -> None:
    """Ends a failing process at once; JAX would wait for the others, which wait for this one."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(2)


def world() -> World:
    """Rank and world size of this process; rank 0 of 1 without `run.distribution: multi_host`."""
    jax = sys.modules.get("jax")
    if jax is None or not jax.distributed.is_initialized():
        return SINGLE
    return World(jax.process_index(), jax.process_count())


def agreed(values: Mapping[str, float]) -> dict[str, float]:
    """Values of the coordinator: those of other machines may differ in the last digit.

    Returns when all processes have called it.
    """
    if world().size == 1:
        return dict(values)
    from jax.experimental import multihost_utils

    own = np.array(list(values.values()), np.float64)
    given = multihost_utils.broadcast_one_to_all(own.view(np.uint32))  # JAX would round float64
    return dict(zip(values, given.view(np.float64).tolist(), strict=True))


@contextmanager
def own_folder(folder: Path) -> Iterator[Path]:
    """Lends every process a folder to work in: the given one to rank 0, temporary copies to others.

    Raises:
        DataError: the processes see different files in the folder.
        TrainingError: a joint step inside the block failed.
    """
    with ExitStack() as stack:
        mine = folder if world().is_coordinator else stack.enter_context(_copy(folder))
        stack.enter_context(_failing_together())
        _check_shared(folder, mine)
        yield mine
    atexit.unregister(_leave)


@contextmanager
def _copy(folder: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="dcase_process_") as scratch:
        copy = Path(scratch) / folder.name
        try:
            if folder.exists():
                shutil.copytree(folder, copy)
        except OSError as error:
            raise storage_error(copy, error) from error
        yield copy


@contextmanager
def _failing_together() -> Iterator[None]:
    """Turns errors of JAX in a joint step into one with a remedy."""
    try:
        yield
    except RuntimeError as error:
        if world().size == 1 or type(error).__name__ != "JaxRuntimeError":
            raise
        raise TrainingError(
            f"A step that {world().size} processes take together failed:"
            f" {str(error).splitlines()[0]}. The output of the process that ended first"
            " gives the reason. Run the same commands again: they resume after the last epoch."
        ) from error


def _check_shared(folder: Path, mine: Path) -> None:
    """Compares names and sizes of the files that each process sees; waits for all processes."""
    if world().size == 1:
        return
    from jax.experimental import multihost_utils

    files = sorted(path for path in mine.rglob("*") if path.is_file())
    listed = "\n".join(f"{path.relative_to(mine)} {path.stat().st_size}" for path in files)
    digest = np.uint32(zlib.crc32(listed.encode()))
    digests = multihost_utils.process_allgather(digest)  # (world size,)
    different = np.flatnonzero(digests != digests[0])
    if len(different):
        ranks = ", ".join(map(str, different))
        raise DataError(
            f"Ranks {ranks} see other files in {folder} than rank 0. Expected: an `output_dir` that"
            " all machines share, under the same path, and no other job in it."
        )
