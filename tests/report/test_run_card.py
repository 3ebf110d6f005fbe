"""The card of a run: its verdicts and its loss, in a file of one size."""

import struct

import numpy as np
import pytest

from eigenflow.report import analyse, write_report
from eigenflow.report.answers import advice, answers, what_next
from eigenflow.report.run_card import run_card
from eigenflow.store import open_run
from report.recorded import record_run

pytestmark = pytest.mark.long

WORDS = {"supported": "holds", "contradicted": "fails", "undecided": "open"}


@pytest.fixture(scope="module")
def analysis(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "synthetic"
    record_run(folder)
    return analyse(open_run(folder))


def test_the_card_has_the_loss_and_a_verdict_for_each_claim(analysis):
    coming = what_next(analysis.run)
    told = answers(analysis, coming, advice(analysis, coming))
    figure = run_card(analysis, coming, told, name="synthetic")
    words = [text.get_text() for text in figure.texts]
    whole = [row for row in analysis.claims if "." not in row.claim]
    at = [words.index(row.claim) for row in whole]
    assert len(at) == 8 and [words[k + 1] for k in at] == [WORDS[row.verdict.value] for row in whole]
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_ydata(), analysis.run.losses["loss"])


def test_a_report_is_written_with_its_card(analysis, tmp_path):
    write_report(analysis, tmp_path / "report.html", card=tmp_path / "card.png")
    head = (tmp_path / "card.png").read_bytes()[:24]
    assert struct.unpack(">II", head[16:24]) == (1200, 630) and (tmp_path / "report.html").stat().st_size > 1e6
