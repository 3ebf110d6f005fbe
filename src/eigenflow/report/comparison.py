"""Runs side by side: what differs in their set-up, where each lies between lazy and rich, verdicts, and forecasts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from eigenflow.core.errors import ArgumentError
from eigenflow.report.summary import Analysis, analyse
from eigenflow.report.words import flattened
from eigenflow.store import Run
from eigenflow.theory import Claim
from eigenflow.theory.lazy_rich import LazyRich, lazy_rich

__all__ = ["ComparedRun", "Comparison", "compare"]

# Settings that name a run or follow from the machine: they differ without making runs different.
_IGNORED = ("name", "measure.threads")
# Entries of the probe that must agree for losses and energies to be those of one problem.
_PROBE = ("checksum", "samples", "outputs", "loss", "factor")

Progress = Callable[[str], None]


@dataclass(frozen=True)
class ComparedRun:
    """One run of a comparison.

    Attributes:
        name: Its folder's name, with as many of its parents as make it unique.
        analysis: Everything that was concluded.
        place: The lazy-rich coordinate, or None where the run does not say.
        common_distance: ||M - M0|| / ||M0|| after the most relaxation times that all runs reach, interpolated; None
            without `place`.
        loss: First and last measured probe loss.
        time: Time of the last measurement.
        relaxations: The same in relaxation times of the fastest untouched mode, lambda_1(0) t: what runs with operators
            of different size have in common. None where times are not sums of learning rates.
    """

    name: str
    analysis: Analysis
    place: LazyRich | None
    common_distance: float | None
    loss: tuple[float, float]
    time: float
    relaxations: float | None

    def claim(self, name: str) -> Claim | None:
        """A row of the claims table, or None if this run has none of that name."""
        return next((row for row in self.analysis.claims if row.claim == name), None)

    def score(self, method: str, cut: float) -> float | None:
        """RMS of ln(predicted / true) of a forecast, or None."""
        found = (f.score for f in self.analysis.forecasts if f.method == method and f.observed.cut == cut)
        return next((score.rms_log_ratio for score in found), None)

    def to_dict(self) -> dict[str, Any]:
        """The run in JSON types."""
        place, law = self.place, self.analysis.closure
        return {
            "name": self.name,
            "path": str(self.analysis.run.path),
            "status": self.analysis.run.status,
            "measurements": len(self.analysis.run.measured_steps),
            "time": self.time,
            "relaxations": self.relaxations,
            "loss": list(self.loss),
            "lazy_rich": None if place is None else _place(place, self.common_distance),
            "closure": None
            if law is None
            else {
                "b": law.b,
                "b_interval": list(law.b_interval),
                "gamma": law.gamma,
                "gamma_interval": list(law.gamma_interval),
            },
            "claims": [row.to_dict() for row in self.analysis.claims],
            "scores": [{"method": f.method, "cut": f.observed.cut, **asdict(f.score)} for f in self.analysis.forecasts],
            "problems": self.analysis.problems,
        }


@dataclass(frozen=True)
class Comparison:
    """Runs side by side.

    Attributes:
        runs: In the order given.
        differences: Settings that are not the same in all runs: one text a run, by dotted key.
        cautions: What must not be compared between these runs, and why.
    """

    runs: list[ComparedRun]
    differences: dict[str, list[str]]
    cautions: list[str]

    @property
    def claims(self) -> list[str]:
        """Names of all rows that any run has: by claim, within one in their order, those beside it last."""
        names = dict.fromkeys(row.claim for run in self.runs for row in run.analysis.claims)
        return sorted(names, key=lambda name: (name.split(".")[0], name in self.beside))

    @property
    def beside(self) -> frozenset[str]:
        """Names of rows on which no claim's verdict depends."""
        return frozenset(row.claim for run in self.runs for row in run.analysis.claims if not row.decides)

    @property
    def place_rows(self) -> list[tuple[str, list[float | str | None]]]:
        """Numbers about each run at its end, by name, for tables."""
        return [(name, [read(run) for run in self.runs]) for name, read in _PLACE_ROWS.items()]

    @property
    def cuts(self) -> list[float]:
        """Cuts of all forecasts."""
        return sorted({f.observed.cut for run in self.runs for f in run.analysis.forecasts})

    def to_dict(self) -> dict[str, Any]:
        """The comparison in JSON types."""
        return {
            "schema_version": 1,
            "differences": self.differences,
            "cautions": self.cautions,
            "runs": [run.to_dict() for run in self.runs],
        }


