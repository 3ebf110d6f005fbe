"""Networks made linear in their parameters, and trained: by torch.func and torch.optim, scipy's Radau, or `expm`."""

import numpy as np
import torch
from scipy.integrate import solve_ivp
from scipy.linalg import expm
from torch import nn
from torch.func import functional_call, jvp
from torch.nn.attention import SDPBackend, sdpa_kernel

from reference import dense_jacobian as oracle


class Linearised(nn.Module):
    """f(theta0) + Df(theta0) (theta - theta0), by forward mode; shares nothing with the package."""

    def __init__(self, model):
        super().__init__()
        self.model = [model]
        self.names = [name for name, p in model.named_parameters() if p.requires_grad]
        self.start = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
        self.rest = {n: b.clone() for n, b in model.named_buffers()}
        self.moved = nn.ParameterList([nn.Parameter(torch.zeros_like(self.start[name])) for name in self.names])

    def forward(self, *inputs):
        def outputs(parameters):
            return functional_call(self.model[0], (parameters, self.rest), inputs)

        moved = dict(zip(self.names, self.moved, strict=True))
        with sdpa_kernel(SDPBackend.MATH):  # the others have no forward mode
            first, change = jvp(outputs, (self.start,), (moved,))
        return first + change


def descended(model, train, loss, rates, momentum, tests):
    """Outputs of the linear network after each update, and before the first."""
    linear = Linearised(model)
    optimizer = torch.optim.SGD(linear.parameters(), lr=1.0, momentum=momentum)
    found = [(linear(train[0]).detach(), linear(tests).detach())]
    for rate in rates:
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        loss(linear(train[0]), train[1]).backward()
        optimizer.step()
        found.append((linear(train[0]).detach(), linear(tests).detach()))
    return [torch.stack(side) for side in zip(*found, strict=True)]


def flowed(model, train, gradient, times, tests):
    """The same of gradient flow, by scipy's Radau on the parameters with Jacobians by plain autograd."""
    J, J_x = (oracle.jacobian(model, inputs).numpy() for inputs in (train[0], tests))
    first, beyond = (model(inputs).detach().numpy() for inputs in (train[0], tests))

    def velocity(time, moved):
        return -J.T @ gradient(first + (J @ moved).reshape(first.shape)).ravel()

    path = solve_ivp(velocity, (0, times[-1]), np.zeros(J.shape[1]), "Radau", times, rtol=1e-9, atol=1e-11).y.T
    shown = [first + (path @ J.T).reshape(-1, *first.shape), beyond + (path @ J_x.T).reshape(-1, *beyond.shape)]
    return [torch.from_numpy(one) for one in shown]


def exponential(model, train, times, tests):
    """The same for the mean of squares: the affine flow of the parameters as one matrix exponential."""
    J, J_x = (oracle.jacobian(model, inputs).numpy() for inputs in (train[0], tests))
    first, beyond = (model(inputs).detach().numpy() for inputs in (train[0], tests))
    factor, flow = 2 / first.size, np.zeros((J.shape[1] + 1, J.shape[1] + 1))
    flow[:-1, :-1], flow[:-1, -1] = -factor * J.T @ J, -factor * J.T @ (first - train[1].numpy()).ravel()
    path = np.stack([expm(flow * t)[:-1, -1] for t in times])
    shown = [first + (path @ J.T).reshape(-1, *first.shape), beyond + (path @ J_x.T).reshape(-1, *beyond.shape)]
    return [torch.from_numpy(one) for one in shown]
