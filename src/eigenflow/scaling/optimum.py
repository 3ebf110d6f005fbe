"""The size of smallest predicted loss at a given compute."""

import numpy as np

from eigenflow.scaling.laws import ALPHA, BETA, D0, GAMMA
from eigenflow.scaling.laws import A as LEVEL_OF_SIZE
from eigenflow.scaling.laws import B as LEVEL_OF_TOKENS

__all__ = ["optimal_log_size"]

# ln N beyond which no optimum is looked for, from the centre of the table.
REACH = 40.0


def optimal_log_size(parameters: np.ndarray, log_product: np.ndarray) -> np.ndarray:
    """Centred ln N of smallest loss for centred ln(N D), by bisection on the slope of the reducible loss.

    The optimum is where alpha times the size's share equals beta times the tokens' share times D / (D + D0). The left
    side falls in N; the right side grows in N as long as D > D0 gamma / beta, and below that tokens are worth ever
    less and no optimum is looked for.
    """
    alpha, beta, gamma = np.exp(parameters[[ALPHA, BETA, GAMMA]])
    log_product = np.asarray(log_product, dtype=np.float64)
    least_tokens = parameters[D0] + np.log(gamma / beta)
    low, high = np.full_like(log_product, -REACH), np.minimum(log_product - least_tokens, REACH)
    for _ in range(60):
        middle = 0.5 * (low + high)
        tokens = log_product - middle
        shifted = np.logaddexp(tokens, parameters[D0])
        size_pull = np.log(alpha) + (parameters[LEVEL_OF_SIZE] - alpha * middle) / gamma
        token_pull = np.log(beta) + (parameters[LEVEL_OF_TOKENS] - beta * shifted) / gamma + tokens - shifted
        is_small = size_pull > token_pull
        low, high = np.where(is_small, middle, low), np.where(is_small, high, middle)
    return 0.5 * (low + high)
