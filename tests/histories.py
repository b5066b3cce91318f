"""Parts of training logs that equal runs share: all but the times."""

import csv
import json
from pathlib import Path

from common.training.callbacks import TIMES
from common.training.stage import FINISHED


def history_rows(folder: Path) -> list[dict[str, str]]:
    """The rows of `history.csv` as text, without the times."""
    with (folder / "history.csv").open(newline="", encoding="utf-8") as file:
        return [
            {name: value for name, value in row.items() if name not in TIMES}
            for row in csv.DictReader(file)
        ]


def finished_text(folder: Path) -> str:
    """The text of `training.json`, without the times; text, since NaN differs from itself."""
    content = json.loads((folder / FINISHED).read_text(encoding="utf-8"))
    for name in TIMES:
        del content["history"][name]
    return json.dumps(content)
