"""Learning rate and batch size from sweeps: where the best ones are, as power laws of size and tokens.

Near its minimum the loss of one (size, tokens) cell is a paraboloid in x = ln(rate / best rate) and
y = ln(batch / best batch), in ln(loss):

    ln L = ln L_cell + (h_xx x^2 + 2 h_xy x y + h_yy y^2) / 2,
    ln rate* = c0 + c1 ln N + c2 ln D,      ln batch* = e0 + e1 ln N + e2 ln D

The curvatures are shared by all cells, the minimum is each cell's own, so unfinished grids and cells whose best run
lies at the rim still count. Runs more than a few percent above their cell's best are left out: there the loss
rises faster, and on the side of large rates it jumps.

Source: [@li2025predictable], the Step law: rate* = 1.79 N^-0.713 D^0.307, batch* = 0.58 D^0.571 tokens.
"""

from dataclasses import dataclass, fields
from typing import Any, cast

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.optimize import least_squares

from eigenflow.core.display import AbstractPrinted, Card, figure, interval
from eigenflow.core.errors import ArgumentError, NonFiniteError, ShapeError

__all__ = ["BestSettings", "SweepFit", "fit_sweep"]

# In ln(loss) above the best run of the cell.
BASIN = 0.025
MIN_CELL = 6
MIN_CELLS = 4
Z90 = 1.645


@dataclass(frozen=True, repr=False)
class BestSettings(AbstractPrinted):
    """Predicted best learning rate and batch size, with 90 % intervals of a new cell's optimum.

    Attributes:
        rate: Best peak learning rate.
        rate_lower: Lower end.
        rate_upper: Upper end.
        batch: Best batch size, in the unit of the table.
        batch_lower: Lower end.
        batch_upper: Upper end.
    """

    rate: Float[np.ndarray, " cell"]
    rate_lower: Float[np.ndarray, " cell"]
    rate_upper: Float[np.ndarray, " cell"]
    batch: Float[np.ndarray, " cell"]
    batch_lower: Float[np.ndarray, " cell"]
    batch_upper: Float[np.ndarray, " cell"]

    def _card(self) -> Card:
        rows = []
        for k in range(len(self.rate)):
            rate = interval(float(self.rate[k]), float(self.rate_lower[k]), float(self.rate_upper[k]))
            batch = interval(float(self.batch[k]), float(self.batch_lower[k]), float(self.batch_upper[k]))
            rows.append((f"{k}", f"rate {rate}, batch {batch}"))
        return Card(f"Best settings of {len(rows)} runs; 90 % intervals", rows)

    def to_dataframe(self) -> pd.DataFrame:
        """One row a run: rate and batch, each with its ends."""
        return pd.DataFrame({part.name: getattr(self, part.name) for part in fields(self)})


