"""Trainings through Trainer, killed at random moments: one record, as if nobody had."""

import pytest

from integrations.killing import assert_same_record, killed_again_and_again


@pytest.mark.parametrize(("times", "seed"), [(10, 0)])
def test_a_killed_training_has_the_record_of_one_that_was_not(times, seed, tmp_path):
    report = killed_again_and_again("integrations.killed_huggingface:train", tmp_path, times, seed)
    assert report.kills == times
    for folder in report.finished:
        assert_same_record(folder / "run", report.whole / "run")


def test_with_a_tracker_that_begins_cold_to_ten_digits(tmp_path):
    report = killed_again_and_again("integrations.killed_huggingface:train_tracked", tmp_path, 3, seed=1)
    assert report.kills == 3
    for folder in report.finished:
        assert_same_record(folder / "run", report.whole / "run", tolerance=1e-10)
