"""Functions that engines call in other processes, which therefore import them from here."""

import os
import signal
import time
from pathlib import Path


def square(value):
    return value**2


def dies(value):
    """Of 3 always, of 5 the first time."""
    number, folder = value
    count = len(list(Path(folder).glob(f"{number}.*")))
    (Path(folder) / f"{number}.{count}").touch()
    if number == 3 or (number == 5 and count == 0):
        os._exit(9)
    return number


def crash(value):
    """The first value kills its process each time."""
    if value == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return value


def sleeps(_):
    time.sleep(600)
