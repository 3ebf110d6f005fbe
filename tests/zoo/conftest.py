"""The zoo needs torch, and belongs to the measuring side."""

import os
from pathlib import Path

import pytest

collect_ignore_glob = ["test_*.py"] if os.environ.get("EIGENFLOW_WITHOUT_TORCH") else []


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.measure)


@pytest.fixture(autouse=True)
def forget_compiled():
    """Compiled models leave caches that grow with every model."""
    yield
    import sys

    if "torch._dynamo" in sys.modules:
        sys.modules["torch._dynamo"].reset()
