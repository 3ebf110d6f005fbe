"""Two eigenproblems at once: the same numbers as one after the other, and errors as they are raised."""

import dataclasses
import os
import threading

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import eigenflow as ef
from eigenflow.core.errors import NonFiniteError
from eigenflow.tangent import probe as probe_module
from eigenflow.tangent.two_cores import MOST_ROWS, both, is_core_free
from problems import samples, tanh_net


def measured(monkeypatch, *, is_free, count=6):
    monkeypatch.setattr(probe_module, "is_core_free", lambda rows: is_free)
    model = tanh_net(0)
    probe = ef.Probe(model, *samples(0, count=count))
    before = probe.at()
    direction = before.descent()
    after = before.moved({name: p + 0.1 * direction[name] for name, p in before.parameters.items()})
    return probe.measure_update(before, after, direction)


@pytest.mark.parametrize("count", [8, 64, 200])
def test_both_ways_give_the_same_numbers_bit_for_bit(monkeypatch, count):
    """Sizes at which a library that was left its own number of threads in the other thread would use them."""
    alone, together = (measured(monkeypatch, is_free=is_free, count=count) for is_free in (False, True))
    for one, other in zip(alone, together, strict=True):
        for field in dataclasses.fields(one):
            a, b = getattr(one, field.name), getattr(other, field.name)
            assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b, field.name


def test_they_are_those_of_single_measurements(monkeypatch):
    model = tanh_net(0)
    probe = ef.Probe(model, *samples(0))
    point = probe.at()
    direction = point.descent()
    first, second = measured(monkeypatch, is_free=True)
    wanted = probe.measure(direction=direction, at=point)
    torch.testing.assert_close(first.eigenvalues, wanted.eigenvalues, rtol=0, atol=0)
    torch.testing.assert_close(first.rate_matrix, wanted.rate_matrix, rtol=0, atol=0)
    assert second.rate_matrix is None


def test_the_first_call_has_a_thread_of_its_own_that_keeps_the_callers_settings():
    def here():
        return threading.get_ident(), torch.get_num_threads(), torch.is_grad_enabled(), torch.ones(1).device.type

    threads = torch.get_num_threads()
    with torch.device("meta"):
        first, second = both(here, here)
    assert first[0] != second[0] == threading.get_ident()
    assert first[1:] == (threads, False, "meta") and second[3] == "meta"


def test_an_error_of_either_call_is_raised():
    def fails():
        raise NonFiniteError("not finite")

    for pair in ((fails, int), (int, fails)):
        with pytest.raises(NonFiniteError, match="not finite"):
            both(*pair)


def test_it_is_done_where_a_core_would_wait_and_nobody_counts(monkeypatch):
    cores = [0, 1]
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: cores, raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert is_core_free(MOST_ROWS) and not is_core_free(MOST_ROWS + 1)
    with TorchDispatchMode():
        assert not is_core_free(10)
    cores.pop()
    assert not is_core_free(10)
    cores.append(1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert not is_core_free(10)
