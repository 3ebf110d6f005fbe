"""The two limits of the equation, as forecasts: lazy (v = 0), and b = 1 transport (c = gamma / t).

Both start from the last eigenpairs measured before a cut and carry every mode's energy exactly along its
characteristic. Rotation between modes is left out; that is what they assert.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from eigenflow.core.resampling import block_interval
from eigenflow.theory.forecasts.observed import Observed
from eigenflow.transport import PointMasses, PowerDrift, TransportProblem, solve

__all__ = ["LimitForecast", "lazy_forecast", "measured_gamma", "transport_forecast"]

# Room for drifting eigenvalues on either side of the measured ones.
DOMAIN_DECADES = 12


@dataclass(frozen=True)
class LimitForecast:
    """Losses (or half energies, as `Observed.quantity` says) on the later steps of an `Observed` run.

    For losses that are not squared both limits let the curvature of the loss stand still too.

    Attributes:
        name: "lazy" or "transport".
        loss: Forecast on `observed.later_steps`.
        lower: Lower end of the 90 % interval from the parameter's uncertainty (equal to `loss` if it has none).
        upper: Upper end.
        gamma: c(t) t of the drift law; 0 for the lazy limit. Negative: eigenvalues grow.
        gamma_interval: Its 90 % interval.
        modes: Number of modes (in a tracked run, with the nodes that stand for its tail) behind the forecast.
    """

    name: str
    loss: Float[np.ndarray, " later"]
    lower: Float[np.ndarray, " later"]
    upper: Float[np.ndarray, " later"]
    gamma: float
    gamma_interval: tuple[float, float]
    modes: int


def lazy_forecast(observed: Observed) -> LimitForecast:
    """Freeze the operator at its last measurement: every mode decays at its own constant rate."""
    loss, modes = _carried_loss(observed, 0.0)
    return LimitForecast("lazy", loss, loss, loss, 0.0, (0.0, 0.0), modes)


def transport_forecast(observed: Observed, *, seed: int = 0) -> LimitForecast:
    """Let all eigenvalues scale as t^-gamma, with gamma from the last decade of time before the cut."""
    gamma, interval = measured_gamma(observed, seed=seed)
    loss, modes = _carried_loss(observed, gamma)
    ends = np.stack([_carried_loss(observed, end)[0] for end in interval])
    lower, upper = np.minimum(ends.min(0), loss), np.maximum(ends.max(0), loss)
    return LimitForecast("transport", loss, lower, upper, gamma, interval, modes)


def measured_gamma(observed: Observed, *, seed: int = 0) -> tuple[float, tuple[float, float]]:
    """Measure gamma = -t d ln(lambda)/dt, weighted by the energy that moves with the eigenvalues.

    Each measured time gives -t sum_B [(P e)'Mdot(P e) / lambda_B] / sum_B E_B over shells B, 16 a decade. The
    value is the mean over the last decade of time before the cut.

    Returns:
        gamma and its 90 % interval (block bootstrap over the measured times).
    """
    data = observed.measured
    times = (data["time"] + data["step_size"]).values
    edges = data["edge"].values
    centres = np.sqrt(edges[:-1] * edges[1:])
    moving = data["energy_rate"].values[:, 1:-1] / centres
    energy = data["energy"].values[:, 1:-1].sum(1)
    is_last = (times >= times[-1] / 10.0) & (energy > 0)
    gammas = -times[is_last] * moving[is_last].sum(1) / energy[is_last]
    return float(gammas.mean()), block_interval(gammas, lambda g: float(g.mean()), np.random.default_rng(seed))


def _carried_loss(observed: Observed, gamma: float) -> tuple[Float[np.ndarray, " later"], int]:
    """Half the energy left at the later times, when lambda ~ t^-gamma from the last measured state on."""
    last = observed.measured.isel(step=-1)
    start = float(last["time"])
    eigenvalues, energies = last["eigenvalue"].values, last["coefficient"].values ** 2
    if "tail_node" in last:
        # Energy below the tracked modes, by Gauss quadrature of its own measure: exact moments, no single modes.
        eigenvalues = np.concatenate([eigenvalues, last["tail_node"].values])
        energies = np.concatenate([energies, last["tail_mass"].values])
    is_moving = eigenvalues > np.finfo(np.float64).eps * eigenvalues.max()
    # Modes that do not learn, and energy outside the modes stored one by one, stay.
    stays = max(0.0, float(last["energy"].sum()) - float(energies[is_moving].sum()))
    eigenvalues, energies = eigenvalues[is_moving], energies[is_moving]
    room = 10.0**DOMAIN_DECADES
    drift = PowerDrift(
        c=lambda s: gamma / (start + s), b=1.0, integral=lambda s: gamma * np.log1p(np.asarray(s) / start)
    )
    problem = TransportProblem(
        drift=drift if gamma else PowerDrift(c=0.0, b=1.0),
        dissipation=2.0,
        initial=PointMasses(eigenvalues, energies),
        domain=(float(eigenvalues.min()) / room, float(eigenvalues.max()) * room),
    )
    solution = solve(problem, observed.later_times - start, cells=1)
    return 0.5 * (np.asarray(solution.total) + stays), len(eigenvalues)
