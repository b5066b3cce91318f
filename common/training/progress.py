"""Progress of a training: one aligned line for each epoch, a bar within it on a terminal."""

import logging
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence

import keras
from tqdm import tqdm

from common.display.plotting import Panel

logger = logging.getLogger(__name__)
LINE_COLUMNS = 100  # longest line
_LEAST_WIDTH = 6  # of a number with four digits
_GAP = 2


def score_names(monitor: str, panels: Sequence[Panel]) -> list[str]:
    """Names of the values to print: losses, the score that decides, the other validation scores.

    Those of another network, which does not decide, are left out.

    Args:
        monitor: name in the logs of the score that decides, e.g. "val_seld_error".
        panels: the learning curves of the task's family.
    """
    drawn = [curve.name for panel in panels for curve in panel.curves if not curve.beside]
    scores = [name for name in drawn if name.startswith("val_") and not name.endswith("_loss")]
    return list(dict.fromkeys(["loss", "val_loss", monitor, *scores]))


class ProgressLines(keras.callbacks.Callback):
    """Logs one line for each epoch, with a mark where the score that decides is the best so far.

    The bar is drawn only on a terminal, never into a file. List it after the callbacks that write
    scores into `logs`.

    Args:
        title: of the training, e.g. the folder of the stage.
        names: values to print, the most important first; those that the logs lack, or that a line
            has no room for, are left out.
        monitor: name of the score that decides.
        mode: "min" or "max".
        history: of the epochs before a resumed training, by name.
        is_asked: True if the training shall end early, which is then no early stop.
    """

    def __init__(
        self,
        title: str,
        names: Sequence[str],
        monitor: str,
        mode: str,
        history: Mapping[str, Sequence[float]],
        is_asked: Callable[[], bool] = bool,
    ):
        super().__init__()
        self.is_asked = is_asked
        self.title, self.names = title, names
        self.monitor, self.sign = monitor, 1.0 if mode == "max" else -1.0
        self.shown: list[str] = []
        self.best = max(map(self._rank, history.get(monitor, ())), default=-math.inf)
        self._bar: tqdm | None = None
        self._start_s = 0.0

    def on_train_begin(self, logs: dict | None = None) -> None:
        epochs, batches = self.params["epochs"], self.params["steps"]
        logger.info("%s: at most %d epochs of %d batches.", self.title, epochs, batches)

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._start_s = time.perf_counter()
        if sys.stdout is not None and sys.stdout.isatty():
            title = f"epoch {epoch + 1}/{self.params['epochs']}"
            total = self.params["steps"]
            self._bar = tqdm(total=total, desc=title, file=sys.stdout, leave=False, unit="batch")

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        if self._bar is not None:
            self._bar.update()
            if batch + 1 == self._bar.total:
                self._bar.set_postfix_str("scoring")

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        logs = logs or {}
        self._close_bar()
        if not self.shown:
            self.shown = self._fitting([name for name in self.names if _is_known(name, logs)])
            logger.info("%s", self._line("epoch", [_title(name) for name in self.shown], "s"))
        rank = self._rank(logs.get(self.monitor, math.nan))
        better, self.best = rank > self.best, max(rank, self.best)
        seconds = f"{time.perf_counter() - self._start_s:.1f}"
        numbers = [_number(logs.get(name, math.nan)) for name in self.shown]
        line = self._line(f"{epoch + 1}/{self.params['epochs']}", numbers, seconds)
        logger.info("%s", f"{line} *" if better else line)

    def on_train_end(self, logs: dict | None = None) -> None:
        self._close_bar()
        if self.model.stop_training and not self.is_asked():
            logger.info("%s: stopped early, the score no longer gets better.", self.title)

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _rank(self, score: float | None) -> float:
        """A score as a number that is higher the better; the lowest where it is unknown."""
        return -math.inf if score is None or math.isnan(score) else self.sign * score

    def _fitting(self, names: Sequence[str]) -> list[str]:
        """The names, from the first on, whose columns a line has room for."""
        shown = list(names)
        while len(self._line("", [_title(name) for name in shown], "")) > LINE_COLUMNS - 2:
            shown.pop()
        return shown

    def _line(self, epoch: str, cells: Sequence[str], seconds: str) -> str:
        width = 2 * len(str(self.params["epochs"])) + 1
        columns = [f"{epoch:>{max(width, len('epoch'))}}"]
        for name, cell in zip(self.shown or cells, cells, strict=False):
            columns.append(f"{cell:>{max(len(_title(name)), _LEAST_WIDTH)}}")
        return (" " * _GAP).join([*columns, f"{seconds:>{_LEAST_WIDTH}}"])


def _is_known(name: str, logs: Mapping[str, float]) -> bool:
    """True for a value of the logs; a loss of clips without the labels of its output is none."""
    return name in logs and not (name.endswith("loss") and math.isnan(logs[name]))


def _title(name: str) -> str:
    return name if name.endswith("loss") else name.removeprefix("val_")


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4g}"
