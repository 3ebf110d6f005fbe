"""Any twice-differentiable loss of the outputs, through its Hessian sample by sample.

The root is the symmetric one, B = H^(1/2), or that times a rotation (`anchored`), and e = B^+ r. It exists where H is
positive semidefinite and r lies in its range. Both can fail: a loss that is not convex in the outputs has an indefinite
H, and a loss that is straight somewhere (Huber's tails, a hinge) has r outside the range of H. The operator then does
not explain the gradient, so by default the probe refuses; `defect="drop"` measures the positive part and leaves the
rest out of e. A loss that is straight everywhere has M = 0 and is refused in any case.
"""

import copy
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.func import grad, vjp

from eigenflow.core.errors import ArgumentError, EigenflowError, NonFiniteError
from eigenflow.tangent.loss.base import AbstractLoss
from eigenflow.tangent.loss.curvature import (
    BlockRoot,
    Root,
    block_root,
    diagonal_root,
    root_product,
    sample_blocks,
    tolerance,
    work_bytes,
)
from eigenflow.tangent.loss.separation import find_reduction, is_separate, outputs_are_separate, weight_beside

__all__ = ["GeneralLoss"]

# Blocks of outputs x outputs a sample that a measurement of an update holds: eigenvectors at both ends, and the frame
# and the rotations of the root that is carried along; with a derivative also H's, which is put together from slices.
BLOCKS, BLOCKS_WITH_DRIFT = 6, 8


