"""On which axis of the outputs the classes lie, and targets as weighted probabilities over them.

`torch.nn.CrossEntropyLoss` has the classes on axis 1, behind the samples; language models return them on the last axis
and flatten before the loss. Labels have the shape of the outputs without the class axis, and so tell which it is,
unless both lengths agree; probabilities tell by summing to one.
"""

import warnings

import torch
from torch import Tensor
from torch.nn import functional

from eigenflow.core.errors import ArgumentError, NonFiniteError, ShapeError

__all__ = ["find_class_axis", "one_hot", "probabilities"]


def find_class_axis(targets: Tensor, output_shape: torch.Size, class_axis: int | None, name: str) -> int:
    """Return the axis of the classes.

    Args:
        targets: Labels (integers) or probabilities.
        output_shape: Of the network, sample axis first.
        class_axis: What the user says, or None.
        name: Of the targets, for messages.

    Raises:
        ArgumentError: If `class_axis` is no axis behind the samples.
        ShapeError: If the outputs have no classes, or the targets fit no axis.
    """
    dims = len(output_shape)
    if class_axis is not None and not (1 <= class_axis < dims or -dims < class_axis < 0):
        raise ArgumentError(
            f"`class_axis` must be an axis of the network's outputs {tuple(output_shape)} behind the samples, in "
            f"[1, {dims - 1}] or negative, but is {class_axis}."
        )
    axes = [1, dims - 1] if class_axis is None else [class_axis % dims]
    axes = sorted({axis for axis in axes if 0 < axis < dims and output_shape[axis] >= 2})
    if not axes:
        raise ShapeError(
            f"loss='cross_entropy' needs outputs with at least two classes on axis 1 or on the last axis, but the "
            f"network returns {tuple(output_shape)}. For one logit, pass loss=torch.nn.BCEWithLogitsLoss() and targets "
            f"0 or 1 with the shape of the outputs."
        )
    if len(axes) == 1:
        return axes[0]
    fits = _summing_axes if targets.is_floating_point() else _fitting_axes
    fitting = fits(targets, output_shape, axes)
    if len(fitting) > 1:
        warnings.warn(
            f"Targets of shape {tuple(targets.shape)} fit outputs of shape {tuple(output_shape)} with the classes on "
            f"axis 1 and with the classes on the last axis. Axis 1 is taken, as torch.nn.functional.cross_entropy "
            f"does. Pass class_axis=1, or class_axis=-1 for the last axis, to say which.",
            UserWarning,
            stacklevel=5,  # the line that makes the probe
        )
    # Where nothing fits, the message of the check that follows speaks of the axis that PyTorch would take.
    return fitting[0] if fitting else axes[0]


def one_hot(labels: Tensor, output_shape: torch.Size, axis: int, ignored: int, name: str) -> tuple[Tensor, Tensor]:
    """Labels as probabilities, classes last, and the positions (as in the result, without classes) that count."""
    classes, positions = output_shape[axis], _without(output_shape, axis)
    if labels.dtype == torch.bool or labels.is_complex():
        raise ArgumentError(f"`{name}` must hold class labels as integers, but has dtype {labels.dtype}.")
    if not _has_shape(labels, positions):
        raise ShapeError(
            f"`{name}` must hold one label for every position of the outputs, shape {positions}, but has "
            f"{tuple(labels.shape)}. The network returns {tuple(output_shape)}, of which axis {axis} is taken for the "
            f"classes; `class_axis` chooses another, and for probabilities pass floating-point targets of that shape."
        )
    labels = labels.reshape(positions).long()
    is_kept = labels != ignored
    is_bad = is_kept & ((labels < 0) | (labels >= classes))
    if is_bad.any():
        worst = int(labels[is_bad][0])
        raise ArgumentError(
            f"`{name}` must hold class labels in [0, {classes - 1}] (axis {axis} of the outputs has {classes} "
            f"classes), but has {int(is_bad.sum())} outside, the first {worst}. Use {ignored} for positions to leave "
            f"out."
        )
    return functional.one_hot(torch.where(is_kept, labels, 0), classes).to(torch.float64), is_kept


def probabilities(targets: Tensor, output_shape: torch.Size, axis: int, name: str) -> Tensor:
    """Checked probabilities in float64, classes last, with sum one."""
    positions = _without(output_shape, axis)
    if targets.shape != output_shape:
        hint = f" Class labels must be integers: {name}.long()." if targets.shape == positions else ""
        raise ShapeError(
            f"`{name}` must be probabilities with the shape of the outputs, {tuple(output_shape)}, or integer class "
            f"labels of shape {positions}, but has dtype {targets.dtype} and shape {tuple(targets.shape)}.{hint}"
        )
    if not torch.isfinite(targets).all():
        raise NonFiniteError(f"`{name}` must be finite probabilities. Remove or repair those samples.")
    targets = targets.movedim(axis, -1)
    sums = targets.sum(-1)
    if (targets < 0).any() or not _sums_to_one(targets):
        raise ArgumentError(
            f"`{name}` must be probabilities, >= 0 with sum 1 over the classes (axis {axis}; `class_axis` chooses "
            f"another), but the smallest is {float(targets.min()):.3g} and the sums lie in "
            f"[{float(sums.min()):.6g}, {float(sums.max()):.6g}]. For class labels, pass integers."
        )
    exact = targets.to(torch.float64)
    return exact / exact.sum(-1, keepdim=True)


def _fitting_axes(labels: Tensor, output_shape: torch.Size, axes: list[int]) -> list[int]:
    """Axes without which the outputs have the labels' shape; else those for which flattened labels fit."""
    exact = [axis for axis in axes if labels.shape == _without(output_shape, axis)]
    return exact or [axis for axis in axes if _has_shape(labels, _without(output_shape, axis))]


def _summing_axes(targets: Tensor, output_shape: torch.Size, axes: list[int]) -> list[int]:
    if targets.shape != output_shape:
        return []
    return [axis for axis in axes if _sums_to_one(targets.movedim(axis, -1))]


def _sums_to_one(targets: Tensor) -> bool:
    allowed = 100 * targets.shape[-1] * torch.finfo(targets.dtype).eps
    return bool(((targets.sum(-1) - 1).abs() <= allowed).all())


def _has_shape(labels: Tensor, positions: tuple[int, ...]) -> bool:
    """As it stands, with the positions of a sample flattened, or with axes of length one more or less."""
    if labels.shape == positions:
        return True
    same = [n for n in labels.shape if n != 1] == [n for n in positions if n != 1]
    return labels.numel() == torch.Size(positions).numel() and (same or labels.ndim == 2)


def _without(shape: torch.Size, axis: int) -> tuple[int, ...]:
    return tuple(n for index, n in enumerate(shape) if index != axis)
