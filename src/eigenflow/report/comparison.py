"""Runs side by side: what differs in their set-up, where each lies between lazy and rich, verdicts, and forecasts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
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
ABSENT = "–"

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
        differences: Settings that are not the same in all runs that recorded them: one text a run, by dotted key; a
            dash for a run that did not, as it may have had any of these values.
        cautions: What must not be compared between these runs, and why.
        partial: Settings that only some runs recorded, and those alike: nothing says that the other runs differ.
    """

    runs: list[ComparedRun]
    differences: dict[str, list[str]]
    cautions: list[str]
    partial: dict[str, list[str]] = field(default_factory=dict)

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
    def flips(self) -> list[str]:
        """Rows that are supported in one run and contradicted in another, in the order of `claims`."""
        return [name for name in self.claims if {"supported", "contradicted"} <= self.verdicts(name)]

    def verdicts(self, name: str) -> set[str]:
        """Verdicts of a row over the runs that have it."""
        return {row.verdict.value for run in self.runs if (row := run.claim(name)) is not None}

    @property
    def is_one_problem(self) -> bool:
        """Whether all were measured on the same probe, so that their losses are of one quantity."""
        return not _changed_probe([run.analysis.run for run in self.runs])

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
            "recorded_by_some": self.partial,
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
    differences, partial = _settings_apart(runs)
    return Comparison(found, differences, _cautions(runs, found), partial)


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


def _settings_apart(runs: Sequence[Run]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Settings that differ between runs which recorded them, and those that only some runs recorded."""
    settings = [_settings(run) for run in runs]
    keys = list(dict.fromkeys(key for one in settings for key in one if key not in _IGNORED))
    rows = {key: [one.get(key, ABSENT) for one in settings] for key in keys}
    recorded = {key: {one[key] for one in settings if key in one} for key in keys}
    differences = {key: row for key, row in rows.items() if len(recorded[key]) > 1}
    partial = {key: row for key, row in rows.items() if len(recorded[key]) == 1 and len(set(row)) > 1}
    return differences, partial


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


def _changed_probe(runs: Sequence[Run]) -> list[str]:
    """Entries of the probe that are not the same in all runs."""
    probes = [run.header.get("probe") or {} for run in runs]
    return [key for key in _PROBE if len({str(probe.get(key)) for probe in probes}) > 1]


def _optimizer(run: Run) -> str | None:
    """Its name as the set-up or the preconditioner tells it; None where neither does."""
    config = run.header.get("config")
    train = config.get("train") if isinstance(config, Mapping) else None
    name = train.get("optimizer") if isinstance(train, Mapping) else None
    return next((str(one) for one in (name, run.header.get("preconditioner")) if one), None)


def _cautions(runs: Sequence[Run], found: Sequence[ComparedRun]) -> list[str]:
    told = []
    if changed := _changed_probe(runs):
        told.append(
            f"The probe sets differ ({', '.join(changed)}): losses, energies and eigenvalues of one run mean nothing "
            f"for another. Verdicts, exponents and coordinates are each run's own."
        )
    optimizers = {name.lower(): name for run in runs if (name := _optimizer(run)) is not None}
    if len(optimizers) > 1:
        told.append(
            f"The optimizers differ ({', '.join(optimizers[key] for key in sorted(optimizers))}): time is the sum of "
            f"learning rates of each, so times, rates and effective times are not comparable."
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
            f"λ₁(0) t = {min(ends):.4g} to {max(ends):.4g}: the distance of the operator is also given at "
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
            f"J Jᵀ kept beside the record; eigenvalues, relaxation times, shares, claims and scores are of "
            f"J P⁻¹ Jᵀ: {', '.join(plain)}."
        )
    own = [one.name for one in found if one.place is None and one.analysis.run.header.get("preconditioner")]
    if own:
        told.append(
            f"Recorded with a preconditioner P, whose own motion makes most of the distance of J P⁻¹ Jᵀ, and "
            f"without the plain J Jᵀ beside it, so that no regime is told: {', '.join(own)}. Dense records of up to "
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
