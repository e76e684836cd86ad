"""What holds for all tests."""

import os

import pytest

# One test process per core already: more threads would only get into each other's way. Read when torch is
# imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keeps tests that start nodes on one worker, one after the other: two graphs would starve each other."""
    for item in items:
        if item.get_closest_marker("ros"):
            item.add_marker(pytest.mark.xdist_group("ros"))
