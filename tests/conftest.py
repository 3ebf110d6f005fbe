"""Shared set-up: the lane that proves the reading side works without torch."""

import os
import sys
from importlib.abc import MetaPathFinder

import pytest
from hypothesis import settings

# The same examples at every run, so that a change is judged by what it changes; `explore` looks for new ones.
settings.register_profile("fixed", derandomize=True, deadline=None)
settings.register_profile("explore", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))

WITHOUT_TORCH = bool(os.environ.get("EIGENFLOW_WITHOUT_TORCH"))
MEASURING = ("linalg", "tangent", "trajectory", "integrations", "lab", "cli")


class _NotInstalled(MetaPathFinder):
    def find_spec(self, fullname, path=None, target=None):
        if fullname.split(".")[0] in {"torch", "safetensors"}:
            raise ModuleNotFoundError(
                f"No module named {fullname!r} (hidden by this test lane)", name=fullname.split(".")[0]
            )


if WITHOUT_TORCH:
    sys.meta_path.insert(0, _NotInstalled())
    collect_ignore = [*MEASURING]
else:
    import torch

    # One thread a worker: two workers share two cores, and results do not depend on the machine's size.
    torch.set_num_threads(1)

    # torch starts every process with another seed, so a test that forgets its own would differ from run to run.
    SEED = int(os.environ.get("EIGENFLOW_TEST_SEED", "0"))
    torch.manual_seed(SEED)

    @pytest.fixture(autouse=True)
    def _torch_is_seeded():
        torch.manual_seed(SEED)


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.parent.name in MEASURING:
            item.add_marker(pytest.mark.measure)


@pytest.fixture(scope="session", autouse=True)
def memories():
    """Where what analyses is loaded, the same content is concluded once: see `once`."""
    if "eigenflow.report.summary" not in sys.modules:
        yield None
        return
    from once import Memories

    found = Memories()
    with pytest.MonkeyPatch.context() as patch:
        found.put_in(patch)
        yield found
    print(f"once: {found.made} made, {found.served} served", file=sys.stderr)


@pytest.fixture(autouse=True)
def _without_memories(request, memories, monkeypatch):
    if memories is not None and request.node.get_closest_marker("anew"):
        memories.take_out(monkeypatch)


@pytest.fixture(scope="module")
def analysed_once():
    """For tests of `compare`: analysing is tested elsewhere and takes seconds, so each folder once."""
    from eigenflow.report import comparison

    analyse, kept = comparison.analyse, {}

    def remembered(run):
        if run.path not in kept:
            kept[run.path] = analyse(run)
        return kept[run.path]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparison, "analyse", remembered)
        yield
