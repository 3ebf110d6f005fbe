"""Who may make a run: one at a time, across processes and machines that die at any moment."""

import json
import os
import subprocess
import sys
import threading
import time

import pytest

from eigenflow.lab.sweep import lease as leases
from eigenflow.lab.sweep.lease import Lease, LeaseLostError, read_lease

pytestmark = pytest.mark.long

HOLD = """
import sys, time
from pathlib import Path
from eigenflow.lab.sweep.lease import Lease
with Lease(Path(sys.argv[1]), 60.0):
    print("held", flush=True)
    time.sleep(600)
"""


def foreign(path, beat=0):
    """A lease of another machine, as it stands in the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    told = {"id": "another", "host": "elsewhere", "system": "elsewhere/1", "process": 1, "beat": beat}
    path.write_text(json.dumps(told).ljust(leases.SIZE))


def test_a_lease_is_there_while_it_is_held_and_gone_after(tmp_path):
    path = tmp_path / "a.json"
    with Lease(path, 60.0) as lease:
        lease.tell(3, 10, 2)
        found = read_lease(path)
        assert found is not None and found["process"] == os.getpid()
    assert read_lease(path) is None


def test_the_second_waits_for_the_first(tmp_path):
    path, order = tmp_path / "a.json", []

    def second():
        with Lease(path, 60.0):
            order.append("second")

    with Lease(path, 60.0):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.5)
        order.append("first")
    thread.join(timeout=10)
    assert order == ["first", "second"]


def test_a_process_of_this_machine_that_was_killed_blocks_nobody(tmp_path):
    """It is seen to be gone at once, long before its patience of a minute is over."""
    path = tmp_path / "a.json"
    child = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None and child.stdout.readline() == "held\n"
    child.kill()
    begin = time.monotonic()
    with Lease(path, 60.0) as lease:  # the child is a zombie: nobody has waited for it yet
        assert lease.taken_from is not None and lease.taken_from["process"] == child.pid
    assert time.monotonic() - begin < 20
    child.wait()
    child.stdout.close()


def test_a_machine_that_died_blocks_for_as_long_as_one_is_patient(tmp_path):
    path = tmp_path / "a.json"
    foreign(path)
    begin = time.monotonic()
    with Lease(path, 1.0) as lease:
        assert 1.0 <= time.monotonic() - begin < 10
        assert lease.taken_from is not None and lease.taken_from["host"] == "elsewhere"


def test_a_machine_that_gives_signs_of_life_is_waited_for(tmp_path):
    """Longer than the patience: its clock is never asked, only whether its file changes."""
    path = tmp_path / "a.json"
    foreign(path)
    got, begin = [], time.monotonic()

    def wait():
        with Lease(path, 1.0):
            got.append(time.monotonic() - begin)

    thread = threading.Thread(target=wait)
    thread.start()
    for beat in range(1, 9):
        time.sleep(0.4)
        foreign(path, beat)
    assert not got
    thread.join(timeout=20)
    assert got and got[0] > 4.0


def test_of_many_who_take_over_one_is_first(tmp_path):
    path, inside, most = tmp_path / "a.json", [], []
    foreign(path)
    lock = threading.Lock()

    def take():
        with Lease(path, 0.5):
            with lock:
                inside.append(1)
                most.append(len(inside))
            time.sleep(0.02)
            with lock:
                inside.pop()

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(most) == 8 and max(most) == 1


def test_who_was_taken_over_stops(tmp_path):
    path = tmp_path / "a.json"
    with Lease(path, 1.0) as lease:
        path.rename(tmp_path / "moved")
        foreign(path)
        time.sleep(0.6)
        with pytest.raises(LeaseLostError, match="another one took over"):
            lease.tell(1, 2, 0)
    found = read_lease(path)
    assert found is not None and found["id"] == "another"  # it does not take the new one's file away


def test_who_could_not_write_for_too_long_stops(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("the disk is away")

    with Lease(tmp_path / "a.json", 0.5) as lease:
        lease.tell(1, 2, 0)
        monkeypatch.setattr(leases, "write_whole_at_start", fail)
        time.sleep(0.8)
        with pytest.raises(LeaseLostError, match="no sign of life"):
            lease.tell(2, 2, 0)
