"""Losses as half a squared norm: how outputs and targets become the error e.

The trained loss is written as ||e||^2 / 2 with e = sqrt(f) (network - targets). The factor f holds
the loss's own normalisation, so that gradient flow is de/dt = -M e with M = J J^T and time = the
sum of learning rates, whatever the normalisation was.
"""

from collections.abc import Callable

from eigenflow.core.errors import ArgumentError

__all__ = ["LOSS_FACTORS", "loss_factor"]

# From (samples, outputs) to f in loss = (f / 2) sum (network - targets)^2.
LOSS_FACTORS: dict[str, Callable[[int, int], float]] = {
    "mse": lambda samples, outputs: 2.0 / (samples * outputs),
    "half_mean": lambda samples, outputs: 1.0 / samples,
    "half_sum": lambda samples, outputs: 1.0,
}


def loss_factor(loss: str, samples: int, outputs: int) -> float:
    """Return the factor f of a loss.

    Args:
        loss: "mse", the mean over samples and outputs as in `torch.nn.MSELoss`; "half_mean", half
            the mean over samples of the sum over outputs; "half_sum", half the sum over both.
        samples: Number of samples of the probe set.
        outputs: Outputs per sample.

    Returns:
        f, without unit.

    Raises:
        ArgumentError: If `loss` is not one of these names.
    """
    if loss not in LOSS_FACTORS:
        names = ", ".join(repr(name) for name in LOSS_FACTORS)
        raise ArgumentError(
            f"`loss` must be one of {names}, but is {loss!r}. 'mse' is torch.nn.MSELoss (mean over samples "
            f"and outputs), 'half_mean' is 0.5 * ((f - y)**2).sum(1).mean(), 'half_sum' is 0.5 * ((f - y)**2).sum()."
        )
    return LOSS_FACTORS[loss](samples, outputs)
