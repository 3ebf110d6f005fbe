"""Rates on controls: looked up by size, printed beside the band, and deciding what a small run can tell."""

import json
from dataclasses import replace

import pytest

from eigenflow.theory.claims import CLAIMS, Evidence, judge_all
from eigenflow.theory.controls import rates
from eigenflow.theory.controls.catalogue import CONTROLS
from eigenflow.theory.controls.judging import ControlVerdict, counted, judge_control
from eigenflow.theory.controls.rates import RowRates, rates_of, stored_rates

pytestmark = pytest.mark.long

ROWS = {one.key for test in CLAIMS.values() for one in test.assertions}


@pytest.fixture
def table(monkeypatch):
    """A table of one row at three sizes."""

    def use(counts):
        monkeypatch.setattr(rates, "stored_rates", lambda: {"rows": {"C5.frontier": counts}})

    return use


def test_a_run_is_held_to_the_largest_controls_that_it_has_the_size_of(table):
    by = {size: {"holds": [i, 0, 0], "fails": [0, i, 0]} for i, size in enumerate(("100x24", "300x48", "1000x48"), 1)}
    table(by)
    for modes, times, expected in ((1200, 60, 1000), (999, 60, 300), (300, 40, 100), (50, 12, 100)):
        assert rates_of("C5.frontier", modes, times).modes == expected
    assert rates_of("C9.none", 300, 48) is None


def test_words_and_power():
    one = RowRates(300, 48, (3, 1, 4), (0, 2, 0))
    assert one.power == 3 / 8 and one.is_too_small
    assert one.told == (
        "on controls of 300 modes at 48 times, of 8 true ones 3 supported, 1 contradicted; "
        "of 2 false ones 0 supported, 2 contradicted"
    )
    assert not RowRates(300, 48, (4, 0, 4), (0, 0, 0)).is_too_small
    assert not RowRates(300, 48, (0, 0, 0), (0, 2, 0)).is_too_small


def test_a_row_that_cannot_support_its_own_controls_is_undecided(table):
    run = next(c for c in CONTROLS if c.name == "at rest").run(100, 30, 0)
    table({"100x24": {"holds": [1, 0, 9], "fails": [0, 9, 1]}})
    row = next(row for row in judge_all(Evidence(run)) if row.claim == "C5.frontier")
    assert row.verdict == "undecided" and "too small a run to tell" in row.reason
    assert row.estimate is not None and "would be supported" in row.reason
    free = next(row for row in judge_all(Evidence(run, knows_rates=False)) if row.claim == "C5.frontier")
    assert free.verdict == "supported" and free.controls == ""
    table({"100x24": {"holds": [9, 0, 1], "fails": [0, 9, 1]}})
    kept = next(row for row in judge_all(Evidence(run)) if row.claim == "C5.frontier")
    assert kept.verdict == "supported" and kept.controls.startswith("on controls of 100 modes")


def test_every_truth_is_about_a_row():
    for control in CONTROLS:
        assert control.holds | control.fails <= ROWS, (control.name, (control.holds | control.fails) - ROWS)
        assert not control.holds & control.fails
    assert len({control.name for control in CONTROLS}) == len(CONTROLS)


def test_every_row_that_decides_has_controls_on_both_sides_or_a_reason():
    """Identities can fail by an error of measurement alone, which no system of equations has."""
    held = frozenset().union(*(control.holds for control in CONTROLS))
    failed = frozenset().union(*(control.fails for control in CONTROLS))
    deciding = {one.key for test in CLAIMS.values() for one in test.assertions if one.decides}
    assert deciding - held <= {"C8.limit"}
    of_measuring = {key for key in deciding if key.startswith(("C1.", "C2."))} | {
        "C3.closes",
        "C3.remainder",
        "C3.integrated",
    }
    assert deciding - failed - of_measuring <= {"C8.limit"}


def test_the_stored_table_says_what_the_issue_of_trust_asks():
    """At 300, 600 and 1,000 modes: at most a tenth decided wrongly, four fifths of decidable positives supported."""
    table = stored_rates()
    for size in ("300x48", "600x48", "1000x48"):
        overall = table["overall"][size]
        assert overall["wrong"] <= 0.1
        assert overall["decidable positives supported"] >= 0.8
    assert set(table["rows"]) <= ROWS


def test_counts_and_wrong_verdicts():
    one = ControlVerdict("a", True, 300, 48, 0, "C1.flow", True, "contradicted", 1.0)
    assert one.is_wrong and not replace(one, verdict="undecided").is_wrong
    assert replace(one, is_true=False, verdict="supported").is_wrong
    found = counted([one, replace(one, verdict="supported"), replace(one, is_true=False)])
    assert found == {"C1.flow": {"300x48": {"holds": [1, 1, 0], "fails": [0, 1, 0]}}}
    assert json.loads(json.dumps(found)) == found


def test_a_small_control_is_judged():
    found = judge_control("exponential clock", 100, 30, 0)
    by = {one.row: one for one in found}
    assert by["C7.regular"].verdict == "contradicted" and by["C5.kato"].verdict == "supported"
    assert not any(one.is_wrong for one in found), [one for one in found if one.is_wrong]
