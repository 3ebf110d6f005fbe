"""From what the user names, writes or passes as a loss to the loss."""

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from eigenflow.core.errors import ArgumentError
from eigenflow.tangent.loss.base import LOSS_FACTORS, AbstractLoss, SquaredLoss
from eigenflow.tangent.loss.cross_entropy import CrossEntropyLoss
from eigenflow.tangent.loss.general import GeneralLoss
from eigenflow.tangent.loss.torch_losses import torch_loss

__all__ = ["LossLike", "make_loss"]

LossLike = str | AbstractLoss | Callable[[Tensor, Tensor], Tensor]


def make_loss(loss: LossLike, class_axis: int | None = None) -> AbstractLoss:
    """Return the loss for a name, a loss object, one of PyTorch's losses, or a function of outputs and targets.

    Args:
        loss: "mse" (`torch.nn.MSELoss`), "half_mean", "half_sum", "sum_squares", "cross_entropy"
            (`torch.nn.CrossEntropyLoss`), an `AbstractLoss`, a loss of PyTorch as a module, function or
            `functools.partial`, or any function `loss(outputs, targets)` that returns a scalar.
        class_axis: For cross-entropy, the axis of the network's outputs with the classes, samples counted as axis 0;
            None: the axis that the targets fit, and axis 1 if they fit that and the last.

    Raises:
        ArgumentError: If it is none of these, if a loss of PyTorch cannot be measured, or if `class_axis` is given for
            another loss than cross-entropy.
    """
    made = _made(loss)
    if class_axis is None:
        return made
    if not isinstance(class_axis, int) or isinstance(class_axis, bool):
        raise ArgumentError(f"`class_axis` must be a whole number or None, but is {class_axis!r}.")
    return with_class_axis(made, class_axis)


def with_class_axis(loss: AbstractLoss, class_axis: int) -> AbstractLoss:
    """The same loss with the axis of its classes said, also inside a sketch.

    Raises:
        ArgumentError: If it has no classes, or has another axis already.
    """
    base = getattr(loss, "base", None)
    if isinstance(base, AbstractLoss):
        return replace(loss, base=with_class_axis(base, class_axis))  # pyright: ignore[reportCallIssue]
    if not isinstance(loss, CrossEntropyLoss):
        raise ArgumentError(
            f"`class_axis` says where the classes of cross-entropy lie, but `loss` is '{loss.name}'. Leave it out; a "
            f"function of your own moves the axis itself, with outputs.movedim(-1, 1)."
        )
    if loss.class_axis not in (None, class_axis):
        raise ArgumentError(f"`class_axis` is {class_axis}, but `loss` has {loss.class_axis}. Give it once.")
    return replace(loss, class_axis=class_axis)


def _made(loss: LossLike) -> AbstractLoss:
    if isinstance(loss, AbstractLoss):
        return loss
    if isinstance(loss, str):
        if loss in LOSS_FACTORS:
            return SquaredLoss(kind=loss)
        if loss == "cross_entropy":
            return CrossEntropyLoss()
    elif callable(loss) and not isinstance(loss, type):
        return torch_loss(loss) or GeneralLoss(loss)
    elif isinstance(loss, type):
        raise ArgumentError(f"`loss` must be an object, but is the class {loss.__name__}. Pass {loss.__name__}().")
    names = ", ".join(repr(name) for name in (*LOSS_FACTORS, "cross_entropy"))
    raise ArgumentError(
        f"`loss` must be one of {names}, or a function loss(outputs, targets) that returns a scalar, but is {loss!r}. "
        f"'mse' is torch.nn.MSELoss (mean over samples and outputs), 'half_mean' is 0.5 * ((f - y)**2).sum(1).mean(), "
        f"'half_sum' is 0.5 * ((f - y)**2).sum(), 'cross_entropy' is torch.nn.CrossEntropyLoss."
    )
