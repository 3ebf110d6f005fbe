"""Judges whether `ef.Probe` measures an architecture right, refuses it in words, or neither.

Run, from tests/:  python -m zoo.harness [--family X] [--name X] [--loss mse] [--method dense] [--json FILE]
"""

import argparse
import itertools
import json
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import eigenflow as ef
from eigenflow.core.errors import EigenflowError
from zoo.architecture import FAMILIES, Architecture, architectures, get, quiet
from zoo.fingerprint import differences as differences
from zoo.fingerprint import fingerprint as fingerprint
from zoo.reference import Reference, cluster_sums, draw_targets, find_clusters, reference

__all__ = ["METHODS", "OUTCOMES", "Verdict", "compare", "differences", "fingerprint", "judge", "make_probe", "measure"]

METHODS = ("dense", "products")
OUTCOMES = ("right", "refused", "wrong", "foreign", "unjudged")
MODES = 6
# Probes in float32 are held to this, relative to the largest.
SINGLE = 1e-4


@dataclass(frozen=True)
class Verdict:
    """How one measurement of one architecture went.

    Attributes:
        outcome: "right", "refused" (an eigenflow error), "wrong", "foreign" (anybody else's exception), or "unjudged"
            (the reference failed).
        message: Of the error, or what is wrong.
        deviations: Relative to the largest right value, by quantity.
        is_certified: Whether the snapshot calls itself converged, with its operator audited.
        notes: What could not be judged.
    """

    architecture: str
    family: str
    loss: str
    method: str
    outcome: str
    message: str = ""
    deviations: dict[str, float] = field(default_factory=dict)
    is_certified: bool | None = None
    notes: str = ""
    wall_s: float = 0.0


@cache
def right_values(name: str, loss: str, seed: int = 0) -> Reference:
    """The reference, computed once."""
    return reference(get(name), loss, seed)


def make_probe(architecture: Architecture, loss: str, seed: int = 0, model: Any = None) -> "ef.Probe":
    """A probe on a new model, or on the one given, called as a user would call it."""
    made, inputs = architecture.make(seed)
    targets = draw_targets(architecture, loss, seed)
    options = dict(architecture.options or {})
    if architecture.output is not None:
        options["output"] = architecture.output
    if architecture.dtype != torch.float64:
        options["dtype"] = architecture.dtype
    return ef.Probe(made if model is None else model, inputs, targets, loss, **options)


def measure(probe: "ef.Probe", method: str) -> Any:
    """Everything, or the leading modes by products alone."""
    if method == "dense":
        return probe.measure()
    return probe.measure(modes=min(MODES, probe.size), method="products", tolerance=1e-12)


def judge(architecture: Architecture, loss: str, method: str, seed: int = 0) -> Verdict:
    """Measure an architecture and hold the result against the reference."""
    start = time.perf_counter()
    labels = (architecture.name, architecture.family, loss, method)
    right, failure = None, ""
    try:
        right = right_values(architecture.name, loss, seed)
    except Exception as error:  # the architecture itself does not train: told, and the others go on
        failure = "no reference: " + _where(error)
        if not architecture.refusal:
            return Verdict(*labels, "unjudged", failure, wall_s=time.perf_counter() - start)
    try:
        with quiet():
            snapshot = measure(make_probe(architecture, loss, seed), method)
    except EigenflowError as error:
        return Verdict(*labels, "refused", f"{type(error).__name__}: {error}", wall_s=time.perf_counter() - start)
    except Exception as error:  # whatever it is, it is what a user would see
        return Verdict(*labels, "foreign", _where(error), wall_s=time.perf_counter() - start)
    if right is None:
        return Verdict(*labels, "wrong", failure + ", and yet a result", wall_s=time.perf_counter() - start)
    limit = architecture.tolerance if architecture.dtype == torch.float64 else SINGLE
    deviations, notes = compare(snapshot, right, is_whole=method == "dense", limit=limit)
    wrong = {name: value for name, value in deviations.items() if not value <= limit}
    message = ", ".join(f"{name} {value:.1e}" for name, value in wrong.items())
    certified = bool(snapshot.is_converged.all()) and snapshot.operator_error <= 1e-6
    return Verdict(
        *labels, "wrong" if wrong else "right", message, deviations, certified, notes, time.perf_counter() - start
    )