def _last(name: str) -> Callable[[ComparedRun], float | None]:
    def read(run: ComparedRun) -> float | None:
        values = None if run.place is None else getattr(run.place, name)
        return None if values is None else float(values[-1])

    return read


_PLACE_ROWS: dict[str, Callable[[ComparedRun], float | str | None]] = {
    "probe loss, first": lambda run: run.loss[0],
    "probe loss, last": lambda run: run.loss[1],
    "regime": lambda run: None if run.place is None else run.place.regime.value,
    "relaxation times λ₁(0) t": lambda run: run.relaxations,
    "distance of J Jᵀ": lambda run: None if run.place is None else run.place.coordinate,
    "  where all runs reach": lambda run: run.common_distance,
    "growth of J Jᵀ": _last("growth"),
    "alignment with M0": _last("alignment"),
    "alignment with targets": _last("target_alignment"),
    "flux share of energy": _last("flux_share"),
    "drift exponent b": lambda run: run.analysis.closure.b if run.analysis.closure else None,
    "gamma (< 0: growth)": lambda run: run.analysis.closure.gamma if run.analysis.closure else None,
}


def compare(runs: Sequence[Run], *, progress: Progress | None = None) -> Comparison:
    """Analyse runs and put them side by side.

    Args:
        runs: Two or more different ones, as from `open_run`, each with a measurement.
        progress: Called with the name of each run before it is analysed, a few seconds each.

    Returns:
        The comparison. What differs between the runs so that some numbers must not be compared is told in `cautions`.

    Raises:
        ArgumentError: If there are fewer than two runs, or one is given twice.
        RunFolderError: If a run holds no measurement.
    """
    paths = [run.path.resolve() for run in runs]
    if len(runs) < 2:
        raise ArgumentError(f"`runs` must be two or more, but there are {len(runs)}. Use analyse for a single run.")
    twice = {path for path in paths if paths.count(path) > 1}
    if twice:
        raise ArgumentError(f"`runs` holds '{min(twice)}' more than once. Leave out the repetition.")
    found = []
    for name, run in zip(_names([path.parts for path in paths]), runs, strict=True):
        if progress is not None:
            progress(name)
        found.append(_compared(name, analyse(run)))
    ends = [one.relaxations for one in found if one.relaxations is not None]
    if len(ends) == len(found):
        found = [_with_common_distance(one, min(ends)) for one in found]
    return Comparison(found, _differences(runs), _cautions(runs, found))


def _compared(name: str, analysis: Analysis) -> ComparedRun:
    data = analysis.run.measurements
    try:
        is_own = analysis.run.header.get("preconditioner") is None
        place = analysis.evidence.place if is_own else lazy_rich(data, analysis.shells, plain=True)
    except ArgumentError:
        place = None
    loss, time = data["probe_loss"].values, float(data["time"][-1])
    relaxations = None if analysis.run.clock == "updates" else time * float(data["eigenvalue"][0].max())
    return ComparedRun(name, analysis, place, None, (float(loss[0]), float(loss[-1])), time, relaxations)


def _with_common_distance(run: ComparedRun, relaxations: float) -> ComparedRun:
    if run.place is None or run.relaxations is None:
        return run
    time = run.time * relaxations / run.relaxations if run.relaxations > 0 else run.time
    return replace(run, common_distance=float(np.interp(time, run.place.times, run.place.distance)))


def _names(parts: list[tuple[str, ...]]) -> list[str]:
    """Last parts of different paths, as many as tell them apart."""
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(one[-depth:]) for one in parts]
        if len(set(names)) == len(names):
            return names
    raise AssertionError("paths differ")


def _differences(runs: Sequence[Run]) -> dict[str, list[str]]:
    settings = [_settings(run) for run in runs]
    keys = list(dict.fromkeys(key for one in settings for key in one if key not in _IGNORED))
    rows = {key: [one.get(key, "–") for one in settings] for key in keys}
    return {key: values for key, values in rows.items() if len(set(values)) > 1}


