"""A network and a probe set at one instant: the error, the operator M = J J^T, and how it moves."""

from eigenflow.tangent.losses import loss_factor as loss_factor
from eigenflow.tangent.point import TangentPoint as TangentPoint
from eigenflow.tangent.probe import Probe as Probe
from eigenflow.tangent.snapshot import Snapshot as Snapshot
