"""The forecast benchmark's table, as Markdown."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import stats

__all__ = ["markdown", "paired", "share_interval"]

SHOWN = ("final_error", "mae_after_branch", "coverage", "winkler")


def markdown(
    table: pd.DataFrame,
    bootstrapped: pd.DataFrame,
    coverage: Mapping[str, Mapping[str, float]],
    floors: Sequence[Mapping[str, object]],
) -> str:
    """Write the whole report: laws by protocol, coverage, every set, bootstrap, noise floors."""
    return "\n".join(
        [
            "# Forecasts of unseen parts of loss curves, by law",
            "",
            "Errors and widths are in the loss's own unit (nats; mean squared error for the mlp sets). Coverage is the",
            "share of unseen points inside the 90 % interval, by curve; a set was left out of its own calibration.",
            "",
            "## Every protocol: geometric mean over all held-out curves of every set",
            "",
            _by_protocol(table),
            "",
            "## The transport law beside every other one, on the curves that both forecast",
            "",
            "Ratios of geometric means over curves, ours / theirs, with 90 % intervals by resampling curves.",
            "",
            paired(table),
            "",
            "## Does nine of ten hold? By protocol, with the 90 % interval of the share (Clopper and Pearson)",
            "",
            _held(table),
            "",
            "## Every set",
            "",
            _by_set(table),
            "",
            "## Coverage by set, that set's folder left out of the calibration",
            "",
            _coverage(coverage),
            "",
            "## Coverage of the transport law by member set and protocol, its folder left out of the calibration",
            "",
            _coverage_by_member(table),
            "",
            "## Interval score beside a residual bootstrap (geometric mean; smaller is better)",
            "",
            _bootstrap(table, bootstrapped),
            "",
            "## Noise floors (standard deviations of ln(loss))",
            "",
            _floors(floors),
            "",
        ]
    )


def _geometric(values: pd.Series) -> float:
    return float(np.exp(np.log(np.maximum(values.abs(), 1e-7)).mean()))


def _by_protocol(table: pd.DataFrame) -> str:
    lines = [
        "| protocol | law | curves | final error | MAE after branch | coverage | last point inside | interval score |"
    ]
    lines.append("|---|---|---|---|---|---|---|---|")
    for (protocol, law), part in table.groupby(["protocol", "law"], sort=False):
        lines.append(
            f"| {protocol} | {law} | {len(part)} | {_geometric(part.final_error):.4f} | "
            f"{_geometric(part.mae_after_branch):.4f} | {part.coverage.mean():.2f} | {part.inside_final.mean():.2f} | "
            f"{_geometric(part.winkler):.4f} |"
        )
    return "\n".join(lines)


def paired(table: pd.DataFrame, ours: str = "transport", draws: int = 2000) -> str:
    """Mean error and interval score of one law over those of each other, on the curves of both."""
    key = ["set", "protocol", "split", "curve"]
    own = table[table.law == ours].set_index(key)
    rng = np.random.default_rng(0)
    lines = ["| protocol | beside | curves | mean error | interval score |", "|---|---|---|---|---|"]
    for (protocol, law), part in table[table.law != ours].groupby(["protocol", "law"], sort=False):
        both = own.join(part.set_index(key), rsuffix="_other", how="inner")
        if both.empty:
            continue
        cells = [str(protocol), str(law), f"{len(both)}"]
        for name in ("mae_after_branch", "winkler"):
            apart = np.log(np.maximum(both[name], 1e-7) / np.maximum(both[f"{name}_other"], 1e-7)).to_numpy()
            means = apart[rng.integers(0, len(apart), (draws, len(apart)))].mean(axis=1)
            low, high = np.exp(np.quantile(means, [0.05, 0.95]))
            cells.append(f"{np.exp(apart.mean()):.2f} ({low:.2f} to {high:.2f})")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _held(table: pd.DataFrame) -> str:
    """Of the curves of each protocol: mean coverage, and how many last points lie inside."""
    lines = ["| protocol | curves | law | coverage | last points inside | share, 90 % interval | holds 0.90 |"]
    lines.append("|---|---|---|---|---|---|---|")
    every = [("all together", table), *((str(name), part) for name, part in table.groupby("protocol", sort=False))]
    for protocol, part in every:
        for law, own in part.groupby("law", sort=False):
            inside, count = int(own.inside_final.sum()), len(own)
            low, high = share_interval(inside, count)
            cells = (protocol, f"{count}", law, f"{own.coverage.mean():.2f}", f"{inside}", f"{low:.2f} to {high:.2f}")
            lines.append("| " + " | ".join([*map(str, cells), "yes" if low <= 0.9 <= high else "no"]) + " |")
    return "\n".join(lines)


def share_interval(inside: int, count: int, level: float = 0.9) -> tuple[float, float]:
    """Clopper and Pearson's interval of a share."""
    tail = 0.5 * (1.0 - level)
    low = float(stats.beta.ppf(tail, inside, count - inside + 1)) if inside else 0.0
    high = float(stats.beta.ppf(1.0 - tail, inside + 1, count - inside)) if inside < count else 1.0
    return low, high