@dataclass(frozen=True, repr=False)
class SweepFit(AbstractPrinted):
    """Power laws of the best settings, and what being off costs.

    Attributes:
        rate_powers: (c0, c1, c2) for logarithms measured from `centre`.
        batch_powers: (e0, e1, e2).
        curvature: [[h_xx, h_xy], [h_xy, h_yy]] in ln(loss) per (ln factor)^2.
        centre: Means of ln N and ln D over the cells.
        rate_covariance: Of `rate_powers`.
        batch_covariance: Of `batch_powers`.
        rate_scatter: Standard deviation of a cell's own best ln(rate) about the law.
        batch_scatter: The same for the batch.
        noise: Scatter of ln(loss) about the paraboloid.
        cells: Number of (size, tokens) cells used.
        runs: Number of runs used.
    """

    rate_powers: Float[np.ndarray, " 3"]
    batch_powers: Float[np.ndarray, " 3"]
    curvature: Float[np.ndarray, "2 2"]
    centre: tuple[float, float]
    rate_covariance: Float[np.ndarray, "3 3"]
    batch_covariance: Float[np.ndarray, "3 3"]
    rate_scatter: float
    batch_scatter: float
    noise: float
    cells: int
    runs: int

    def _card(self) -> Card:
        rows = [
            (f"{row['of']}, {row['power']}", interval(float(row["value"]), float(row["lower"]), float(row["upper"])))
            for row in self.to_dataframe().to_dict("records")
        ]
        rows += [
            ("own optima", f"{figure(self.rate_scatter, 2)} in ln(rate), {figure(self.batch_scatter, 2)} in ln(batch)"),
            ("noise", f"{figure(100 * self.noise, 3)} % of the loss"),
        ]
        return Card(f"Sweep of {self.runs} runs in {self.cells} cells of (size, tokens)", rows)

    def to_dataframe(self) -> pd.DataFrame:
        """One row a power: of (rate or batch), power ("of size" or "of tokens"), value, lower, upper (90 %)."""
        rows = []
        for what, powers, covariance in (
            ("rate", self.rate_powers, self.rate_covariance),
            ("batch", self.batch_powers, self.batch_covariance),
        ):
            for k, name in ((1, "of size"), (2, "of tokens")):
                half = Z90 * float(np.sqrt(covariance[k, k]))
                value = float(powers[k])
                rows.append({"of": what, "power": name, "value": value, "lower": value - half, "upper": value + half})
        return pd.DataFrame(rows)

    def best(self, size, tokens) -> BestSettings:
        """Best settings for sizes and tokens."""
        n = np.log(np.atleast_1d(np.asarray(size, np.float64))) - self.centre[0]
        d = np.log(np.atleast_1d(np.asarray(tokens, np.float64))) - self.centre[1]
        basis = np.column_stack(np.broadcast_arrays(np.ones_like(n + d), n, d))
        found = []
        for powers, covariance, scatter in (
            (self.rate_powers, self.rate_covariance, self.rate_scatter),
            (self.batch_powers, self.batch_covariance, self.batch_scatter),
        ):
            value = basis @ powers
            width = Z90 * np.sqrt(np.einsum("ij,jk,ik->i", basis, covariance, basis) + scatter**2)
            found += [np.exp(value), np.exp(value - width), np.exp(value + width)]
        return BestSettings(*found)

    def penalty(self, size, tokens, rate, batch) -> Float[np.ndarray, " run"]:
        """Predicted ln(loss / best loss of the cell) of given settings, by the paraboloid."""
        best = self.best(size, tokens)
        x, y = np.log(np.asarray(rate) / best.rate), np.log(np.asarray(batch) / best.batch)
        (xx, xy), (_, yy) = self.curvature
        return 0.5 * (xx * x**2 + 2 * xy * x * y + yy * y**2)


def fit_sweep(
    size: Float[np.ndarray, " run"],
    tokens: Float[np.ndarray, " run"],
    rate: Float[np.ndarray, " run"],
    batch: Float[np.ndarray, " run"],
    loss: Float[np.ndarray, " run"],
) -> SweepFit:
    """Fit the power laws of the best learning rate and batch size to a sweep.

    Args:
        size: Parameters of each run.
        tokens: Tokens it saw.
        rate: Its peak learning rate.
        batch: Its batch size, in any unit.
        loss: Its final loss.

    Raises:
        ArgumentError: If fewer than four (size, tokens) cells have six runs near their minimum, or all have one size
            or one token count.
    """
    logs = _checked(size, tokens, rate, batch, loss)
    cell, kept, count = _cells(logs)
    logs = logs[:, kept]
    cell = cell[kept]
    n, d, r, b, y = logs
    first = np.array([np.flatnonzero(cell == c)[0] for c in range(count)])
    centre = (float(n[first].mean()), float(d[first].mean()))
    basis = np.column_stack([np.ones_like(n), n - centre[0], d - centre[1]])
    best = np.array([np.flatnonzero(cell == c)[np.argmin(y[cell == c])] for c in range(count)])
    start = np.concatenate([
        np.linalg.lstsq(basis[best], r[best], rcond=None)[0], np.linalg.lstsq(basis[best], b[best], rcond=None)[0],
        [0.02, 0.0, 0.02], y[best],
    ])  # fmt: skip

    def residual(p: np.ndarray) -> np.ndarray:
        x, z = r - basis @ p[:3], b - basis @ p[3:6]
        return p[9 + cell] + 0.5 * (p[6] * x**2 + 2 * p[7] * x * z + p[8] * z**2) - y

    def jacobian(p: np.ndarray) -> np.ndarray:
        x, z = r - basis @ p[:3], b - basis @ p[3:6]
        columns = np.zeros((len(y), len(p)))
        columns[:, :3] = -(p[6] * x + p[7] * z)[:, None] * basis
        columns[:, 3:6] = -(p[7] * x + p[8] * z)[:, None] * basis
        columns[:, 6], columns[:, 7], columns[:, 8] = 0.5 * x**2, x * z, 0.5 * z**2
        columns[np.arange(len(y)), 9 + cell] = 1.0
        return columns

    end = least_squares(
        residual, start, jac=cast(Any, jacobian), loss="soft_l1", f_scale=0.002, x_scale="jac", max_nfev=400
    )
    p = end.x
    curvature = np.array([[p[6], p[7]], [p[7], p[8]]])
    if np.linalg.eigvalsh(curvature).min() <= 0:
        raise ArgumentError(
            "The losses have no minimum in rate and batch size inside the sweep (the fitted surface is no bowl). "
            "Widen the grid, or fix the batch size and sweep the rate alone."
        )
    at_end = residual(p)
    noise = float(np.sqrt(np.mean(at_end**2)))
    # Runs of a cell err together (their common optimum is off the law), so cells, not runs, are what is independent.
    covariance, offsets = _by_cell(jacobian(p), at_end, cell, count, curvature)
    return SweepFit(
        p[:3], p[3:6], curvature, centre, covariance[:3, :3], covariance[3:6, 3:6], float(offsets[0]),
        float(offsets[1]), noise, count, len(y),
    )  # fmt: skip


