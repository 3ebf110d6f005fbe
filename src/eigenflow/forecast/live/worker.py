"""Forecasts in a process of their own: JSON lines in, JSON lines out, and gone when the trainer is.

Run as `python -c "from eigenflow.forecast.live.worker import serve; serve()"`. A program that trains cannot be forked
(threads, CUDA), and `multiprocessing` would import its script again, so it is a plain process with two pipes. It ends
when its input does, which the system sees to however the trainer dies, and looks for its parent meanwhile: a forked
data loader may hold the pipe open for longer.
"""

import json
import os
import signal
import sys
import threading
import time
import warnings
from typing import Any

__all__ = ["answer", "serve"]

# Seconds between two looks for the parent.
LOOKS_S = 1.0
# Forecasts give way to training.
NICE = 10


def serve() -> None:
    """Answer questions from standard input until it ends."""
    parent = os.getppid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the trainer, which closes the pipe
    threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()
    if hasattr(os, "nice"):
        os.nice(NICE)
    warnings.simplefilter("ignore")
    # What a library prints must not stand among the answers.
    out, sys.stdout = sys.stdout, sys.stderr
    schedule = None
    for line in sys.stdin:
        message = json.loads(line)
        if "schedule" in message:
            from eigenflow.forecast.schedules.schedule import Schedule

            schedule = None if message["schedule"] is None else Schedule.from_dict(message["schedule"])
            continue
        out.write(json.dumps(answer(message, schedule)) + "\n")
        out.flush()


def answer(message: dict[str, Any], schedule: Any) -> dict[str, Any]:
    """Give the forecast that a question asks for, or why there is none."""
    from eigenflow.forecast.live.rest import Question, forecast_rest

    begun = time.process_time()
    try:
        return {"forecast": forecast_rest(Question.from_dict(message), schedule).to_dict()}
    except Exception as error:  # whatever a strange run does to a fit, training goes on
        return {"refused": str(error) or type(error).__name__, "cpu_s": time.process_time() - begun}


def _leave_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOKS_S)
    os._exit(0)
