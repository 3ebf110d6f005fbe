"""What outputs and targets may mean: every loss that their shapes allow, the surest first.

Losses that a step was seen to call come with their options (class weights, label smoothing, delta). After them come
those that steps write by hand. A reading is believed only if its value is the step's own; see `matching`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from eigenflow.integrations.tracing import LossCall
from eigenflow.tangent import AbstractLoss, CrossEntropyLoss, SquaredLoss, make_loss
from eigenflow.tangent.model.outputs import chosen_output

__all__ = ["Reading", "Taken", "given_options", "readings"]


@dataclass(frozen=True)
class Taken:
    """Takes what a loss sees out of what a network returns; passed to `Probe` as `output`.

    Attributes:
        key: Of a mapping, or index of a sequence; None: it is a tensor.
        class_axis: Axis of the classes, samples counted as axis 0; None: every output stands for itself.
        positions: That are kept, of all other axes flattened; None: all.
    """

    key: str | int | None = None
    class_axis: int | None = None
    positions: tuple[int, ...] | None = None

    def __call__(self, returned: Any) -> Tensor:
        """Outputs, sample axis first."""
        outputs = chosen_output(returned, self.key)
        if self.positions is None:
            return outputs
        kept = list(self.positions)
        if self.class_axis == 1:
            return outputs.flatten(2)[:, :, kept]
        return outputs.flatten(1)[:, kept] if self.class_axis is None else outputs.flatten(1, -2)[:, kept]

    @property
    def __name__(self) -> str:
        """What a record says was taken."""
        name = "outputs" if self.key is None else str(self.key)
        return name if self.positions is None else f"{len(self.positions)} positions of {name}"


@dataclass(frozen=True)
class Reading:
    """A loss, of which outputs, with which targets.

    Attributes:
        kind: In words.
        taken: Takes the outputs.
        targets: They meet.
        loss: Not yet bound.
    """

    kind: str
    taken: Taken
    targets: Tensor
    loss: AbstractLoss

    def value(self, returned: Any, dtype: torch.dtype) -> float:
        """The loss of what a network returned."""
        outputs = self.taken(returned).detach()
        bound, flat = self.loss.bind(self.targets, outputs.shape, dtype, "targets")
        return float(bound.value(outputs.reshape(len(outputs), -1).to(dtype), flat))

    def times(self, ratio: float) -> "Reading":
        """The same with a constant factor."""
        if ratio == 1.0:
            return self
        return replace(self, kind=f"{ratio:.6g} times {self.kind}", loss=Scaled(self.loss, ratio))


@dataclass(frozen=True)
class Scaled(AbstractLoss):
    """A loss times a constant, until it is bound: then it is that loss with another factor."""

    base: AbstractLoss
    ratio: float

    @property
    def name(self) -> str:
        """Of the loss."""
        return f"{self.ratio:.6g} times {self.base.name}"

    @property
    def is_quadratic(self) -> bool:
        """As the loss."""
        return self.base.is_quadratic

    def bind(
        self, targets: Tensor, output_shape: torch.Size, dtype: torch.dtype, name: str
    ) -> tuple[AbstractLoss, Tensor]:
        """The loss itself, bound and scaled."""
        bound, flat = self.base.bind(targets, output_shape, dtype, name)
        return bound.scaled(self.ratio), flat

    def value(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss."""
        return self.ratio * self.base.value(outputs, targets)

    def gradient(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Its gradient."""
        return self.ratio * self.base.gradient(outputs, targets)

    def error(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Its error."""
        return self.ratio**0.5 * self.base.error(outputs, targets)

    def weigh(self, outputs: Tensor, targets: Tensor, changes: Tensor) -> Tensor:
        """As the loss."""
        return self.ratio**0.5 * self.base.weigh(outputs, targets, changes)

    def spread(self, outputs: Tensor, targets: Tensor, rows: Tensor) -> Tensor:
        """As the loss."""
        return self.ratio**0.5 * self.base.spread(outputs, targets, rows)


def readings(
    returned: Any, leaves: Sequence[Tensor], losses: Sequence[LossCall], dtype: torch.dtype
) -> Iterator[Reading]:
    """Give every reading that the shapes allow.

    Args:
        returned: By the network.
        leaves: Tensors of the batch.
        losses: That were called.
        dtype: Of the probe.
    """
    keys: list[Any] = [None]
    if isinstance(returned, Mapping):
        keys = list(returned)
    elif isinstance(returned, Sequence):
        keys = list(range(len(returned)))
    entries = [(key, chosen_output(returned, key)) for key in keys if _is_tensor(returned, key)]
    outputs = [(key, one) for key, one in entries if one.is_floating_point() and one.ndim]
    for key, one in outputs:
        for call in losses:
            yield from _as_called(key, one.detach(), call, dtype)
    for key, one in outputs:
        for leaf in leaves:
            if len(leaf) == len(one):
                yield from _by_hand(key, one, leaf, dtype)


def _is_tensor(returned: Any, key: Any) -> bool:
    return isinstance(returned if key is None else returned[key], Tensor)


def _as_called(key: Any, outputs: Tensor, call: LossCall, dtype: torch.dtype) -> Iterator[Reading]:
    """A loss that was seen at work on these outputs, whatever way they went to it."""
    seen, targets = call.outputs.detach(), call.targets.detach()
    if seen.numel() != outputs.numel():
        return
    name = getattr(call.function, "__name__", "loss")
    options = given_options(call)
    if call.function is not functional.cross_entropy:
        is_same = seen.shape == outputs.shape or not any(isinstance(v, Tensor) for v in options.values())
        if is_same and targets.numel() == outputs.numel() and torch.equal(seen.flatten(), outputs.flatten()):
            targets = targets.to(dtype).reshape(outputs.shape)
            yield Reading(name, Taken(key), targets, make_loss(partial(call.function, **options)))
        return
    for axis, brought in _class_axes(outputs, seen):
        shape = outputs.shape if targets.is_floating_point() else outputs.movedim(axis, -1).shape[:-1]
        if targets.numel() == shape.numel() and (not targets.is_floating_point() or targets.shape == shape):
            loss = CrossEntropyLoss(class_axis=axis if outputs.ndim > 2 else None, **options)
            yield Reading(f"{name}{brought}", Taken(key, axis), targets.reshape(shape), loss)


def given_options(call: LossCall) -> dict[str, Any]:
    """Options of a loss that change it; what the step does with single terms is a reading of its own."""
    options = {k: v.detach() if isinstance(v, Tensor) else v for k, v in call.options.items() if v is not None}
    if options.get("reduction") == "none":
        del options["reduction"]
    return options


def _class_axes(outputs: Tensor, seen: Tensor) -> Iterator[tuple[int, str]]:
    """Along which axis of the outputs the classes lie, as the loss saw them."""
    if outputs.ndim < 2:
        return
    if seen.shape == outputs.shape and torch.equal(seen, outputs):
        yield 1, ""
    elif outputs.ndim > 2:
        for axis in (-1, 1):
            last = outputs.movedim(axis, -1)
            ways = last.movedim(-1, 1), last.reshape(-1, last.shape[-1])
            if any(way.shape == seen.shape and torch.equal(way, seen) for way in ways):
                yield axis, f" over axis {axis}"


def _by_hand(key: Any, outputs: Tensor, leaf: Tensor, dtype: torch.dtype) -> Iterator[Reading]:
    """Losses as steps write them, and those that meet targets in another way than was seen."""
    if not leaf.is_floating_point() and not leaf.is_complex() and outputs.ndim > 1:
        for axis in (1, -1) if outputs.ndim > 2 else (1,):
            shape = outputs.movedim(axis, -1).shape[:-1]
            if leaf.numel() == shape.numel():
                loss = CrossEntropyLoss(class_axis=axis if outputs.ndim > 2 else None)
                yield Reading("cross_entropy", Taken(key, axis), leaf.reshape(shape).long(), loss)
    if leaf.numel() != outputs.numel() or leaf.is_complex():
        return
    targets = leaf.to(dtype).reshape(outputs.shape)
    yield Reading("mse", Taken(key), targets, SquaredLoss(kind="mse"))
    for function in (
        functional.binary_cross_entropy_with_logits,
        functional.smooth_l1_loss,
        functional.huber_loss,
        functional.poisson_nll_loss,
    ):
        yield Reading(function.__name__, Taken(key), targets, make_loss(function))
