"""What `solve` and its arguments refuse, and how they say it."""

import numpy as np
import pytest

from eigenflow.core.errors import ArgumentError, NonFiniteError, ShapeError
from eigenflow.transport import (
    CellMasses,
    ExactJump,
    PointMasses,
    PowerDrift,
    TransportProblem,
    classify,
    solve,
)

DOMAIN = (1e-6, 1e2)
DECAY = PowerDrift(c=0.5, b=2.0)


def start(x):
    """The initial density of the benchmark (`benchmarks/_transport_tasks.py`)."""
    return x**-0.5 * np.exp(-1e-5 / x - (x / 10) ** 2)


def problem(drift, initial=start, dissipation=2.0, domain=DOMAIN):
    return TransportProblem(drift=drift, dissipation=dissipation, initial=initial, domain=domain)


ONE = PointMasses([1.0], [1.0])


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: problem(DECAY, ONE, domain=(1.0, 0.1)),
            ArgumentError,
            "`domain` must be two positive",
        ),
        (
            lambda: problem(DECAY, ONE, domain=(0.0, 1.0)),
            ArgumentError,
            "`domain` must be two positive",
        ),
        (
            lambda: problem(DECAY, ONE, domain=(1e-200, 1.0)),
            ArgumentError,
            "`domain` must keep lambda",
        ),
        (
            lambda: problem(DECAY, ONE, dissipation=-2.0),
            ArgumentError,
            "`dissipation` must be a finite factor",
        ),
        (
            lambda: problem(DECAY, ONE, dissipation=np.nan),
            ArgumentError,
            "`dissipation` must be a finite factor",
        ),
        (
            lambda: problem(DECAY, np.ones(3)),
            ArgumentError,
            "`initial` must be a function, `CellMasses`",
        ),
        (
            lambda: problem(DECAY, PointMasses([1e3], [1.0])),
            ArgumentError,
            "`initial` must lie in the domain",
        ),
        (lambda: PointMasses([1.0, 2.0], [1.0]), ShapeError, "`masses` must have one entry per mode"),
        (lambda: PointMasses([0.0], [1.0]), ArgumentError, "`eigenvalues` must be positive"),
        (lambda: PointMasses([1.0], [-1.0]), ArgumentError, "`masses` must not be negative"),
        (lambda: PointMasses([1.0], [np.nan]), NonFiniteError, "`masses` must be finite"),
        (lambda: CellMasses([1.0, 2.0], [1.0, 2.0]), ShapeError, "`edges` must have one entry more"),
        (lambda: CellMasses([2.0, 1.0], [1.0]), ArgumentError, "`edges` must be positive and increasing"),
        (lambda: CellMasses([[1.0, 2.0]], [1.0]), ShapeError, "`edges` must be one-dimensional"),
        (lambda: run(times=[-1.0, 1.0]), ArgumentError, "`times` must be finite, not negative"),
        (lambda: run(times=[1.0, 1.0]), ArgumentError, "`times` must be finite, not negative"),
        (lambda: run(times=[np.nan]), ArgumentError, "`times` must be finite"),
        (lambda: run(times=[]), ShapeError, "`times` must be one-dimensional and not empty"),
        (lambda: run(times=[[1.0]]), ShapeError, "`times` must be one-dimensional"),
        (lambda: run(cells=0), ArgumentError, "`cells` must be a whole number >= 1, but is 0"),
        (lambda: run(cells=2.5), ArgumentError, "`cells` must be a whole number"),
        (lambda: run(method="rk9"), ArgumentError, "Unknown method 'rk9'. Available: 'auto'"),
        (lambda: run(initial=lambda x: -x), ArgumentError, "`initial` must not be negative"),
        (lambda: run(initial=lambda x: x * np.nan), NonFiniteError, "`initial` must be finite in the domain"),
        (lambda: run(initial=lambda x: x[:3]), ShapeError, "`initial` must return one density per eigen"),
        (lambda: ExactJump(nodes=1), ArgumentError, "`nodes` must be in"),
        (lambda: ExactJump(longest_piece=0.0), ArgumentError, "`longest_piece` must be in"),
    ],
)
def test_wrong_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def run(times=(1.0,), cells=10, method="auto", initial=start):
    return solve(problem(DECAY, initial), times, cells=cells, method=method)


@pytest.mark.rejects
def test_functions_of_single_numbers_are_named_with_what_to_write_instead():
    def rate(time):
        return 1.0 if time > 0 else 0.0

    with pytest.raises(ArgumentError, match=r"`c` must take an array.*ambiguous.*np\.where instead of if"):
        solve(problem(drift=PowerDrift(c=rate, b=1.0)), [1.0])
    with pytest.raises(ArgumentError, match=r"`time` must be a number, but is array"):
        classify(1.5, 0.5, 0.5, 0.6).asymptote(np.array([10.0, 100.0]))