def _by_set(table: pd.DataFrame) -> str:
    names = ("set", "protocol", "law", "curves", "final error", "MAE", "MAE after branch", "R2 (median)", "coverage")
    header = [*names, "width", "interval score", "CPU-s"]
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for (name, protocol, law), part in table.groupby(["set", "protocol", "law"], sort=False):
        errors = (part.final_error.abs().mean(), part.mae.mean(), part.mae_after_branch.mean(), part.r2.median())
        cells = [name, protocol, law, f"{len(part)}", *(f"{value:.4f}" for value in errors)]
        cells += [f"{part.coverage.mean():.2f}", f"{part.width.mean():.4f}", f"{part.winkler.mean():.4f}"]
        lines.append("| " + " | ".join([*cells, f"{part.cpu_s.mean():.2f}"]) + " |")
    return "\n".join(lines)


def _coverage(coverage: Mapping[str, Mapping[str, float]]) -> str:
    names = sorted({name for entry in coverage.values() for name in entry})
    lines = ["| law | " + " | ".join(names) + " | between 0.85 and 0.95 |", "|---|" + "---|" * (len(names) + 1)]
    for law, entry in coverage.items():
        inside = sum(0.85 <= entry[name] <= 0.95 for name in entry)
        cells = " | ".join(f"{entry[name]:.2f}" if name in entry else "" for name in names)
        lines.append(f"| {law} | {cells} | {inside} of {len(entry)} |")
    return "\n".join(lines)


def _coverage_by_member(table: pd.DataFrame) -> str:
    own = table[table.law == "transport"]
    protocols = list(own.protocol.unique())
    lines = ["| set | " + " | ".join(protocols) + " | all | curves |", "|---|" + "---|" * (len(protocols) + 2)]
    for name, part in own.groupby("set", sort=False):
        found = part.groupby("protocol").coverage.mean()
        cells = [f"{found[protocol]:.2f}" if protocol in found else "" for protocol in protocols]
        lines.append("| " + " | ".join([str(name), *cells, f"{part.coverage.mean():.2f}", f"{len(part)}"]) + " |")
    return "\n".join(lines)


def _bootstrap(table: pd.DataFrame, bootstrapped: pd.DataFrame) -> str:
    lines = ["| protocol | intervals | coverage | interval score |", "|---|---|---|---|"]
    for protocol in table.protocol.unique():
        named = [(bootstrapped, "residual bootstrap of {}"), (table, "{}, calibrated")]
        for frame, label in named:
            for law, part in frame[frame.protocol == protocol].groupby("law", sort=False):
                cells = (protocol, label.format(law), f"{part.coverage.mean():.2f}", f"{_geometric(part.winkler):.4f}")
                lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _floors(floors: Sequence[Mapping[str, object]]) -> str:
    lines = [
        "| set | point noise | between repeats | at the last step | runs | settings |",
        "|---|---|---|---|---|---|",
    ]
    for row in floors:
        cells = [row.get(key) for key in ("noise_sd", "repeat_sd", "repeat_final", "repeat_runs", "repeat_settings")]
        lines.append(f"| {row['set']} | " + " | ".join("" if c is None else f"{c:.2g}" for c in cells) + " |")
    return "\n".join(lines)
