"""Balanced two-layer linear networks that are not aligned: feature learning that rotates, solved for all times.

With white inputs, target map S (outputs x inputs), Q = [W1'; W2] and F = [[0, S'], [S, 0]], gradient flow from
W1 W1' = W2' W2 is a matrix Riccati equation, Q' = F Q - Q Q' Q / 2, with

    Q Q'(t) = e^(Ft) Q0 [I + Q0' (int_0^t e^(2Fs) ds) Q0]^-1 Q0' e^(Ft)

[@fukumizu1998effect], [@braun2022exact]. Growing exponentials are taken out row by row, so that any time is
allowed. The blocks of Q Q' give the operator, its motion and the rotation of its eigenvectors
(equations/known_cases.md#balanced-networks).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.linalg import qr
from torch import Tensor, nn

from eigenflow.core.checks import check_kind, check_number, check_whole, real_array
from eigenflow.core.display import AbstractPrinted, Card, figure
from eigenflow.core.errors import ArgumentError, ShapeError
from eigenflow.lab.exact.turning import TurningOperator

__all__ = ["BalancedLinearNetwork"]

ROUNDING = float(np.finfo(np.float64).eps)
# Beyond this ratio the smaller of two growing rows is below rounding, and only their order matters.
LARGEST_RATIO = 40.0
LARGEST_LOG = 600.0
LATEST = 1e100


@dataclass(frozen=True, repr=False)
class BalancedLinearNetwork(AbstractPrinted):
    """The network before training: f(x) = W2 W1 x on the inputs x = unit vectors, loss "half_sum".

    Attributes:
        target: S, outputs x inputs.
        first: W1, hidden x inputs.
        second: W2, outputs x hidden.
    """

    target: Float[np.ndarray, "output input"]
    first: Float[np.ndarray, "hidden input"]
    second: Float[np.ndarray, "output hidden"]

    def __post_init__(self) -> None:
        target, first, second = (real_array(name, getattr(self, name)) for name in ("target", "first", "second"))
        for name, matrix in (("target", target), ("first", first), ("second", second)):
            if matrix.ndim != 2 or 0 in matrix.shape or not np.isfinite(matrix).all():
                raise ArgumentError(f"`{name}` must be a finite matrix, but has shape {matrix.shape} or is not finite.")
            object.__setattr__(self, name, matrix)
        if (second.shape[0], first.shape[1]) != target.shape or first.shape[0] != second.shape[1]:
            raise ShapeError(
                f"`second` times `first` must have the shape of `target`, {target.shape}, but they are "
                f"{second.shape} and {first.shape}."
            )
        off = np.abs(first @ first.T - second.T @ second).max()
        if off > 1e-10 * max(float((first**2).sum()), float((second**2).sum())):
            raise ArgumentError(
                f"`first` and `second` must be balanced, W1 W1' = W2' W2, but differ by {off:.3g}. Make them with "
                f"`BalancedLinearNetwork.draw`, or W1 = (W2' W2)^(1/2) R with R R' = I."
            )

    @classmethod
    def draw(
        cls,
        target: Float[np.ndarray, "output input"],
        hidden: int,
        scale: float,
        rng: np.random.Generator,
        *,
        rank: int | None = None,
    ) -> "BalancedLinearNetwork":
        """Draw a balanced start that is not aligned: W2 Gaussian, W1 = (W2' W2)^(1/2) R with random R.

        Args:
            target: S.
            hidden: Size of the layer between. Only as many directions as inputs and outputs allow are filled.
            scale: Standard deviation of the entries of W2, > 0.
            rng: Of weights.
            rank: Of W2, at most that of the sizes (the default).
        """
        check_kind("rng", rng, np.random.Generator, "a NumPy generator, as of `numpy.random.default_rng(0)`")
        target = np.atleast_2d(real_array("target", target))
        outputs, inputs = target.shape
        hidden = check_whole("hidden", hidden, 1, what="size of the hidden layer")
        most = min(outputs, inputs, hidden)
        rank = check_whole("rank", most if rank is None else rank, 1, most, what="rank")
        if not check_number("scale", scale) > 0:
            raise ArgumentError(f"`scale` must be > 0, but is {scale:g}. From weights of 0 nothing moves.")
        left, roots, right = np.linalg.svd(scale * rng.standard_normal((outputs, hidden)), full_matrices=False)
        left, roots, right = left[:, :rank], roots[:rank], right[:rank]
        turned = np.linalg.qr(rng.standard_normal((inputs, rank)))[0].T
        return cls(target, (right.T * roots) @ turned, (left * roots) @ right)

    def weights(self, time: float) -> tuple[np.ndarray, np.ndarray]:
        """W1 and W2 up to one rotation of the hidden layer, which changes neither function nor operator.

        Args:
            time: Of training, >= 0.
        """
        factor = self._factor(check_number("time", time, 0.0, LATEST))
        inputs = self.target.shape[1]
        return factor[:inputs].T, factor[inputs:]

    def error(self, time: float) -> Float[np.ndarray, "output input"]:
        """W2 W1 - S."""
        first, second = self.weights(time)
        return second @ first - self.target

    def loss(self, times: Any) -> Float[np.ndarray, " time"]:
        """Half the sum of squares of the error.

        Args:
            times: Of training, >= 0.
        """
        return np.array([0.5 * (self.error(float(t)) ** 2).sum() for t in np.atleast_1d(real_array("times", times))])

    def at(self, time: float) -> TurningOperator:
        """The operator at a time, how it moves, and the error, in the basis of samples and outputs.

        From d(Q Q') / dt = F P + P F - P P with P = Q Q'.

        Args:
            time: Of training, >= 0.
        """
        first, second = self.weights(time)
        outputs, inputs = self.target.shape
        input_gram, output_gram = first.T @ first, second @ second.T
        error = second @ first - self.target
        pushed = error.T @ second @ first
        pulled = second @ first @ error.T
        input_rate, output_rate = -(pushed + pushed.T), -(pulled + pulled.T)
        return TurningOperator(
            operator=_summed(input_gram, output_gram, inputs, outputs),
            rate=_summed(input_rate, output_rate, inputs, outputs),
            error=error.T.reshape(-1),
        )

    def network(self, time: float = 0.0) -> tuple[nn.Module, Tensor, Tensor]:
        """The network at a time, with its inputs and targets; index of an error = sample * outputs + output."""
        first, second = self.weights(time)
        model = nn.Sequential(
            *(nn.Linear(m.shape[1], m.shape[0], bias=False, dtype=torch.float64) for m in (first, second))
        )
        with torch.no_grad():
            for layer, matrix in zip(model, (first, second), strict=True):
                assert isinstance(layer, nn.Linear)
                layer.weight.copy_(torch.from_numpy(np.ascontiguousarray(matrix)))
        inputs = torch.eye(self.target.shape[1], dtype=torch.float64)
        return model, inputs, torch.from_numpy(np.ascontiguousarray(self.target.T))

    def _factor(self, time: float) -> np.ndarray:
        """A Q(t) with the exact Q Q'.

        In the eigenbasis of F, with f its eigenvalues and B = V' Q0, rows of Y = [(e^(2ft) - 1) / 2f]^(1/2) B are
        scaled so that Q Q' = D Y (I + Y' Y)^-1 Y' D. An orthogonal factorisation of [Y; I], rows sorted by size and
        columns by pivots, is exact row by row however different rows are.
        """
        start = np.vstack([self.first.T, self.second])
        if time == 0:
            return start
        outputs, inputs = self.target.shape
        both = np.zeros((inputs + outputs, inputs + outputs))
        both[:inputs, inputs:], both[inputs:, :inputs] = self.target.T, self.target
        rates, basis = np.linalg.eigh(both)
        rates = np.where(np.abs(rates) <= 8 * len(rates) * ROUNDING * np.abs(rates).max(), 0.0, rates)
        # Training keeps the rank; directions that are rounding would grow into modes that it never learns.
        left, roots, right = np.linalg.svd(start, full_matrices=False)
        rank = max(1, int((roots > 8 * max(start.shape) * ROUNDING * roots[0]).sum()))
        rows = basis.T @ (left[:, :rank] * roots[:rank])
        growth, spread = _grown(rates, time)
        weights = np.exp(_ranked(growth + 0.5 * np.log(spread)))
        stacked = np.vstack([weights[:, None] * rows, np.eye(rows.shape[1])])
        order = np.argsort(-np.abs(stacked).max(axis=1), kind="stable")
        orthogonal = np.empty((len(stacked), rows.shape[1]))
        orthogonal[order] = qr(stacked[order], mode="economic", pivoting=True)[0]
        sunk = np.exp(np.minimum(rates * time, 0.0)) / np.sqrt(spread)
        return basis @ (sunk[:, None] * orthogonal[: len(rates)]) @ right[:rank]

    def _card(self) -> Card:
        outputs, inputs = self.target.shape
        strengths = np.linalg.svd(self.target, compute_uv=False)
        return Card(
            f"BalancedLinearNetwork {inputs} - {len(self.first)} - {outputs}",
            [
                ("strengths", f"{figure(float(strengths[-1]))} to {figure(float(strengths[0]))}"),
                (
                    "operator",
                    f"trace {figure(float((self.first**2).sum() * outputs + (self.second**2).sum() * inputs))}",
                ),
                ("loss", figure(float(self.loss(0.0)[0]))),
            ],
        )


def _grown(rates: np.ndarray, time: float) -> tuple[np.ndarray, np.ndarray]:
    """Logarithm of max(1, e^(ft)), and the integral of e^(2fs) without the square of that."""
    moved = np.abs(rates)
    is_still = moved == 0
    safe = np.where(is_still, 1.0, moved)
    spread = np.where(is_still, time, -np.expm1(-2.0 * safe * time) / (2.0 * safe))
    return np.where(rates > 0, rates * time, 0.0), spread


def _ranked(logs: np.ndarray) -> np.ndarray:
    """The same order, with the gaps between those above 0, and the largest, within the range of numbers."""
    order = np.argsort(logs)
    gaps = np.diff(np.maximum(logs[order], 0.0), prepend=0.0)
    kept = np.empty_like(logs)
    kept[order] = np.minimum(np.cumsum(np.minimum(gaps, LARGEST_RATIO)), LARGEST_LOG)
    return np.where(logs > 0, kept, logs)


def _summed(of_inputs: np.ndarray, of_outputs: np.ndarray, inputs: int, outputs: int) -> np.ndarray:
    """Delta -> of_outputs Delta + Delta of_inputs, on the error stacked by samples."""
    return np.kron(of_inputs, np.eye(outputs)) + np.kron(np.eye(inputs), of_outputs)
