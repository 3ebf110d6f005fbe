"""From the shells of a run to the equation: velocity, drift law, source. Reads runs, so it needs xarray and zarr."""

from eigenflow.transport.closure.alternatives import FormComparison as FormComparison
from eigenflow.transport.closure.alternatives import compare_forms as compare_forms
from eigenflow.transport.closure.dispersion import Dispersion as Dispersion
from eigenflow.transport.closure.dispersion import velocity_dispersion as velocity_dispersion
from eigenflow.transport.closure.forward import ForwardTest as ForwardTest
from eigenflow.transport.closure.forward import forward_test as forward_test
from eigenflow.transport.closure.intervals import VelocityIntervals as VelocityIntervals
from eigenflow.transport.closure.intervals import mode_intervals as mode_intervals
from eigenflow.transport.closure.intervals import seed_intervals as seed_intervals
from eigenflow.transport.closure.intervals import time_intervals as time_intervals
from eigenflow.transport.closure.joint import DriftLaw as DriftLaw
from eigenflow.transport.closure.joint import fit_law as fit_law
from eigenflow.transport.closure.law import Closure as Closure
from eigenflow.transport.closure.law import HeldOut as HeldOut
from eigenflow.transport.closure.law import fit_closure as fit_closure
from eigenflow.transport.closure.residual import ClosureResidual as ClosureResidual
from eigenflow.transport.closure.residual import closure_residual as closure_residual
from eigenflow.transport.closure.residual import residual_order as residual_order
from eigenflow.transport.closure.source import NonlocalSource as NonlocalSource
from eigenflow.transport.closure.source import nonlocal_source as nonlocal_source
from eigenflow.transport.closure.velocities import MIN_MODES as MIN_MODES
from eigenflow.transport.closure.velocities import Velocities as Velocities
from eigenflow.transport.closure.velocities import balance_velocities as balance_velocities
from eigenflow.transport.closure.velocities import rank_velocities as rank_velocities
from eigenflow.transport.closure.velocities import shell_velocities as shell_velocities
