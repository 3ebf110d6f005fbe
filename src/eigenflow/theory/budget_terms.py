"""How large each term of the shell budget is, and what the budget leaves unexplained."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from eigenflow.shells import ShellBudget

__all__ = ["BudgetTerms", "budget_terms"]

TERMS = ("dissipation", "optimizer", "curvature", "transfer", "remainder", "buffers")


@dataclass(frozen=True)
class BudgetTerms:
    """Sizes of terms at every measured update.

    Attributes:
        residual: Largest unexplained change of a shell, relative to the whole energy.
        shares: Of each term, sum of absolute values over shells, over that of all terms.
    """

    residual: Float[np.ndarray, " step"]
    shares: dict[str, Float[np.ndarray, " step"]]

    @property
    def median_shares(self) -> dict[str, float]:
        """The median over updates of every share."""
        return {name: float(np.median(values)) for name, values in self.shares.items()}


def budget_terms(budget: ShellBudget) -> BudgetTerms:
    """Measure the terms of a budget."""
    sums = {name: np.abs(getattr(budget, name).values).sum(1) for name in TERMS}
    total = np.maximum(sum(sums.values()), np.finfo(np.float64).tiny)
    residual = np.abs(budget.residual.values).max(1) / budget.energy.sum("shell").values
    return BudgetTerms(residual, {name: values / total for name, values in sums.items()})
