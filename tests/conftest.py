"""Settings of the process that runs the tests."""

import gc
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from common.display import plotting

HERE = Path(__file__).parent
# Files that take longest, which processes take first, so that none is left with one at the end.
LONGEST = (
    "sed_task4/segmentation/test_end_to_end.py",
    "sed_task4/test_mean_teacher_end_to_end.py",
    "test_kills.py",
    "test_joint_training.py",
    "common/runtime/test_clusters.py",
    "seld/test_year_systems.py",
    "test_benchmarks.py",
    "common/inference/test_export.py",
    "test_gpu_runs.py",
    "test_real_sounds.py",
    "seld/test_end_to_end.py",
    "sed_task4/test_data_sets_end_to_end.py",
    "sed_task4/test_end_to_end.py",
    "common/data/test_pipeline.py",
    "test_documents.py",
    "sed_task4/test_predictor.py",
    "common/search/test_study.py",
    "seld/test_two_stage_end_to_end.py",
)
# Files whose tests look at figures.
LOOK_AT_FIGURES = ("test_comparison.py", "test_figures.py")
_LINES: set[tuple[str, int]] = set()  # that have saved a figure in this process


@pytest.fixture(scope="module", autouse=True)
def figures(request: pytest.FixtureRequest) -> Iterator[None]:
    """Draws what tests save, and the first figure that each line of the programs saves.

    The others stay blank: drawing takes most of the time of a figure, and a small run has several.
    """
    if request.path.name in LOOK_AT_FIGURES:
        yield
        return
    printed = plotting.printed

    def printed_first(figure: Figure, *arguments: Any) -> Any:
        caller = sys._getframe(2)  # of the function that saves
        line = caller.f_code.co_filename, caller.f_lineno
        if line in _LINES:
            figure = Figure(figure.get_size_inches())
        elif HERE not in Path(line[0]).parents:
            _LINES.add(line)
        return printed(figure, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plotting, "printed", printed_first)
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the tests of the longest files first."""
    places = {HERE / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


def pytest_collection_finish() -> None:
    """Searches for garbage rarely, and never among what the imports made.

    Building a graph of TensorFlow makes objects by the hundred thousand, and every search would
    visit all modules again: a quarter of the time of a small training.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
