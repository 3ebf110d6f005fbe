"""Losses of runs that were not made, with intervals that count parameters, scatter and the law's own misfit."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from eigenflow.core.display import AbstractPrinted, Card, figure, interval
from eigenflow.core.errors import ArgumentError
from eigenflow.scaling.fit import ScalingFit
from eigenflow.scaling.laws import evaluate
from eigenflow.scaling.optimum import optimal_log_size
from eigenflow.scaling.priors import LEARNED

__all__ = ["ScalingForecast", "predict_losses"]


@dataclass(frozen=True, repr=False)
class ScalingForecast(AbstractPrinted):
    """Predicted final losses.

    Attributes:
        loss: Median prediction.
        lower: Lower end of the 90 % interval of a single new run.
        upper: Upper end.
        parameter_part: Relative standard deviation from the fitted parameters.
        scatter_part: From run to run, larger away from the compute-efficient line.
        misfit_part: Of the law beyond the fitted sizes, tokens and compute, as learned on other tables.
        distance: ln of the largest factor beyond what was fitted, in size, tokens or compute; 0 inside.
    """

    loss: Float[np.ndarray, " run"]
    lower: Float[np.ndarray, " run"]
    upper: Float[np.ndarray, " run"]
    parameter_part: Float[np.ndarray, " run"]
    scatter_part: Float[np.ndarray, " run"]
    misfit_part: Float[np.ndarray, " run"]
    distance: Float[np.ndarray, " run"]

    def __len__(self) -> int:
        return len(self.loss)

    def _card(self) -> Card:
        columns = zip(self.loss.tolist(), self.lower.tolist(), self.upper.tolist(), self.distance.tolist(), strict=True)
        rows = [
            (f"run {k}", interval(*ends, digits=4) + (f", {figure(float(np.exp(far)), 3)} times beyond" if far else ""))
            for k, (*ends, far) in enumerate(columns)
        ]
        return Card(f"Forecast of {len(self)} finished runs; 90 % intervals of the final loss", rows)

    def to_dataframe(self) -> pd.DataFrame:
        """One row a run: loss, lower, upper, the three parts of the interval, distance."""
        return pd.DataFrame(
            {
                "loss": self.loss,
                "lower": self.lower,
                "upper": self.upper,
                "parameter_part": self.parameter_part,
                "scatter_part": self.scatter_part,
                "misfit_part": self.misfit_part,
                "distance": self.distance,
            }
        )


def predict_losses(
    fit: ScalingFit,
    size: Float[np.ndarray, " run"],
    tokens: Float[np.ndarray, " run"],
    unique_tokens: Float[np.ndarray, " run"] | None = None,
) -> ScalingForecast:
    """Predict final losses of runs at these sizes and tokens.

    Args:
        fit: Of `fit_scaling` or `fit_approach3`; without priors the learned scales of the interval are used.
        size: Parameters, in the convention of the fitted table.
        tokens: Tokens seen.
        unique_tokens: Distinct tokens, for a law with repeats.

    Raises:
        ArgumentError: If a value is not positive and finite.
    """
    size, tokens = np.broadcast_arrays(np.asarray(size, np.float64), np.asarray(tokens, np.float64))
    for name, values in (("size", size), ("tokens", tokens)):
        if not np.all(np.isfinite(values) & (values > 0)):
            raise ArgumentError(
                f"`{name}` must be positive and finite, but holds {values.min():g} to {values.max():g}."
            )
    priors = fit.priors or LEARNED
    epochs = None if unique_tokens is None else np.maximum(tokens / unique_tokens, 1.0)
    value, jacobian = fit.log_loss(size, tokens, epochs)
    product = np.log(size * tokens) - sum(fit.centre)
    best = optimal_log_size(fit.parameters, product)
    excess = np.maximum(value - evaluate(fit.parameters, best, product - best)[0], 0.0)
    parameter = np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", jacobian, fit.covariance, jacobian), 0.0))
    scatter = fit.scatter * (1.0 + excess / priors.excess)
    distance = _distance(fit, size, tokens)
    misfit = priors.drift * distance
    width = priors.quantile * np.sqrt(parameter**2 + scatter**2 + misfit**2)
    return ScalingForecast(
        np.exp(value), np.exp(value - width), np.exp(value + width), parameter, scatter, misfit, distance
    )


def _distance(fit: ScalingFit, size: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    beyond = [
        np.log(asked / known.max())
        for asked, known in (
            (size, fit.table.size), (tokens, fit.table.tokens), (size * tokens, fit.table.size * fit.table.tokens)
        )
    ]  # fmt: skip
    return np.maximum(np.max(beyond, axis=0), 0.0)
