"""The transport-dissipation equation of eigenvalue spectra, and its solvers. No torch."""

from typing import TYPE_CHECKING, Any

from eigenflow.transport.initial import CellMasses as CellMasses
from eigenflow.transport.initial import PointMasses as PointMasses
from eigenflow.transport.inverse import Recovered as Recovered
from eigenflow.transport.inverse import RecoverStatus as RecoverStatus
from eigenflow.transport.inverse import recover as recover
from eigenflow.transport.methods.duhamel import Duhamel as Duhamel
from eigenflow.transport.methods.exact import ExactJump as ExactJump
from eigenflow.transport.methods.ladder import Ladder as Ladder
from eigenflow.transport.methods.lines import Lines as Lines
from eigenflow.transport.methods.march import March as March
from eigenflow.transport.methods.strang import Strang as Strang
from eigenflow.transport.motion.characteristics import Characteristics as Characteristics
from eigenflow.transport.motion.drift import PowerDrift as PowerDrift
from eigenflow.transport.motion.general import CallableDrift as CallableDrift
from eigenflow.transport.motion.general import TabulatedDrift as TabulatedDrift
from eigenflow.transport.problem import TransportProblem as TransportProblem
from eigenflow.transport.selfsimilar import Phase as Phase
from eigenflow.transport.selfsimilar import SelfSimilar as SelfSimilar
from eigenflow.transport.selfsimilar import classify as classify
from eigenflow.transport.selfsimilar import phase_diagram as phase_diagram
from eigenflow.transport.sensitivity import Sensitivities as Sensitivities
from eigenflow.transport.sensitivity import sensitivities as sensitivities
from eigenflow.transport.solution import Budget as Budget
from eigenflow.transport.solution import SolveStatus as SolveStatus
from eigenflow.transport.solution import TransportSolution as TransportSolution
from eigenflow.transport.solve import solve as solve
from eigenflow.transport.solve import solve_batch as solve_batch
from eigenflow.transport.sources import GivenSource as GivenSource
from eigenflow.transport.sources import KernelSource as KernelSource
from eigenflow.transport.sources import LogNormalKernel as LogNormalKernel
from eigenflow.transport.sources import SgdNoise as SgdNoise
from eigenflow.transport.sources import StateSource as StateSource

if TYPE_CHECKING:
    from eigenflow.transport.closure import Closure as Closure
    from eigenflow.transport.closure import fit_closure as fit_closure


def __getattr__(name: str) -> Any:
    # The closure reads runs, and with them come xarray, pandas and zarr; who only solves needs none of them.
    if name in {"Closure", "fit_closure"}:
        from eigenflow.transport import closure

        return getattr(closure, name)
    raise AttributeError(f"module 'eigenflow.transport' has no attribute {name!r}")
