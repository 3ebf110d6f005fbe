"""Laws of the final loss in model size N, training tokens D and epochs, with derivatives.

Every law is one family with parameters fixed or tied:

    L = E + [ (A N^-alpha)^(1/gamma) + (B (D' + D0)^-beta)^(1/gamma) ]^gamma + F r^p h^q

It is the transport picture of a truncated spectrum: size and time each put a frontier into the spectrum and the
energy below the higher of the two stays. Sharp frontiers give the larger of the two terms (gamma -> 0), independent
errors their sum (gamma = 1, Chinchilla's form), and the form of Kaplan et al. has E = 0 and gamma = beta. D0 is the
length of the transient before the power law in D sets in, as s0 is in the law of one curve.

Repeated data enter in two ways. D' = U [1 + R (1 - exp(-(epochs - 1) / R))] is the value of D = U * epochs tokens
when only U are unique [@muennighoff2023scaling]; the last term is over-fitting, which that form does not have: the
loss rises with epochs where the network is large beside its data, r = (N / U) / (1 + N / 10 U), and for ever slower,
h = ln[1 + (epochs - 1) / 10].

Everything is computed in logarithms, with ln N and ln D measured from `centre`, the means of the fitted table, so
that the parameters of a fit are of order one and nearly uncorrelated.

Source: [@hoffmann2022training], approach 3; [@kaplan2020scaling], equation 1.5; equations/exponents.md#exponents.
"""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

__all__ = ["LAWS", "NAMES", "ScalingLaw", "evaluate"]

NAMES = ("ln_E", "ln_A", "ln_alpha", "ln_B", "ln_beta", "ln_gamma", "ln_D0", "ln_R", "ln_F", "p", "q")
E, A, ALPHA, B, BETA, GAMMA, D0, R, F, P, Q = range(len(NAMES))
# exp of it is zero beside any loss, but products with it stay finite.
NEVER = -50.0
# Epochs are worth as much as new data for so long that the form has no effect.
ALWAYS = 30.0
# Over-fitting saturates in parameters per unique token, and turns from linear to logarithmic in epochs, about here.
MANY_PARAMETERS = 10.0
MANY_EPOCHS = 10.0


@dataclass(frozen=True)
class ScalingLaw:
    """A member of the family: which of its parameters are fitted, fixed or tied.

    Attributes:
        name: As it is chosen on the command line.
        formula: For people.
        free: Indices into `NAMES` that are fitted.
        fixed: Values of the others.
        tied: Pairs (follower, leader): the follower has the leader's value.
    """

    name: str
    formula: str
    free: tuple[int, ...]
    fixed: dict[int, float] = field(default_factory=dict)
    tied: tuple[tuple[int, int], ...] = ()

    def expand(self, values: Float[np.ndarray, " free"]) -> Float[np.ndarray, " parameter"]:
        """All parameters of the family from the fitted ones."""
        full = np.zeros(len(NAMES))
        full[list(self.free)] = values
        for index, value in self.fixed.items():
            full[index] = value
        for follower, leader in self.tied:
            full[follower] = full[leader]
        return full

    def contract(self, jacobian: Float[np.ndarray, "points parameter"]) -> Float[np.ndarray, "points free"]:
        """Derivatives by the fitted parameters from those by all."""
        total = jacobian.copy()
        for follower, leader in self.tied:
            total[:, leader] += total[:, follower]
        return total[:, list(self.free)]


