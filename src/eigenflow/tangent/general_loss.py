"""Any twice-differentiable loss of the outputs, through its Hessian sample by sample.

The root is the symmetric one, B = H^(1/2), or that times a rotation (`anchored`), and e = B^+ r. It exists where H is
positive semidefinite and r lies in its range. Both can fail: a loss that is not convex in the outputs has an indefinite
H, and a loss that is straight somewhere (Huber's tails, a hinge) has r outside the range of H. The operator then does
not explain the gradient, so by default the probe refuses; `defect="drop"` measures the positive part and leaves the
rest out of e.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor
from torch.func import grad, vjp, vmap

from eigenflow.core.errors import ArgumentError
from eigenflow.tangent.losses import AbstractLoss

__all__ = ["GeneralLoss"]


@dataclass(frozen=True)
class GeneralLoss(AbstractLoss):
    """A loss given as a function of outputs and targets, such as `binary_cross_entropy_with_logits`.

    The function must be a sum (or mean) of terms of one sample each. The derivative of the root is exact where H keeps
    its null space; where an eigenvalue of H reaches zero the root has no derivative, and the part that grows out of
    the null space is left out. Rates need forward mode through the function's own gradient, which PyTorch lacks for a
    few fused losses (`huber_loss` in 2.13); written with elementary operations they work.

    Attributes:
        function: Maps outputs (in the network's own shape) and targets (as given) to a scalar.
        defect: What to do with negative curvature, and with gradients outside the range of H: "raise" or "drop".
        output_shape: Of the network, without the sample axis.
        reduction: "sum" or "mean" over samples, found out when the loss is bound, or "unknown".
        frame: B^+ at the outputs that the loss is anchored at, or None.
    """

    function: Callable[[Tensor, Tensor], Tensor] | None = None
    defect: Literal["raise", "drop"] = "raise"
    output_shape: tuple[int, ...] = ()
    reduction: str = "unknown"
    frame: Tensor | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise ArgumentError(f"`function` must be callable as function(outputs, targets), but is {self.function!r}.")
        if self.defect not in ("raise", "drop"):
            raise ArgumentError(f"`defect` must be 'raise' or 'drop', but is {self.defect!r}.")

    @property
    def name(self) -> str:
        """The function's own name."""
        function = self.function
        return getattr(function, "__name__", type(function).__name__)

    @property
    def is_quadratic(self) -> bool:
        """False: nothing is known about the function."""
        return False

    def bind(
        self, targets: Tensor, output_shape: torch.Size, dtype: torch.dtype, name: str
    ) -> tuple[AbstractLoss, Tensor]:
        """Keep the targets as they are; floating-point ones are converted."""
        targets = targets.to(dtype) if targets.is_floating_point() else targets
        bound = replace(self, output_shape=tuple(output_shape[1:]))
        return replace(bound, reduction=bound._find_reduction(targets, output_shape, dtype)), targets

    @torch.no_grad()
    def anchored(self, outputs: Tensor, targets: Tensor) -> AbstractLoss:
        """The symmetric root turns against itself where H and its change do not commute; here it is turned back."""
        return replace(self, frame=self._root_and_inverse(self.hessian(outputs, targets))[1])

    def part(self, samples: slice, of: int) -> AbstractLoss:
        """The same loss on some samples: a mean over them counts each one by the whole number of samples."""
        count = len(range(of)[samples])
        some = self if self.frame is None else replace(self, frame=self.frame[samples])
        if count == of or self.reduction == "sum":
            return some
        if self.reduction == "mean":
            return some.scaled(count / of)
        raise ArgumentError(
            f"`loss` '{self.name}' is neither a plain sum nor a plain mean over samples (weights differ between them), "
            f"so samples cannot be taken in chunks. Allow a larger `memory_budget`, or use fewer samples."
        )

    def counted(self, targets: Tensor) -> int | None:
        """Samples, for a mean over them. One sample alone does not tell a mean from a sum."""
        if len(targets) > 1 and self.reduction in ("sum", "mean"):
            return None if self.reduction == "sum" else len(targets)
        reason = (
            "one sample alone does not show whether it is a sum or a mean; give every process at least two"
            if len(targets) == 1
            else "it is neither a plain sum nor a plain mean over samples; weight it by hand, or use one process"
        )
        raise ArgumentError(f"`loss` '{self.name}' cannot be spread over processes: {reason}.")

    def _find_reduction(self, targets: Tensor, output_shape: torch.Size, dtype: torch.dtype) -> str:
        """Whether half of the samples alone have the gradients that they have among all: a sum, a mean, or neither."""
        samples = output_shape[0]
        half = max(1, samples // 2)
        outputs = torch.linspace(-1, 1, output_shape.numel(), dtype=dtype, device=targets.device).reshape(samples, -1)
        try:
            whole, alone = self.gradient(outputs, targets)[:half], self.gradient(outputs[:half], targets[:half])
        except (RuntimeError, IndexError, TypeError, ValueError):
            return "unknown"  # `require_valid` says what is wrong, on the real outputs
        for name, ratio in (("sum", 1.0), ("mean", samples / half)):
            if (alone - ratio * whole).norm() <= torch.finfo(dtype).eps ** 0.5 * alone.norm():
                return name
        return "unknown"

    def value(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The function's value."""
        assert self.function is not None
        value = self.function(outputs.reshape(len(outputs), *self.output_shape), targets)
        return self.factor * value

    def gradient(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """By reverse mode."""
        return grad(self.value)(outputs, targets)

    def hessian(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Blocks (samples, outputs, outputs): one reverse pass per output for all samples."""
        samples, width = outputs.shape
        _, pull_back, *_ = vjp(lambda z: self.gradient(z, targets), outputs)
        basis = torch.eye(width, dtype=outputs.dtype, device=outputs.device)
        (rows,) = vmap(pull_back)(basis[:, None, :].expand(width, samples, width))
        return rows.transpose(0, 1)

    def error(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """B^+ r, on the range of H."""
        inverse = self._root_and_inverse(self.hessian(outputs, targets))[1]
        return (inverse @ self.gradient(outputs, targets)[..., None])[..., 0]

    def weigh(self, outputs: Tensor, targets: Tensor, changes: Tensor) -> Tensor:
        """B^T times changes of the outputs."""
        return (self._root(self.hessian(outputs, targets)).mT @ changes[..., None])[..., 0]

    def spread(self, outputs: Tensor, targets: Tensor, rows: Tensor) -> Tensor:
        """B times rows."""
        return (self._root(self.hessian(outputs, targets)) @ rows[..., None])[..., 0]

    def _root(self, H: Tensor) -> Tensor:
        """B, with its derivative: that of H^(1/2), or the one that carries the frame along, B^+ dB symmetric."""
        if self.frame is None:
            return _symmetric_root(H)
        H0 = H.detach()
        root, inverse = self._root_and_inverse(H0)
        return root + 0.5 * (H - H0) @ inverse.mT

    def _root_and_inverse(self, H: Tensor) -> tuple[Tensor, Tensor]:
        """B and B^+. In the anchored frame B = H^(1/2) R with the rotation R that makes B0^+ B symmetric."""
        roots, vectors = _root_pairs(H)
        inverses = torch.where(roots > 0, 1.0 / torch.where(roots > 0, roots, 1.0), 0.0)
        root, inverse = (vectors @ torch.diag_embed(values) @ vectors.mT for values in (roots, inverses))
        if self.frame is None:
            return root, inverse
        left, _, right = torch.linalg.svd(self.frame @ root)
        turn = right.mT @ left.mT
        return root @ turn, turn.mT @ inverse

    @torch.no_grad()
    def require_valid(self, outputs: Tensor, targets: Tensor) -> None:
        """Refuse a function that is no scalar or mixes samples; with `defect="raise"`, also H < 0 and r outside it."""
        self._require_scalar(outputs, targets)
        self._require_separate(outputs, targets)
        if self.defect == "drop":
            return
        H, r = self.hessian(outputs, targets), self.gradient(outputs, targets)
        values = torch.linalg.eigvalsh(H)
        is_indefinite = values[:, 0] < -_tolerance(values)[:, 0]
        if is_indefinite.any():
            raise ArgumentError(
                f"`loss` '{self.name}' has a Hessian by the outputs with negative eigenvalues on "
                f"{int(is_indefinite.sum())} of {len(r)} samples (down to {float(values.min()):.3g}), so it has no "
                f"real root. Pass GeneralLoss(function, defect='drop') to measure the positive part only."
            )
        miss = r - self.spread(outputs, targets, self.error(outputs, targets))
        is_outside = miss.norm(dim=1) > torch.finfo(r.dtype).eps ** 0.5 * r.norm(dim=1)
        if is_outside.any():
            raise ArgumentError(
                f"`loss` '{self.name}' has a gradient outside the range of its Hessian on {int(is_outside.sum())} of "
                f"{len(r)} samples (it is straight there, as in the tails of Huber's loss), so no error e with B e = r "
                f"exists. Pass GeneralLoss(function, defect='drop') to leave that part out of e."
            )

    def _require_scalar(self, outputs: Tensor, targets: Tensor) -> None:
        try:
            value = self.value(outputs, targets)
        except (RuntimeError, IndexError, TypeError, ValueError) as error:
            raise ArgumentError(
                f"`loss` '{self.name}' cannot be evaluated on outputs of shape {(len(outputs), *self.output_shape)} "
                f"and targets of shape {tuple(targets.shape)}, dtype {targets.dtype}: {error}"
            ) from error
        if value.shape != ():
            raise ArgumentError(
                f"`loss` '{self.name}' must return a scalar, but returns shape {tuple(value.shape)}. "
                f"Use reduction='mean'."
            )

    def _require_separate(self, outputs: Tensor, targets: Tensor) -> None:
        """Moving every second sample must not change the gradients of the others."""
        is_moved = (torch.arange(len(outputs), device=outputs.device) % 2 == 0)[:, None]
        tangent = torch.ones_like(outputs) * is_moved
        _, pull_back, *_ = vjp(lambda z: self.gradient(z, targets), outputs)
        (change,) = pull_back(tangent)
        if (change * ~is_moved).norm() > torch.finfo(outputs.dtype).eps ** 0.5 * change.norm():
            raise ArgumentError(
                f"`loss` '{self.name}' couples the outputs of different samples, so its Hessian is not one block per "
                f"sample. Only sums or means of terms of one sample each can be measured."
            )


def _tolerance(values: Tensor) -> Tensor:
    """Eigenvalues below this are zero up to rounding, per sample."""
    return 100 * values.shape[-1] * torch.finfo(values.dtype).eps * values.abs().amax(-1, keepdim=True)


def _root_pairs(H: Tensor) -> tuple[Tensor, Tensor]:
    values, vectors = torch.linalg.eigh(H)
    return torch.where(values > _tolerance(values), values, 0.0).sqrt(), vectors


def _symmetric_root(H: Tensor) -> Tensor:
    """H^(1/2), whose derivative solves Bdot B + B Bdot = Hdot and so exists where eigenvalues of H meet.

    The derivative of `eigh` divides by gaps; here B is a constant plus the solution for H - H0, which is zero.
    """
    H0 = H.detach()
    roots, vectors = _root_pairs(H0)
    sums = roots[..., :, None] + roots[..., None, :]
    moved = vectors.mT @ (H - H0) @ vectors
    moved = torch.where(sums > 0, moved / torch.where(sums > 0, sums, 1.0), 0.0)
    return vectors @ (torch.diag_embed(roots) + moved) @ vectors.mT
