"""Programs in forks of a process that has imported the libraries: they start in milliseconds.

A fork begins as a fresh process does once its imports are finished: with the environment that was
asked for, and nothing computed. What a program does while it is imported is for other tests.

    python -m tests.forks MODULE...

is that process: it takes a JSON object for each fork, and says when one has ended.
"""

import atexit
import functools
import importlib
import json
import os
import runpy
import select
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.patience import PATIENCE_S, wait_until

ROOT = Path(__file__).parents[1]
_BYTES = 1 << 16


class Fork:
    """A command in a fork, which has a process group of its own; see `subprocess.Popen`."""

    def __init__(self, server: "Server", pid: int, log: Path):
        self.server, self.pid, self.log = server, pid, log

    def poll(self) -> int | None:
        """Its exit status, None while it runs."""
        return self.server.status(self.pid)

    def wait(self) -> int:
        """Waits for its end; returns the exit status."""
        wait_until(lambda: self.poll() is not None)
        return self.poll() or 0

    def kill(self) -> None:
        """Kills it, if it runs."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
            self.wait()


class Server:
    """A process that has imported some modules, and forks for each command.

    Args:
        modules: imported before the first fork.
        environment: changes of the variables.
    """

    def __init__(self, modules: Sequence[str], **environment: str):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.forks", *modules],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        atexit.register(self.process.communicate)  # at the end of its input it ends
        self._text = b""
        self._ended: dict[int, int] = {}
        self._started: list[int] = []

    def start(
        self, command: Sequence[Any], log: Path, errors: Path | None = None, **environment: str
    ) -> Fork:
        """Starts a command.

        Args:
            command: as after `python`: a script, or `-m` and a module, or `-c` and a program, with
                arguments.
            log: its output is appended to it.
            errors: gets its errors; None: `log`.
            environment: changes of the variables.
        """
        assert self.process.stdin is not None
        files = {"log": str(log), "errors": str(errors or log)}
        request = files | {"command": list(map(str, command)), "environment": environment}
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        self.process.stdin.flush()
        while not self._started:
            self._listen(PATIENCE_S)
        return Fork(self, self._started.pop(), log)

    def run(self, command: Sequence[Any], log: Path, **environment: str) -> str:
        """Runs a command to its end, which must be a success; returns what it wrote."""
        status = self.start(command, log, **environment).wait()
        assert status == 0, log.read_text(errors="replace")[-4000:]
        return log.read_text()

    def status(self, pid: int) -> int | None:
        """Exit status of a fork, None while it runs."""
        self._listen(0)
        return self._ended.get(pid)

    def _listen(self, seconds: float) -> None:
        """Notes what the process has said, waiting for it for some seconds."""
        assert self.process.stdout is not None
        while select.select([self.process.stdout], [], [], seconds)[0]:
            said = os.read(self.process.stdout.fileno(), _BYTES)
            assert said, f"the process that forks ended with status {self.process.wait()}"
            *lines, self._text = (self._text + said).split(b"\n")
            for line in map(json.loads, lines):
                if "ended" in line:
                    self._ended[line["ended"]] = line["status"]
                else:
                    self._started.append(line["started"])
            seconds = 0


@functools.cache
def server(backend: str) -> Server:
    """The process of this session that has imported the project, and Keras with a backend."""
    modules = ["seld.experiment", "seld.simulation.rendering", "sed_task4.segmentation.mixing"]
    variables = {"KERAS_BACKEND": backend}
    if backend == "jax":
        modules = ["jax", *modules]
        # Quick to compile.
        variables |= {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_backend_optimization_level=0"}
    return Server(modules, **variables)


def run_on_jax(program: str, folder: Path, *arguments: Any) -> None:
    """Runs the text of a program with Keras on JAX; its output goes to a file in `folder`."""
    server("jax").run(["-c", program, *arguments], folder / "jax.txt")


def _serve(modules: Sequence[str]) -> None:
    """Forks for each request of the standard input, until that ends."""
    for module in modules:
        importlib.import_module(module)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    woken, wakes = os.pipe()
    os.set_blocking(wakes, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wakes)
    text = b""
    while True:
        ready, _, _ = select.select([0, woken], [], [])
        if woken in ready:
            os.read(woken, _BYTES)
            for pid, status in _ended():
                print(json.dumps({"ended": pid, "status": status}), file=answers, flush=True)
        if 0 in ready:
            asked = os.read(0, _BYTES)
            if not asked:
                return
            *lines, text = (text + asked).split(b"\n")
            for request in map(json.loads, lines):
                pid = os.fork()
                if not pid:
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    _become(**request)
                print(json.dumps({"started": pid}), file=answers, flush=True)


def _ended() -> Iterator[tuple[int, int]]:
    """Forks that have ended since, with their status."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        yield pid, os.waitstatus_to_exitcode(status)


def _become(command: Sequence[str], log: str, errors: str, environment: dict[str, str]) -> None:
    """Runs a command in this process, and ends it."""
    os.setsid()
    os.environ.update(environment)
    tempfile.tempdir = None  # that of the variables
    with open(os.devnull) as nothing, open(log, "ab") as file:
        os.dup2(nothing.fileno(), 0)
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    if errors != log:
        with open(errors, "ab") as file:
            os.dup2(file.fileno(), 2)
    status = 1
    try:
        status = _status(command)
    except BaseException:
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _status(command: Sequence[str]) -> int:
    kind, *rest = command
    try:
        if kind == "-m":
            sys.argv = rest
            runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        elif kind == "-c":
            sys.argv = ["-c", *rest[1:]]
            exec(compile(rest[0], "<program>", "exec"), {"__name__": "__main__"})
        else:
            sys.argv = list(command)
            runpy.run_path(kind, run_name="__main__")
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


if __name__ == "__main__":
    _serve(sys.argv[1:])
