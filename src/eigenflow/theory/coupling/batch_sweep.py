"""Does the noise of batches weaken the coupling between shells? Runs of different batch size, side by side.

Coupling is measured in three ways, all energy-weighted and over shells that are not neighbours, so that eigenvalues
that drift across an edge do not count:

    exchange   net energy that one update carries, over the energy that it dissipates
    angle      Kato angle an e-fold of time, along the update that was made
    turned     share of a shell's directions that have left it by the next measurement, an e-fold of time

The first two are of single updates, whose direction is itself noisy: small batches inflate them without any net effect.
The last one is what remains after many updates, and answers the question.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import stdtrit
from scipy.stats import norm

from eigenflow.core.errors import ArgumentError, EigenflowError
from eigenflow.core.resampling import LEVEL, block_indices
from eigenflow.shells import shell_budget
from eigenflow.store import Run
from eigenflow.theory.coupling.batch_noise import batch_noise, require_plain
from eigenflow.theory.coupling.kato import kato_ratio
from eigenflow.theory.coupling.locality import transfer_locality
from eigenflow.theory.coupling.turning import shell_turning

__all__ = ["MEASURES", "BatchSweep", "batch_sweep"]

MEASURES = ("turned", "angle", "exchange")
GRID = 16
DRAWS = 400


@dataclass(frozen=True)
class BatchSweep:
    """Coupling between distant shells against batch size.

    Attributes:
        batch_sizes: Decreasing; the first is the reference.
        runs: Number of runs of each.
        noise_share: Median energy added by batches over energy dissipated; 0 for full batches.
        window: Times that all runs cover.
        coupling: By measure, medians over the window for each batch size; missing measures are left out.
        ratio: By measure, coupling over that of the reference (geometric mean over the window), for each batch size.
        ratio_interval: Their 90 % intervals, from the spread between runs of one size (Student, one variance for all
            sizes) and blocks of times. With one run of each size the spread between runs is not in them.
        missing: Measures that not every run holds, with the reason.
    """

    batch_sizes: tuple[int, ...]
    runs: tuple[int, ...]
    noise_share: tuple[float, ...]
    window: tuple[float, float]
    coupling: Mapping[str, tuple[float, ...]]
    ratio: Mapping[str, tuple[float, ...]]
    ratio_interval: Mapping[str, tuple[tuple[float, float], ...]]
    missing: Mapping[str, str]

    def answer(self, measure: str = "turned") -> str:
        """What the smallest batches do to the coupling: "weakens", "strengthens", "undecided"; or why it is unknown."""
        if measure in self.missing:
            return self.missing[measure]
        low, high = self.ratio_interval[measure][-1]
        return "weakens" if high < 1 else "strengthens" if low > 1 else "undecided"


def batch_sweep(runs: Sequence[Run], *, paired: bool = False, seed: int = 0) -> BatchSweep:
    """Compare the coupling of runs that differ in their batch size.

    Args:
        runs: Plain SGD on the same probe set; at least two batch sizes, full batches among them if possible. Several
            runs of one size (seeds) are averaged, and their spread is in the intervals.
        paired: Whether the runs of each size come in the same order of seeds, so that run i of one size began from
            the same network as run i of the others; then only the spread of their differences counts.
        seed: Of the bootstrap.

    Raises:
        ArgumentError: If there is only one batch size, the runs have different probe sets, or no common times; if
            `paired` and the sizes have different numbers of runs.
        RunFolderError: If a run did not use plain SGD on its probe set, or does not say so; see `batch_noise`.
    """
    sizes, shares = zip(*(_size_and_share(run) for run in runs), strict=True) if runs else ((), ())
    if len(set(sizes)) < 2:
        raise ArgumentError(
            f"`runs` must have at least two batch sizes, but has {sorted(set(sizes))}. "
            f"Record one with another batch size."
        )
    probes = {(run.header["probe"].get("checksum"), run.header["probe"]["samples"]) for run in runs}
    if len(probes) > 1:
        raise ArgumentError(
            f"`runs` must be measured on one probe set, but have {len(probes)} (checksums or numbers of samples "
            f"differ). Compare runs of the same probe."
        )
    order = sorted(set(sizes), reverse=True)
    members = [[i for i, size in enumerate(sizes) if size == wanted] for wanted in order]
    if paired and len({len(rows) for rows in members}) > 1:
        counts = {size: len(rows) for size, rows in zip(order, members, strict=True)}
        raise ArgumentError(
            f"`paired` needs as many runs of each batch size, but has {counts}. Record the missing ones."
        )
    curves, missing = _curves(runs)
    starts = [run.measurements["time"].values for run in runs]
    window = (max(float(t[t > 0][1]) for t in starts), min(float(t[-2]) for t in starts))
    if not window[1] > window[0]:
        raise ArgumentError(f"`runs` have no times in common: the window would be {window}. Train for the same time.")
    grid = np.geomspace(*window, GRID)
    coupling, ratio, interval = {}, {}, {}
    for name, found in curves.items():
        logs = np.array([np.interp(np.log(grid), np.log(t), np.log(v)) for t, v in found])
        coupling[name] = tuple(float(np.median(np.exp(logs[rows]))) for rows in members)
        ratio[name], interval[name] = _ratios(logs, members, paired, seed)
    return BatchSweep(
        tuple(order),
        tuple(len(rows) for rows in members),
        tuple(float(np.median([shares[i] for i in rows])) for rows in members),
        window,
        coupling,
        ratio,
        interval,
        missing,
    )


def _size_and_share(run: Run) -> tuple[int, float]:
    require_plain(run)
    try:
        noise = batch_noise(run)
    except ArgumentError:  # full batches
        return int(run.header["probe"]["samples"]), 0.0
    return noise.batch_size, float(np.median(noise.share))


def _curves(
    runs: Sequence[Run],
) -> tuple[dict[str, list[tuple[np.ndarray, np.ndarray]]], dict[str, str]]:
    """Each measure over time for each run, and why a measure is missing."""
    curves, missing = {}, {}
    for name in MEASURES:
        try:
            curves[name] = [_positive(*_curve(run, name)) for run in runs]
        except EigenflowError as error:
            missing[name] = str(error)
    return curves, missing


def _curve(run: Run, name: str) -> tuple[np.ndarray, np.ndarray]:
    if name == "turned":
        turning = shell_turning(run.measurements)
        return turning.times, turning.rate
    if name == "angle":
        kato = kato_ratio(run.measurements)
        return kato.times, kato.far_angle
    found = transfer_locality(shell_budget(run))
    return found.times, found.nonlocal_share


def _positive(times: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    kept = (times > 0) & (values > 0)
    if kept.sum() < 3:
        raise ArgumentError(
            f"A run shows coupling between distant shells at {int(kept.sum())} times only; 3 are needed."
        )
    return times[kept], values[kept]


def _ratios(
    logs: Float[np.ndarray, "run time"], members: Sequence[Sequence[int]], paired: bool, seed: int
) -> tuple[tuple[float, ...], tuple[tuple[float, float], ...]]:
    """Coupling over that of the first group: Student's interval over runs, together with blocks of times."""
    groups = [logs[list(rows)] for rows in members]
    freedom = len(groups[0]) - 1 if paired else sum(len(group) - 1 for group in groups)
    between = sum(float(((group.mean(1) - group.mean()) ** 2).sum()) for group in groups) / max(freedom, 1)
    times = block_indices(logs.shape[1], np.random.default_rng(seed), draws=DRAWS)
    values, intervals = [1.0], [(1.0, 1.0)]
    for group in groups[1:]:
        difference = group.mean(0) - groups[0].mean(0)
        half = norm.ppf((1 + LEVEL) / 2) * float(difference[times].mean(1).std())
        if freedom:
            error = np.sqrt(between * (1 / len(group) + 1 / len(groups[0])))
            if paired:
                error = (group - groups[0]).mean(1).std(ddof=1) / np.sqrt(len(group))
            half = np.hypot(half, stdtrit(freedom, (1 + LEVEL) / 2) * error)
        middle = float(difference.mean())
        values.append(float(np.exp(middle)))
        intervals.append((float(np.exp(middle - half)), float(np.exp(middle + half))))
    return tuple(values), tuple(intervals)
