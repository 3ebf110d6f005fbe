"""The verdict rule of the design, case by case."""

import pytest

from eigenflow.theory import Claim, Verdict
from eigenflow.theory.verdicts import change_of_all, judge, overall, what_would_change


@pytest.mark.parametrize(
    ("interval", "band", "beats", "expected"),
    [
        ((0.1, 0.2), (0.0, 1.0), True, "supported"),
        ((0.1, 0.2), (0.0, 1.0), False, "undecided"),
        ((-0.1, 0.2), (0.0, 1.0), True, "undecided"),
        ((-0.3, -0.2), (0.0, 1.0), True, "contradicted"),
        ((1.3, 1.4), (0.0, 1.0), True, "contradicted"),
        ((-0.3, -0.2), (None, 0.0), True, "supported"),
        ((5.0, 6.0), (0.0, None), True, "supported"),
        (None, (0.0, 1.0), True, "undecided"),
    ],
)
def test_interval_against_band(interval, band, beats, expected):
    assert judge(interval, band, beats) == expected


def test_one_failed_assertion_fails_the_claim():
    good, bad, open_ = Verdict.SUPPORTED, Verdict.CONTRADICTED, Verdict.UNDECIDED
    assert overall([good, good]) is good
    assert overall([good, open_]) is open_
    assert overall([good, open_, bad]) is bad


def test_rows_are_plain_json():
    claim = Claim("C1", "s", 1.0, (0.5, 2.0), (None, 3.0), Verdict.SUPPORTED, "r")
    row = claim.to_dict()
    assert Claim.from_dict(row) == claim
    assert row == {
        "claim": "C1",
        "statement": "s",
        "estimate": 1.0,
        "interval": [0.5, 2.0],
        "band": [None, 3.0],
        "verdict": "supported",
        "reason": "r",
        "would_change": "",
    }


@pytest.mark.parametrize(
    ("interval", "band", "beats", "words"),
    [
        ((0.3, 0.4), (None, 0.1), True, "its upper end is 0.1 or less"),
        ((0.05, 0.4), (None, 0.1), True, "supported if its upper end is 0.1 or less; contradicted if"),
        ((0.3, 0.4), (0.2, 0.5), False, "beats its best alternative"),
        ((0.3, 0.4), (0.2, 0.5), True, "contradicted if the whole interval"),
        ((0.1, 0.4), (0.2, 0.3), True, "its lower end is 0.2 or more and its upper end is 0.3 or less"),
    ],
)
def test_a_verdict_says_what_would_change_it(interval, band, beats, words):
    assert words in what_would_change(interval, band, beats)


def test_a_claim_would_change_with_the_rows_that_decide_it():
    rows = [
        Claim("C1.a", "s", 1.0, (0.5, 2.0), (None, 3.0), Verdict.SUPPORTED, "r", "first"),
        Claim("C1.b", "s", 1.0, (0.5, 2.0), (None, 0.1), Verdict.CONTRADICTED, "r", "second"),
    ]
    assert change_of_all(rows) == "C1.b: second"
