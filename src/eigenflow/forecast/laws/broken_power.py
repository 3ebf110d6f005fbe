"""The broken neural scaling law along one run: a power of the completed steps whose exponent changes at a few breaks.

    L = L0 + b n^-c0 prod_i (1 + (n / d_i)^(1/f_i))^(-c_i f_i),   n completed steps

Beyond break i the exponent is larger by c_i (smaller, if c_i < 0), and ln(n) takes about f_i to get there. Like a power
of the steps it is blind to the learning rate. Its authors take the best point of a grid as the start of a least-squares
fit of ln(L + 1); here the residuals are those of ln(L), by which they score, and the grid is a Kronecker sequence.

Source: [@caballero2023broken], equation 1 and appendix A.6.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from eigenflow.core.checks import check_whole
from eigenflow.forecast.laws.power import EXPONENT, FLOOR
from eigenflow.forecast.laws.protocol import History, Parameter

__all__ = ["BrokenPowerLaw"]

MOST_BREAKS = 5
CANDIDATES = 2000
# Where a start looks: of the exponents, of their changes, and of the breadths of the breaks (the authors' grids).
FIRST_EXPONENTS, CHANGES, BREADTHS = (0.01, 1.5), (-0.5, 1.5), (0.02, 1.0)
# A share of the loss below which neither the floor nor the power starts: its logarithm must leave it free to grow.
SMALLEST_START = 1e-3

Points = Float[np.ndarray, " point"]


class BrokenPowerLaw:
    """L0 + b n^-c0 with smooth changes of the exponent.

    Args:
        breaks: Number of changes of the exponent.

    Raises:
        ArgumentError: If `breaks` is not a whole number from 1 to 5.
    """

    name = "broken_power"

    def __init__(self, breaks: int = 1) -> None:
        self.breaks = check_whole("breaks", breaks, 1, MOST_BREAKS, "number of breaks")

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """L0, b, c0, then the changes c_i, the places d_i and the breadths f_i of the breaks."""
        numbers = range(1, self.breaks + 1)
        return (
            FLOOR,
            Parameter("b", "nats step^c0", "weight of the decaying term", "log", 1e-12, 1e12),
            replace(EXPONENT, name="c0", meaning="exponent before the first break"),
            *(Parameter(f"c{i}", "", "change of the exponent at a break", "linear", -8.0, 8.0) for i in numbers),
            *(Parameter(f"d{i}", "steps", "place of a break", "log", 1e-3, 1e12) for i in numbers),
            *(Parameter(f"f{i}", "", "breadth of a break in ln(steps)", "log", 1e-3, 20.0) for i in numbers),
        )

    def prepare(self, history: History) -> Points:
        """Only the steps matter: ln(n)."""
        return np.log(history.steps.astype(np.float64))

    def evaluate(
        self, theta: Float[np.ndarray, " parameter"], prepared: Points
    ) -> tuple[Points, Float[np.ndarray, "point parameter"]]:
        """Give ln(loss) at each observation, and its derivatives with respect to `theta`."""
        log_floor, log_weight, log_first = theta[:3]
        changes, log_places, log_breadths = theta[3:].reshape(3, self.breaks)
        first, breadths = np.exp(log_first), np.exp(log_breadths)
        distance = (prepared[:, None] - log_places) / breadths
        bend = np.logaddexp(0.0, distance)
        beyond = np.exp(distance - bend)
        log_power = log_weight - first * prepared - bend @ (changes * breadths)
        log_loss = np.logaddexp(log_floor, log_power)
        share = np.exp(log_power - log_loss)[:, None]
        slopes = [
            np.stack([np.ones_like(prepared), -first * prepared], axis=1),
            -bend * breadths,
            beyond * changes,
            -(bend - distance * beyond) * (changes * breadths),
        ]
        return log_loss, np.concatenate([1.0 - share, share * np.concatenate(slopes, axis=1)], axis=1)

    def start(
        self,
        prepared: Sequence[Points],
        log_losses: Sequence[Float[np.ndarray, " _"]],
        rng: np.random.Generator | None,
    ) -> Float[np.ndarray, " parameter"]:
        """Take the best of a sequence that fills the shapes' ranges, shifted by `rng`; L0 and b are fitted to each."""
        log_steps = np.concatenate(list(prepared))
        losses = np.exp(np.concatenate(list(log_losses)))
        shapes = self._candidates(float(log_steps.min()), float(log_steps.max()), rng)
        changes, log_places, log_breadths = shapes[:, 1:].reshape(-1, 3, self.breaks).swapaxes(0, 1)
        breadths = np.exp(log_breadths)
        bend = np.logaddexp(0.0, (log_steps[:, None, None] - log_places) / breadths)
        log_power = -np.exp(shapes[:, 0]) * log_steps[:, None] - (bend * changes * breadths).sum(axis=2)
        top = log_power.max(axis=0)
        floor, weight, cost = _two_weights(np.exp(log_power - top), losses)
        best = int(np.argmin(cost))
        begin = np.concatenate([[np.log(floor[best]), np.log(weight[best]) - top[best]], shapes[best]])
        bounds = np.array([(p.to_theta(p.lower), p.to_theta(p.upper)) for p in self.parameters], dtype=np.float64).T
        return np.clip(begin, *bounds)

    def _candidates(
        self, first_step: float, last_step: float, rng: np.random.Generator | None
    ) -> Float[np.ndarray, "candidate shape"]:
        """Fill the ranges of ln(c0), c_i, ln(d_i) and ln(f_i) evenly, by multiples of powers of a golden ratio."""
        count = 1 + 3 * self.breaks
        golden = 2.0
        for _ in range(60):  # the root of x^(count + 1) = x + 1, to machine precision
            golden = (1.0 + golden) ** (1.0 / (count + 1))
        steps = golden ** -np.arange(1.0, count + 1)
        shift = 0.5 if rng is None else rng.random(count)
        unit = (shift + np.arange(CANDIDATES)[:, None] * steps) % 1.0
        lower = [np.log(FIRST_EXPONENTS[0]), *[CHANGES[0]] * self.breaks, *[first_step] * self.breaks]
        upper = [np.log(FIRST_EXPONENTS[1]), *[CHANGES[1]] * self.breaks, *[last_step] * self.breaks]
        low = np.array([*lower, *[np.log(BREADTHS[0])] * self.breaks])
        high = np.array([*upper, *[np.log(BREADTHS[1])] * self.breaks])
        return low + unit * (high - low)


def _two_weights(
    powers: Float[np.ndarray, "point candidate"], losses: Points
) -> tuple[Float[np.ndarray, " candidate"], Float[np.ndarray, " candidate"], Float[np.ndarray, " candidate"]]:
    """Fit L0 + b power to the losses by relative least squares for every candidate; a mean square of ln as its cost."""
    one, power = 1.0 / losses, powers / losses[:, None]
    aa, ab, bb = one @ one, one @ power, (power**2).sum(axis=0)
    a, b = one.sum(), power.sum(axis=0)
    determinant = np.maximum(aa * bb - ab**2, 1e-300)
    least = SMALLEST_START * losses.min()
    floor = np.clip((bb * a - ab * b) / determinant, least, losses.min())
    weight = np.maximum((b - ab * floor) / bb, least)
    cost = (np.log((floor + weight * powers) / losses[:, None]) ** 2).mean(axis=0)
    return floor, weight, cost
