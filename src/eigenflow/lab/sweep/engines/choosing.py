"""From settings to an engine."""

from eigenflow.lab.sweep.config import EngineConfig, Resources
from eigenflow.lab.sweep.engines.engine import AbstractEngine

__all__ = ["make_engine"]


def make_engine(config: EngineConfig, resources: Resources, logs: str) -> AbstractEngine:
    """Make the engine that is wanted; what it stands on is imported only then.

    Args:
        config: Which, and how.
        resources: Of one run.
        logs: Folder for what jobs print, of submitit.

    Raises:
        ModuleNotFoundError: If the package that it stands on is not installed.
    """
    if config.name == "ray":
        from eigenflow.lab.sweep.engines.ray import RayEngine

        return RayEngine(config, resources)
    if config.name == "submitit":
        from eigenflow.lab.sweep.engines.submitit import SubmititEngine

        return SubmititEngine(config, resources, logs)
    from eigenflow.lab.sweep.engines.local import LocalEngine

    return LocalEngine(config.jobs, resources.cpus, config.retries)
