"""Reference tasks, models and training, for experiments that anyone can repeat."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eigenflow.lab.config import ExperimentConfig as ExperimentConfig
    from eigenflow.lab.config import load_config as load_config
    from eigenflow.lab.config import shipped_configs as shipped_configs
    from eigenflow.lab.coordinates import CoordinateCheck as CoordinateCheck
    from eigenflow.lab.coordinates import coordinate_check as coordinate_check
    from eigenflow.lab.experiment import ExperimentCost as ExperimentCost
    from eigenflow.lab.experiment import estimate_cost as estimate_cost
    from eigenflow.lab.experiment import run_experiment as run_experiment
    from eigenflow.lab.glance import first_look as first_look
    from eigenflow.lab.lazy_rich_crossover import Crossover as Crossover
    from eigenflow.lab.lazy_rich_crossover import crossover as crossover
    from eigenflow.lab.lazy_rich_crossover import slope as slope
    from eigenflow.lab.lazy_rich_sweeps import LazyRichSweep as LazyRichSweep
    from eigenflow.lab.lazy_rich_sweeps import lazy_rich_sweep as lazy_rich_sweep
    from eigenflow.lab.variations import lazy_rich_variations as lazy_rich_variations

# Resolved when asked for: a run needs neither sweeps nor their statistics, whose import takes a second.
_HOMES = {
    "CoordinateCheck": "coordinates",
    "Crossover": "lazy_rich_crossover",
    "ExperimentConfig": "config",
    "ExperimentCost": "experiment",
    "LazyRichSweep": "lazy_rich_sweeps",
    "coordinate_check": "coordinates",
    "crossover": "lazy_rich_crossover",
    "estimate_cost": "experiment",
    "first_look": "glance",
    "lazy_rich_sweep": "lazy_rich_sweeps",
    "lazy_rich_variations": "variations",
    "load_config": "config",
    "run_experiment": "experiment",
    "shipped_configs": "config",
    "slope": "lazy_rich_crossover",
}
__all__ = [
    "CoordinateCheck",
    "Crossover",
    "ExperimentConfig",
    "ExperimentCost",
    "LazyRichSweep",
    "coordinate_check",
    "crossover",
    "estimate_cost",
    "first_look",
    "lazy_rich_sweep",
    "lazy_rich_variations",
    "load_config",
    "run_experiment",
    "shipped_configs",
    "slope",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}. It has: {', '.join(__all__)}.")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
