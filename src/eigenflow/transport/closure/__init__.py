"""From the shells of a run to the equation: velocity, drift law, source. Reads runs, so it needs xarray and zarr."""

from eigenflow.transport.closure.law import MIN_MODES as MIN_MODES
from eigenflow.transport.closure.law import Closure as Closure
from eigenflow.transport.closure.law import HeldOut as HeldOut
from eigenflow.transport.closure.law import fit_closure as fit_closure
