"""The transport-dissipation equation of eigenvalue spectra, solved exactly. No torch."""

from eigenflow.transport.closure import Closure as Closure
from eigenflow.transport.closure import fit_closure as fit_closure
from eigenflow.transport.initial import CellMasses as CellMasses
from eigenflow.transport.initial import PointMasses as PointMasses
from eigenflow.transport.methods.exact import ExactJump as ExactJump
from eigenflow.transport.motion.characteristics import Characteristics as Characteristics
from eigenflow.transport.motion.drift import PowerDrift as PowerDrift
from eigenflow.transport.problem import TransportProblem as TransportProblem
from eigenflow.transport.solution import Budget as Budget
from eigenflow.transport.solution import SolveStatus as SolveStatus
from eigenflow.transport.solution import TransportSolution as TransportSolution
from eigenflow.transport.solve import solve as solve
