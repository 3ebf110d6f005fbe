"""A plain loop that is killed again and again leaves the record of one that is not."""

import pytest

from integrations.killing import assert_same_record, killed_again_and_again


def test_killed_ten_times(tmp_path):
    """Short lives, so that the same run is killed many times."""
    report = killed_again_and_again("integrations.killed_plain:train", tmp_path, times=10, seed=0, share=0.5)
    assert report.kills == 10 and max(report.kills_of) >= 3
    for folder in report.finished:
        assert_same_record(folder / "run", report.whole / "run")


def test_a_run_that_goes_on_wrongly_is_found_out(tmp_path):
    """Without the optimizer's state training goes on, but not as it would have gone."""
    report = killed_again_and_again("integrations.killed_plain:train_forgetting", tmp_path, times=3, seed=1)
    run = report.finished[0] / "run"
    with pytest.raises(AssertionError, match="loss"):
        assert_same_record(run, report.whole / "run", tolerance=1e-10)
