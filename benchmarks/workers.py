"""Worker processes that measure on request, so that several interpreters can take turns."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import IO, Any, Self, cast

from benchmarks.measure import ROOT

BASELINES = ROOT / "benchmarks" / "baselines"
TORCH_STEPS = BASELINES / "torch_steps.py"
PACKAGE_SCORES = BASELINES / "package_scores.py"
NO_TORCH = "PyTorch is not installed: make torch"
# Settings of glibc under which freed memory is kept for the next step, which PyTorch's own do not
# do on the CPU.
KEEPING_MEMORY = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**40),
    "MALLOC_TOP_PAD_": str(2**28),
}


class Worker:
    """A process that replies to each line of JSON with another; ends with the `with` block.

    Args:
        command: command line; the program reads requests from its standard input.
        environment: variables that are set for it.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] | None = None):
        self.command = list(command)
        self.process = subprocess.Popen(
            self.command,
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        """Sends a request and waits for the reply.

        Raises:
            RuntimeError: the process ended without one.
        """
        requests, replies = cast(IO[str], self.process.stdin), cast(IO[str], self.process.stdout)
        try:
            requests.write(json.dumps({"do": do, **request}) + "\n")
            requests.flush()
            line = replies.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise RuntimeError(
                f"{' '.join(self.command)} ended with status {self.process.wait()} when asked to"
                f" {do}."
            )
        return json.loads(line)

    def seconds(self, **request: Any) -> float:
        """Runs one step and returns its seconds."""
        return self.ask("step", **request)["seconds"]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.process.communicate()  # closes its input, which ends it


def torch_python() -> str | None:
    """Interpreter with PyTorch: TORCH_PYTHON, that of `make torch`, or this one; else None."""
    given = os.environ.get("TORCH_PYTHON")
    own = ROOT / ".venv-torch" / "bin" / "python"
    if given or own.exists():
        return given or str(own)
    return sys.executable if importlib.util.find_spec("torch") else None


def torch_worker(keeps_memory: bool) -> Worker:
    """Starts PyTorch, as shipped or with glibc keeping freed memory.

    Raises:
        RuntimeError: it is not installed, see `torch_python`.
    """
    python = torch_python()
    if python is None:
        raise RuntimeError(NO_TORCH)
    return Worker([python, str(TORCH_STEPS)], KEEPING_MEMORY if keeps_memory else {})


def package_worker() -> Worker | None:
    """Starts sed_scores_eval, which `make torch` installs beside PyTorch; None: it is not there."""
    python = torch_python()
    if python is None:
        return None
    found = subprocess.run([python, "-c", "import sed_scores_eval"], capture_output=True)
    return Worker([python, str(PACKAGE_SCORES)]) if found.returncode == 0 else None


def our_worker(environment: Mapping[str, str] | None = None) -> Worker:
    """Starts a process that trains and runs this project's networks."""
    return Worker([sys.executable, "-m", "benchmarks.our_steps"], environment)
