"""From the shells of a run to the equation: velocity, drift law, source. Reads runs, so it needs xarray and zarr."""

from eigenflow.closure.alternatives import FormComparison as FormComparison
from eigenflow.closure.alternatives import compare_forms as compare_forms
from eigenflow.closure.dispersion import Dispersion as Dispersion
from eigenflow.closure.dispersion import velocity_dispersion as velocity_dispersion
from eigenflow.closure.forward import ForwardTest as ForwardTest
from eigenflow.closure.forward import forward_test as forward_test
from eigenflow.closure.history import StateHistory as StateHistory
from eigenflow.closure.intervals import VelocityIntervals as VelocityIntervals
from eigenflow.closure.intervals import mode_intervals as mode_intervals
from eigenflow.closure.intervals import seed_intervals as seed_intervals
from eigenflow.closure.intervals import time_intervals as time_intervals
from eigenflow.closure.joint import DriftLaw as DriftLaw
from eigenflow.closure.joint import fit_drift_law as fit_drift_law
from eigenflow.closure.law import Closure as Closure
from eigenflow.closure.law import HeldOut as HeldOut
from eigenflow.closure.law import fit_closure as fit_closure
from eigenflow.closure.of_run import run_velocities as run_velocities
from eigenflow.closure.residual import ClosureResidual as ClosureResidual
from eigenflow.closure.residual import closure_residual as closure_residual
from eigenflow.closure.residual import residual_order as residual_order
from eigenflow.closure.rotation import JumpRate as JumpRate
from eigenflow.closure.rotation import jump_rate as jump_rate
from eigenflow.closure.source import NonlocalSource as NonlocalSource
from eigenflow.closure.source import nonlocal_source as nonlocal_source
from eigenflow.closure.state_forecast import StateForecast as StateForecast
from eigenflow.closure.state_forecast import forecast_state as forecast_state
from eigenflow.closure.state_law import StateLaw as StateLaw
from eigenflow.closure.state_law import fit_state_law as fit_state_law
from eigenflow.closure.velocities import MIN_MODES as MIN_MODES
from eigenflow.closure.velocities import Velocities as Velocities
from eigenflow.closure.velocities import balance_velocities as balance_velocities
from eigenflow.closure.velocities import rank_velocities as rank_velocities
from eigenflow.closure.velocities import shell_velocities as shell_velocities
from eigenflow.core.moved import keep_old_names as _keep_old_names

_keep_old_names(__name__)
