r"""Log-shift invariance: does energy move by a law that is the same everywhere on the logarithmic axis?

With q_b(k) = A_(b+k, b) / E_b, the share of shell b that one update carries k shells up, a shift-invariant coupling has
the same q(k) in every shell b. The score is the part of q that is not so,

    score = 1 - sum_k <q(k)>_b^2 / sum_k <q(k)^2>_b,       k != 0,

0 if every shell does the same and 1 if the shells have nothing in common. The square of the mean is estimated
without bias (sum over pairs of different shells), so chance agreement does not count. For pooled measurements both
squares are products of two halves of the measured updates, so that what is particular to single updates does not
count either.

A drift lambda^b moves the share lambda^(b-1). The *covariant* score is what the best q_b(k) = lambda_b^m f(k) leaves of
sum q^2 by least squares; for pure transport m = b - 1. The definitions are this project's
(equations/hypotheses.md#log-shift-score): the statistic of the papers is not public.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from eigenflow.core.errors import ArgumentError
from eigenflow.core.resampling import block_indices, percentile_interval
from eigenflow.shells import ShellBudget
from eigenflow.theory.coupling.locality import ROUNDING, populated

__all__ = ["LogShift", "log_shift"]

MIN_SHELLS = 4
SHARED = 0.5
EXPONENTS = np.linspace(-2.0, 3.0, 101)


@dataclass(frozen=True)
class LogShift:
    """How far transfer between shells is the same all along ln(lambda).

    Attributes:
        times: Ends of the measured updates used.
        scores: One for each of them alone.
        score: All of them pooled, per e-fold of time, between 0 and 1; None if two halves of the updates have no
            pattern in common beyond chance.
        interval: Its 90 % interval, block bootstrap over updates; None without a score, or with fewer than 6 updates.
        covariant_score: Share of the pooled sum of q^2 that the best lambda_b^m f(k) leaves.
        exponent: That m.
        shells: Median number of populated shells compared.
        shifts: Shifts k, in shells; positive is upwards.
        mean_share: Pooled mean over shells of q(k), per e-fold of time.
        spread: Its standard deviation over shells.
    """

    times: Float[np.ndarray, " time"]
    scores: Float[np.ndarray, " time"]
    score: float | None
    interval: tuple[float, float] | None
    covariant_score: float
    exponent: float
    shells: float
    shifts: Int[np.ndarray, " shift"]
    mean_share: Float[np.ndarray, " shift"]
    spread: Float[np.ndarray, " shift"]


def log_shift(budget: ShellBudget, *, seed: int = 0) -> LogShift:
    """Score the log-shift invariance of a run's transfer.

    Args:
        budget: As from `shell_budget`. Few, wide shells hold more modes each, and score less of single modes.
        seed: Of the bootstrap.

    Raises:
        ArgumentError: If no measured update has 4 populated shells and exchange beyond rounding.
    """
    shares, times = _shares(budget)
    centres = np.log(budget.centres)
    halves = [_pooled(shares[start::2]) for start in (0, 1)] if len(shares) > 1 else [_pooled(shares)] * 2
    score = _score(*halves) if _agree(*halves) else None
    pooled = _pooled(shares)
    covariant, exponent = min((_left_over(pooled, m * (centres - centres.mean())), float(m)) for m in EXPONENTS)
    mean, spread = _over_shells(pooled)
    size = len(centres)
    # Sums over one update are 0 / 0 only if nothing moved, and those updates are left out.
    return LogShift(
        times=times,
        scores=np.array([_score(row, row) or 0.0 for row in shares]),
        score=score,
        interval=None if score is None else _interval(shares, seed),
        covariant_score=covariant,
        exponent=exponent,
        shells=float(np.median(np.isfinite(shares[:, np.arange(size), np.arange(size)]).sum(1))),
        shifts=np.arange(1 - size, size),
        mean_share=mean,
        spread=spread,
    )


def _shares(budget: ShellBudget) -> tuple[Float[np.ndarray, "time shell shell_from"], Float[np.ndarray, " time"]]:
    """q per e-fold of time; NaN where no energy could come from, 0 on the diagonal, which is no transfer."""
    held = populated(budget)
    times, lengths = (budget.time + budget.step_size).values, budget.step_size.values
    matrix = budget.transfer_matrix.transpose("step", "shell", "shell_from").values[:, 1:-1, 1:-1].copy()
    size = matrix.shape[1]
    matrix[:, np.arange(size), np.arange(size)] = 0.0
    energy = budget.energy.values[:, 1:-1]
    moves = np.abs(matrix).sum((1, 2)) > ROUNDING * budget.energy.sum("shell").values
    is_used = (held.sum(1) >= MIN_SHELLS) & moves & (lengths > 0)
    if not is_used.any():
        raise ArgumentError(
            f"`budget` has no measured update with exchange between shells and at least {MIN_SHELLS} populated ones, "
            f"which log-shift invariance compares (at most {int(held.sum(1).max(initial=0))} are). "
            f"Use more shells per decade, or a run whose operator moves."
        )
    matrix, energy, held = matrix[is_used], energy[is_used], held[is_used]
    rate = (times / np.where(lengths > 0, lengths, 1.0))[is_used]
    shares = matrix / np.where(held, energy, 1.0)[:, None, :] * rate[:, None, None]
    # Shells beside the populated range take part as destinations: modes may enter them.
    position = np.arange(size)
    low, high = held.argmax(1) - 1, size - held[:, ::-1].argmax(1)
    is_goal = (position >= low[:, None]) & (position <= high[:, None])
    return np.where(is_goal[:, :, None] & held[:, None, :], shares, np.nan), times[is_used]


def _pooled(shares: np.ndarray) -> np.ndarray:
    """Mean over updates, where a pair of shells is populated."""
    known = np.isfinite(shares)
    count = known.sum(0)
    return np.where(count > 0, np.where(known, shares, 0.0).sum(0) / np.maximum(count, 1), np.nan)


def _score(first: np.ndarray, second: np.ndarray) -> float | None:
    """The score from two estimates of q. None if they share no pattern."""
    agreed, whole = 0.0, 0.0
    for a, b, _ in _by_shift(first, second):
        product = float(a @ b)
        whole += product
        agreed += (float(a.sum() * b.sum()) - product) / (len(a) - 1)
    return None if whole <= 0 else float(np.clip(1.0 - agreed / whole, 0.0, 1.0))


def _agree(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two halves of the updates share at least half of their pattern, as a correlation; else it is chance."""
    pairs = [(a, b) for a, b, _ in _by_shift(first, second)]
    if not pairs:
        return False
    a, b = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    return float(a @ b) > SHARED * float(np.sqrt((a @ a) * (b @ b)))


