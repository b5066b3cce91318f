"""Settings of parallel processes."""

import os
from typing import Literal

from pydantic import Field

from common.settings.section import Section


class ParallelConfig(Section):
    """Number of parallel processes, and the engine that starts them."""

    jobs: int | None = Field(
        None, ge=1, description="Number of processes; null: one per core. Not for a dask cluster."
    )
    backend: Literal["loky", "threading", "dask"] = Field(
        "loky", description="loky, threading: joblib on this machine; dask: several machines."
    )
    address: str | None = Field(
        None, description="Scheduler of a dask cluster, tcp://10.0.0.1:8786; null: start one here."
    )

    @property
    def n_jobs(self) -> int:
        """Number of processes, at least 1."""
        if self.jobs is not None:
            return self.jobs
        if hasattr(os, "sched_getaffinity"):  # not on macOS
            return len(os.sched_getaffinity(0))
        return os.cpu_count() or 1

    @property
    def local(self) -> bool:
        """True if the work stays on this machine."""
        return self.backend in ("loky", "threading")
