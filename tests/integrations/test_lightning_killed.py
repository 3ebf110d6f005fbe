"""Lightning, killed again and again, leaves the record of a run that nobody killed."""

from integrations.killing import assert_same_record, killed_again_and_again


def test_killed_ten_times(tmp_path):
    """One thread, no cap on the time, M formed: bit for bit."""
    report = killed_again_and_again("integrations.killed_lightning:train", tmp_path, times=10, seed=0, share=0.7)
    assert report.kills == 10 and max(report.kills_of) >= 2
    for folder in report.finished:
        assert_same_record(folder / "run", report.whole / "run")


def test_killed_while_modes_are_tracked(tmp_path):
    """A tracker goes on with what the folder holds of the last flush: bit for bit too."""
    report = killed_again_and_again("integrations.killed_lightning:train_tracked", tmp_path, times=3, seed=1)
    assert report.kills == 3
    for folder in report.finished:
        assert_same_record(folder / "run", report.whole / "run")
