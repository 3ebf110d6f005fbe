"""The order of rows: a claim, what decides on it, what stands beside it."""

from dataclasses import dataclass

from eigenflow.core.judged import beside_last


@dataclass(frozen=True)
class Row:
    claim: str
    decides: bool = True


@dataclass(frozen=True)
class Older:
    """As of a version that had no rows beside claims."""

    claim: str


def test_rows_beside_a_claim_follow_those_that_decide_on_it():
    rows = [Row("C2"), Row("C2.a", decides=False), Row("C2.b"), Row("C2.c", decides=False), Row("C10"), Row("C10.a")]
    found = beside_last(rows)
    assert [row.claim for row, _ in found] == ["C2", "C2.b", "C2.a", "C2.c", "C10", "C10.a"]
    assert [first for _, first in found] == [False, False, True, False, False, False]


def test_each_claim_has_a_first_row_beside_it():
    rows = [Row("C1.x", decides=False), Row("C2.x", decides=False)]
    assert [first for _, first in beside_last(rows)] == [True, True]


def test_older_rows_all_decide_and_keep_their_order():
    rows = [Older("C1"), Older("C1.b"), Older("C1.a")]
    assert beside_last(rows) == [(row, False) for row in rows]
    assert beside_last([]) == []
