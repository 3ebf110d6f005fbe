"""Which law to use: the one that forecast best what it had not seen, if it is better by more than chance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.optimize import nnls

from eigenflow.core.display import AbstractPrinted, Card, figure, interval
from eigenflow.core.errors import ArgumentError
from eigenflow.core.resampling import LEVEL
from eigenflow.forecast.evaluation.backtests import BacktestCase

__all__ = ["LEAST_HELD", "Recommendation", "recommend", "stack_weights"]

# Intervals that should hold 90 % and hold less than this are spoken of.
LEAST_HELD = 0.8
_WORDS = {
    "winkler": "interval score (Winkler's: width of the 90 % interval in nats, and 20 times what lies outside)",
    "mae": "mean absolute error in nats",
    "mae_after_branch": "mean absolute error, in nats, from where a curve is its own",
    "width": "width of the 90 % interval in nats",
}


@dataclass(frozen=True, repr=False)
class Recommendation(AbstractPrinted):
    """A law, chosen by held-out score.

    Attributes:
        law: The one with the smallest mean logarithm of the score.
        score: What was compared, a column of `Backtest.scores`.
        ranking: Geometric mean score of every law, best first.
        advantage: Score of the runner-up over that of the chosen law (1.2: 20 % worse).
        interval: 90 % interval of that ratio, curves resampled.
        cases: Number of held-out curves that all laws forecast.
        reason: In one sentence.
        coverage: By what was hidden: share of the points inside the chosen law's 90 % intervals, mean over curves.
        cautions: Where these intervals held too little, one sentence each. The law is the best of those compared; its
            intervals are not to be believed there.
    """

    law: str
    score: str
    ranking: dict[str, float]
    advantage: float
    interval: tuple[float, float]
    cases: int
    reason: str
    coverage: dict[str, float] = field(default_factory=dict)
    cautions: tuple[str, ...] = ()

    def _card(self) -> Card:
        clear = "clearly" if self.is_clear else "not clearly"
        rows = [
            ("advantage", f"{interval(self.advantage, *self.interval)} over the next, {clear}; {self.cases} cases"),
            *((name, f"{self.score} {figure(value, 3)}") for name, value in self.ranking.items()),
            *(("caution", caution) for caution in self.cautions),
        ]
        return Card(f"Recommended law: {self.law}", rows)

    @property
    def is_clear(self) -> bool:
        """Whether the advantage is more than chance."""
        return self.interval[0] > 1.0


def recommend(
    scores: pd.DataFrame, rng: np.random.Generator, *, score: str = "winkler", draws: int = 1000
) -> Recommendation:
    """Choose a law by a held-out score, never by its in-sample fit.

    Scores of one curve are compared as ratios, so that curves with large losses do not decide alone; only curves that
    all laws forecast count.

    Args:
        scores: As from `Backtest.scores`.
        rng: Resamples curves.
        score: Column to compare; smaller is better: "winkler" (forecast and interval), "mae", "mae_after_branch".
        draws: Number of resamples.

    Raises:
        ArgumentError: If fewer than two laws share a case, or the column does not exist.
    """
    if score not in ("winkler", "mae", "mae_after_branch", "width"):
        raise ArgumentError(f"Unknown `score` {score!r}. Available: 'winkler', 'mae', 'mae_after_branch', 'width'.")
    table = scores.pivot_table(index=["protocol", "split", "curve"], columns="law", values=score, sort=False).dropna()
    if table.shape[1] < 2 or len(table) == 0:
        raise ArgumentError(
            f"A recommendation compares two laws or more on the same held-out curves, but there are "
            f"{table.shape[1]} laws on {len(table)} curves."
        )
    logs = np.log(np.maximum(table, np.finfo(np.float64).tiny))
    ranking = logs.mean().sort_values()
    best, second = ranking.index[0], ranking.index[1]
    difference = np.asarray(logs[second] - logs[best])
    means = difference[rng.integers(0, len(difference), size=(draws, len(difference)))].mean(axis=1)
    lower, upper = np.exp(np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
    advantage = float(np.exp(difference.mean()))
    verdict = "clearly" if lower > 1.0 else "not clearly"
    reason = (
        f"{best} has the smallest {_WORDS[score]} on {len(table)} held-out curves (geometric mean "
        f"{np.exp(logs[best].mean()):.3g}), {verdict} ahead of {second} (ratio {advantage:.2f}, 90 % interval "
        f"{lower:.2f} to {upper:.2f})"
    )
    coverage = _coverage(scores, str(best))
    return Recommendation(
        str(best), score, {str(law): float(np.exp(value)) for law, value in ranking.items()}, advantage,
        (float(lower), float(upper)), len(table), reason, coverage, _cautions(str(best), coverage, scores),
    )  # fmt: skip


def _coverage(scores: pd.DataFrame, law: str) -> dict[str, float]:
    own = scores[scores["law"] == law]
    return {name: float(np.mean(own["coverage"][own["protocol"] == name])) for name in dict.fromkeys(own["protocol"])}


def _cautions(law: str, coverage: Mapping[str, float], scores: pd.DataFrame) -> tuple[str, ...]:
    """A sentence for each kind of forecast whose intervals held less than `LEAST_HELD` of what was hidden."""
    counts = scores[scores["law"] == law].groupby("protocol")["curve"].count()
    return tuple(
        f"{law}'s 90 % intervals held {100 * held:.0f} % of the points hidden by '{name}' ({counts[name]} curves): for "
        f"forecasts of this kind they are too narrow on these curves, and its forecasts miss by more than they say"
        for name, held in coverage.items()
        if held < LEAST_HELD
    )


def stack_weights(cases: Mapping[str, Sequence[BacktestCase]]) -> dict[str, float]:
    """Weights of a mean of ln(loss) over laws that minimise the held-out squared error, every curve with one vote.

    Args:
        cases: For every law, its cases; the same curves in the same order.

    Returns:
        Non-negative weights that sum to 1.
    """
    laws = list(cases)
    lengths = {len(cases[law]) for law in laws}
    if len(laws) < 2 or len(lengths) != 1 or lengths == {0}:
        raise ArgumentError("`cases` needs two laws or more, each with the same held-out curves in the same order.")
    errors: list[Float[np.ndarray, "point law"]] = []
    for together in zip(*(cases[law] for law in laws), strict=True):
        # A curve's size of error is its own unit: the smallest of any law, so that no wild forecast counts alone.
        block = np.stack([case.errors for case in together], axis=1)
        scale = np.sqrt(np.min(np.mean(block**2, axis=0)) + 1e-12) * np.sqrt(len(block))
        errors.append(np.clip(block / scale, -1e3, 1e3))
    stacked = np.concatenate(errors)
    # Weights that sum to one, by a heavy row; the errors of a weighted mean are the weighted errors.
    heavy = 1e3 * np.sqrt((stacked**2).sum(axis=0).max())
    found, _ = nnls(np.vstack([stacked, np.full((1, len(laws)), heavy)]), np.append(np.zeros(len(stacked)), heavy))
    return {law: float(weight) for law, weight in zip(laws, found / found.sum(), strict=True)}
