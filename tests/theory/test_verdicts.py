"""The verdict rule of the design, case by case."""

import pytest

from eigenflow.theory import Claim, Verdict
from eigenflow.theory.verdicts import judge, overall


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
    row = Claim("C1", "s", 1.0, (0.5, 2.0), (None, 3.0), Verdict.SUPPORTED, "r").to_dict()
    assert row == {
        "claim": "C1",
        "statement": "s",
        "estimate": 1.0,
        "interval": [0.5, 2.0],
        "band": [None, 3.0],
        "verdict": "supported",
        "reason": "r",
    }
