"""Tasks of Ray Core: on this machine, or on a cluster of machines any of which may die.

A task whose node or process dies is begun again by Ray itself, on another node; what it had recorded is in its folder,
so it goes on from there. The result of a run is its folder, and the folder must lie where every node sees it.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from eigenflow.core.errors import ConfigError
from eigenflow.lab.sweep.config import EngineConfig, Resources
from eigenflow.lab.sweep.engines.engine import AbstractEngine, Lost

__all__ = ["RayEngine"]

LOOK_S = 1.0
# Ray keeps results in it; those of runs are a few lines.
STORE_BYTES = 100 * 2**20
# A cluster of this process: nothing is sent anywhere, and a version to come behaves as it will.
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}


class RayEngine(AbstractEngine):
    """Runs as Ray tasks; uses the Ray that this process is joined to, joins one at an address, or starts one here.

    Args:
        config: Address (else that in RAY_ADDRESS), retries, and for one that is started here the cores (`jobs` times
            `cpus`).
        resources: Of one run. A share of a GPU is allowed.
    """

    def __init__(self, config: EngineConfig, resources: Resources):
        for name, value in _QUIET.items():
            os.environ.setdefault(name, value)
        import ray

        self.ray, self.resources, self.retries = ray, resources, config.retries
        self.is_own = not ray.is_initialized()
        self._pending: dict[Any, int] = {}
        if self.is_own:
            common = {"log_to_driver": False, "logging_level": "warning"}
            address = config.address or os.environ.get("RAY_ADDRESS", "")
            if address:
                ray.init(address, **common)
            else:
                cores = config.jobs * resources.cpus or None
                ray.init(
                    "local",  # also where another Ray runs on this machine
                    num_cpus=cores,
                    num_gpus=None if resources.gpus else 0,
                    include_dashboard=False,
                    object_store_memory=STORE_BYTES,
                    _node_ip_address="127.0.0.1",
                    **common,
                )
        self._require_room()

    def _require_room(self) -> None:
        """Refuse what no node of the cluster could ever take; it would wait without an end."""
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        wanted = {"CPU": self.resources.cpus, "GPU": self.resources.gpus, "memory": self._memory()}
        if not any(all(node.get(name, 0) >= amount for name, amount in wanted.items()) for node in nodes):
            largest = max((node.get("CPU", 0) for node in nodes), default=0)
            self.close()
            raise ConfigError(
                f"`sweep.resources` asks for {self.resources.cpus} cores, {self.resources.gpus:g} GPUs and "
                f"{self.resources.memory_gb:g} GB for each run, but none of the {len(nodes)} nodes has as much; the "
                f"largest has {largest:g} cores. Ask for less, or start larger nodes before."
            )

    def _memory(self) -> int:
        return int(self.resources.memory_gb * 2**30)

    def describe(self) -> str:
        nodes = [node for node in self.ray.nodes() if node["Alive"]]
        cores = sum(node["Resources"].get("CPU", 0) for node in nodes)
        return f"Ray {self.ray.__version__}, {len(nodes)} node{'s' if len(nodes) > 1 else ''}, {cores:g} cores"

    def map(self, function: Callable[[Any], Any], values: Sequence[Any]) -> Iterator[tuple[int, Any | Lost]]:
        ray, memory = self.ray, self._memory()
        options = {"num_cpus": self.resources.cpus, "num_gpus": self.resources.gpus, "max_retries": self.retries}
        remote = ray.remote(**options, **({"memory": memory} if memory else {}))(function)
        self._pending = {remote.remote(value): place for place, value in enumerate(values)}
        while self._pending:
            ready, _ = ray.wait(list(self._pending), num_returns=1, timeout=LOOK_S)
            for reference in ready:
                place = self._pending.pop(reference)
                try:
                    yield place, ray.get(reference)
                except ray.exceptions.RayError as error:
                    lines = [line for line in str(error).splitlines() if line.strip()]
                    yield place, Lost(f"{type(error).__name__}: {lines[0].strip() if lines else 'it was lost'}")

    def close(self) -> None:
        for reference in self._pending:
            self.ray.cancel(reference, force=True)
        self._pending = {}
        if self.is_own and self.ray.is_initialized():
            self.ray.shutdown()
