"""Fewer outputs a sample: random projections, or chosen outputs, of the error.

With a matrix S of `count` columns for each sample's outputs, e becomes S^T e and J becomes S^T J, so that M has samples
* count rows: what makes large vocabularies and long sequences measurable. With E[S S^T] = I, which random signs of
size count^(-1/2) have, these are unbiased over draws of S:

    sum over c of M_S[ic, jc]  for  sum over c of M[ic, jc]      (the kernel of samples)
    ||S^T e||^2                for  ||e||^2

Eigenvalues of M_S are not unbiased for those of M; those of chosen outputs are those of a principal block of M, and
interlace. A sketch does not see the whole error, so one-step budgets of gradient descent are not closed by it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from eigenflow.core.errors import ArgumentError
from eigenflow.tangent.loss.base import AbstractLoss
from eigenflow.tangent.loss.names import LossLike, make_loss

__all__ = ["SketchedLoss", "sketched"]


def sketched(
    loss: LossLike,
    *,
    count: int | None = None,
    generator: torch.Generator | None = None,
    chosen: Sequence[int] | None = None,
    class_axis: int | None = None,
) -> "SketchedLoss":
    """See a loss through fewer outputs a sample.

    Args:
        loss: As for `Probe`.
        count: Random projections a sample; needs `generator`.
        generator: Draws the random signs, once, when the probe is made.
        chosen: Numbers of the outputs to keep instead (classes; or position * classes + class for sequences).
        class_axis: As for `Probe`.

    Raises:
        ArgumentError: Unless exactly one of `count` and `chosen` is given.
    """
    if (count is None) == (chosen is None):
        raise ArgumentError("Give either `count`, the number of random projections, or `chosen`, the outputs to keep.")
    if count is not None and (count < 1 or generator is None):
        raise ArgumentError(f"`count` must be >= 1 and comes with a `generator`, but is {count} with {generator}.")
    if chosen is not None and (len(chosen) == 0 or len(set(chosen)) != len(chosen) or min(chosen) < 0):
        raise ArgumentError(f"`chosen` must hold different output numbers >= 0, but is {list(chosen)[:8]}.")
    return SketchedLoss(
        base=make_loss(loss, class_axis),
        count=count or len(chosen or ()),
        generator=generator,
        chosen=tuple(chosen or ()),
    )


@dataclass(frozen=True, eq=False)
class SketchedLoss(AbstractLoss):
    """A loss whose error and operator are projected on fewer outputs; made by `sketched`.

    Attributes:
        base: The loss itself: values and gradients are its own.
        count: Entries of the projected error per sample.
        generator: Draws the projection.
        chosen: Outputs kept, or empty for random projections.
        matrix: (outputs, count), or None before it is bound and for chosen outputs.
    """

    base: AbstractLoss = None  # pyright: ignore[reportAssignmentType]
    count: int = 0
    generator: torch.Generator | None = None
    chosen: tuple[int, ...] = ()
    matrix: Tensor | None = None

    @property
    def name(self) -> str:
        """The loss's name and what is kept of it."""
        kind = "chosen outputs" if self.chosen else "random projections"
        return f"{self.base.name}, {self.count} {kind}"

    @property
    def is_quadratic(self) -> bool:
        """False: the projected error alone does not determine a step."""
        return False

    @property
    def is_whole(self) -> bool:
        """False: J^T e is not the gradient."""
        return False

    def width(self, outputs: int) -> int:
        """`count`."""
        return self.count

    def bind(
        self, targets: Tensor, output_shape: torch.Size, dtype: torch.dtype, name: str
    ) -> tuple[AbstractLoss, Tensor]:
        """Bind the loss and draw the projection."""
        base, targets = self.base.bind(targets, output_shape, dtype, name)
        outputs = output_shape.numel() // output_shape[0]
        if self.count > outputs or any(c >= outputs for c in self.chosen):
            raise ArgumentError(
                f"The sketch keeps {self.count} outputs a sample, numbered up to "
                f"{max(self.chosen, default=self.count - 1)}, but the network has {outputs}. "
                f"Use fewer, or the loss itself."
            )
        matrix = self.matrix
        if matrix is None and not self.chosen:
            signs = torch.randint(0, 2, (outputs, self.count), generator=self.generator, dtype=torch.int64)
            matrix = (2 * signs - 1).to(dtype) * self.count**-0.5
        return replace(self, base=base, factor=base.factor, matrix=matrix), targets

    def value(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss itself."""
        return self.base.value(outputs, targets)

    def gradient(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss's own gradient."""
        return self.base.gradient(outputs, targets)

    def error(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """S^T e."""
        return self._project(self.base.error(outputs, targets))

    def weigh(self, outputs: Tensor, targets: Tensor, changes: Tensor) -> Tensor:
        """S^T B^T times changes of the outputs."""
        return self._project(self.base.weigh(outputs, targets, changes))

    def spread(self, outputs: Tensor, targets: Tensor, rows: Tensor) -> Tensor:
        """B S times rows."""
        if self.matrix is not None:
            full = rows @ self.matrix.to(rows.device).T
        else:
            index = torch.tensor(self.chosen, device=rows.device)
            zeros = rows.new_zeros(*rows.shape[:-1], outputs.shape[-1])
            full = zeros.index_copy(-1, index, rows)
        return self.base.spread(outputs, targets, full)

    def require_valid(self, outputs: Tensor, targets: Tensor) -> None:
        """As for the loss itself."""
        self.base.require_valid(outputs, targets)

    def require_usable(self, outputs: Tensor, targets: Tensor) -> None:
        """As for the loss itself."""
        self.base.require_usable(outputs, targets)

    def root_bytes(self, samples: int, outputs: int, itemsize: int, *, drift: bool = False) -> int:
        """As for the loss itself: a sketch is one of its root."""
        return self.base.root_bytes(samples, outputs, itemsize, drift=drift)

    def anchored(self, outputs: Tensor, targets: Tensor) -> AbstractLoss:
        """The same sketch of the anchored loss."""
        return replace(self, base=self.base.anchored(outputs, targets))

    def part(self, samples: slice | Tensor, of: int) -> AbstractLoss:
        """The same sketch of the loss on some samples."""
        return replace(self, base=self.base.part(samples, of))

    def scaled(self, ratio: float) -> AbstractLoss:
        """The same sketch of the loss times a number."""
        base = self.base.scaled(ratio)
        return replace(self, base=base, factor=base.factor)

    def describe(self) -> dict[str, Any]:
        """The loss and the sketch."""
        return {**super().describe(), "sketch": self.count, "chosen_outputs": list(self.chosen)}

    def _project(self, full: Tensor) -> Tensor:
        if self.matrix is None:
            return full[..., list(self.chosen)]
        return full @ self.matrix.to(full.device)
