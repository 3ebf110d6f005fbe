"""Jobs of Slurm by submitit, or by the same call processes of this machine.

On Slurm all runs are one job array. A job that is preempted, or comes to its time limit, is put back into the queue by
submitit, and goes on from its folder.
"""

from collections.abc import Callable, Iterator, Sequence
from time import sleep
from typing import Any

from eigenflow.core.errors import ConfigError
from eigenflow.lab.sweep.config import EngineConfig, Resources
from eigenflow.lab.sweep.engines.engine import AbstractEngine, Lost

__all__ = ["SubmititEngine"]

LOOK_S = {"slurm": 5.0, "local": 0.2, "debug": 0.0}


class Requeued:
    """The function, with what submitit calls where a job is to be put back: the same call once more."""

    def __init__(self, function: Callable[[Any], Any]):
        self.function = function

    def __call__(self, value: Any) -> Any:
        return self.function(value)

    def checkpoint(self, value: Any) -> Any:
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, value)


class SubmititEngine(AbstractEngine):
    """Runs as jobs.

    Args:
        config: Cluster, further parameters, retries, and how many jobs at once.
        resources: Of one run.
        logs: Folder for what jobs print; on a cluster where every node sees it.

    Raises:
        ConfigError: If submitit does not know a parameter.
    """

    def __init__(self, config: EngineConfig, resources: Resources, logs: str):
        import submitit

        cluster = None if config.cluster == "auto" else config.cluster
        self.executor = submitit.AutoExecutor(logs, cluster=cluster)
        self.cluster, self.retries = self.executor.cluster, config.retries
        self.jobs, self._running = config.jobs or 1, {}
        known: dict[str, Any] = {
            "timeout_min": resources.minutes,
            "cpus_per_task": resources.cpus,
            "name": "eigenflow",
        }
        if resources.gpus:
            known["gpus_per_node"] = max(1, round(resources.gpus))
        if resources.memory_gb:
            known["mem_gb"] = resources.memory_gb
        if config.jobs:
            known["slurm_array_parallelism"] = config.jobs
        try:
            self.executor.update_parameters(**known, **config.parameters)
        except (NameError, AssertionError, TypeError) as error:
            lines = str(error).splitlines()
            raise ConfigError(
                f"`sweep.engine.parameters` is not known to submitit: {lines[0] if lines else error}"
            ) from None

    def describe(self) -> str:
        return f"submitit on {self.cluster}" + ("" if self.cluster == "slurm" else f", {self.jobs} at once")

    def map(self, function: Callable[[Any], Any], values: Sequence[Any]) -> Iterator[tuple[int, Any | Lost]]:
        call, waiting, attempts = Requeued(function), list(range(len(values))), dict.fromkeys(range(len(values)), 0)
        while waiting or self._running:
            # Slurm has a queue of its own.
            room = len(waiting) if self.cluster == "slurm" else max(0, self.jobs - len(self._running))
            chosen, waiting = waiting[:room], waiting[room:]
            if chosen:
                jobs = self.executor.map_array(call, [values[place] for place in chosen])
                self._running |= dict(zip(chosen, jobs, strict=True))
            ended = [place for place, job in self._running.items() if job.done()]
            if not ended:
                sleep(LOOK_S.get(self.cluster, 1.0))
            for place in ended:
                found = _result(self._running.pop(place))
                if isinstance(found, Lost) and attempts[place] < self.retries:
                    attempts[place] += 1
                    waiting.append(place)
                else:
                    yield place, found

    def close(self) -> None:
        for job in self._running.values():
            job.cancel(check=False)
        self._running = {}


def _result(job: Any) -> Any | Lost:
    """What a job gave; what it raised can only be that it was lost, as the function raises nothing."""
    try:
        return job.result()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        return Lost(f"{type(error).__name__}: {lines[-1].strip() if lines else 'no output'} (job {job.job_id})")
