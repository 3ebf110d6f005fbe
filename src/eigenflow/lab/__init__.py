"""Reference tasks, models and training, for experiments that anyone can repeat."""

from eigenflow.lab.config import ExperimentConfig as ExperimentConfig
from eigenflow.lab.config import load_config as load_config
from eigenflow.lab.config import shipped_configs as shipped_configs
from eigenflow.lab.coordinates import CoordinateCheck as CoordinateCheck
from eigenflow.lab.coordinates import coordinate_check as coordinate_check
from eigenflow.lab.experiment import ExperimentCost as ExperimentCost
from eigenflow.lab.experiment import estimate_cost as estimate_cost
from eigenflow.lab.experiment import run_experiment as run_experiment
from eigenflow.lab.lazy_rich_crossover import Crossover as Crossover
from eigenflow.lab.lazy_rich_crossover import crossover as crossover
from eigenflow.lab.lazy_rich_crossover import slope as slope
from eigenflow.lab.lazy_rich_sweeps import LazyRichSweep as LazyRichSweep
from eigenflow.lab.lazy_rich_sweeps import lazy_rich_sweep as lazy_rich_sweep
from eigenflow.lab.variations import lazy_rich_variations as lazy_rich_variations
