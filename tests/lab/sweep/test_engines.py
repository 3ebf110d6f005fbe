"""Processes of this machine: all values come back, and a process that dies takes nothing with it."""

import threading
import time

import pytest

from eigenflow.lab.sweep.engines import Lost
from eigenflow.lab.sweep.engines.local import LocalEngine
from lab.sweep.calls import dies, sleeps, square


@pytest.mark.long
def test_all_values_come_back_with_their_places():
    with LocalEngine(jobs=2) as engine:
        assert dict(engine.map(square, range(7))) == {place: place**2 for place in range(7)}


@pytest.mark.long
def test_a_process_that_dies_is_begun_again_and_takes_no_other_with_it(tmp_path):
    values = [(number, str(tmp_path)) for number in range(8)]
    with LocalEngine(jobs=2, retries=2) as engine:
        found = dict(engine.map(dies, values))
    assert {place: value for place, value in found.items() if place != 3} == {n: n for n in range(8) if n != 3}
    assert isinstance(found[3], Lost) and "died 3 times" in found[3].why
    begun = {number: len(list(tmp_path.glob(f"{number}.*"))) for number in range(8)}
    assert begun == {0: 1, 1: 1, 2: 1, 3: 3, 4: 1, 5: 2, 6: 1, 7: 1}


def test_closing_ends_what_still_runs():
    engine = LocalEngine(jobs=1)
    begin = time.monotonic()
    found = []
    thread = threading.Thread(target=lambda: found.extend(engine.map(sleeps, [1, 2])), daemon=True)
    thread.start()
    while not engine._slots or not engine._slots[0]._processes:
        time.sleep(0.05)
    engine.close()
    assert time.monotonic() - begin < 60
    thread.join(timeout=60)
    assert not thread.is_alive() and found == []
