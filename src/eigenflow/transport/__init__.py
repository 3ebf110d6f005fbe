"""The transport-dissipation equation of eigenvalue spectra, and its solvers. No torch."""

from eigenflow.core.moved import keep_old_names as _keep_old_names
from eigenflow.transport.flows.characteristics import Characteristics as Characteristics
from eigenflow.transport.flows.drift import PowerDrift as PowerDrift
from eigenflow.transport.flows.general_drifts import CallableDrift as CallableDrift
from eigenflow.transport.flows.general_drifts import TabulatedDrift as TabulatedDrift
from eigenflow.transport.initial import CellMasses as CellMasses
from eigenflow.transport.initial import PointMasses as PointMasses
from eigenflow.transport.inverse import Recovered as Recovered
from eigenflow.transport.inverse import RecoverStatus as RecoverStatus
from eigenflow.transport.inverse import recover as recover
from eigenflow.transport.methods.exact import Duhamel as Duhamel
from eigenflow.transport.methods.exact import ExactJump as ExactJump
from eigenflow.transport.methods.integrating_factor import IntegratingFactor as IntegratingFactor
from eigenflow.transport.methods.ladder import Ladder as Ladder
from eigenflow.transport.methods.lines import Lines as Lines
from eigenflow.transport.methods.march import March as March
from eigenflow.transport.methods.method import AbstractMethod as AbstractMethod
from eigenflow.transport.methods.splitting import Strang as Strang
from eigenflow.transport.problem import Drift as Drift
from eigenflow.transport.problem import TransportProblem as TransportProblem
from eigenflow.transport.selfsimilar import Phase as Phase
from eigenflow.transport.selfsimilar import PhaseDiagram as PhaseDiagram
from eigenflow.transport.selfsimilar import Regime as Regime
from eigenflow.transport.selfsimilar import SelfSimilar as SelfSimilar
from eigenflow.transport.selfsimilar import classify as classify
from eigenflow.transport.selfsimilar import lasting_share as lasting_share
from eigenflow.transport.selfsimilar import phase_diagram as phase_diagram
from eigenflow.transport.selfsimilar import plateau_loss as plateau_loss
from eigenflow.transport.sensitivity import Sensitivities as Sensitivities
from eigenflow.transport.sensitivity import sensitivities as sensitivities
from eigenflow.transport.solution import Budget as Budget
from eigenflow.transport.solution import SolveStatus as SolveStatus
from eigenflow.transport.solution import TransportSolution as TransportSolution
from eigenflow.transport.solving import solve as solve
from eigenflow.transport.solving import solve_batch as solve_batch
from eigenflow.transport.sources import AbstractSource as AbstractSource
from eigenflow.transport.sources import GivenSource as GivenSource
from eigenflow.transport.sources import KernelSource as KernelSource
from eigenflow.transport.sources import LogNormalKernel as LogNormalKernel
from eigenflow.transport.sources import SgdNoise as SgdNoise
from eigenflow.transport.sources import StateSource as StateSource

_keep_old_names(__name__)