def _checked(*columns) -> np.ndarray:
    arrays = [np.asarray(column, dtype=np.float64) for column in columns]
    if len({len(a) for a in arrays}) > 1:
        raise ShapeError(
            f"size, tokens, rate, batch and loss must be equally long, but are {[len(a) for a in arrays]}."
        )
    for name, values in zip(("size", "tokens", "rate", "batch", "loss"), arrays, strict=True):
        bad = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
        if len(bad):
            kind = NonFiniteError if not np.isfinite(values[bad[0]]) else ArgumentError
            raise kind(f"`{name}` must be positive and finite, but run {bad[0]} has {values[bad[0]]}. Leave it out.")
    return np.log(np.array(arrays))


def _cells(logs: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Cell of each run, which runs lie in the basin of a large enough cell, and the number of cells."""
    keys = np.round(logs[:2], 3)
    _, index = np.unique(keys, axis=1, return_inverse=True)
    index = index.reshape(-1)
    cell, kept, count = np.full(logs.shape[1], -1), np.zeros(logs.shape[1], bool), 0
    for key in range(index.max() + 1):
        rows = np.flatnonzero(index == key)
        near = rows[logs[4, rows] < logs[4, rows].min() + BASIN]
        if len(near) >= MIN_CELL:
            cell[near], kept[near] = count, True
            count += 1
    used = keys[:, kept]
    if count < MIN_CELLS:
        raise ArgumentError(
            f"A sweep needs {MIN_CELLS} cells of (size, tokens) with {MIN_CELL} runs within {BASIN:.1%} of their best, "
            f"but has {count}. Add runs near the best rate and batch size."
        )
    for row, name in enumerate(("sizes", "token counts")):
        if len(np.unique(used[row])) < 2:
            raise ArgumentError(f"All cells have one of the {name}, so its power is not identified. Add another.")
    return cell, kept, count


def _by_cell(J: np.ndarray, residual: np.ndarray, cell: np.ndarray, count: int, curvature: np.ndarray):
    """Cell-clustered sandwich covariance, and the scatter of the cells' own optima about the laws."""
    inverse = np.linalg.pinv(J.T @ J, hermitian=True)
    scores = np.array([J[cell == c].T @ residual[cell == c] for c in range(count)])
    covariance = inverse @ (scores.T @ scores) @ inverse * count / max(count - 6, 1)
    shifts = []
    for c in range(count):
        rows = cell == c
        # A Gauss-Newton step of the cell's own optimum: columns 0 and 3 of J are its derivatives by the two constants.
        step = np.linalg.lstsq(np.column_stack([J[rows][:, [0, 3]], np.ones(rows.sum())]), -residual[rows], rcond=None)[
            0
        ]
        shifts.append(step[:2])
    # Limited to a factor e: nearly flat cells say nothing about where their optimum is.
    return covariance, np.sqrt(np.mean(np.clip(shifts, -1.0, 1.0) ** 2, axis=0))
