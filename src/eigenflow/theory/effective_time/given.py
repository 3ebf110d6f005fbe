"""Series and spectra as they are given, checked."""

from typing import Any

import numpy as np
from jaxtyping import Float

from eigenflow.core.checks import check_kind, real_array
from eigenflow.core.errors import ArgumentError, NonFiniteError, ShapeError
from eigenflow.theory.task_spectrum import TaskSpectrum

__all__ = ["Spectrum", "checked_energies", "checked_series", "checked_spectrum", "require_sorted"]

Spectrum = TaskSpectrum | tuple[Any, Any]
"""A task, or eigenvalues and energies E_u (squares of the error in each mode at the start), of which loss is half."""


def checked_spectrum(spectrum: Spectrum) -> tuple[Float[np.ndarray, " mode"], Float[np.ndarray, " mode"], float]:
    """Eigenvalues > 0 and energies > 0 of a spectrum, and half of what is never learned.

    Raises:
        ArgumentError: If it is neither a task nor two such rows.
    """
    if isinstance(spectrum, TaskSpectrum):
        rates, energies, never = spectrum.eigenvalues, spectrum.target, spectrum.noise
    else:
        check_kind("spectrum", spectrum, (tuple, list), "a TaskSpectrum, or a pair (eigenvalues, energies)")
        if len(spectrum) != 2:
            raise ArgumentError(f"`spectrum` must be a pair (eigenvalues, energies), but has {len(spectrum)} parts.")
        rates, energies = (
            real_array(name, part) for name, part in zip(("eigenvalues", "energies"), spectrum, strict=True)
        )
        never = 0.0
        if rates.ndim != 1 or rates.shape != energies.shape or rates.size == 0:
            raise ShapeError(
                f"`spectrum` must hold two equally long rows, but they have shapes {rates.shape} and {energies.shape}."
            )
        for name, part in (("eigenvalues", rates), ("energies", energies)):
            if not np.isfinite(part).all() or (part < 0).any():
                raise ArgumentError(f"`spectrum` must hold finite {name} >= 0, but the least is {part.min():.3g}.")
    learns = (rates > 0) & (energies > 0)
    if not learns.any():
        raise ArgumentError("`spectrum` holds no mode with an eigenvalue and energy above 0: nothing can be learned.")
    return rates[learns], energies[learns], 0.5 * (never + float(energies[~learns].sum()))


def checked_series(name: str, times: Any, values: np.ndarray, axis: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Times and values, finite and of one length."""
    at = real_array("times", times)
    if at.ndim != 1 or values.ndim != 2 or values.shape[axis] != len(at) or values.size == 0:
        wanted = "(run, time) or (time)" if axis else "(time, mode)"
        raise ShapeError(
            f"`{name}` must be {wanted} with one value for each of the `times`, but have shape {values.shape} beside "
            f"{at.shape}."
        )
    if not np.isfinite(at).all() or (at < 0).any() or (np.diff(at) <= 0).any():
        raise ArgumentError(f"`times` must be finite, >= 0 and increasing, but begin with {at[:3]}.")
    if not np.isfinite(values).all():
        raise NonFiniteError(f"`{name}` must be finite, but hold NaN or infinity. Leave out what comes after.")
    return at, values


def require_sorted(rates: np.ndarray) -> None:
    """Refuse eigenvalues that rise."""
    if (np.diff(rates) > 0).any():
        place = int(np.flatnonzero(np.diff(rates) > 0)[0]) + 1
        raise ArgumentError(
            f"Modes must be in the order of decreasing first eigenvalue, but it rises at place {place}. Sort the "
            f"columns by it: order = np.argsort(-eigenvalues[0])."
        )


def checked_energies(energies: Any, modes: int) -> np.ndarray:
    """One finite energy >= 0 for each mode."""
    found = real_array("energies", energies)
    if found.shape != (modes,) or not np.isfinite(found).all() or (found < 0).any():
        raise ArgumentError(
            f"`energies` must be finite, >= 0 and one for each of the {modes} modes, but have shape {found.shape}"
            f"{' and hold others' if found.shape == (modes,) else ''}."
        )
    return found
