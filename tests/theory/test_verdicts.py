"""The verdict rule of the design, case by case."""

import pytest

from eigenflow.theory import Claim, Verdict
from eigenflow.theory.verdicts import decide, judge, overall, what_would_change


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
        "decides": True,
        "decided_by": "",
        "controls": "",
    }
    older = {name: value for name, value in row.items() if name not in ("decides", "decided_by", "controls")}
    assert Claim.from_dict(older) == claim


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


def row(key, estimate, half, band=(None, 0.1), beats=True, loses=False):
    interval = (estimate - half, estimate + half)
    verdict = judge(interval, band, beats, loses)
    return Claim(key, "s", estimate, interval, band, verdict, "r", f"change of {key}")


def test_a_model_that_loses_to_another_is_contradicted_inside_its_band():
    assert judge((0.0, 0.05), (None, 0.1), loses=True) == "contradicted"
    assert judge(None, (None, 0.1), loses=True) == "undecided"
    assert "best alternative" in what_would_change((0.0, 0.05), (None, 0.1), loses=True)


def test_of_a_contradicted_claim_the_row_farthest_outside_is_shown():
    near, far, good = row("C1.a", 0.5, 0.1), row("C1.b", 0.5, 0.01), row("C1.c", 0.01, 0.01)
    assert decide([good, near, far]) == (Verdict.CONTRADICTED, far)


def test_of_a_supported_claim_the_row_nearest_to_its_band_is_shown():
    clear, tight = row("C1.a", 0.01, 0.01), row("C1.b", 0.08, 0.015)
    assert decide([clear, tight]) == (Verdict.SUPPORTED, tight)


def test_of_an_undecided_claim_the_first_row_that_is_not_supported_is_shown():
    good, open_ = row("C1.a", 0.01, 0.01), row("C1.b", 0.09, 0.05)
    assert decide([good, open_]) == (Verdict.UNDECIDED, open_)


def test_many_rows_are_judged_together():
    """Alone it lies 2.1 half-widths of a 90 % interval less its own outside; of ten rows it must be 1.57 times as sure.

    The normal quantile at .05 / 10 is 2.576, that at .05 is 1.645.
    """
    just = row("C1.x", 0.1 + 0.05 * 1.2, 0.05)
    sure = row("C1.x", 0.1 + 0.05 * 1.6, 0.05)
    others = [row(f"C1.{i}", 0.01, 0.01) for i in range(9)]
    assert just.verdict == sure.verdict == "contradicted"
    assert decide([just])[0] == "contradicted"
    assert decide([just, *others]) == (Verdict.UNDECIDED, just)
    assert decide([sure, *others]) == (Verdict.CONTRADICTED, sure)
    lost = row("C1.y", 0.01, 0.01, loses=True)
    assert decide([lost, *others]) == (Verdict.CONTRADICTED, lost)
