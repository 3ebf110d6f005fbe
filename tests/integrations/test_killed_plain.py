"""A plain loop that is killed again and again leaves the record of one that is not."""

import pytest

from integrations.killed_plain import StoppedError, train
from integrations.killing import assert_same_record, killed_again_and_again


def test_killed_ten_times(tmp_path):
    """Short lives, so that the same run is killed many times."""
    report = killed_again_and_again("integrations.killed_plain:train", tmp_path, times=10, seed=0, share=0.5)
    assert report.kills == 10 and max(report.kills_of) >= 3
    for folder in report.finished:
        assert_same_record(folder / "run", report.whole / "run")


def test_a_run_that_goes_on_wrongly_is_found_out(tmp_path):
    """Without the optimizer's state training goes on, but not as it would have gone; with it, as if nothing was."""
    for name in ("whole", "remembers", "forgets"):
        (tmp_path / name).mkdir()
    train(tmp_path / "whole")
    for name in ("remembers", "forgets"):
        with pytest.raises(StoppedError):
            train(tmp_path / name, stops_at=24)
        train(tmp_path / name, forgets=name == "forgets")
    assert_same_record(tmp_path / "remembers" / "run", tmp_path / "whole" / "run")
    with pytest.raises(AssertionError, match="loss"):
        assert_same_record(tmp_path / "forgets" / "run", tmp_path / "whole" / "run", tolerance=1e-10)
