"""C1: training is the evolution de/dt = -M(t) e in function space."""

import numpy as np

from eigenflow.core.resampling import block_interval
from eigenflow.theory.claims.evidence import Evidence
from eigenflow.theory.claims.rows import make_claim, make_row
from eigenflow.theory.verdicts import Claim

__all__ = ["evolution"]


def evolution(evidence: Evidence) -> list[Claim]:
    """C1 and its assertions."""
    data, rng = evidence.data, evidence.rng()
    identity, flow = data["identity_residual"].values, data["flow_residual"].values
    exact = make_row(
        "C1.identity",
        "e' - e = Jbar dtheta, with the Jacobian averaged along the update",
        float(identity.max()),
        block_interval(identity, lambda v: float(v.max()), rng),
        f"largest |e' - e - Jbar dtheta| over {len(identity)} measured updates, relative to the outputs' scale",
    )
    gradient = make_row(
        "C1.flow",
        "one update is one step of de/dt = -M e: e' - e = -dt M e",
        float(np.median(flow)),
        block_interval(flow, lambda v: float(np.median(v)), rng),
        f"median |e' - e + dt M e| / |e' - e| over {len(flow)} updates; what is missing is the optimizer "
        f"(batch, momentum) and the curvature of the network",
    )
    return make_claim("C1", "Exact evolution de/dt = -M(t) e in function space", [exact, gradient], gradient)
