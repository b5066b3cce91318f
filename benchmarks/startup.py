"""Start of the commands: seconds until `--help` of a training and of others is there.

python -m benchmarks.startup [--quick]
"""

import subprocess
import sys
from functools import partial
from pathlib import Path

from benchmarks.measure import ROOT, Figure, Goal, in_turns, run_alone, timed

TITLE = "Start: seconds of a fresh process, the files of the packages cached"
HELP = {"seld.py --help": ["seld.py", "--help"], "dcase --help": ["-m", "common", "--help"]}


def measure(quick: bool, folder: Path) -> list[Figure | Goal]:
    """Times all of `HELP` in turns; the first round, which fills the caches, does not count."""
    run = partial(subprocess.run, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    routes = {name: timed(partial(run, [sys.executable, *words])) for name, words in HELP.items()}
    timings = in_turns(routes, 1 if quick else 7)
    own = timings["seld.py --help"]
    return [
        Goal("seld.py --help", own.median, 1.0, "s", False, details=own.text()),
        *(Figure(name, timing.median, "s") for name, timing in timings.items()),
    ]


if __name__ == "__main__":
    run_alone(TITLE, measure)
