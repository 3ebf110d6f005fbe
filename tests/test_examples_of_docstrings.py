"""Examples in docstrings of the public API give what they show; each shows a number that is known beforehand."""

import doctest
from importlib import import_module

import pytest

MODULES = {
    "eigenflow.core.grid": 4,
    "eigenflow.core.limits": 2,
    "eigenflow.forecast.reading.read": 4,
    "eigenflow.forecast.schedules.schedule": 2,
    "eigenflow.transport.flows.drift": 1,
    "eigenflow.transport.solving": 7,
}


@pytest.mark.parametrize(("module", "count"), MODULES.items())
def test_examples_hold(module, count):
    failed, tried = doctest.testmod(import_module(module))
    assert failed == 0 and tried >= count
