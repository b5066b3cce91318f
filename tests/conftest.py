"""Settings of the process that runs the tests."""

import gc
from pathlib import Path

import pytest

HERE = Path(__file__).parent
# Files that take longest, which processes take first, so that none is left with one at the end.
LONGEST = (
    "test_kills.py",
    "common/data/test_pipeline.py",
    "common/search/test_study.py",
    "test_benchmarks.py",
    "seld/test_end_to_end.py",
    "test_documents.py",
    "test_derived.py",
    "sed_task4/segmentation/test_end_to_end.py",
    "sed_task4/test_end_to_end.py",
    "test_joint_training.py",
    "seld/test_two_stage_end_to_end.py",
    "seld/simulation/test_simulator.py",
    "seld/test_year_systems.py",
    "common/inference/test_export.py",
    "test_gpu_runs.py",
    "seld/test_predictor.py",
)


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
