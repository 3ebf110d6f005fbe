"""C4.regularity: the residual keeps its functional regularity while it is learned."""

from eigenflow.core.errors import EigenflowError
from eigenflow.theory.claims.descent import why_not_descent
from eigenflow.theory.claims.evidence import Evidence
from eigenflow.theory.claims.rows import make_row, undecided
from eigenflow.theory.exponents.regularity import Regularity, regularity
from eigenflow.theory.modes.initial_basis import why_initial_basis_is_unknown
from eigenflow.theory.verdicts import Claim

__all__ = ["regularity_row"]

# Times of the last decade that a statement about a run needs.
FEW = 3
STATEMENT = "regularity is preserved: the residual's source exponent stays what it was at the start"


def regularity_row(evidence: Evidence) -> Claim:
    """The change of the source exponent, in the eigenbasis of M(t), over the last decade of time."""
    why = why_not_descent(evidence)
    if why is not None:
        return undecided("C4.regularity", STATEMENT, why)
    try:
        moving = regularity(evidence.data)
    except EigenflowError as error:
        return undecided("C4.regularity", STATEMENT, str(error))
    value, interval, count = moving.late("source")
    capacity, (low, high), _ = moving.late("capacity")
    if count < FEW:
        few = f"{count} times of the last decade have enough unlearned modes, and {FEW} are needed"
        return undecided("C4.regularity", STATEMENT, few, "a run with more measurements or modes")
    return make_row(
        "C4.regularity",
        STATEMENT,
        value,
        interval,
        f"median change over the last decade of time ({count} times, {int(moving.modes[-1])} unlearned modes at last) "
        f"of sigma in energy(< lambda) ~ lambda^sigma, on the same ranks; sigma is {moving.source[0]:.2g} "
        f"+- {moving.source_half_width[0]:.2g} at first and {moving.source[-1]:.2g} +- "
        f"{moving.source_half_width[-1]:.2g} at last; in {_fixed(evidence)}; the capacity exponent of the eigenvalues "
        f"changed by {capacity:.2g} [{low:.2g}, {high:.2g}]",
    )


def _fixed(evidence: Evidence) -> str:
    """The same in the basis of the first measurement, in words."""
    try:
        fixed: Regularity = regularity(evidence.data, "fixed")
    except EigenflowError:
        why = why_initial_basis_is_unknown(evidence.data) or "too few modes"
        return f"the fixed basis of the start it is not known ({why})"
    value, (low, high), _ = fixed.late("source")
    return f"the fixed basis of the start it changed by {value:.2g} [{low:.2g}, {high:.2g}]"
