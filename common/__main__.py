"""The installed command: `dcase VERB ...` is `python -m common.cli.VERB ...`.

Only the module of the verb is loaded.
"""

import difflib
import importlib
import sys
from collections.abc import Sequence

from common import __version__
from common.cli.base import DISTRIBUTION, PROGRAM, run_safely
from common.errors import ConfigError

VERBS = {
    "train": "train the system of a task and score it",
    "extract": "extract features of recordings into TFRecord shards",
    "simulate": "write a simulated dataset in the layout of a real one",
    "predict": "predict the events of any recordings, or of a pipe",
    "evaluate": "score a finished run on other labelled recordings",
    "score": "score predictions against the ground truth",
    "report": "write the report of runs again",
    "compare": "compare runs: scores, settings, learning curves",
    "export": "export a trained model as SavedModel, ONNX or LiteRT",
    "tune": "search for better settings of a task",
    "check-dataset": "check that the dataset of a task can be used",
    "download": "download the published dataset of a task",
    "import-torch": "convert published PyTorch weights, and back",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    verb, *rest = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if verb in VERBS:
        return importlib.import_module(f"common.cli.{verb.replace('-', '_')}").main(rest)
    return run_safely(_run, [verb])


def _run(arguments: Sequence[str]) -> None:
    (word,) = arguments
    if word in ("-h", "--help"):
        width = max(map(len, VERBS))
        print(f"usage: {PROGRAM} VERB ...\n\nverbs (`{PROGRAM} VERB --help` explains each):")
        print("\n".join(f"  {verb:<{width}}  {meaning}" for verb, meaning in VERBS.items()))
    elif word == "--version":
        print(f"{DISTRIBUTION} {__version__}")
    else:
        near = difflib.get_close_matches(word, VERBS, n=1)
        hint = f" Did you mean `{near[0]}`?" if near else ""
        raise ConfigError(
            f"Unknown verb.{hint} Expected: one of {', '.join(VERBS)}. Received: {word!r}."
        )


if __name__ == "__main__":
    raise SystemExit(main())
