"""Limits: above what people have, told in the error, raised by one option or one `with`."""

import pytest

import eigenflow as ef
from eigenflow.core.errors import ArgumentError, LimitError
from eigenflow.core.limits import Limits, current_limits, limits, metered, parse_limits, spend, within


def test_a_limit_is_told_with_what_came_and_how_to_raise_it():
    within("steps", current_limits().steps, "`a.csv`, row 3")
    with pytest.raises(LimitError) as raised:
        within("steps", 1e12, "`a.csv`, row 3")
    told = str(raised.value)
    for part in (
        "`a.csv`, row 3 asks for 1,000,000,000,000 updates",
        "20,000,000",
        "--limit steps=",
        "ef.limits(steps=",
    ):
        assert part in told
    assert isinstance(raised.value, ArgumentError)


def test_every_limit_has_words():
    for name in vars(Limits()):
        with pytest.raises(LimitError, match=f"asks for 1e\\+300 .*--limit {name}="):
            within(name, 1e300, "A file")


def _inside():
    with ef.limits(steps=5, rows=7):
        assert (current_limits().steps, current_limits().rows, current_limits().depth) == (5, 7, Limits().depth)
        with limits(steps=9):
            assert current_limits().steps == 9
        assert current_limits().steps == 5
        raise RuntimeError


def test_limits_hold_inside_and_are_put_back_also_after_an_error():
    before = current_limits()
    with pytest.raises(RuntimeError):
        _inside()
    assert current_limits() == before


@pytest.mark.parametrize("value", [0, -1, 0.5, float("nan"), float("inf"), 2.0**63, "5", None])
def test_a_limit_is_a_positive_whole_number(value):
    with pytest.raises(ArgumentError, match="`rows` must be a positive number"), limits(rows=value):
        pass


@pytest.mark.parametrize("text", ["rows", "rows=", "rows=many", "=5", "raws=5", "rows=nan", "rows=-1"])
def test_what_is_no_limit_on_the_command_line(text):
    with pytest.raises(ArgumentError, match=r"(?i)limit"):
        parse_limits([text])


def test_pairs_of_the_command_line():
    assert parse_limits(["rows=1e9", " depth =100"]) == {"rows": 10**9, "depth": 100}


def test_work_is_counted_for_each_solve_alone_and_not_outside():
    spend(1e300)  # nobody counts
    with limits(work=100):
        for _ in range(3):
            with metered():
                spend(60)
                with metered():
                    spend(60)
                with pytest.raises(LimitError, match="The solve asks for 120 evaluations; at most 100"):
                    spend(60)
