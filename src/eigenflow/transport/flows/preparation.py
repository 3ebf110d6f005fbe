"""From a drift law to the flow that suits it."""

import numpy as np

from eigenflow.core.errors import ArgumentError, NonFiniteError
from eigenflow.transport.flows.drift import PowerDrift
from eigenflow.transport.flows.flow import AbstractFlow, Dissipation
from eigenflow.transport.flows.steady import SteadyFlow
from eigenflow.transport.flows.time_integral import integrate_strength
from eigenflow.transport.flows.unsteady import UnsteadyFlow

__all__ = ["make_flow"]


def make_flow(drift: PowerDrift, dissipation: Dissipation, horizon: float) -> AbstractFlow:
    """Prepare drift and dissipation for times up to the horizon.

    Raises:
        NonFiniteError: If c or its integral is not finite on [0, horizon].
        ArgumentError: If c cannot be integrated, or its given integral does not start at 0.
    """
    if drift.is_constant:
        return SteadyFlow(drift, dissipation, horizon)
    assert callable(drift.c)
    table = integrate_strength(drift.c, horizon if horizon > 0 else 1.0, drift.integral)
    at_zero = float(table(np.zeros(1))[0])
    if abs(at_zero) > 1e-12 * max(1.0, float(np.abs(table(table.edges)).max())):
        raise ArgumentError(
            f"`integral` must be 0 at t = 0, but is {at_zero:g}. It is the integral of `c` from 0 to t; "
            f"subtract its value at 0."
        )
    if not np.all(np.isfinite(table.at_edges)):
        raise NonFiniteError("`c` must have a finite integral from 0 to the last time. Check its size.")
    return UnsteadyFlow(drift, dissipation, horizon, table)
