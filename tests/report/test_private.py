"""What is sent to others says nothing of where it was made (docs/explanation/threats.md)."""

import getpass
import socket

import pytest

import eigenflow as ef
from eigenflow.report import analyse, write_report
from eigenflow.report.comparison import compare
from eigenflow.report.comparison_page import write_comparison
from report.recorded import record_run

pytestmark = pytest.mark.long

# A word that no page holds by chance: the folder above the runs.
SECRET = "somewhere-private-7f3a"


def test_pages_and_records_hold_no_path_and_no_host(tmp_path):
    above = tmp_path / SECRET
    above.mkdir()
    for name, scale in (("mine", 1.0), ("other", 2.0)):
        record_run(above / name, scale=scale)
    runs = [ef.open_run(above / name) for name in ("mine", "other")]
    analysis = analyse(runs[0])
    runs[0].write_summary(analysis.summary())
    pages = [write_report(analysis), write_comparison(compare(runs), above / "both.html")]
    texts = {
        path: path.read_text(encoding="utf-8") for path in (*pages, *above.rglob("*.json"), *above.rglob("*.jsonl"))
    }
    assert len(texts) > 6 and all("mine" in texts[page] for page in pages)
    for path, text in texts.items():
        assert SECRET not in text, path
        for private in (socket.gethostname(), getpass.getuser()):
            # Short names stand in base64 by chance, as `root` does in "root mean square".
            assert len(private) < 8 or private not in text, path
