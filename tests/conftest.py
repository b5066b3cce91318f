"""Settings of the process that runs the tests."""

import gc


def pytest_collection_finish() -> None:
    """Searches for garbage rarely, and never among what the imports made.

    Building a graph of TensorFlow makes objects by the hundred thousand, and every search would
    visit all modules again: a quarter of the time of a small training.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
