"""Aligned linear networks of any depth: feature learning that is solved, with eigenvectors that stand still.

Inputs are white, X X' = I, the map to be learned is U diag(s) V', and all layers begin as diag(a0^(1/L)) between
matching orthogonal bases. Then each strength s has an amplitude a of its own, a' = L a^(2 - 2/L) (s - a), and M has the
eigenvalues sum_l a_i^(2 (L - l) / L) a_j^(2 (l - 1) / L) on the modes u_i v_j' of the error matrix
(equations/known_cases.md#aligned-networks, [@saxe2013exact]).
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from eigenflow.core.checks import check_whole, real_array
from eigenflow.core.display import AbstractPrinted, Card, figure, span
from eigenflow.core.errors import ArgumentError
from eigenflow.lab.exact.power_law_features import checked_times
from eigenflow.lab.exact.sigmoids import deep_amplitudes

__all__ = ["AlignedLinearNetwork"]


@dataclass(frozen=True, repr=False)
class AlignedLinearNetwork(AbstractPrinted):
    """The network before training.

    Attributes:
        strengths: s, >= 0; equal ones and zeros are allowed.
        start: a0, >= 0; with two layers or more an amplitude of 0 stays there.
        layers: L >= 1.
        inputs: Size of inputs, at least the number of strengths (the default).
        outputs: Size of outputs, likewise. Modes that are missing on either side have a = 0.
    """

    strengths: Float[np.ndarray, " mode"]
    start: Float[np.ndarray, " mode"]
    layers: int = 2
    inputs: int | None = None
    outputs: int | None = None

    def __post_init__(self) -> None:
        strengths, start = (real_array(name, getattr(self, name)) for name in ("strengths", "start"))
        for name, values in (("strengths", strengths), ("start", start)):
            if values.ndim != 1 or len(values) == 0 or not (np.isfinite(values).all() and (values >= 0).all()):
                raise ArgumentError(
                    f"`{name}` must be a row of finite numbers >= 0, one for each mode, but is {values}."
                )
            object.__setattr__(self, name, values)
        if len(start) != len(strengths):
            raise ArgumentError(
                f"`start` must have one of each of the {len(strengths)} strengths, but has {len(start)}."
            )
        check_whole("layers", self.layers, 1, what="number of layers")
        for name in ("inputs", "outputs"):
            value = getattr(self, name)
            size = len(strengths) if value is None else value
            object.__setattr__(self, name, check_whole(name, size, len(strengths), what="size"))

    @property
    def sizes(self) -> tuple[int, int]:
        """Outputs and inputs."""
        assert self.outputs is not None and self.inputs is not None  # set when it is made
        return self.outputs, self.inputs

    def amplitudes(self, times: Any) -> Float[np.ndarray, "time mode"]:
        """Give a(t), in closed form for one and two layers, and to a relative error of 1e-12 for more.

        Args:
            times: Sum of learning rates, >= 0; infinity is allowed.
        """
        return deep_amplitudes(self.strengths, self.start, self.layers, checked_times(times))

    def amplitude_rates(self, times: Any) -> Float[np.ndarray, "time mode"]:
        """Give da / dt."""
        a = self.amplitudes(times)
        return self.layers * a ** (2 - 2 / self.layers) * (self.strengths - a)

    def loss(self, times: Any) -> Float[np.ndarray, " time"]:
        """Half the sum of squares of the error matrix; what lies beyond the modes is 0."""
        return 0.5 * ((self.amplitudes(times) - self.strengths) ** 2).sum(axis=1)

    def operator(self, times: Any) -> Float[np.ndarray, "time output input"]:
        """Eigenvalues of M on the modes u_i v_j', in the order of the strengths and then the modes that are missing."""
        left, right, _, _ = self._powers(times)
        return np.einsum("lti,ltj->tij", left, right)

    def operator_rates(self, times: Any) -> Float[np.ndarray, "time output input"]:
        """Give the rates of `operator`; the eigenvectors stand still."""
        left, right, left_rates, right_rates = self._powers(times)
        return np.einsum("lti,ltj->tij", left_rates, right) + np.einsum("lti,ltj->tij", left, right_rates)

    def network(
        self, time: float = 0.0, *, generator: torch.Generator | None = None
    ) -> tuple[nn.Module, Tensor, Tensor]:
        """The network at a time, with white inputs and targets whose loss is "half_sum".

        Args:
            time: Of training.
            generator: Turns the bases of inputs, outputs and every layer; without it they are the unit vectors.
        """
        size, (outputs, inputs) = len(self.strengths), self.sizes
        roots = torch.from_numpy(self.amplitudes(time)[0] ** (1.0 / self.layers))
        sizes = [inputs, *([size] * (self.layers - 1)), outputs]
        bases = [_orthogonal(width, generator) for width in sizes]
        model = nn.Sequential(*(nn.Linear(a, b, bias=False, dtype=torch.float64) for a, b in pairwise(sizes)))
        with torch.no_grad():
            for layer, before, after in zip(model, bases, bases[1:], strict=False):
                assert isinstance(layer, nn.Linear)
                layer.weight.copy_(after[:, :size] @ torch.diag(roots) @ before[:, :size].T)
        learned = bases[-1][:, :size] @ torch.diag(torch.from_numpy(self.strengths)) @ bases[0][:, :size].T
        return model, torch.eye(inputs, dtype=torch.float64), learned.T.contiguous()

    def _powers(self, times: Any) -> tuple[np.ndarray, ...]:
        """a_i^(2 (L - l) / L) and a_j^(2 (l - 1) / L) of every layer l, and rates, for all outputs and inputs."""
        a, depth = self.amplitudes(times), self.layers
        outputs, inputs = self.sizes
        exponents = 2.0 * np.arange(depth) / depth
        powers = a ** exponents[:, None, None]
        # a^(x - 1) a' = L a^(x + 1 - 2 / L) (s - a), in which no power is negative.
        rates = np.zeros_like(powers)
        moving = exponents > 0
        shifted = exponents[moving, None, None]
        rates[moving] = shifted * depth * a ** (shifted + 1.0 - 2.0 / depth) * (self.strengths - a)

        def padded(values: np.ndarray, size: int, rest: np.ndarray) -> np.ndarray:
            full = np.broadcast_to(rest[:, None, None], (depth, len(a), size)).copy()
            full[:, :, : values.shape[2]] = values
            return full

        missing, still = (exponents == 0).astype(np.float64), np.zeros(depth)
        left, right = padded(powers[::-1], outputs, missing[::-1]), padded(powers, inputs, missing)
        return left, right, padded(rates[::-1], outputs, still), padded(rates, inputs, still)

    def _card(self) -> Card:
        outputs, inputs = self.sizes
        ends = self.loss([0.0, np.inf])
        return Card(
            f"AlignedLinearNetwork of {self.layers} layers, {inputs} inputs and {outputs} outputs",
            [
                ("strengths", f"{len(self.strengths)}, {span(np.sort(self.strengths)[::-1])}"),
                ("start", f"{figure(float(self.start.min()))} to {figure(float(self.start.max()))}"),
                ("loss", f"{figure(float(ends[0]))}, in the end {figure(float(ends[1]))}"),
            ],
        )


def _orthogonal(size: int, generator: torch.Generator | None) -> Tensor:
    if generator is None:
        return torch.eye(size, dtype=torch.float64)
    return torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))[0]
