"""The transport-dissipation problem: what is to be solved, checked once."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from eigenflow.core.display import AbstractPrinted, Card
from eigenflow.core.errors import ArgumentError
from eigenflow.transport.flows.characteristics import Characteristics, check_dissipation
from eigenflow.transport.flows.drift import PowerDrift
from eigenflow.transport.flows.flow import Dissipation
from eigenflow.transport.flows.paths import Values
from eigenflow.transport.initial import CellMasses, Initial, PointMasses
from eigenflow.transport.sources import AbstractSource

__all__ = ["Drift", "TransportProblem"]

# (1 + |b|) |ln lambda| stays below this, so that no power of an eigenvalue overflows.
_LARGEST_LOG_POWER = 600.0


@runtime_checkable
class Drift(Protocol):
    """Any drift: what moves eigenvalues, and nothing else of it is known."""

    def velocity(self, eigenvalues: Values, times: Values = 0.0) -> Float[np.ndarray, "..."]:
        """Evaluate d lambda / dt on broadcast arrays; positive upwards."""
        ...


@dataclass(frozen=True, repr=False)
class TransportProblem(AbstractPrinted):
    """The equation d_t g + d_lambda(v g) = -rate(lambda) g + S on a domain of eigenvalues, from t = 0.

    Nothing flows in through the ends of the domain: `initial` counts as zero outside it. What
    reaches an end has left for good, and is found in the outflow of the budget.

    Source: [@zhang2025operator]; equations.md#eq-transport, whose energy form has the rate 2 lambda.

    Attributes:
        drift: v = -c(t) lambda^b as a `PowerDrift`, or any object with a method
            `velocity(eigenvalues, times)`.
        dissipation: Factor of lambda (2.0 for energy, 1.0 for an amplitude), or a function that
            takes an array of eigenvalues and returns rates >= 0, in 1 / time.
        initial: Density per unit eigenvalue as a function of an array of eigenvalues, or
            `CellMasses`, or `PointMasses`. A function is looked at every 0.001 of ln(lambda) (in domains of more than
            65 e-folds, at 65,536 places): what is as wide as that, jumps and corners included, is found. Of what is
            narrower only luck tells. Give it as `PointMasses`; beside a density, in a problem of its own, for solutions
            add up.
        domain: Lowest and highest eigenvalue, positive, in 1 / time.
        source: S, what modes gain: None, `GivenSource`, `SgdNoise`, `KernelSource` or `StateSource`.
    """

    drift: PowerDrift | Drift
    dissipation: Dissipation
    initial: Initial
    domain: tuple[float | int, float | int]
    source: AbstractSource | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.drift, Drift):
            raise ArgumentError(
                f"`drift` must have a method `velocity(eigenvalues, times)`, but is a {type(self.drift).__name__}. "
                f"For v = -c lambda^b pass `PowerDrift(c, b)`."
            )
        _check_domain(self.domain, 1.0 if self.power_drift is None else float(self.power_drift.b))
        check_dissipation(self.dissipation)
        if self.source is not None and not isinstance(self.source, AbstractSource):
            raise ArgumentError(
                f"`source` must be None or a source, but is a {type(self.source).__name__}. "
                f"Available: GivenSource, SgdNoise, KernelSource, StateSource."
            )
        _check_initial(self.initial, self.domain)

    def _card(self) -> Card:
        rate = "a function of lambda" if callable(self.dissipation) else f"{self.dissipation:g} lambda"
        source = "none" if self.source is None else type(self.source).__name__
        rows = [("drift", _drift_words(self.drift)), ("dissipation", rate), ("source", source)]
        rows += [("initial", _initial_words(self.initial)), ("domain", f"{self.domain[0]:g} to {self.domain[1]:g}")]
        return Card("TransportProblem: d_t g + d_lambda(v g) = -rate g + S", rows)

    @property
    def power_drift(self) -> PowerDrift | None:
        """The drift, if it is a power law; then paths have closed forms."""
        return self.drift if isinstance(self.drift, PowerDrift) else None

    @property
    def characteristics(self) -> Characteristics:
        """The exact paths of single modes, unbounded by the domain."""
        if self.power_drift is None:
            raise ArgumentError(
                f"`characteristics` are known for `PowerDrift` only, but `drift` is a {type(self.drift).__name__}. "
                f"Integrate `drift.velocity` along the path instead."
            )
        return Characteristics(self.power_drift, self.dissipation)


def _drift_words(drift: object) -> str:
    if not isinstance(drift, PowerDrift):
        return f"v(lambda, t), {type(drift).__name__}"
    return f"v = {'-c(t)' if callable(drift.c) else f'{-drift.c:g}'} lambda^{drift.b:g}"


def _initial_words(initial: Initial) -> str:
    if callable(initial):
        return "a density"
    return f"{type(initial).__name__}, {len(np.asarray(initial.masses))} masses, {np.sum(initial.masses):.4g} in all"


def _check_domain(domain: tuple, b: float) -> None:
    is_pair = isinstance(domain, tuple) and len(domain) == 2
    is_pair = is_pair and all(isinstance(end, int | float | np.number) for end in domain)
    if not is_pair or not np.all(np.isfinite(domain)) or not 0 < domain[0] < domain[1]:
        raise ArgumentError(
            f"`domain` must be two positive finite eigenvalues, the lower one first, but is {domain!r}. "
            f"Modes of eigenvalue 0 lie below any domain; take a small lower end such as 1e-12."
        )
    reach = (1.0 + abs(b)) * max(abs(np.log(domain[0])), abs(np.log(domain[1])))
    if reach > _LARGEST_LOG_POWER:
        raise ArgumentError(
            f"`domain` must keep lambda^(1 + |b|) within 1e-260 and 1e260, but {domain!r} with "
            f"b = {b:g} does not. Narrow it or measure time in another unit."
        )


def _check_initial(initial: Initial, domain: tuple) -> None:
    if isinstance(initial, CellMasses):
        ends, what = np.asarray(initial.edges)[[0, -1]], "edges"
    elif isinstance(initial, PointMasses):
        ends = np.array([np.min(initial.eigenvalues), np.max(initial.eigenvalues)])
        what = "eigenvalues"
    elif callable(initial):
        return
    else:
        raise ArgumentError(
            f"`initial` must be a function, `CellMasses` or `PointMasses`, but is a "
            f"{type(initial).__name__}. Wrap an array as `CellMasses(edges, masses)`."
        )
    # Edges made by another geomspace may differ in the last digits.
    if ends[0] < domain[0] * (1 - 1e-12) or ends[1] > domain[1] * (1 + 1e-12):
        raise ArgumentError(
            f"`initial` must lie in the domain {domain!r}, but its {what} reach from {ends[0]:g} to "
            f"{ends[1]:g}. Widen `domain`; mass outside it would be lost in silence."
        )
