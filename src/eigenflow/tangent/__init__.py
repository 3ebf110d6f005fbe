"""A network and a probe set at one instant: the error, the operator M = J J^T, and how it moves."""

from eigenflow.tangent.holdout import HoldoutPoint as HoldoutPoint
from eigenflow.tangent.holdout import HoldoutStep as HoldoutStep
from eigenflow.tangent.holdout import LazyHoldout as LazyHoldout
from eigenflow.tangent.holdout import holdout_step as holdout_step
from eigenflow.tangent.holdout import lazy_holdout as lazy_holdout
from eigenflow.tangent.linearised.prediction import LazyPrediction as LazyPrediction
from eigenflow.tangent.linearised.prediction import LazyStatus as LazyStatus
from eigenflow.tangent.linearised.prediction import lazy_prediction as lazy_prediction
from eigenflow.tangent.loss.base import AbstractLoss as AbstractLoss
from eigenflow.tangent.loss.base import SquaredLoss as SquaredLoss
from eigenflow.tangent.loss.base import loss_factor as loss_factor
from eigenflow.tangent.loss.cross_entropy import CrossEntropyLoss as CrossEntropyLoss
from eigenflow.tangent.loss.general import GeneralLoss as GeneralLoss
from eigenflow.tangent.loss.names import make_loss as make_loss
from eigenflow.tangent.loss.sketch import SketchedLoss as SketchedLoss
from eigenflow.tangent.loss.sketch import sketched as sketched
from eigenflow.tangent.motion import KernelChange as KernelChange
from eigenflow.tangent.motion import KernelMotion as KernelMotion
from eigenflow.tangent.motion import kernel_change as kernel_change
from eigenflow.tangent.motion import kernel_motion as kernel_motion
from eigenflow.tangent.point import TangentPoint as TangentPoint
from eigenflow.tangent.preconditioner import inverse_preconditioner as inverse_preconditioner
from eigenflow.tangent.probe import Probe as Probe
from eigenflow.tangent.products import CachedJacobian as CachedJacobian
from eigenflow.tangent.sharded import ShardedProbe as ShardedProbe
from eigenflow.tangent.snapshot import Snapshot as Snapshot
