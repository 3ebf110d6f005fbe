"""Linear layers with factors in front of their weights: what the width of a network changes, and what it does not.

An update of plain gradient descent at the rate eta changes the weight in use, c w, by c^2 eta times the gradient at
it. So a factor on a weight is a learning rate of its own, and one rate serves all layers. For n units, d inputs,
factors c and standard deviations s of the weights w:

    parametrisation     first c, s               hidden c, s         output c, s
    NTK                 1/sqrt(d), 1             1/sqrt(n), 1        1/sqrt(n), 1
    maximal update      sqrt(n/d), 1/sqrt(n)     1, 1/sqrt(n)        1/sqrt(n), 1/sqrt(n)

Biases begin at 0 and have the factors 1 (NTK; and of the output) or sqrt(n). Every hidden unit moves by O(1 / sqrt(n))
in the first and by O(1) in the second, at one learning rate for all n.

Sources: [@jacot2018neural], and [@yang2020feature], whose abc-parametrisation it is with a = (-1/2, 0, 1/2), b = 1/2,
c = 0.
"""

import math
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Parametrised", "linear_layer", "readout"]

Kind = Literal["standard", "ntk", "maximal_update"]


class Parametrised(nn.Linear):
    """outer * (inner * W x + b): inner * outer stands before the weight, outer before the bias.

    Args:
        inputs: Features that come in.
        outputs: Features that go out.
        inner: Factor on W x.
        outer: Factor on all.
        initial_std: Standard deviation of the weights to begin with.
    """

    def __init__(self, inputs: int, outputs: int, *, inner: float, outer: float, initial_std: float):
        super().__init__(inputs, outputs)
        self.inner, self.outer, self.initial_std = inner, outer, initial_std

    def forward(self, input: Tensor) -> Tensor:
        return self.outer * (self.inner * functional.linear(input, self.weight) + self.bias)


def readout(inputs: int, outputs: int, share: float) -> nn.Linear:
    """The output layer of maximal update, for rates of single parameters (`lab/rates`).

    Args:
        inputs: Features that come in.
        outputs: Features that go out.
        share: Base width over width, the factor before the weights.
    """
    return Parametrised(inputs, outputs, inner=share, outer=1.0, initial_std=(inputs * share) ** -0.5)


def linear_layer(inputs: int, outputs: int, kind: Kind, *, is_output: bool = False) -> nn.Linear:
    """A layer in one of the parametrisations.

    Args:
        inputs: Features that come in: d for the first layer, else the width n.
        outputs: Features that go out: the width n, but for the last layer.
        kind: "standard" is PyTorch's own layer.
        is_output: Whether it is the network's last layer.
    """
    if kind == "standard":
        return nn.Linear(inputs, outputs)
    if kind == "ntk":
        return Parametrised(inputs, outputs, inner=inputs**-0.5, outer=1.0, initial_std=1.0)
    width = inputs if is_output else outputs
    outer = 1.0 if is_output else math.sqrt(width)
    return Parametrised(inputs, outputs, inner=inputs**-0.5, outer=outer, initial_std=width**-0.5)
