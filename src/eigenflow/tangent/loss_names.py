"""From what the user names, writes or passes as a loss to the loss."""

from collections.abc import Callable

from torch import Tensor

from eigenflow.core.errors import ArgumentError
from eigenflow.tangent.cross_entropy import CrossEntropyLoss
from eigenflow.tangent.general_loss import GeneralLoss
from eigenflow.tangent.losses import LOSS_FACTORS, AbstractLoss, SquaredLoss

__all__ = ["LossLike", "make_loss"]

LossLike = str | AbstractLoss | Callable[[Tensor, Tensor], Tensor]


def make_loss(loss: LossLike) -> AbstractLoss:
    """Return the loss for a name, a loss object, or a function of outputs and targets.

    Args:
        loss: "mse" (`torch.nn.MSELoss`), "half_mean", "half_sum", "cross_entropy" (`torch.nn.CrossEntropyLoss`, classes
            on the last axis), an `AbstractLoss`, or any function `loss(outputs, targets)` that returns a scalar.

    Raises:
        ArgumentError: If it is none of these.
    """
    if isinstance(loss, AbstractLoss):
        return loss
    if isinstance(loss, str):
        if loss in LOSS_FACTORS:
            return SquaredLoss(kind=loss)
        if loss == "cross_entropy":
            return CrossEntropyLoss()
    elif callable(loss):
        return GeneralLoss(function=loss)
    names = ", ".join(repr(name) for name in (*LOSS_FACTORS, "cross_entropy"))
    raise ArgumentError(
        f"`loss` must be one of {names}, or a function loss(outputs, targets) that returns a scalar, but is {loss!r}. "
        f"'mse' is torch.nn.MSELoss (mean over samples and outputs), 'half_mean' is 0.5 * ((f - y)**2).sum(1).mean(), "
        f"'half_sum' is 0.5 * ((f - y)**2).sum(), 'cross_entropy' is torch.nn.CrossEntropyLoss."
    )
