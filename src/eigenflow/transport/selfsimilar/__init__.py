"""Self-similar solutions and the phase diagram of pure transport: what the loss does for every (b, p). No torch."""

from eigenflow.transport.selfsimilar.laws import PowerLaw as PowerLaw
from eigenflow.transport.selfsimilar.phase import Phase as Phase
from eigenflow.transport.selfsimilar.phase import classify as classify
from eigenflow.transport.selfsimilar.plateau import lasting_share as lasting_share
from eigenflow.transport.selfsimilar.plateau import plateau_loss as plateau_loss
from eigenflow.transport.selfsimilar.profile import SelfSimilar as SelfSimilar
from eigenflow.transport.selfsimilar.regimes import PhaseDiagram as PhaseDiagram
from eigenflow.transport.selfsimilar.regimes import Regime as Regime
from eigenflow.transport.selfsimilar.regimes import phase_diagram as phase_diagram
