"""A drift whose strength is set by what is left to learn: c is a functional of the state, not a function of time.

Energies E_u sit at eigenvalues lambda_u. With E = sum of E_u and F = sum of (P_u - E_u), the law is

    v = kappa z s^-q lambda (lambda / reference)^(b - 1),    z = E^p F^r,    d ln(s) / dt = kappa z s^-q,

positive upwards, so c of v = -c lambda^b is -kappa z s^-q reference^(1 - b). P_u = -y_u g_u is the overlap of the error
with minus the target y, so F = -<f, e> with f = e + y, what the network has learned. Where it starts from zero,
P_u(0) = E_u(0), and a mode at rest that has decayed by a in amplitude has P_u = E_u(0) a and E_u = E_u(0) a^2.

Why F and s (equations/hypotheses.md#drift-linear-in-error): v is linear in the error, and in a homogeneous network of L
layers d |theta|^2 / dt = -2 L <f, e>. Its operator goes with the power 2 (L - 1) of theta: q = 1 / (L - 1), r = 1.
Exact cases: one mode of an aligned linear network of L layers (q = 1 for two), and the scale a^2 of f = a w'x (q = 1).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from eigenflow.core.checks import check_kind, check_number, real_array
from eigenflow.core.display import FieldsPrinted
from eigenflow.core.errors import ArgumentError

__all__ = ["StateDrift", "StateProblem", "UpwardJumps"]

Values = Float[np.ndarray, "..."] | float


@dataclass(frozen=True)
class StateDrift:
    """The strength of the drift as a functional of the state.

    Attributes:
        kappa: Size, in 1 / time per unit of z; positive lets eigenvalues grow.
        b: Exponent of lambda; 1 scales all modes alike.
        energy_power: p, of the energy.
        overlap_power: r, of F. A power other than 0 and 1 takes F as 0 where it is negative.
        scale_power: q, of the growth since the start; -1 or less lets growth feed on itself.
        reference: The eigenvalue whose logarithmic velocity is kappa z s^-q; of no effect at b = 1.

    Examples:
        >>> StateDrift(kappa=2.0, energy_power=0.5, overlap_power=0.0).rate(energy=4.0, overlap=0.0, scale=2.0)
        2.0
    """

    kappa: float
    b: float = 1.0
    energy_power: float = 0.0
    overlap_power: float = 1.0
    scale_power: float = 1.0
    reference: float = 1.0

    def __post_init__(self) -> None:
        for name in ("kappa", "b", "energy_power", "overlap_power", "scale_power"):
            check_number(name, getattr(self, name), *((0.0, 20.0) if name in POSITIVE else LARGEST))
        check_number("reference", self.reference, 1e-100, 1e100)

    def strength(self, energy: Values, overlap: Values) -> Values:
        """Evaluate z = E^p F^r, broadcast over energies and F."""
        found = 1.0
        if self.energy_power:
            found = energy**self.energy_power
        if self.overlap_power == 1.0:
            return found * overlap
        return found * np.maximum(overlap, 0.0) ** self.overlap_power if self.overlap_power else found

    def rate(self, energy: Values, overlap: Values, scale: Values) -> Values:
        """Evaluate d ln(lambda) / dt at the reference, 1 / time; positive upwards.

        Args:
            energy: E.
            overlap: F.
            scale: s.
        """
        return self.kappa * self.strength(energy, overlap) * scale**-self.scale_power

    @property
    def is_linear(self) -> bool:
        """Whether z is E or F, so that its integral over effective time is elementary."""
        return (self.energy_power, self.overlap_power) in ((1.0, 0.0), (0.0, 1.0))


LARGEST = (-1e200, 1e200)
POSITIVE = ("energy_power", "overlap_power")


@dataclass(frozen=True)
class UpwardJumps:
    """Rotation as jumps of energy to larger eigenvalues, at a rate tied to the drift: nothing is lost on the way.

    While eigenvalues grow by an e-fold, a share `rate` of the energy of every mode leaves it and lands at x e-folds
    above, with density exp(-x / reach) / reach. What would land above the largest mode lands at it.

    Attributes:
        rate: Jumps per e-fold of growth; 0 where eigenvalues sink.
        reach: Mean length of a jump in ln(lambda).
    """

    rate: float
    reach: float = 0.6

    def __post_init__(self) -> None:
        check_number("rate", self.rate, 0.0, 1e6)
        check_number("reach", self.reach, 1e-3, 1e3)


@dataclass(frozen=True, repr=False)
class StateProblem(FieldsPrinted):
    """Energies of modes, the drift that they set, and their rotation; dissipation is 2 lambda.

    Attributes:
        drift: The law.
        eigenvalues: At t = 0, >= 0. A mode at 0 neither moves nor decays.
        energies: g_u^2 at t = 0.
        overlaps: P_u = -y_u g_u at t = 0; by default the energies, for training that starts from f = 0.
        jumps: Rotation, or None.
    """

    drift: StateDrift
    eigenvalues: Float[np.ndarray, " mode"]
    energies: Float[np.ndarray, " mode"]
    overlaps: Float[np.ndarray, " mode"] | None = None
    jumps: UpwardJumps | None = None

    def __post_init__(self) -> None:
        check_kind("drift", self.drift, StateDrift, "a `StateDrift`, such as StateDrift(kappa=0.5)")
        check_kind("jumps", self.jumps, (UpwardJumps, type(None)), "`UpwardJumps` or None")
        for name in ("eigenvalues", "energies", "overlaps"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, real_array(name, getattr(self, name)))
        if self.overlaps is None:
            object.__setattr__(self, "overlaps", self.energies.copy())
        shapes = {self.eigenvalues.shape, self.energies.shape, self.starting_overlaps.shape}
        if len(shapes) != 1 or self.eigenvalues.ndim != 1 or not self.eigenvalues.size:
            raise ArgumentError(
                f"`eigenvalues`, `energies` and `overlaps` must be one value a mode each, but have the shapes "
                f"{self.eigenvalues.shape}, {self.energies.shape} and {self.starting_overlaps.shape}."
            )
        _check_values("eigenvalues", self.eigenvalues, 0.0)
        _check_values("energies", self.energies, 0.0)
        _check_values("overlaps", self.starting_overlaps, -np.inf)
        if self.jumps is not None and self.drift.b != 1.0:
            raise ArgumentError(
                f"`jumps` are solved for b = 1 only, where the grid moves with the modes, but b is {self.drift.b:g}. "
                f"Set b = 1, or leave the jumps out."
            )
        if not self.eigenvalues.max() > 0:
            raise ArgumentError("`eigenvalues` must hold one above 0, but all are 0: nothing would ever change.")

    @property
    def starting_overlaps(self) -> Float[np.ndarray, " mode"]:
        """P_u at the start."""
        return self.energies if self.overlaps is None else self.overlaps


def _check_values(name: str, values: np.ndarray, least: float) -> None:
    wrong = ~np.isfinite(values) | (values < least)
    if wrong.any():
        place = int(np.flatnonzero(wrong)[0])
        allowed = "finite" if least == -np.inf else f"finite and >= {least:g}"
        raise ArgumentError(f"`{name}` must be {allowed}, but entry {place} is {values[place]:g}.")
