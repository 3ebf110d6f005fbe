"""Cards: at most 15 lines of 110 characters, nothing of a stranger's name obeyed, numbers as they are."""

from dataclasses import dataclass
from enum import Enum

import numpy as np
import pytest

from eigenflow.core.display import Card, FieldsPrinted, at_level, figure, interval, span


class State(Enum):
    DONE = "done"


@dataclass(frozen=True, repr=False)
class Found(FieldsPrinted):
    name: str
    number: float
    count: int
    pair: tuple[float, float]
    curve: np.ndarray
    used: np.ndarray
    parts: dict[str, int]
    state: State
    absent: float | None = None


def found(**changes):
    values = {
        "name": "a",
        "number": 1.23456789,
        "count": 7,
        "pair": (0.5, 2.0),
        "curve": np.array([[1.0, -2.5], [np.nan, 3.0]]),
        "used": np.array([True, False, True]),
        "parts": {"x": 1},
        "state": State.DONE,
    }
    return Found(**(values | changes))


def test_a_field_is_a_line_and_arrays_are_told_by_shape_and_range():
    assert repr(found()).splitlines() == [
        "Found",
        "  name    a",
        "  number  1.235",
        "  count   7",
        "  pair    [0.5, 2]",
        "  curve   2 x 2, from -2.5 to 3",
        "  used    3, 2 true",
        "  parts   1 of dict",
        "  state   done",
    ]


@pytest.mark.parametrize("array", [np.zeros(0), np.full(3, np.nan), np.array("x"), np.zeros((2, 0, 3))])
def test_arrays_without_a_range_have_a_shape(array):
    assert f"  curve   {' x '.join(map(str, array.shape)) or 'scalar'}" in repr(found(curve=array)).splitlines()


def test_rows_past_the_fourteenth_are_counted():
    card = Card("many", [(f"row {number}", "x" * 300) for number in range(40)])
    lines = card.text().splitlines()
    assert len(lines) == 15 and max(map(len, lines)) == 110
    assert lines[-1].split() == ["...", "27", "more"] and lines[-2].startswith("  row 12")
    assert len(Card("enough", [("row", "x")] * 14).text().splitlines()) == 15


def test_names_of_strangers_steer_neither_terminal_nor_page():
    card = Card("a \x1b[31mred\n title", [("<img src=x onerror=alert(1)>", "\x1b]0;title\x07<b>bold</b>")])
    assert "\x1b" not in card.text() and len(card.text().splitlines()) == 2
    page = card.html()
    assert "<img" not in page and "<b>" not in page and "&lt;img" in page and "\x1b" not in page


def test_numbers_as_text():
    assert figure(None) == figure(float("nan")) == "-"
    assert figure(0.000123456) == "0.0001235" and figure(float("inf")) == "inf"
    assert interval(1.0, 0.5, None) == "1 [0.5, -]"
    assert span([3.0, 2.0, 1.0]) == "3 to 1" and span([]) == "-"


@pytest.mark.parametrize(
    ("value", "level", "expected"),
    [
        (3.28128, 3.3, "3.2813"),  # nats of language models: four decimals, as ever
        (0.00012345, 0.0002, "0.000123"),  # three figures of the level, or all would be 0.0001
        (-0.0000051, 0.0002, "-0.000005"),
        (1.5e-9, 1.4e-9, "0.00000000150"),
        (0.02, 0.0, "0.0200"),
        (2.0, float("inf"), "2.0000"),
    ],
)
def test_losses_of_every_level_keep_their_figures(value, level, expected):
    assert at_level(value, level) == expected
    assert at_level(value, level, is_signed=True).lstrip("+") == expected