def compare(snapshot: Any, right: Reference, *, is_whole: bool, limit: float) -> tuple[dict[str, float], str]:
    """Deviations relative to the largest right value, by quantity; what could not be compared, in words.

    Products stop at a residual, and vectors are as sharp as the residual over the gap: what the snapshot's own bounds
    say of that is taken off, up to ten times the limit.
    """
    kept = len(snapshot.eigenvalues)
    clusters = right.clusters if is_whole else find_clusters(right.eigenvalues, gap=1e-4)
    whole = _fitting(clusters, kept)
    scale = float(right.eigenvalues.abs().max())
    deviations = {
        "eigenvalues": _relative(snapshot.eigenvalues, right.eigenvalues[:kept], scale),
        "loss": abs(snapshot.loss - right.loss) / max(abs(right.loss), 1e-12),
    }
    if snapshot.trace is not None:
        deviations["trace"] = abs(snapshot.trace - right.trace) / max(abs(right.trace), 1e-300)
    if len(whole) < 2:
        return deviations, "no whole cluster among the modes"
    inside = slice(0, whole[-1])
    parts = _regrouped(right.coefficients.square(), right.clusters, whole).sqrt()
    found = cluster_sums(snapshot.coefficients.square(), whole).sqrt()
    largest = max(float(right.coefficients.max()), 1e-300)
    slack = 0.0 if is_whole else float(snapshot.angle_bounds[inside].max() * snapshot.error.norm()) / largest
    deviations["coefficients"] = _beyond(_relative(found, parts, largest), slack, limit)
    if snapshot.eigenvalue_rates is None:
        return deviations, "no rates"
    rate_scale = max(float(right.rates.abs().max()), right.rate_floor, 1e-300)
    if not right.rate_error <= limit * rate_scale / 3:
        return deviations, f"rates not compared: differences are unsure by {right.rate_error / rate_scale:.0e}"
    rates = _regrouped(right.rates, right.clusters, whole)
    slack = 0.0 if is_whole else float(snapshot.rate_bounds[inside].max()) / rate_scale
    found = _relative(cluster_sums(snapshot.eigenvalue_rates, whole), rates, rate_scale)
    deviations["rates"] = _beyond(found, slack, limit)
    return deviations, ""


def _beyond(deviation: float, slack: float, limit: float) -> float:
    """What is left of a deviation after what the certificate grants."""
    granted = min(slack, 10 * limit) if slack == slack else 0.0
    return max(deviation - granted, 0.0) if deviation == deviation else deviation


def _fitting(clusters: tuple[int, ...], kept: int) -> tuple[int, ...]:
    """Clusters that lie among the modes kept with all of their members."""
    return tuple(start for start in clusters if start <= kept)


def _regrouped(sums: Tensor, fine: tuple[int, ...], coarse: tuple[int, ...]) -> Tensor:
    """Sums over fine clusters, added up over coarser ones."""
    groups = [[i for i, s in enumerate(fine[:-1]) if a <= s < b] for a, b in itertools.pairwise(coarse)]
    return torch.stack([sums[group].sum() for group in groups])


def _relative(found: Tensor, right: Tensor, scale: float) -> float:
    if len(found) == 0:
        return 0.0
    difference = float((found.to(torch.float64) - right).abs().max())
    return 0.0 if difference == 0.0 else difference / max(scale, 1e-300)


def _where(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if "/eigenflow/" in f.filename]
    place = f" [{Path(own[-1].filename).name}:{own[-1].lineno}]" if own else ""
    text = str(error).strip().replace("\n", " ")
    return f"{type(error).__name__}: {text[:160]}{place}"


def judge_all(chosen: Iterable[Architecture], losses: tuple[str, ...], methods: tuple[str, ...]) -> list[Verdict]:
    """Judge and tell progress on stderr."""
    verdicts = []
    for architecture in chosen:
        for loss in architecture.losses:
            for method in methods:
                if loss in losses:
                    verdicts.append(judge(architecture, loss, method))
                    v = verdicts[-1]
                    print(f"{v.outcome:8s} {v.architecture} {loss} {method} {v.message[:150]}", file=sys.stderr)
    return verdicts


def _line(v: Verdict) -> str:
    place = f"{v.outcome:8s} {v.family:17s} {v.architecture:34s} {v.loss:13s} {v.method:8s}"
    clean = " (certificate clean)" if v.outcome == "wrong" and v.is_certified else ""
    return f"{place}{clean} {v.message} {v.notes}".rstrip()


def main() -> int:
    """Print a table and the counts."""
    parser = argparse.ArgumentParser(description="Judge ef.Probe on the zoo.")
    parser.add_argument("--family", choices=FAMILIES, action="append")
    parser.add_argument("--name", action="append")
    parser.add_argument("--loss", choices=("mse", "cross_entropy"))
    parser.add_argument("--method", choices=METHODS)
    parser.add_argument("--json", type=Path, help="Write the verdicts there.")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    chosen = [a for a in architectures() if not arguments.family or a.family in arguments.family]
    chosen = [a for a in chosen if not arguments.name or a.name in arguments.name]
    losses = (arguments.loss,) if arguments.loss else ("mse", "cross_entropy")
    methods = (arguments.method,) if arguments.method else METHODS
    verdicts = judge_all(chosen, losses, methods)
    for verdict in verdicts:
        if verdict.outcome != "right" or verdict.notes:
            print(_line(verdict))
    counts = Counter(v.outcome for v in verdicts)
    print(
        f"{len(chosen)} architectures, {len(verdicts)} measurements: " + ", ".join(f"{counts[o]} {o}" for o in OUTCOMES)
    )
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(v) for v in verdicts], indent=1))
    return 0 if counts["wrong"] == counts["foreign"] == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
