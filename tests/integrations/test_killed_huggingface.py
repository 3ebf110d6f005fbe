"""Trainings through Trainer, killed at random moments: one record, as if nobody had."""

import pytest

from integrations.killing import assert_same_record, killed_again_and_again


@pytest.mark.parametrize(("train", "times"), [("train", 10), ("train_tracked", 3)])
def test_a_killed_training_has_the_record_of_one_that_was_not(tmp_path, train, times):
    """One thread, no cap on the time, M formed or its modes tracked: bit for bit."""
    report = killed_again_and_again(f"integrations.killed_huggingface:{train}", tmp_path, times, seed=0, share=0.7)
    assert report.kills == times
    for folder in report.finished:
        assert_same_record(folder / "run", report.whole / "run")
