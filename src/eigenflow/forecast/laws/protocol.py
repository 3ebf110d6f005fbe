"""What a loss law is: named parameters with bounds, and predictions of ln(loss) with their derivatives.

A law never sees a model size or a second curve. The fit engine (`forecast/fitting`) decides which parameters
curves share and which move with ln(size), and hands every law the parameters of one curve as one vector
`theta`, in internal units: ln(value) for a positive parameter, the value itself for a signed one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

__all__ = ["History", "Law", "Parameter", "ScaledLaw"]


@dataclass(frozen=True)
class Parameter:
    """One parameter of a law.

    Attributes:
        name: Its symbol in the docs, e.g. "L_inf".
        unit: "nats", "time" (sum of learning rates), "1 / time", or "" for a pure number.
        meaning: What it is, in a few words.
        scale: "log" if theta is ln(value) (a positive parameter), "linear" if theta is the value.
        lower: Smallest value (not theta) that the fit may reach. Bounds are guards, not priors: wide.
        upper: Largest value.
        moves_with_size: Whether a joint fit over sizes gives it a slope in ln(size).
        is_followed: Whether forecasts bend so much with it that a fit follows its posterior beyond a Gaussian.
    """

    name: str
    unit: str
    meaning: str
    scale: Literal["log", "linear"]
    lower: float
    upper: float
    moves_with_size: bool = True
    is_followed: bool = False

    def to_theta(self, value: Any) -> Any:
        """Take values to internal units."""
        return np.log(value) if self.scale == "log" else np.asarray(value, dtype=np.float64)

    def to_value(self, theta: Any) -> Any:
        """Take internal units to values."""
        return np.exp(theta) if self.scale == "log" else np.asarray(theta, dtype=np.float64)


@dataclass(frozen=True)
class History:
    """Where one curve was observed, and every learning rate that led there.

    Attributes:
        steps: Completed updates at each observation, increasing, at least 1.
        rates: Learning rate of update k (from 0, warm-up included); at least `steps[-1]` of them.
        batch: Examples per update relative to the reference batch of the fit, one per update, or None for 1.
    """

    steps: Int[np.ndarray, " point"]
    rates: Float[np.ndarray, " update"]
    batch: Float[np.ndarray, " update"] | None = field(default=None)

    @cached_property
    def times(self) -> Float[np.ndarray, " point"]:
        """Intrinsic time at each observation: the sum of the learning rates before it."""
        return np.concatenate([[0.0], np.cumsum(self.rates)])[self.steps]


@runtime_checkable
class Law(Protocol):
    """A loss law. `prepare` is called once for a curve, `evaluate` at every step of the fit.

    Attributes:
        name: As the user types it.
        parameters: In the order of `theta`.
    """

    @property
    def name(self) -> str: ...

    @property
    def parameters(self) -> tuple[Parameter, ...]: ...

    def prepare(self, history: History) -> Any:
        """Do everything that does not depend on parameters (cumulative sums, blocks of constant rate)."""
        ...

    def evaluate(
        self, theta: Float[np.ndarray, " parameter"], prepared: Any
    ) -> tuple[Float[np.ndarray, " point"], Float[np.ndarray, "point parameter"]]:
        """Give ln(loss) at each observation, and its derivatives with respect to `theta`."""
        ...

    def start(
        self,
        prepared: Sequence[Any],
        log_losses: Sequence[Float[np.ndarray, " _"]],
        rng: np.random.Generator | None,
    ) -> Float[np.ndarray, " parameter"]:
        """Give a well-scaled start for curves of one size: the default without `rng`, a spread one with it."""
        ...


@runtime_checkable
class ScaledLaw(Protocol):
    """A law whose parameters are in units of the fitted runs."""

    def scaled_to(self, histories: Sequence[History]) -> Law:
        """Give the law in the units of these runs; called once, before `prepare`."""
        ...
