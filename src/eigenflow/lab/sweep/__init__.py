"""Many runs: what is swept, what each run is called, where runs are made, and what is left to do."""

from eigenflow.lab.sweep.attempt import Outcome as Outcome
from eigenflow.lab.sweep.config import SweepConfig as SweepConfig
from eigenflow.lab.sweep.config import load_sweep as load_sweep
from eigenflow.lab.sweep.config import shipped_sweeps as shipped_sweeps
from eigenflow.lab.sweep.cost import SweepCost as SweepCost
from eigenflow.lab.sweep.cost import estimate_sweep as estimate_sweep
from eigenflow.lab.sweep.plan import SweepPlan as SweepPlan
from eigenflow.lab.sweep.plan import plan_sweep as plan_sweep
from eigenflow.lab.sweep.running import SweepOutcome as SweepOutcome
from eigenflow.lab.sweep.running import SweepWork as SweepWork
from eigenflow.lab.sweep.running import make_sweep as make_sweep
from eigenflow.lab.sweep.running import prepare_sweep as prepare_sweep
