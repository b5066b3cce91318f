"""The long form: every reader against damaged files.

    python -m tests.fuzz [--cases 20500] [--seed 0] [--only TARGET ...] [--jobs 2]
    python -m tests.fuzz --only TARGET --replay FOLDER       one case again, from its files
    python -m tests.fuzz --engine atheris --seconds 60       guided by coverage, where atheris is
    installed

Exit status 1 if a reader did what it must not; the files of such a case are kept.
"""

import argparse
import importlib.util
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tests.fuzz.crew import Crew, plan, report


def replay(name: str, folder: Path) -> int:
    """Reads the files of one case again, and lets the error pass."""
    from tests.fuzz.engine import run_case
    from tests.fuzz.targets import TARGETS

    files = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
    with tempfile.TemporaryDirectory() as base:
        accepted = run_case(TARGETS[name], files, Path(base))
    print("accepted" if accepted else "refused")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    options = _parser().parse_args(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    if options.replay:
        return replay(options.only[0], options.replay)
    if options.engine == "atheris":
        if importlib.util.find_spec("atheris") is None:
            raise SystemExit('--engine atheris needs the extra `fuzz`: pip install ".[fuzz]".')
        from tests.fuzz.guided import guide

        return guide(options.only, options.seconds, options.keep)
    chunks = plan(_weights(options.only), options.cases, options.seed)
    started_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fuzz_") as folder:
        tallies = Crew(chunks, options.jobs, Path(folder), options.keep).run()
    print(report(tallies))
    print(
        f"seed {options.seed}, {time.monotonic() - started_s:.0f} s with {options.jobs} processes"
    )
    return 1 if any(tally.n_failures for tally in tallies) else 0


def _weights(only: Sequence[str]) -> dict[str, int]:
    from tests.fuzz.targets import TARGETS

    unknown = sorted(set(only) - set(TARGETS))
    if unknown:
        raise SystemExit(
            f"--only: expected some of {', '.join(TARGETS)}. Received: {', '.join(unknown)}."
        )
    return {name: target.weight for name, target in TARGETS.items() if not only or name in only}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description="Every reader against damaged files."
    )
    parser.add_argument(
        "--cases", type=int, default=20_500, help="cases of all targets together (default 20500)"
    )
    parser.add_argument("--seed", type=int, default=0, help="decides which cases (default 0)")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="TARGET", help="only these targets"
    )
    parser.add_argument("--jobs", type=int, default=2, help="processes (default 2)")
    parser.add_argument(
        "--keep",
        type=Path,
        default=Path(tempfile.gettempdir(), "fuzz-failures"),
        metavar="FOLDER",
        help="for the files of cases that fail",
    )
    parser.add_argument(
        "--replay", type=Path, metavar="FOLDER", help="read the files of one case again"
    )
    parser.add_argument("--engine", choices=["hypothesis", "atheris"], default="hypothesis")
    parser.add_argument(
        "--seconds", type=int, default=60, help="of each target with --engine atheris (default 60)"
    )
    return parser


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(main())
    sys.exit(130)
