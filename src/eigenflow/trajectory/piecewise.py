"""Integrals over [0, 1] of many rates at once that are smooth but for jumps, each with its own error.

The path average of a Jacobian is such an integral for every sample: along a straight path of the parameters a network
of ReLU, max-pooling or clipping is smooth between kinks, whose places differ from sample to sample. A rule that does
not know them is right to their size times its spacing, whatever its order.

Panels are integrated by Clenshaw-Curtis with 9 nodes, both ends among them, so that no jump can hide beside an end. A
panel whose last Chebyshev coefficients have not died out is split: at a jump that bisection finds, or in the middle.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

__all__ = ["PanelSums", "integrate_panels"]

# Rates of the asked rows at the asked positions.
Rates = Callable[[Int[Tensor, " asked"], Float[Tensor, " asked"]], Float[Tensor, "asked width"]]

ORDER = 8
# Chebyshev coefficients at the end of a panel's expansion whose sizes are its error: more than that of its integral.
TAIL = 3
# A slope that stands out of a panel's slopes by so many times their typical distance is taken for a jump.
JUMP = 6.0
# A panel may use this part of what its row may miss.
SHARE = 0.1
# Between positions that come together a jump keeps its size, and what is smooth loses it.
SMOOTH = 0.25
NARROWEST = 4 * float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class PanelSums:
    """Integrals over [0, 1], one for each row.

    Attributes:
        total: The integrals; without meaning where they are not known.
        error: Estimate of their errors, norms.
        is_known: Whether the row was integrated to its end within the budget.
        spent: Evaluations of single rows.
    """

    total: Float[Tensor, "rows width"]
    error: Float[Tensor, " rows"]
    is_known: Bool[Tensor, " rows"]
    spent: int


@dataclass(frozen=True)
class _Panels:
    rows: Int[Tensor, " panels"]
    low: Float[Tensor, " panels"]
    high: Float[Tensor, " panels"]

    def __getitem__(self, some: Tensor) -> "_Panels":
        return _Panels(self.rows[some], self.low[some], self.high[some])

    @classmethod
    def joined(cls, *parts: "_Panels") -> "_Panels":
        """All of them, without those of no length."""
        whole = cls(*(torch.cat([getattr(part, name) for part in parts]) for name in ("rows", "low", "high")))
        return whole[whole.high - whole.low > 0]


def integrate_panels(
    rates: Rates, count: int, tolerance: Float[Tensor, " rows"], *, budget: int, most: int
) -> PanelSums:
    """Integrate rates that may jump.

    Args:
        rates: Called with rows and as many positions in [0, 1].
        count: Number of rows.
        tolerance: What the norm of each integral may miss, > 0.
        budget: Evaluations of single rows in all. Rows that are not done by then are marked.
        most: Evaluations for one row.

    Returns:
        The integrals, their errors, and which of them are known.
    """
    device = tolerance.device
    every = torch.arange(count, device=device)
    zeros = torch.zeros(count, dtype=torch.float64, device=device)
    spent = torch.zeros(count, dtype=torch.int64, device=device)
    todo = _Panels(every, zeros, zeros + 1.0)
    total, error = torch.zeros(0), zeros.clone()
    is_known = torch.zeros(count, dtype=torch.bool, device=device)

    def counted(rows: Tensor, positions: Tensor) -> Tensor:
        spent.index_add_(0, rows, torch.ones_like(rows))
        return rates(rows, positions)

    while len(todo.rows) and int(spent.sum()) + (ORDER + 1) * len(todo.rows) <= budget:
        values, sums, misses = _rule(counted, todo)
        total = sums.new_zeros(count, sums.shape[-1]) if not len(total) else total
        is_done = misses <= SHARE * tolerance[todo.rows]
        total.index_add_(0, todo.rows[is_done], sums[is_done])
        error.index_add_(0, todo.rows[is_done], misses[is_done])
        todo, gap, miss = _split(counted, todo[~is_done], values[~is_done], tolerance)
        total.index_add_(0, gap[0], gap[1])
        error.index_add_(0, gap[0], miss)
        todo = todo[spent[todo.rows] <= most]
        is_known = torch.ones_like(is_known)
        is_known[todo.rows] = False
        is_known &= spent <= most
    return PanelSums(total if len(total) else total.new_zeros(count, 0), error, is_known, int(spent.sum()))


def _rule(rates: Rates, panels: _Panels) -> tuple[Tensor, Tensor, Tensor]:
    """Values at the nodes (panel, node, width), integrals, and bounds of their errors."""
    nodes, weights, coefficients = (torch.from_numpy(x).to(panels.low) for x in _clenshaw_curtis())
    length = panels.high - panels.low
    at = panels.low[:, None] + length[:, None] * nodes
    at[:, -1] = panels.high
    values = rates(panels.rows.repeat_interleave(ORDER + 1), at.reshape(-1)).to(torch.float64)
    values = values.reshape(len(at), ORDER + 1, -1)
    sums = length[:, None] * torch.einsum("n,pnw->pw", weights, values)
    tails = torch.einsum("kn,pnw->pkw", coefficients[-TAIL:], values)
    return values, sums, length * torch.linalg.vector_norm(tails, dim=-1).sum(-1)


def _split(
    rates: Rates, panels: _Panels, values: Tensor, tolerance: Tensor
) -> tuple[_Panels, tuple[Tensor, Tensor], Tensor]:
    """Smaller panels; and of the gaps around jumps between them the rows, integrals and bounds of their errors."""
    nodes = torch.from_numpy(_clenshaw_curtis()[0]).to(panels.low)
    slopes = values.diff(dim=1) / nodes.diff()[:, None]
    apart = torch.linalg.vector_norm(slopes - slopes.median(1, keepdim=True).values, dim=-1)
    worst, place = apart.max(1)
    is_cut = worst > JUMP * apart.median(1).values
    cut, place, index = panels[is_cut], place[is_cut], torch.arange(int(is_cut.sum()), device=place.device)
    length = cut.high - cut.low
    bracket = _Bracket(
        *(cut.low + length * nodes[place + side] for side in (0, 1)),
        *(values[is_cut][index, place + side] for side in (0, 1)),
    )
    found = _close_in(rates, cut.rows, bracket, SHARE * tolerance[cut.rows])
    is_jump = found.jump > SMOOTH * bracket.jump
    is_cut[torch.nonzero(is_cut)[:, 0][~is_jump]] = False
    whole, cut, found = panels[~is_cut], cut[is_jump], found[is_jump]
    middle = 0.5 * (whole.low + whole.high)
    parts = [(whole.rows, whole.low, middle), (whole.rows, middle, whole.high)]
    parts += [(cut.rows, cut.low, found.low), (cut.rows, found.high, cut.high)]
    gap = 0.5 * found.width[:, None] * (found.left + found.right)
    return _Panels.joined(*(_Panels(*part) for part in parts)), (cut.rows, gap), found.miss


@dataclass(frozen=True)
class _Bracket:
    """Two positions with the rates there."""

    low: Float[Tensor, " brackets"]
    high: Float[Tensor, " brackets"]
    left: Float[Tensor, "brackets width"]
    right: Float[Tensor, "brackets width"]

    def __getitem__(self, some: Tensor) -> "_Bracket":
        return _Bracket(self.low[some], self.high[some], self.left[some], self.right[some])

    @property
    def width(self) -> Tensor:
        return self.high - self.low

    @property
    def jump(self) -> Tensor:
        return torch.linalg.vector_norm(self.right - self.left, dim=-1)

    @property
    def miss(self) -> Tensor:
        """What the trapezoid between them may miss."""
        return 0.5 * self.width * self.jump


def _close_in(rates: Rates, rows: Tensor, bracket: _Bracket, allowed: Tensor) -> _Bracket:
    """Bisect towards jumps until what lies between counts for nothing, no number does, or the rate proves smooth."""
    start, found = bracket.jump, bracket
    while True:
        is_smooth = found.jump <= SMOOTH * start
        is_open = (found.miss > allowed) & (found.width > NARROWEST) & ~is_smooth
        some = torch.nonzero(is_open)[:, 0]
        if not len(some):
            return found
        at = found[some]
        middle = 0.5 * (at.low + at.high)
        value = rates(rows[some], middle).to(at.left)
        to_left, to_right = (torch.linalg.vector_norm(value - side, dim=-1) for side in (at.left, at.right))
        is_left = to_left <= to_right
        found = _Bracket(
            found.low.index_copy(0, some, torch.where(is_left, middle, at.low)),
            found.high.index_copy(0, some, torch.where(is_left, at.high, middle)),
            found.left.index_copy(0, some, torch.where(is_left[:, None], value, at.left)),
            found.right.index_copy(0, some, torch.where(is_left[:, None], at.right, value)),
        )


def _clenshaw_curtis() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nodes in [0, 1], weights, and the matrix from values to Chebyshev coefficients."""
    index = np.arange(ORDER + 1)
    nodes = 0.5 * (1.0 - np.cos(np.pi * index / ORDER))
    halved = np.where((index == 0) | (index == ORDER), 0.5, 1.0)
    # T_k at the nodes is cos(k (pi - theta)).
    cosines = np.cos(np.outer(index, np.pi - np.pi * index / ORDER))
    coefficients = 2.0 / ORDER * halved[:, None] * cosines * halved
    moments = np.where(index % 2 == 0, 1.0 / (1.0 - np.where(index % 2 == 0, index, 0).astype(float) ** 2), 0.0)
    return nodes, moments @ coefficients, coefficients