def _left_over(pooled: np.ndarray, tilt: np.ndarray) -> float:
    """Share of sum q^2 that is left by the best exp(tilt_b) f(k)."""
    fitted, whole = 0.0, 0.0
    for q, _, source in _by_shift(pooled, pooled):
        weight = np.exp(tilt[source])
        fitted += float(weight @ q) ** 2 / float(weight @ weight)
        whole += float(q @ q)
    return 1.0 - fitted / whole if whole > 0 else 1.0


def _by_shift(
    first: np.ndarray, second: np.ndarray
) -> Iterator[tuple[Float[np.ndarray, " pair"], Float[np.ndarray, " pair"], Int[np.ndarray, " pair"]]]:
    """For each shift k != 0 with at least two known pairs: both estimates, and the shells of origin."""
    size = len(first)
    known = np.isfinite(first) & np.isfinite(second)
    for k in range(1 - size, size):
        kept = np.diagonal(known, -k)
        if k and kept.sum() > 1:
            source = np.arange(size - abs(k)) + max(0, -k)
            yield np.diagonal(first, -k)[kept], np.diagonal(second, -k)[kept], source[kept]


def _interval(shares: np.ndarray, seed: int) -> tuple[float, float] | None:
    if len(shares) < 6:
        return None
    found = []
    for index in block_indices(len(shares), np.random.default_rng(seed), draws=100):
        is_odd = index % 2 == 1
        if is_odd.all() or not is_odd.any():
            continue
        value = _score(_pooled(shares[index[~is_odd]]), _pooled(shares[index[is_odd]]))
        # Halves without a common pattern have nothing invariant in common either.
        found.append(1.0 if value is None else value)
    return percentile_interval(found)


def _over_shells(pooled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    size = len(pooled)
    means, spreads = np.zeros(2 * size - 1), np.zeros(2 * size - 1)
    for position, k in enumerate(range(1 - size, size)):
        values = np.diagonal(pooled, -k)
        values = values[np.isfinite(values)]
        if len(values):
            means[position], spreads[position] = values.mean(), values.std()
    return means, spreads
