"""Processes of this machine: all values come back, and a process that dies takes nothing with it."""

import os
import time
from pathlib import Path

from eigenflow.lab.sweep.engines import Lost
from eigenflow.lab.sweep.engines.local import LocalEngine


def square(value):
    return value**2


def dies(value):
    """Of 3 always, of 5 the first time."""
    number, folder = value
    mark = Path(folder) / str(number)
    count = len(list(Path(folder).glob(f"{number}.*")))
    mark.with_suffix(f".{count}").touch()
    if number == 3 or (number == 5 and count == 0):
        os._exit(9)
    return number


def sleeps(_):
    time.sleep(600)


def test_all_values_come_back_with_their_places():
    with LocalEngine(jobs=2) as engine:
        assert dict(engine.map(square, range(7))) == {place: place**2 for place in range(7)}


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
    import threading

    thread = threading.Thread(target=lambda: list(engine.map(sleeps, [1])), daemon=True)
    thread.start()
    while not engine._slots or not engine._slots[0]._processes:
        time.sleep(0.05)
    engine.close()
    assert time.monotonic() - begin < 60
    assert not engine._slots