@dataclass(frozen=True)
class GeneralLoss(AbstractLoss):
    """A loss given as a function of outputs and targets.

    The function must be a sum (or mean) of terms of one sample each. A module is copied, never changed, and its
    floating-point tensors are converted to the probe's type. The derivative of the root is exact where H keeps its
    null space; where an eigenvalue of H reaches zero the root has no derivative, and the part that grows out of the
    null space is left out. All derivatives are taken in reverse mode, so none of the function's operations needs
    another; three of them must exist for rates, two without.

    Attributes:
        function: Maps outputs (in the network's own shape) and targets (as given) to a scalar.
        defect: What to do with negative curvature, and with gradients outside the range of H: "raise" or "drop".
        is_diagonal: Whether every term takes one output alone, so that H is diagonal; None: found out when the loss
            is bound, and checked at every instant.
        output_shape: Of the network, without the sample axis.
        reduction: "sum" or "mean" over samples, found out when the loss is bound, or "unknown".
        frame: B^+ at the outputs that the loss is anchored at, or None.
    """

    function: Callable[[Tensor, Tensor], Tensor] | None = None
    defect: Literal["raise", "drop"] = "raise"
    is_diagonal: bool | None = None
    output_shape: tuple[int, ...] = ()
    reduction: str = "unknown"
    frame: Tensor | None = field(default=None, compare=False, repr=False)
    # The root at the last outputs, and H's eigenvalues; not part of what the loss is.
    _last: dict[str, Any] = field(default_factory=dict, init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise ArgumentError(f"`function` must be callable as function(outputs, targets), but is {self.function!r}.")
        if self.defect not in ("raise", "drop"):
            raise ArgumentError(f"`defect` must be 'raise' or 'drop', but is {self.defect!r}.")
        if isinstance(self.function, nn.Module) and any(p.requires_grad for p in self.function.parameters()):
            names = [name for name, p in self.function.named_parameters() if p.requires_grad]
            raise ArgumentError(
                f"`loss` '{self.name}' has trainable parameters of its own ({', '.join(names)}), which would be left "
                f"out of the operator. Make them part of `model`, or freeze them: loss.requires_grad_(False)."
            )

    @property
    def name(self) -> str:
        """The function's own name."""
        function = self.function
        while isinstance(function, functools.partial):
            function = function.func
        return getattr(function, "__name__", type(function).__name__)

    @property
    def is_quadratic(self) -> bool:
        """False: nothing is known about the function."""
        return False

    def bind(
        self, targets: Tensor, output_shape: torch.Size, dtype: torch.dtype, name: str
    ) -> tuple[AbstractLoss, Tensor]:
        """Keep the targets as they are, but for floating-point types; find out how the function is put together."""
        targets = targets.to(dtype) if targets.is_floating_point() else targets
        function = _converted(self.function, targets.device, dtype)
        bound = replace(self, function=function, output_shape=tuple(output_shape[1:]))
        reduction = find_reduction(bound.gradient, targets, output_shape, dtype)
        is_diagonal = self.is_diagonal
        if is_diagonal is None:
            is_diagonal = outputs_are_separate(bound.gradient, targets, output_shape, dtype)
        return replace(bound, reduction=reduction, is_diagonal=is_diagonal), targets

    @torch.no_grad()
    def anchored(self, outputs: Tensor, targets: Tensor) -> AbstractLoss:
        """The symmetric root turns against itself where H and its change do not commute; here it is turned back."""
        root = self.root(outputs, targets)
        return replace(self, frame=root.inverse()) if isinstance(root, BlockRoot) else self

    def part(self, samples: slice | Tensor, of: int) -> AbstractLoss:
        """The same loss on some samples: a mean over them counts each one by the whole number of samples."""
        count = len(range(of)[samples]) if isinstance(samples, slice) else len(samples)
        some = replace(self) if self.frame is None else replace(self, frame=self.frame[samples])
        if self._last:
            some._last.update(outputs=self._last["outputs"][samples], root=self._last["root"].part(samples))
            some._last["values"] = self._last["values"][samples]
        if count == of or self.reduction == "sum":
            return some
        if self.reduction == "mean":
            scaled = replace(some, factor=some.factor * count / of)
            scaled._last.update(some._last)  # fewer samples, each with the same weight: the same root
            return scaled
        raise ArgumentError(
            f"`loss` '{self.name}' is neither a plain sum nor a plain mean over samples (weights differ between them), "
            f"so samples cannot be taken in chunks. Allow a larger `memory_budget`, or use fewer samples."
        )

    def counted(self, targets: Tensor) -> float | None:
        """Samples, for a mean over them. One sample alone does not tell a mean from a sum."""
        if len(targets) > 1 and self.reduction in ("sum", "mean"):
            return None if self.reduction == "sum" else len(targets)
        reason = (
            "one sample alone does not show whether it is a sum or a mean; give every process at least two"
            if len(targets) == 1
            else "it is neither a plain sum nor a plain mean over samples; weight it by hand, or use one process"
        )
        raise ArgumentError(f"`loss` '{self.name}' cannot be spread over processes: {reason}.")

    def adds_up(self, targets: Tensor) -> bool:
        """Whether it is a plain sum or a plain mean over more than one sample."""
        return len(targets) > 1 and self.reduction in ("sum", "mean")

    def counted_beside(self, targets: Tensor, others: Tensor) -> float | None:
        """What the samples weigh in a mean with others, found from their gradients alone and among them."""
        found = weight_beside(self.gradient, targets, others, math.prod(self.output_shape))
        if found is None:
            raise ArgumentError(
                f"`loss` '{self.name}' cannot be spread over processes: it is neither a plain sum nor a plain mean "
                f"over samples, nor a mean with weights that depend on each sample's targets alone. Weight it by "
                f"hand, or use one process."
            )
        return None if math.isinf(found) else found

    def root_bytes(self, samples: int, outputs: int, itemsize: int, *, drift: bool = False) -> int:
        """Blocks of outputs x outputs for every sample, or vectors if the Hessian is diagonal."""
        block = samples * outputs * (1 if self.is_diagonal else outputs) * itemsize
        return (BLOCKS_WITH_DRIFT if drift else BLOCKS) * block + work_bytes(block)

    def value(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The function's value."""
        assert self.function is not None
        value = self.function(outputs.reshape(len(outputs), *self.output_shape), targets)
        return self.factor * value

    def gradient(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """By reverse mode."""
        return grad(self.value)(outputs, targets)

    def hessian(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Blocks (samples, outputs, outputs), or their diagonals (samples, outputs)."""
        return self._jacobian(lambda z: self.gradient(z, targets), outputs)

    def hessian_along(self, outputs: Tensor, targets: Tensor, change: Tensor) -> Tensor:
        """The derivative of the Hessian when the outputs change, by reverse mode alone."""

        def curved(z: Tensor) -> Tensor:
            return vjp(lambda x: self.gradient(x, targets), z)[1](change)[0]

        try:
            return self._jacobian(curved, outputs)
        except RuntimeError as error:
            if isinstance(error, EigenflowError):
                raise
            raise ArgumentError(
                f"`loss` '{self.name}' cannot be differentiated three times, which rates need ({_first_line(error)}). "
                f"Write it with elementary operations, or measure without rates: measure(drift=False)."
            ) from error

    def root(self, outputs: Tensor, targets: Tensor) -> Root:
        """B. The last one is kept, as long as the outputs stay the same."""
        return self._root_and_values(outputs, targets)[0]

    def error(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """B^+ r, on the range of H."""
        return self.root(outputs, targets).inverse_times(self.gradient(outputs, targets))

    def weigh(self, outputs: Tensor, targets: Tensor, changes: Tensor) -> Tensor:
        """B^T times changes of the outputs."""
        return root_product(self, outputs, targets, changes, True)

    def spread(self, outputs: Tensor, targets: Tensor, rows: Tensor) -> Tensor:
        """B times rows."""
        return root_product(self, outputs, targets, rows, False)

    @torch.no_grad()
    def require_valid(self, outputs: Tensor, targets: Tensor) -> None:
        """Refuse what has no operator.

        That is a function that is no scalar, mixes samples or has no curvature; with `defect="raise"` also H < 0, and
        gradients outside its range.
        """
        self.require_usable(outputs, targets)
        root, values = self._root_and_values(outputs, targets)
        r = self.gradient(outputs, targets)
        if not bool((root.roots > 0).any()):
            raise ArgumentError(
                f"`loss` '{self.name}' has no positive curvature by the outputs on any sample (it is straight there, "
                f"like a distance or the likelihood of log-probabilities), so M = J J^T would be zero. Use a loss that "
                f"is curved in the outputs: for class scores drop LogSoftmax from the model and pass "
                f"loss='cross_entropy', for values pass loss='mse'."
            )
        if self.defect == "drop":
            return
        is_indefinite = values.amin(1) < -tolerance(values)[:, 0]
        if is_indefinite.any():
            raise ArgumentError(
                f"`loss` '{self.name}' has a Hessian by the outputs with negative eigenvalues on "
                f"{int(is_indefinite.sum())} of {len(r)} samples (down to {float(values.min()):.3g}), so it has no "
                f"real root. Pass GeneralLoss(function, defect='drop') to measure the positive part only."
            )
        miss = r - root.times(root.inverse_times(r))
        is_outside = miss.norm(dim=1) > torch.finfo(r.dtype).eps ** 0.5 * r.norm(dim=1)
        if is_outside.any():
            raise ArgumentError(
                f"`loss` '{self.name}' has a gradient outside the range of its Hessian on {int(is_outside.sum())} of "
                f"{len(r)} samples (it is straight there, as in the tails of Huber's loss), so no error e with B e = r "
                f"exists. Pass GeneralLoss(function, defect='drop') to leave that part out of e."
            )

    @torch.no_grad()
    def require_usable(self, outputs: Tensor, targets: Tensor) -> None:
        """Refuse a function that is no scalar, cannot be differentiated twice, or mixes samples."""
        try:
            value = self.value(outputs, targets)
        except Exception as error:
            raise ArgumentError(
                f"`loss` '{self.name}' cannot be evaluated on outputs of shape {(len(outputs), *self.output_shape)} "
                f"and targets of shape {tuple(targets.shape)}, dtype {targets.dtype}: {_first_line(error)}. The probe "
                f"evaluates in {outputs.dtype}: tensors that the function holds must have that dtype "
                f"(Probe(..., dtype=...) chooses it)."
            ) from error
        if not isinstance(value, Tensor) or value.shape != ():
            came = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise ArgumentError(f"`loss` '{self.name}' must return a scalar, but returns {came}. Use reduction='mean'.")
        try:
            separate = is_separate(lambda z: self.gradient(z, targets), outputs, axis=0)
            alone = not self.is_diagonal or is_separate(lambda z: self.gradient(z, targets), outputs, axis=1)
        except RuntimeError as error:
            raise ArgumentError(
                f"`loss` '{self.name}' cannot be differentiated twice by the outputs ({_first_line(error)}), so it has "
                f"no Hessian here. Write it with elementary operations such as exp, log, sum and clamp."
            ) from error
        if separate is False:
            raise ArgumentError(
                f"`loss` '{self.name}' couples the outputs of different samples, so its Hessian is not one block per "
                f"sample. Only sums or means of terms of one sample each can be measured."
            )
        if alone is False:
            raise ArgumentError(
                f"`loss` '{self.name}' couples the outputs of a sample here, though not at the values it was tried "
                f"with, so its Hessian is not diagonal. Pass GeneralLoss(function, is_diagonal=False)."
            )

    def _jacobian(self, vectors: Callable[[Tensor], Tensor], outputs: Tensor) -> Tensor:
        if not self.is_diagonal:
            return sample_blocks(vectors, outputs)
        _, pull_back, *_ = vjp(vectors, outputs)
        return pull_back(torch.ones_like(outputs))[0]

    def _root_and_values(self, outputs: Tensor, targets: Tensor) -> tuple[Root, Tensor]:
        last = self._last
        is_plain = not is_functorch_wrapped_tensor(outputs)
        if is_plain and last and last["outputs"].dtype == outputs.dtype and torch.equal(last["outputs"], outputs):
            return last["root"], last["values"]
        last.clear()  # before the next one is made: two do not fit where one does
        hessian = self.hessian(outputs, targets)
        if is_plain and not bool(torch.isfinite(hessian).all()):
            raise NonFiniteError(
                f"`loss` '{self.name}' has a Hessian by the outputs that is NaN or infinite. Outputs lie outside its "
                f"domain, or at a point where it has no derivative."
            )
        if self.is_diagonal:
            root, values = diagonal_root(hessian), hessian
        else:
            root, values = block_root(hessian)
            root = root if self.frame is None else root.carried(self.frame)
        if is_plain:
            last.update(outputs=outputs.detach().clone(), root=root, values=values)
        return root, values


def _converted(function: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """A copy whose own floating-point tensors have the probe's type, where they can be found."""
    if isinstance(function, nn.Module):
        return copy.deepcopy(function).to(device=device, dtype=dtype)
    if isinstance(function, functools.partial):
        held = {
            name: value.to(device=device, dtype=dtype) if _is_floating(value) else value
            for name, value in function.keywords.items()
        }
        return functools.partial(_converted(function.func, device, dtype), *function.args, **held)
    return function


def _is_floating(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _first_line(error: Exception) -> str:
    return str(error).split("\n")[0].rstrip(". ")[:200]
