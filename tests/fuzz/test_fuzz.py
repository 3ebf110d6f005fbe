"""Some hundreds of broken inputs a reader; more by hand: docs/validation/fuzz.md."""

import pytest

from fuzz.registry import input_of, readers, run
from fuzz.worker import Worker

SEED, COUNT = 7, 40


@pytest.fixture(scope="module")
def worker():
    with Worker() as one:
        yield one


@pytest.mark.long
@pytest.mark.parametrize("reader", sorted(readers()))
def test_broken_files_give_values_or_are_refused(reader, worker):
    report = run(reader, COUNT, SEED, worker=worker)
    assert not report.faults, f"python -m fuzz.run --reader {reader} --seed {SEED} --show INDEX: {report.faults}"
    assert report.counts.total() == COUNT
    assert report.counts["refused"], "Inputs are hardly broken."


def test_an_input_can_be_made_again():
    one, other = (input_of("csv", 3, 5) for _ in range(2))
    assert one == other
    assert one != input_of("csv", 3, 6)


@pytest.mark.long
@pytest.mark.parametrize(
    ("reader", "outcome", "words"),
    [
        ("foreign", "foreign", "KeyError"),
        ("warning", "warning", "RuntimeWarning"),
        ("hang", "hang", "more than 1 s"),
        ("memory", "memory", "MemoryError"),
        ("ends", "foreign", "ended: status 3"),
    ],
)
def test_a_reader_that_does_wrong_is_found(reader, outcome, words):
    """A judge that never finds anything proves nothing."""
    with Worker(seconds=1.0) as worker:
        report = run(f"fuzz.faulty_readers:{reader}", 4, SEED, worker=worker)
    # A change may leave an input as it was. After one that ended the process, the next ones are read too.
    assert set(report.counts) <= {outcome, "right"}
    assert report.counts.total() == 4
    assert report.counts[outcome] >= 2
    assert all(words in detail for _, _, detail in report.faults)