def evaluate(
    parameters: Float[np.ndarray, " parameter"],
    log_size: Float[np.ndarray, " points"],
    log_tokens: Float[np.ndarray, " points"],
    epochs: Float[np.ndarray, " points"] | None = None,
    ratio_centre: float = 0.0,
) -> tuple[Float[np.ndarray, " points"], Float[np.ndarray, "points parameter"]]:
    """Give ln L and its derivatives by all parameters.

    Args:
        parameters: In the order of `NAMES`.
        log_size: ln N from the centre of the fit.
        log_tokens: ln D from the centre, every pass counted.
        epochs: D / U, at least 1; None for 1.
        ratio_centre: ln(N / D) at the centre; only the over-fitting term needs it.

    Returns:
        ln L at each point, and its Jacobian.
    """
    alpha, beta, gamma = np.exp(parameters[[ALPHA, BETA, GAMMA]])
    worth, worth_by_rate = _worth(log_tokens, epochs, parameters[R])
    shifted = np.logaddexp(worth, parameters[D0])
    of_worth = np.exp(worth - shifted)
    size = (parameters[A] - alpha * log_size) / gamma
    tokens = (parameters[B] - beta * shifted) / gamma
    both = np.logaddexp(size, tokens)
    value = np.logaddexp(parameters[E], gamma * both)
    over, ratio, passes = _overfit(parameters, log_size, log_tokens, epochs, ratio_centre)
    value = value if over is None else np.logaddexp(value, over)
    of_reducible = np.exp(gamma * both - value)
    of_size = of_reducible * np.exp(size - both)
    of_tokens = of_reducible * np.exp(tokens - both)
    jacobian = np.zeros((len(value), len(NAMES)))
    jacobian[:, E] = np.exp(parameters[E] - value)
    jacobian[:, A] = of_size
    jacobian[:, ALPHA] = -alpha * log_size * of_size
    jacobian[:, B] = of_tokens
    jacobian[:, BETA] = -beta * shifted * of_tokens
    jacobian[:, GAMMA] = gamma * (of_reducible * both - of_size * size - of_tokens * tokens)
    jacobian[:, D0] = -beta * (1.0 - of_worth) * of_tokens
    jacobian[:, R] = -beta * of_worth * worth_by_rate * of_tokens
    if over is not None:
        of_over = np.exp(over - value)
        jacobian[:, F] = of_over
        jacobian[:, P] = of_over * ratio
        jacobian[:, Q] = of_over * passes
    return value, jacobian


def _worth(log_tokens, epochs, log_rate):
    """ln D' of repeated tokens, and its derivative by ln R."""
    if epochs is None:
        return log_tokens, np.zeros_like(log_tokens)
    rate = np.exp(log_rate)
    used = (epochs - 1.0) / rate
    gain = -rate * np.expm1(-used)
    return log_tokens - np.log(epochs) + np.log1p(gain), (gain - rate * used * np.exp(-used)) / (1.0 + gain)


def _overfit(parameters, log_size, log_tokens, epochs, ratio_centre):
    """ln of the over-fitting term (None for one pass), with the two logarithms that p and q multiply."""
    if epochs is None or parameters[F] <= NEVER:
        return None, None, None
    ratio = log_size - log_tokens + np.log(epochs) + ratio_centre
    ratio = ratio - np.log1p(np.exp(ratio) / MANY_PARAMETERS)
    passes = np.log(np.log1p(np.maximum(epochs - 1.0, 1e-12) / MANY_EPOCHS))
    return parameters[F] + parameters[P] * ratio + parameters[Q] * passes, ratio, passes


_ONCE = {R: ALWAYS, F: NEVER, P: 0.0, Q: 0.0}
_NO_OVERFIT = {F: NEVER, P: 0.0, Q: 0.0}
_SUM = {GAMMA: 0.0, D0: NEVER}
LAWS = {
    law.name: law
    for law in (
        ScalingLaw(
            "frontier", "E + [(A N^-alpha)^(1/gamma) + (B (D + D0)^-beta)^(1/gamma)]^gamma", tuple(range(7)), _ONCE
        ),
        ScalingLaw("chinchilla", "E + A N^-alpha + B D^-beta", tuple(range(5)), _SUM | _ONCE),
        ScalingLaw("tied", "E + A N^-alpha + B D^-alpha", (E, A, ALPHA, B), _SUM | _ONCE, ((BETA, ALPHA),)),
        ScalingLaw(
            "kaplan",
            "[A^(1/beta) N^(-alpha/beta) + B^(1/beta) / D]^beta",
            (A, ALPHA, B, BETA),
            {E: NEVER, D0: NEVER} | _ONCE,
            ((GAMMA, BETA),),
        ),
        ScalingLaw("repeats", "frontier with D' of repeated data + F r^p h^q", tuple(range(11))),
        ScalingLaw("muennighoff", "E + A N^-alpha + B D'^-beta", (E, A, ALPHA, B, BETA, R), _SUM | _NO_OVERFIT),
    )
}
