"""Problems with known answers, each in one place."""

import math
from dataclasses import dataclass

import numpy as np

try:  # the lane without torch collects this file too
    import torch
    from torch import nn
except ImportError:  # pragma: no cover
    torch = nn = None


def tanh_net(seed: int = 0, *, inputs: int = 3, hidden: int = 5, outputs: int = 2):
    """A two-layer tanh network in float64 with weights of order one."""
    generator = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Linear(inputs, hidden), nn.Tanh(), nn.Linear(hidden, outputs)).double()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.7, generator=generator)
    return model


def samples(seed: int = 0, *, count: int = 6, inputs: int = 3, outputs: int = 2):
    """Gaussian inputs and targets."""
    generator = torch.Generator().manual_seed(seed + 1000)
    draw = {"generator": generator, "dtype": torch.float64}
    return torch.randn(count, inputs, **draw), torch.randn(count, outputs, **draw)


@dataclass(frozen=True)
class AlignedLinearNet:
    """Saxe's aligned two-layer linear network on whitened inputs (equations/known_cases.md#aligned-networks;
    [@saxe2013exact]).

    With X = I, target map U S V' and W1 = sqrt(A) V', W2 = U sqrt(A), gradient flow on ||W2 W1 X - Y||^2 / 2 keeps
    the form: a' = 2 a (s - a), and M has the eigenvalues a_i + a_j with constant eigenvectors.
    """

    strengths: tuple[float, ...] = (4.0, 3.0, 2.0, 1.0)
    start: tuple[float, ...] = (0.01, 0.02, 0.005, 0.01)

    def amplitudes(self, time: float) -> np.ndarray:
        """a(t) = s e^{2st} / (e^{2st} - 1 + s / a0)."""
        s, a0 = np.array(self.strengths), np.array(self.start)
        return s * np.exp(2 * s * time) / (np.expm1(2 * s * time) + s / a0)

    def eigenvalues(self, time: float) -> np.ndarray:
        """All sums a_i + a_j, in decreasing order."""
        a = self.amplitudes(time)
        return np.sort((a[:, None] + a[None, :]).ravel())[::-1]

    def eigenvalue_rates(self, time: float) -> np.ndarray:
        """Their rates a_i' + a_j', in the order of `eigenvalues`; among equal ones the largest first."""
        a = self.amplitudes(time)
        rate = 2 * a * (np.array(self.strengths) - a)
        sums, rates = ((x[:, None] + x[None, :]).ravel() for x in (a, rate))
        return rates[np.lexsort((rates, sums.round(12)))[::-1]]

    def network(self, time: float, seed: int = 0):
        """The network at a time, with its inputs and targets."""
        generator = torch.Generator().manual_seed(seed)
        size = len(self.strengths)
        U, _ = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))
        V, _ = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))
        root = torch.diag(torch.from_numpy(np.sqrt(self.amplitudes(time))))
        model = nn.Sequential(nn.Linear(size, size, bias=False), nn.Linear(size, size, bias=False)).double()
        with torch.no_grad():
            model[0].weight.copy_(root @ V.T)
            model[1].weight.copy_(U @ root)
        inputs = torch.eye(size, dtype=torch.float64)
        targets = (U @ torch.diag(torch.tensor(self.strengths, dtype=torch.float64)) @ V.T).T.contiguous()
        return model, inputs, targets


def relu_ntk_on_circle(frequency: int) -> float:
    """Eigenvalue of the infinite-width two-layer ReLU kernel on the unit circle
    (equations/known_cases.md#circle-spectrum)."""
    if frequency == 1:
        return 0.5
    if frequency % 2:
        return 0.0
    return 2.0 / math.pi**2 * (frequency**2 + 3) / (frequency**2 - 1) ** 2