def _settings(run: Run) -> dict[str, str]:
    config, probe = (run.header.get(key) for key in ("config", "probe"))
    found = {key: _short(text) for key, text in flattened(config)} if isinstance(config, Mapping) else {}
    if isinstance(probe, Mapping):
        found |= {
            f"probe.{key}": str(probe[key]) for key in ("samples", "outputs", "loss", "parameters") if key in probe
        }
    return found


def _short(text: str) -> str:
    """Six digits of what is no whole number."""
    try:
        return text if text.lstrip("-").isdigit() else f"{float(text):.6g}"
    except ValueError:
        return text


def _cautions(runs: Sequence[Run], found: Sequence[ComparedRun]) -> list[str]:
    told = []
    probes = [run.header.get("probe") or {} for run in runs]
    changed = [key for key in _PROBE if len({str(probe.get(key)) for probe in probes}) > 1]
    if changed:
        told.append(
            f"The probe sets differ ({', '.join(changed)}): losses, energies and eigenvalues of one run mean nothing "
            f"for another. Verdicts, exponents and coordinates are each run's own."
        )
    optimizers = {str((run.header.get("config") or {}).get("train", {}).get("optimizer")) for run in runs}
    if len(optimizers) > 1:
        told.append(
            f"The optimizers differ ({', '.join(sorted(optimizers))}): time is the sum of learning rates of each, so "
            f"times, rates and effective times are not comparable."
        )
    ends = [one.relaxations for one in found if one.relaxations is not None]
    if len(ends) < len(found):
        told.append(
            f"Records of states that count updates, because the sums of learning rates are not known: "
            f"{', '.join(one.name for one in found if one.relaxations is None)}. Their times are not those of the "
            f"others, and distances are not compared at a common time."
        )
    elif max(ends) > 1.01 * min(ends):
        told.append(
            f"The runs end after different numbers of relaxation times of their fastest untouched mode, "
            f"lambda_1(0) t = {min(ends):.4g} to {max(ends):.4g}: the distance of the operator is also given at "
            f"{min(ends):.4g}; claims and scores are of each whole run."
        )
    lacking = [f"{one.name} ({len(run.gaps)})" for one, run in zip(found, runs, strict=True) if run.gaps]
    if lacking:
        told.append(f"With gaps in the record (how many): {', '.join(lacking)}.")
    far = [one.name for one, run in zip(found, runs, strict=True) if run.why_no_updates is not None]
    if far:
        told.append(f"Not of single updates, so that claims which need them are not judged: {', '.join(far)}.")
    ended = ("complete", "complete with gaps")
    unfinished = [one.name for one, run in zip(found, runs, strict=True) if run.status not in ended]
    if unfinished:
        told.append(f"Not complete: {', '.join(unfinished)}.")
    plain = [one.name for one in found if one.place is not None and one.place.is_plain]
    if plain:
        told.append(
            f"Recorded with a preconditioner P, so that regime, distance, growth and alignments are those of the plain "
            f"J J^T kept beside the record; eigenvalues, relaxation times, shares, claims and scores are of "
            f"J P^(-1) J^T: {', '.join(plain)}."
        )
    own = [one.name for one in found if one.place is None and one.analysis.run.header.get("preconditioner")]
    if own:
        told.append(
            f"Recorded with a preconditioner P, whose own motion makes most of the distance of J P^(-1) J^T, and "
            f"without the plain J J^T beside it, so that no regime is told: {', '.join(own)}. Dense records of up to "
            f"1,200 rows keep it."
        )
    bounds = [one.name for one in found if one.place is not None and one.place.is_lower_bound]
    if bounds:
        told.append(f"Recorded before distances were, so that theirs are lower bounds: {', '.join(bounds)}.")
    return told


def _place(place: LazyRich, common_distance: float | None) -> dict[str, Any]:
    return {
        "regime": place.regime.value,
        "distance": place.coordinate,
        "distance_where_all_reach": common_distance,
        "is_lower_bound": place.is_lower_bound,
        "is_plain": place.is_plain,
        "growth": float(place.growth[-1]),
        "alignment": None if place.alignment is None else float(place.alignment[-1]),
        "target_alignment": None if place.target_alignment is None else float(place.target_alignment[-1]),
        "flux_share": None if place.flux_share is None else float(place.flux_share[-1]),
        "drift_share": place.drift_share,
    }
