"""Losses as seen from the outputs: the error e, and the root of the loss's curvature.

Let r be the gradient of the loss by the network's outputs and H its Hessian, block by block (no sample
meets another). With a root B B^T = H and the error e defined by B e = r, the operator

    M = J J^T,   J = B^T J_net,   J^T e = J_net^T r = the gradient of the loss by the parameters

is symmetric and acts on e. For a squared loss B is the constant sqrt(f), so e = sqrt(f) (network - targets), loss =
||e||^2 / 2, J is the Jacobian of e, and every equation of the theory holds as written. For any other loss B moves
with the outputs: M still is the generalised Gauss-Newton operator seen from the outputs and M-dot holds the motion of
B, but ||e||^2 is not twice the loss, and what obeys an exact one-step identity is r, not e (r+ = (I - eta H J J^T) r
with path averages). What does hold for every loss is

    d loss = r . dz = (B e) . dz = e . (J dtheta),

so e . (J dtheta), mode by mode or shell by shell, is where in the spectrum the loss falls.

The frame. B B^T = H leaves a rotation of each sample's entries free, and a root whose frame turns while the outputs
move would show rotations of eigenvectors that are none. Between two instants the frame has to be carried along: B^+ dB
symmetric, which with B e = r gives de = B^T dz - B^+ dH (B^+)^T e / 2 whatever the root; see `anchored`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from eigenflow.core.errors import ArgumentError, ShapeError

__all__ = ["LOSS_FACTORS", "AbstractLoss", "SquaredLoss", "flat_targets", "loss_factor"]

# From (samples, outputs) to f in loss = (f / 2) sum (network - targets)^2.
LOSS_FACTORS: dict[str, Callable[[int, int], float]] = {
    "mse": lambda samples, outputs: 2.0 / (samples * outputs),
    "half_mean": lambda samples, outputs: 1.0 / samples,
    "half_sum": lambda samples, outputs: 1.0,
    "sum_squares": lambda samples, outputs: 2.0,
}


def loss_factor(loss: str, samples: int, outputs: int) -> float:
    """Return the factor f of a squared loss.

    Args:
        loss: "mse", the mean over samples and outputs as in `torch.nn.MSELoss`; "half_mean", half
            the mean over samples of the sum over outputs; "half_sum", half the sum over both; "sum_squares", the whole
            sum, as in `torch.nn.MSELoss(reduction="sum")`.
        samples: Number of samples of the probe set.
        outputs: Outputs per sample.

    Returns:
        f, without unit.

    Raises:
        ArgumentError: If `loss` is not one of these names.
    """
    if loss not in LOSS_FACTORS:
        names = ", ".join(repr(name) for name in LOSS_FACTORS)
        raise ArgumentError(
            f"`loss` must be one of {names}, but is {loss!r}. 'mse' is torch.nn.MSELoss (mean over samples "
            f"and outputs), 'half_mean' is 0.5 * ((f - y)**2).sum(1).mean(), 'half_sum' is 0.5 * ((f - y)**2).sum(), "
            f"'sum_squares' is ((f - y)**2).sum()."
        )
    return LOSS_FACTORS[loss](samples, outputs)


@dataclass(frozen=True)
class AbstractLoss(ABC):
    """A loss on a fixed set of samples. All methods are pure, and differentiable by `outputs`.

    Attributes:
        factor: The loss's own normalisation; for squared losses the f of e = sqrt(f) (network - targets).
    """

    factor: float = field(default=1.0, kw_only=True)

    @property
    @abstractmethod
    def name(self) -> str:
        """What a run folder says the loss was."""

    @property
    @abstractmethod
    def is_quadratic(self) -> bool:
        """Whether B is constant, so that e itself follows e+ = e + J dtheta to first order."""

    @property
    def is_whole(self) -> bool:
        """Whether e holds all of the error, so that an update can be followed in it; False for a sketch."""
        return True

    @abstractmethod
    def bind(
        self, targets: Tensor, output_shape: torch.Size, dtype: torch.dtype, name: str
    ) -> tuple["AbstractLoss", Tensor]:
        """Fix the normalisation for a set of samples and bring its targets to the form that the methods take.

        Args:
            targets: As the user gave them, sample axis first.
            output_shape: Shape of what the network returned, sample axis first, before flattening.
            dtype: Of the probe.
            name: Of the argument, for messages.

        Raises:
            ArgumentError, ShapeError: If the targets do not belong to such outputs.
        """

    @abstractmethod
    def value(self, outputs: Float[Tensor, "samples outputs"], targets: Tensor) -> Float[Tensor, ""]:
        """The loss."""

    @abstractmethod
    def gradient(self, outputs: Float[Tensor, "samples outputs"], targets: Tensor) -> Float[Tensor, "samples outputs"]:
        """r, the gradient of the loss by the outputs."""

    @abstractmethod
    def error(self, outputs: Float[Tensor, "samples outputs"], targets: Tensor) -> Float[Tensor, "samples outputs"]:
        """e, with B e = r."""

    @abstractmethod
    def weigh(
        self,
        outputs: Float[Tensor, "samples outputs"],
        targets: Tensor,
        changes: Float[Tensor, "*block samples outputs"],
    ) -> Float[Tensor, "*block samples outputs"]:
        """B^T times changes of the outputs."""

    @abstractmethod
    def spread(
        self, outputs: Float[Tensor, "samples outputs"], targets: Tensor, rows: Float[Tensor, "*block samples outputs"]
    ) -> Float[Tensor, "*block samples outputs"]:
        """B times vectors in the space of the error."""

    def require_valid(self, outputs: Float[Tensor, "samples outputs"], targets: Tensor) -> None:
        """Raise where B or e does not exist; a no-op for losses that are convex everywhere."""
        del outputs, targets

    def require_usable(self, outputs: Float[Tensor, "samples outputs"], targets: Tensor) -> None:
        """Raise what can be said when a probe is made, whatever the outputs will be later; a no-op by default."""
        del outputs, targets

    def width(self, outputs: int) -> int:
        """Entries of the error per sample."""
        return outputs

    def root_bytes(self, samples: int, outputs: int, itemsize: int, *, drift: bool = False) -> int:
        """Bytes that products with B hold beyond their arguments and results; 0 for roots in closed form.

        Args:
            samples: Taken at once.
            outputs: Per sample.
            itemsize: Bytes a number.
            drift: Whether the root is differentiated too.
        """
        del samples, outputs, itemsize, drift
        return 0

    def require_memory(self, samples: int, outputs: int, itemsize: int, budget: int, *, drift: bool) -> None:
        """Refuse, before anything is made, a root that does not fit; arguments as for `root_bytes`.

        Raises:
            ArgumentError: With the number of bytes, and what would make it fit.
        """
        needed = self.root_bytes(samples, outputs, itemsize, drift=drift)
        if needed > budget:
            fits = int(budget / needed * samples)
            fewer = f"Use at most {fits} of the {samples} samples, " if fits > 0 else "Use fewer outputs a sample, "
            raise ArgumentError(
                f"`loss` '{self.name}' is known by its Hessian only, {samples} blocks of {outputs:,} x {outputs:,} "
                f"outputs, with which a measurement holds about {needed:,} bytes; {budget:,} are allowed. {fewer}a "
                f"larger `memory_budget`, or a loss whose root has a closed form: 'cross_entropy', 'mse', or one of "
                f"torch.nn such as CrossEntropyLoss(...) and BCEWithLogitsLoss(...), as an object, not in a function."
            )

    def anchored(self, outputs: Float[Tensor, "samples outputs"], targets: Tensor) -> "AbstractLoss":
        """The same loss with the frame of its root carried along from given outputs, at which the root stays as it is.

        At other outputs of the same samples the root B' is the one for which B^+ B' is symmetric (to first order in
        the distance), so vectors over the error at both can be compared. Squared losses return themselves.
        """
        del outputs, targets
        return self

    def part(self, samples: slice | Tensor, of: int) -> "AbstractLoss":
        """The same loss on some of the samples, a slice or their numbers: gradients and roots stay those of all."""
        del samples, of
        return self

    def scaled(self, ratio: float) -> "AbstractLoss":
        """The same loss times a number, as for a part of a larger set of samples."""
        return replace(self, factor=self.factor * ratio)

    def counted(self, targets: Tensor) -> float | None:
        """Over how many terms of these targets (or what sum of weights) the bound loss is a mean; None: a plain sum.

        It says how the losses of two sets of samples make that of both together.

        Raises:
            ArgumentError: If they do not.
        """
        del targets
        raise ArgumentError(
            f"`loss` '{self.name}' does not say how sets of samples add up (`AbstractLoss.counted`), so its samples "
            f"cannot be spread over processes. Use 'mse', 'half_mean', 'half_sum', 'cross_entropy' or a function."
        )

    def adds_up(self, targets: Tensor) -> bool:
        """Whether `counted` knows how sets of samples make one, from these targets alone."""
        del targets
        return True

    def counted_beside(self, targets: Tensor, others: Tensor) -> float | None:
        """As `counted`, in units of what another set of targets counts, which is the same for all who ask."""
        del others
        return self.counted(targets)

    def describe(self) -> dict[str, Any]:
        """What a run folder stores about the loss."""
        return {"loss": self.name, "factor": self.factor, "is_quadratic": self.is_quadratic}


@dataclass(frozen=True)
class SquaredLoss(AbstractLoss):
    """(f / 2) sum (network - targets)^2, where `kind` says what f is; see `loss_factor`.

    Attributes:
        kind: A name of `LOSS_FACTORS`.
        is_exact: Whether targets must have the very shape of the outputs, as where PyTorch would broadcast them.
    """

    kind: str = "mse"
    is_exact: bool = False

    @property
    def name(self) -> str:
        """The kind."""
        return self.kind

    @property
    def is_quadratic(self) -> bool:
        """True: B = sqrt(f)."""
        return True

    def bind(
        self, targets: Tensor, output_shape: torch.Size, dtype: torch.dtype, name: str
    ) -> tuple["AbstractLoss", Tensor]:
        """Flatten targets that have the shape of the outputs."""
        if not targets.is_floating_point():
            raise ArgumentError(
                f"`{name}` must be floating-point values with the shape of the network's outputs for loss "
                f"{self.kind!r}, but has dtype {targets.dtype}. For class labels, pass loss='cross_entropy', or "
                f"torch.nn.functional.one_hot(labels).to(outputs' dtype); for numbers, {name}.to(outputs' dtype)."
            )
        samples = output_shape[0] if output_shape else 1
        outputs = output_shape.numel() // samples
        flat = flat_targets(targets, output_shape, name, is_exact=self.is_exact).to(dtype)
        return replace(self, factor=loss_factor(self.kind, samples, outputs)), flat

    def value(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """||e||^2 / 2."""
        return 0.5 * self.error(outputs, targets).square().sum()

    def gradient(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """f (network - targets)."""
        return self.factor * (outputs - targets)

    def error(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """sqrt(f) (network - targets)."""
        return self.factor**0.5 * (outputs - targets)

    def weigh(self, outputs: Tensor, targets: Tensor, changes: Tensor) -> Tensor:
        """sqrt(f) times changes of the outputs."""
        return changes if self.factor == 1.0 else self.factor**0.5 * changes

    def spread(self, outputs: Tensor, targets: Tensor, rows: Tensor) -> Tensor:
        """sqrt(f) times rows."""
        return rows if self.factor == 1.0 else self.factor**0.5 * rows

    def counted(self, targets: Tensor) -> float | None:
        """Samples, for the means."""
        return None if self.kind in ("half_sum", "sum_squares") else len(targets)


def flat_targets(targets: Tensor, output_shape: torch.Size, name: str, *, is_exact: bool) -> Tensor:
    """Bring targets with one value for every output to (samples, outputs).

    Args:
        targets: As the user gave them.
        output_shape: Of the network's outputs, sample axis first.
        name: Of the argument, for messages.
        is_exact: Whether axes of length one and flattened outputs are refused too.

    Raises:
        ShapeError: If the shapes differ otherwise.
    """
    flat = targets.reshape(len(targets), -1)
    if targets.shape == output_shape:
        return flat
    one_shape, other_shape = (tuple(n for n in shape if n != 1) for shape in (targets.shape, output_shape))
    is_same = targets.ndim == 2 or len(output_shape) == 2 or one_shape == other_shape
    if not is_exact and is_same and flat.shape == (len(targets), output_shape[1:].numel()):
        return flat
    hint = f" Reshape them: {name}.reshape({tuple(output_shape)})." if targets.numel() == output_shape.numel() else ""
    raise ShapeError(
        f"`{name}` must have the shape of the network's outputs, {tuple(output_shape)}, but has "
        f"{tuple(targets.shape)}.{hint}"
    )
