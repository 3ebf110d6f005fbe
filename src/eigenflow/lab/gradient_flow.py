"""Gradient flow of a small network, followed by an integrator: training without a step size to speak of."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.integrate import RK45
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

__all__ = ["FlowPath", "follow_flow"]


@dataclass(frozen=True)
class FlowPath:
    """Outputs along gradient flow; the model is left at the last time reached.

    Attributes:
        times: Those asked for that were reached.
        outputs: On the training inputs.
        test_outputs: On the test inputs.
        evaluations: Gradients that were taken.
        is_whole: Whether the last time was reached.
    """

    times: Float[np.ndarray, " time"]
    outputs: Float[Tensor, "time samples outputs"]
    test_outputs: Float[Tensor, "time tests outputs"]
    evaluations: int
    is_whole: bool


def follow_flow(
    model: nn.Module,
    train: tuple[Tensor, Tensor],
    test_inputs: Tensor,
    factor: float,
    times: Float[np.ndarray, " time"],
    *,
    tolerance: float = 1e-6,
    most_evaluations: int = 50_000,
) -> FlowPath:
    """Follow dtheta/dt = -gradient of (factor / 2) sum (outputs - targets)^2.

    By Dormand and Prince's method of order 5, whose steps stay where flow is stable: about two gradients for each
    relaxation time of the fastest mode.

    Args:
        model: Moved in place; float64.
        train: Inputs and targets.
        test_inputs: Where outputs are wanted too.
        factor: Of the loss.
        times: Increasing, > 0.
        tolerance: Relative error of a step.
        most_evaluations: Gradients after which it ends.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]

    def velocity(time: float, flat: np.ndarray) -> np.ndarray:
        vector_to_parameters(torch.from_numpy(flat), parameters)
        loss = 0.5 * factor * (model(train[0]) - train[1]).square().sum()
        return -parameters_to_vector(torch.autograd.grad(loss, parameters)).numpy()

    with torch.no_grad():
        start = parameters_to_vector(parameters).numpy().copy()
    floor = tolerance * 1e-3 * float(np.abs(start).max())
    solver = RK45(velocity, 0.0, start, float(times[-1]), rtol=tolerance, atol=floor)
    found: list[tuple[Tensor, Tensor]] = []
    while len(found) < len(times) and solver.status == "running" and solver.nfev < most_evaluations:
        solver.step()
        while len(found) < len(times) and times[len(found)] <= solver.t:
            state = solver.dense_output()(times[len(found)])
            with torch.no_grad():
                vector_to_parameters(torch.from_numpy(state), parameters)
                found.append((model(train[0]).clone(), model(test_inputs).clone()))
    if not found:
        empty = torch.empty(0)
        return FlowPath(times[:0], empty, empty, solver.nfev, is_whole=False)
    outputs, tests = (torch.stack(side) for side in zip(*found, strict=True))
    return FlowPath(times[: len(found)], outputs, tests, solver.nfev, len(found) == len(times))
