"""What holds for the whole suite."""

import gc


def pytest_collection_finish() -> None:
    """Keeps what was imported and collected out of the collector: a full collection stood still for 40 to 126 ms.

    Calls in real time get jitter by that, as in any application with so many objects.
    """
    gc.collect()
    gc.freeze()
