"""What a path is: a run folder, or a log; it may not be there yet, and may become another thing."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from eigenflow.report.live.sources.log import LogOptions, LogSource
from eigenflow.report.live.sources.look import Look, Row, Source
from eigenflow.report.live.sources.run_folder import RunFolderSource
from eigenflow.store.schema import HEADER

__all__ = ["ChosenSource"]


class ChosenSource:
    """Looks at a path as what it is, once it is there.

    Args:
        path: A run folder, a log, or where one shall be.
        options: How a log is read.
        clock: Seconds since 1970.
    """

    def __init__(self, path: Path, options: LogOptions | None = None, clock: Callable[[], float] = time.time) -> None:
        self._path, self._options, self._clock = path, options or LogOptions(), clock
        self._source: Source | None = None

    def look(self) -> Look:
        """Give what is new."""
        is_run = (self._path / HEADER).exists()
        if is_run and not isinstance(self._source, RunFolderSource):
            return self._begin(RunFolderSource(self._path))
        if self._source is None and self._is_log():
            return self._begin(LogSource(self._path, self._options, self._clock))
        if self._source is None:
            name = self._path.resolve().name
            return Look("waiting", name=name, problem=f"{self._path} is not there yet, or is empty.")
        return self._source.look()

    def past(self) -> Iterator[Row]:
        """All rows from the first on once more."""
        return iter(()) if self._source is None else self._source.past()

    def _begin(self, source: Source) -> Look:
        was_other, self._source = self._source is not None, source
        look = source.look()
        look.is_new = look.is_new or was_other
        return look

    def _is_log(self) -> bool:
        if not self._path.is_dir():
            return self._path.is_file()
        # A run folder that is being made has its lock first.
        return any(not one.name.startswith(".") for one in self._path.iterdir())
