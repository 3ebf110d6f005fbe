"""Processes of this machine, by the part of joblib that starts them (loky)."""

import os
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from eigenflow.lab.sweep.engines.engine import AbstractEngine, Lost

__all__ = ["LocalEngine"]


class LocalEngine(AbstractEngine):
    """Runs in processes of their own, so many at once.

    Each slot is a process that makes one run after another. A run that kills its process (no memory, a crash of the
    interpreter) takes none of the others with it, and is begun again.

    Args:
        jobs: Slots; 0: cores that this process may use over `cpus`.
        cpus: Of a run.
        retries: How often a run is begun again.
    """

    def __init__(self, jobs: int = 0, cpus: int = 1, retries: int = 2):
        self.jobs, self.retries = jobs or max(1, _cores() // cpus), retries
        self._slots: list[Any] = []
        self._is_closed = False

    def describe(self) -> str:
        return f"{self.jobs} process{'es' if self.jobs > 1 else ''} of this machine"

    def map(self, function: Callable[[Any], Any], values: Sequence[Any]) -> Iterator[tuple[int, Any | Lost]]:
        waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
        for place in range(len(values)):
            waiting.put(place)
        ended: queue.SimpleQueue[tuple[int, Any | Lost] | BaseException] = queue.SimpleQueue()
        threads = [
            threading.Thread(target=self._serve, args=(function, values, waiting, ended), daemon=True)
            for _ in range(min(self.jobs, len(values)))
        ]
        for thread in threads:
            thread.start()
        for _ in values:
            found = self._next(ended)
            if found is None:
                return
            if isinstance(found, BaseException):
                raise found
            yield found
        for thread in threads:
            thread.join()

    def _serve(
        self,
        function: Callable[[Any], Any],
        values: Sequence[Any],
        waiting: "queue.SimpleQueue[int]",
        ended: "queue.SimpleQueue[tuple[int, Any | Lost] | BaseException]",
    ) -> None:
        """One slot: take the next value, until there is none."""
        from joblib.externals.loky.process_executor import BrokenProcessPool, ProcessPoolExecutor

        executor: Any = None
        while not self._is_closed:
            try:
                place = waiting.get_nowait()
            except queue.Empty:
                break
            found: Any = None
            for attempt in range(self.retries + 1):
                if executor is None:
                    executor = ProcessPoolExecutor(max_workers=1, timeout=None)
                    self._slots.append(executor)
                try:
                    found = executor.submit(function, values[place]).result()
                    break
                except BrokenProcessPool as error:  # also of a process that was killed
                    executor = None
                    found = Lost(f"its process died {attempt + 1} times; {_first_line(error)}")
                except BaseException as error:
                    if not self._is_closed:
                        ended.put(error)
                    return
                if self._is_closed:
                    return
            ended.put((place, found))
        if executor is not None:
            executor.shutdown(wait=True)

    def _next(self, ended: "queue.SimpleQueue[Any]") -> Any:
        """What ends next; None once the engine is closed. Waits so that Ctrl-C is heard on every system."""
        while not self._is_closed:
            try:
                return ended.get(timeout=0.5)
            except queue.Empty:
                continue
        return None

    def close(self) -> None:
        self._is_closed = True
        for executor in self._slots:
            executor.shutdown(wait=True, kill_workers=True)
        self._slots.clear()


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _cores() -> int:
    """Cores that this process may use: of a container or a job those it was given."""
    from joblib import cpu_count

    return max(1, min(cpu_count(), len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cpu_count()))
