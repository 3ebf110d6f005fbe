"""What the modes carry at t = 0: a density, masses of cells, or masses of single modes."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from eigenflow.core.checks import real_array
from eigenflow.core.display import FieldsPrinted
from eigenflow.core.errors import ArgumentError, NonFiniteError, ShapeError
from eigenflow.transport.finite_volumes.parabolas import parabolas
from eigenflow.transport.flows.paths import Values, panel_rule
from eigenflow.transport.narrow import graded_edges

__all__ = ["CellMasses", "DepartureMesh", "Initial", "PointMasses", "cell_masses", "departure_mesh"]

Array = Float[np.ndarray, "..."]

_LONGEST_PANEL = 0.25
# A callable is looked at this finely in ln(lambda), or at so many points. What is narrower may lie between them.
LOOKED_AT = 1e-3
_MOST_LOOKS = 65_536
_RESOLVED = 1e-13
_MAX_DEPTH = 60
_MAX_PANELS = 20_000


def _vector(name: str, values: Values) -> Float[np.ndarray, " entry"]:
    array = real_array(name, values)
    if array.ndim != 1:
        raise ShapeError(f"`{name}` must be one-dimensional, but has shape {array.shape}. Pass one row.")
    if not np.all(np.isfinite(array)):
        raise NonFiniteError(f"`{name}` must be finite, but holds NaN or inf. Drop those entries.")
    array.flags.writeable = False
    return array


def _check_masses(masses: Array) -> None:
    if np.any(masses < 0):
        raise ArgumentError(
            f"`masses` must not be negative, but the least is {masses.min():g}. "
            f"Energies are squares; amplitudes need their absolute value."
        )


@dataclass(frozen=True, repr=False)
class CellMasses(FieldsPrinted):
    """Masses of cells in the eigenvalue, such as shell energies.

    Attributes:
        edges: Positive, increasing, shape (cells + 1,); any spacing.
        masses: Mass of each cell, not negative, shape (cells,). Inside a cell the density per
            unit ln(lambda) is a parabola that is never negative and keeps the cell's mass.
    """

    edges: Values
    masses: Values

    def __post_init__(self) -> None:
        edges, masses = _vector("edges", self.edges), _vector("masses", self.masses)
        if len(masses) < 1 or len(edges) != len(masses) + 1:
            raise ShapeError(
                f"`edges` must have one entry more than `masses`, but they have {len(edges)} and "
                f"{len(masses)}. n cells are bounded by n + 1 edges."
            )
        if edges[0] <= 0 or np.any(np.diff(edges) <= 0):
            raise ArgumentError(
                "`edges` must be positive and increasing, as np.geomspace gives them. "
                "For mass below the lowest edge, choose a small positive edge."
            )
        _check_masses(masses)
        object.__setattr__(self, "edges", edges)
        object.__setattr__(self, "masses", masses)


@dataclass(frozen=True, repr=False)
class PointMasses(FieldsPrinted):
    """Masses of single modes, as measured on a network; each is carried exactly.

    Attributes:
        eigenvalues: Positive, in any order, shape (modes,), in 1 / time.
        masses: Energy (or absolute amplitude) of each mode, not negative, shape (modes,).
    """

    eigenvalues: Values
    masses: Values

    def __post_init__(self) -> None:
        eigenvalues = _vector("eigenvalues", self.eigenvalues)
        masses = _vector("masses", self.masses)
        if eigenvalues.shape != masses.shape or not len(masses):
            raise ShapeError(
                f"`masses` must have one entry per mode, shape {eigenvalues.shape} and not empty, but "
                f"has shape {masses.shape}. Pass `eigenvalues` and `masses` of the same modes."
            )
        if np.any(eigenvalues <= 0):
            raise ArgumentError(
                f"`eigenvalues` must be positive, but the least is {eigenvalues.min():g}. "
                f"Leave out the null space: it neither moves nor decays."
            )
        _check_masses(masses)
        object.__setattr__(self, "eigenvalues", eigenvalues)
        object.__setattr__(self, "masses", masses)


Initial = Callable | CellMasses | PointMasses


@dataclass(frozen=True)
class DepartureMesh:
    """An initial density per unit x = ln(lambda), and panels on which it is smooth.

    Attributes:
        edges: Panel ends in x, increasing.
        density: Function of x, shape (panel, node), nodes of one row in one panel.
        rougher: The same from half the data, or None; the difference estimates the error.
        mass: Integral over all panels.
        error: Estimated error of that integral.
    """

    edges: Float[np.ndarray, " edge"]
    density: Callable
    rougher: Callable | None
    mass: float
    error: float


def departure_mesh(
    initial: Callable | CellMasses,
    log_domain: tuple[float, float],
    longest: float = _LONGEST_PANEL,
    resolved: float = _RESOLVED,
) -> DepartureMesh:
    """Prepare an initial density for integration over departure intervals.

    Args:
        initial: A density per unit eigenvalue, or masses of cells.
        log_domain: ln(lambda) at the ends of the domain.
        longest: Longest panel.
        resolved: Share of the mass to which a callable is to be resolved.

    Raises:
        ArgumentError: If a callable returns negative values or too few.
        NonFiniteError: If it returns NaN or inf.
    """
    if isinstance(initial, CellMasses):
        return _mesh_of_cells(initial, longest)
    return _mesh_of_callable(_checked_density(initial), log_domain, longest, resolved)


def cell_masses(initial: Initial, log_edges: Float[np.ndarray, " edge"]) -> tuple[Float[np.ndarray, " cell"], float]:
    """Integrate an initial state over cells, by panels on which it is resolved.

    Returns:
        Masses, and the estimated error of their sum.
    """
    if isinstance(initial, PointMasses):
        place = np.searchsorted(log_edges, np.log(np.asarray(initial.eigenvalues)), side="right") - 1
        cell = np.clip(place, 0, len(log_edges) - 2)
        return np.bincount(cell, np.asarray(initial.masses), len(log_edges) - 1), 0.0
    mesh = departure_mesh(initial, (float(log_edges[0]), float(log_edges[-1])))
    cuts = np.unique(np.concatenate([np.clip(mesh.edges, log_edges[0], log_edges[-1]), log_edges]))
    nodes, weights = panel_rule(2 if isinstance(initial, CellMasses) else 6)
    half = 0.5 * np.diff(cuts)[:, None]
    pieces = (mesh.density(cuts[:-1, None] + half * (1.0 + nodes)) * half) @ weights
    cell = np.searchsorted(log_edges, cuts[:-1], side="right") - 1
    return np.bincount(cell, pieces, len(log_edges) - 1), mesh.error


def refine(edges: Array, longest: float) -> Array:
    """Divide intervals evenly so that none is longer than asked."""
    widths = np.diff(edges)
    parts = np.maximum(1, np.ceil(widths / longest - 1e-9)).astype(int)
    start = np.repeat(edges[:-1], parts)
    index = np.arange(len(start)) - np.repeat(np.cumsum(parts) - parts, parts)
    return np.append(start + index * np.repeat(widths / parts, parts), edges[-1])


def _mesh_of_cells(initial: CellMasses, longest: float) -> DepartureMesh:
    edges, masses = np.log(np.asarray(initial.edges)), np.asarray(initial.masses)
    rougher = None
    if len(masses) >= 4:
        pairs = np.arange(0, len(masses), 2)
        rougher = parabolas(np.append(edges[:-1][pairs], edges[-1]), np.add.reduceat(masses, pairs))
    mesh = refine(edges, longest)
    return DepartureMesh(mesh, parabolas(edges, masses), rougher, float(masses.sum()), 0.0)


def _checked_density(initial: Callable) -> Callable[[Array], Array]:
    def density(x: Array) -> Array:
        eigenvalues = np.exp(x.ravel())
        with np.errstate(under="ignore"):
            values = real_array("initial", initial(eigenvalues))
        if values.shape == eigenvalues.shape and math.isfinite(values.sum()) and values.min(initial=0.0) >= 0:
            return (values * eigenvalues).reshape(x.shape)
        if values.shape not in ((), eigenvalues.shape):
            raise ShapeError(
                f"`initial` must return one density per eigenvalue, shape {eigenvalues.shape}, but "
                f"returned shape {values.shape}. Write it with numpy functions that work by element."
            )
        if not np.all(np.isfinite(values)):
            where = eigenvalues[np.flatnonzero(~np.isfinite(np.broadcast_to(values, eigenvalues.shape)))[0]]
            raise NonFiniteError(
                f"`initial` must be finite in the domain, but is not at eigenvalue {where:g}. "
                f"Mass at a point is given as `PointMasses(eigenvalues, masses)`."
            )
        if values.min(initial=0.0) < 0:
            raise ArgumentError(
                f"`initial` must not be negative, but falls to {values.min():g}. "
                f"Energies are squares; amplitudes need their absolute value."
            )
        return (values * eigenvalues).reshape(x.shape)

    return density


def _mesh_of_callable(
    density: Callable[[Array], Array], log_domain: tuple[float, float], longest: float, resolved: float
) -> DepartureMesh:
    """Bisect panels until six nodes integrate each as well as twelve do."""
    nodes, weights = panel_rule(6)

    def integrate(left: Array, right: Array) -> Array:
        half = 0.5 * (right - left)[:, None]
        return (density(left[:, None] + half * (1.0 + nodes)) * half) @ weights

    looks = int(np.clip(np.ceil((log_domain[1] - log_domain[0]) / LOOKED_AT), 5, _MOST_LOOKS))
    narrow = graded_edges(density, np.linspace(*log_domain, looks + 1), longest)
    edges = refine(np.concatenate([log_domain[:1], narrow, log_domain[1:]]), longest)
    left, right = edges[:-1], edges[1:]
    whole = np.zeros(0)
    done_edges, mass, error = [edges], 0.0, 0.0
    for depth in range(_MAX_DEPTH):
        middle = 0.5 * (left + right)
        # Users' functions are called as seldom as can be.
        parts = [(left, middle), (middle, right), (left, right)][: 2 if depth else 3]
        found = integrate(*(np.concatenate(ends) for ends in zip(*parts, strict=True))).reshape(len(parts), -1)
        lower, upper = found[:2]
        wrong = np.abs(lower + upper - (whole if depth else found[2]))
        scale = mass + float(np.sum(lower + upper))
        is_open = wrong > resolved * scale / 32
        if depth == _MAX_DEPTH - 1 or 2 * is_open.sum() + sum(map(len, done_edges)) > _MAX_PANELS:
            is_open[:] = False
        mass += float(np.sum((lower + upper)[~is_open]))
        error += float(np.sum(wrong[~is_open]))
        if not is_open.any():
            break
        done_edges.append(middle[is_open])
        left, right = (
            np.concatenate([left[is_open], middle[is_open]]),
            np.concatenate([middle[is_open], right[is_open]]),
        )
        whole = np.concatenate([lower[is_open], upper[is_open]])
    return DepartureMesh(np.unique(np.concatenate(done_edges)), density, None, mass, error)
