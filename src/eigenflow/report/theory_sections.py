"""The report's pictures of the theory's claims: closure, coupling, self-similarity, effective time, the two limits."""

from collections.abc import Callable

from eigenflow.report.figures.closure import forward_figure, source_figure
from eigenflow.report.figures.coupling import locality_figure, shift_figure
from eigenflow.report.figures.effective_time import clocks_figure, index_figure
from eigenflow.report.figures.exponents import exponents_figure
from eigenflow.report.figures.figure import Figure
from eigenflow.report.figures.lazy_rich import limits_figure
from eigenflow.report.figures.self_similarity import collapse_figure, frontier_figure
from eigenflow.theory.claims import Evidence

__all__ = ["MAKERS", "Maker"]

Made = tuple[Figure | None, str]
Maker = Callable[[Evidence], Made]


def _forward(evidence: Evidence) -> Made:
    test = evidence.forward
    share, points = test.coverage()
    band = f" Its bands hold {share:.0%} of {points} later losses (90 % is wanted)." if points else ""
    return forward_figure(test), (
        "Each point is a forecast of the whole rest of the run from what was known at that share of its steps; lower "
        "is better. The closure is the drift law fitted before the cut, solved from the state measured there; lazy, "
        f"persistence and the power law need no law. {len(test.cuts)} cuts.{band} Open triangles are beyond the axis."
    )


def _source(evidence: Evidence) -> Made:
    return source_figure(evidence.source), (
        "S is what the transfer matrix carries over shells instead of to the neighbour, averaged over windows of time. "
        "A closed transport equation needs it to be small beside the flux."
    )


def _locality(evidence: Evidence) -> Made:
    found = evidence.locality
    return locality_figure(found), (
        "How far in ln(λ) an update carries energy, beside exchange without regard to distance. "
        f"{len(found.times)} measured updates, {found.shells_per_decade} shells a decade."
    )


def _shift(evidence: Evidence) -> Made:
    found = evidence.shift
    return shift_figure(found), (
        "Share of a shell’s energy that goes k shells up or down, mean and standard deviation over shells: a law "
        f"that is invariant under shifts of ln(λ) has no spread. {found.shells:.0f} shells, {len(found.times)} updates."
        " Bars far from zero shift may be cut: they are of shells that hold next to nothing."
    )


def _collapse(evidence: Evidence) -> Made:
    found = evidence.collapse
    return collapse_figure(found), (
        f"Spectra of {len(found.times)} times as measured, left, and scaled by their best two exponents, right. "
        f"A self-similar solution falls on one curve; here the times miss it by {found.mismatch:.2g} (RMS of the "
        "logarithm, weighted with energy)."
    )


def _frontier(evidence: Evidence) -> Made:
    return frontier_figure(evidence.frontiers), (
        "Where modes have lost 1/e of their energy, in four coordinates. In λ it falls as 1 / t for every clock; "
        "what tells is its slope in the initial label, in rank, and as share of the energy."
    )


def _exponents(evidence: Evidence) -> Made:
    fixed = evidence.fixed_regularity if "initial_coefficient" in evidence.data else None
    return exponents_figure(evidence.regularity, fixed), (
        "Exponents of what has not been learned: energy below λ as a power of λ (source), λ as a power of rank "
        "(capacity). Regularity is preserved if they stay where they were at the start."
    )


def _clocks(evidence: Evidence) -> Made:
    found = evidence.clocks
    unit = "modes" if found.kind == "operator" else "shells"
    return clocks_figure(found), (
        f"Lazy-equivalent time of {unit}: equal for all if one effective time says "
        f"how far each has learned. {len(found.rates)} {unit}; the weighted spread is that of those that learn then."
    )


def _index(evidence: Evidence) -> Made:
    return index_figure(evidence.variation), (
        "ln[τ(ct) / τ(t)] / ln c for three factors c: they meet and settle if τ = t^α L(t) with L slowly varying. No "
        "finite range of time can verify that; it can only be rejected."
    )


def _limits(evidence: Evidence) -> Made:
    return limits_figure(evidence.predictions), (
        "Loss of the whole run from the first measured state: with its operator frozen (lazy limit), and with the "
        "eigenvalues as they were measured to move, and nothing else. The second is no forecast: it knows them."
    )


MAKERS: dict[str, Maker] = {
    "forward": _forward,
    "source": _source,
    "locality": _locality,
    "shift": _shift,
    "collapse": _collapse,
    "frontier": _frontier,
    "exponents": _exponents,
    "clocks": _clocks,
    "index": _index,
    "limits": _limits,
}
