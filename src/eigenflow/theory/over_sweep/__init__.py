"""Sweeps of run folders, read: one dataset over what was swept, and what changes over it. Needs no torch."""

from eigenflow.theory.over_sweep.dataset import sweep_dataset as sweep_dataset
from eigenflow.theory.over_sweep.effects import SweepEffects as SweepEffects
from eigenflow.theory.over_sweep.effects import sweep_effects as sweep_effects
from eigenflow.theory.over_sweep.folder import Sweep as Sweep
from eigenflow.theory.over_sweep.folder import is_sweep as is_sweep
from eigenflow.theory.over_sweep.folder import open_sweep as open_sweep
from eigenflow.theory.over_sweep.results import open_results as open_results
from eigenflow.theory.over_sweep.results import write_results as write_results
