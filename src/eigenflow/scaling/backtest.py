"""Fit the runs below a compute cut, predict those above, and score: which law to trust on this table."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import overload

import numpy as np
import pandas as pd
from jaxtyping import Bool

from eigenflow.core.display import AbstractPrinted, Card, FieldsPrinted, figure
from eigenflow.core.errors import ArgumentError
from eigenflow.core.parallel import map_calls
from eigenflow.core.resampling import LEVEL
from eigenflow.scaling.fit import ScalingFit, fit_approach3, fit_scaling
from eigenflow.scaling.prediction import predict_losses
from eigenflow.scaling.priors import LEARNED, ScalingPriors
from eigenflow.scaling.table import ScalingTable

__all__ = ["LAWS_COMPARED", "TableBacktest", "TableScore", "backtest_table", "compute_cuts", "fit_named", "score_split"]

LAWS_COMPARED = ("frontier", "chinchilla", "tied", "approach3", "kaplan")
MIN_FITTED = 6
MIN_SCORED = 2


@dataclass(frozen=True, repr=False)
class TableScore(FieldsPrinted):
    """One law's score on the runs above one cut.

    Attributes:
        law: Its name.
        cut: Largest training compute that was fitted.
        scored: Number of runs above it.
        mean_abs_error: Mean |predicted - true| in nats.
        bias: Mean of predicted - true.
        coverage: Share of them inside the 90 % interval.
        winkler: Mean interval score at 90 % in nats (width, plus 20 times what is outside).
    """

    law: str
    cut: float
    scored: int
    mean_abs_error: float
    bias: float
    coverage: float
    winkler: float


@dataclass(frozen=True, repr=False)
class TableBacktest(AbstractPrinted, Sequence[TableScore]):
    """Scores of laws on the upper parts of a table's compute: a sequence of rows, one a cut and law.

    Attributes:
        rows: Cut by cut.
    """

    rows: tuple[TableScore, ...]

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> TableScore: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[TableScore]: ...
    def __getitem__(self, index: int | slice) -> TableScore | Sequence[TableScore]:
        return self.rows[index]

    def _card(self) -> Card:
        rows = []
        for law in dict.fromkeys(row.law for row in self.rows):
            own = [row for row in self.rows if row.law == law]
            error, held = (float(np.mean(v)) for v in ([r.mean_abs_error for r in own], [r.coverage for r in own]))
            rows.append((law, f"mean error {figure(error, 3)} nats, inside {held:.0%}; means over {len(own)} cuts"))
        return Card(f"Backtest of {len(rows)} scaling laws above {len({row.cut for row in self.rows})} cuts", rows)

    def to_dataframe(self) -> pd.DataFrame:
        """One row a cut and law."""
        return pd.DataFrame([asdict(row) for row in self.rows])


def fit_named(table: ScalingTable, name: str, priors: ScalingPriors = LEARNED) -> ScalingFit:
    """Fit a law by name: approach 3 and Kaplan's form as published (no priors, no weights), the others with priors."""
    if name == "approach3":
        return fit_approach3(table, starts=12)
    if name in ("kaplan", "muennighoff"):
        return fit_scaling(table, name, priors=None)
    return fit_scaling(table, name, priors=priors)


def compute_cuts(table: ScalingTable, shares: Sequence[float] = (0.5, 0.6, 0.75)) -> Iterator[Bool[np.ndarray, " run"]]:
    """Masks of the runs to fit: those in the lower shares of training compute."""
    for share in shares:
        if not 0 < share < 1:
            raise ArgumentError(f"`shares` must lie between 0 and 1, but hold {share:g}.")
        mask = table.flops <= np.quantile(table.flops, share)
        if mask.sum() >= MIN_FITTED and (~mask).sum() >= MIN_SCORED:
            yield mask


def backtest_table(
    table: ScalingTable, laws: Sequence[str] = LAWS_COMPARED, priors: ScalingPriors = LEARNED
) -> TableBacktest:
    """Score laws on the upper parts of compute, for rolling cuts, on the engine that joblib is configured for.

    Raises:
        ArgumentError: If no cut leaves six runs to fit and two to score.
    """
    cuts = list(compute_cuts(table))
    if not cuts:
        raise ArgumentError(
            f"{table.source}: {len(table)} runs leave no cut with {MIN_FITTED} runs below and {MIN_SCORED} above. "
            f"Add runs, or fit without a backtest."
        )
    splits = [(fitted, law) for fitted in cuts for law in laws]
    return TableBacktest(tuple(map_calls(lambda split: score_split(table, *split, priors), splits)))


def score_split(table: ScalingTable, fitted: np.ndarray, law: str, priors: ScalingPriors = LEARNED) -> TableScore:
    """Fit the masked runs, predict the others."""
    known, later = table.take(fitted), table.take(~fitted)
    forecast = predict_losses(fit_named(known, law, priors), later.size, later.tokens, later.unique_tokens)
    error = forecast.loss - later.loss
    outside = np.maximum(forecast.lower - later.loss, 0) + np.maximum(later.loss - forecast.upper, 0)
    width = forecast.upper - forecast.lower
    return TableScore(
        law,
        float(known.flops.max()),
        len(later),
        float(np.abs(error).mean()),
        float(error.mean()),
        float((outside == 0).mean()),
        float((width + 2.0 / (1.0 - LEVEL) * outside).mean()),
    )
