"""The claims as a sequence, as a table, and as they print themselves."""

import json

import numpy as np
import pytest
from matplotlib.figure import Figure

import eigenflow as ef
from eigenflow.theory import BANDS, CLAIMS, Claim, Claims, Verdict
from eigenflow.theory.claims.assertions import NO_BAND
from synthetic_run import riccati, write_run

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    return ef.claims(write_run(folder, riccati(3, seed=1), steps=300, count=12, step_size=2e-3))


def test_every_claim_has_one_room_and_every_assertion_one_band():
    assert list(CLAIMS) == [f"C{number}" for number in range(1, 9)]
    for name, test in CLAIMS.items():
        keys = [one.key for one in test.assertions]
        assert len(set(keys)) == len(keys) and all(key.startswith(f"{name}.") for key in keys)
        assert any(one.decides for one in test.assertions)
        assert all(one.statement and one.test.__doc__ for one in test.assertions)
    bands = {one.key: one.band for test in CLAIMS.values() for one in test.assertions}
    assert {key: band for key, band in bands.items() if band != NO_BAND} == BANDS
    for low, high in BANDS.values():
        assert low is None or high is None or low < high


def test_rows_show_statement_and_band_of_their_assertion(rows):
    known = {one.key: one for test in CLAIMS.values() for one in test.assertions}
    for row in rows.assertions:
        assert (row.statement, row.band) == (known[row.claim].statement, known[row.claim].band)


def test_it_is_a_sequence(rows):
    plain = list(rows)
    assert rows == plain and plain == rows and rows == Claims(plain) and rows != plain[:-1] and rows != 3
    assert len(rows) == len(plain) and rows[0].claim == "C1" and rows[-1] is plain[-1] and rows[1] in rows
    assert isinstance(rows[2:4], Claims) and rows[2:4] == plain[2:4] and next(reversed(rows)) is plain[-1]
    assert [Claim.from_dict(json.loads(json.dumps(row.to_dict()))) for row in rows] == rows
    assert hash(rows) == hash(Claims(plain))


def test_table_has_one_row_an_assertion(rows):
    table = rows.to_dataframe()
    judged = {row.claim.split(".")[0] for row in rows.assertions}
    assert list(table.index) == [row.claim for row in rows if "." in row.claim or row.claim not in judged]
    row = next(row for row in rows if row.claim == "C1.identity")
    found = table.loc["C1.identity"]
    assert (found.claim, found.statement, found.verdict, found.reason) == ("C1", row.statement, row.verdict, row.reason)
    assert (found.estimate, found.lower, found.upper) == (row.estimate, *row.interval)
    assert np.isnan(found.band_low) and found.band_high == 1e-10
    for name in ("estimate", "lower", "upper", "band_low", "band_high"):
        assert table[name].dtype == float


def test_it_prints_the_claims_in_few_lines(rows):
    lines = repr(rows).splitlines()
    assert len(lines) == 9 and all(len(line) <= 110 for line in lines)
    assert "8 claims" in lines[0] and f"{len(rows.assertions)} assertions" in lines[0]
    counted = {v: sum(row.verdict is v for row in rows.assertions) for v in Verdict}
    assert all(f"{count} {verdict}" in lines[0] for verdict, count in counted.items())
    for line, row in zip(lines[1:], (row for row in rows if not row.is_assertion), strict=True):
        assert line.split()[:2] == [row.claim, str(row.verdict)]
        assert row.estimate is None or f"{row.estimate:.3g} [" in line
    assert repr(rows[:0]) and len(repr(rows.assertions).splitlines()) <= 15
    assert "<table" in rows._repr_html_() and "C1" in rows._repr_html_()


def test_a_row_prints_in_a_few_lines(rows):
    for row in rows:
        lines = repr(row).splitlines()
        assert len(lines) <= 7 and all(len(line) <= 110 for line in lines)
        assert lines[0].startswith(f"{row.claim} {row.verdict}")
    first = next(row for row in rows if row.claim == "C1.identity")
    assert "<= 1e-10" in repr(first)
    assert "band          none" in repr(rows[[row.claim for row in rows].index("C4")])


def test_it_draws_a_row_a_verdict(rows):
    ax = rows.plot(Figure().add_subplot())
    assert {label.get_text() for label in ax.get_yticklabels()} == {row.claim for row in rows}
