"""From shell energies over time back to the velocity and the source that moved them."""

from eigenflow.transport.inverse.recovery import recover as recover
from eigenflow.transport.inverse.result import Recovered as Recovered
from eigenflow.transport.inverse.result import RecoverStatus as RecoverStatus
