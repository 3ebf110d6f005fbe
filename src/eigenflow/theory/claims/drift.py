"""C4: the drift is one signed power of the eigenvalue, v = -c(t) lambda^b."""

from eigenflow.theory.claims.evidence import Evidence
from eigenflow.theory.claims.regularity import regularity_row
from eigenflow.theory.claims.rows import make_row
from eigenflow.theory.verdicts import Claim, change_of_all, overall

__all__ = ["drift"]


def drift(evidence: Evidence) -> list[Claim]:
    """C4 and its assertions."""
    budget, law = evidence.budget, evidence.closure
    held = law.held_out
    form = make_row(
        "C4.form",
        "v is one power of lambda, also at later times than it was fitted to",
        held.skill,
        held.interval,
        f"skill of lambda^{held.b:.2f} on {held.times} later times against the best alternative "
        f"({held.best_alternative} v), c(t) free in both; all times explain {law.explained:.0%}",
        beats_alternatives=held.skill > 0,
    )
    grows = "grow" if law.gamma < 0 else "shrink"
    sign = make_row(
        "C4.sign",
        "c > 0: modes drift towards small eigenvalues",
        law.gamma,
        law.gamma_interval,
        f"median of t c(t) lambda^(b-1) at lambda = {law.reference:.2g}; eigenvalues {grows} in "
        f"{law.sign_share:.0%} of shells and times; |c| ~ t^-{law.decay:.2g}",
    )
    regularity = regularity_row(evidence)
    verdict = overall([form.verdict, sign.verdict, regularity.verdict])
    whole = Claim(
        "C4",
        "Drift v = -c(t) lambda^b",
        law.b,
        law.b_interval,
        (None, None),
        verdict,
        f"b = {law.b:.2f} from {law.points} shell velocities at {len(law.times)} times, with c "
        f"{'negative (growth)' if law.gamma < 0 else 'positive'}; power-law form {form.verdict}, sign {sign.verdict}, "
        f"regularity {regularity.verdict}" + ("" if budget.cut is None else "; only shells above the cut are used"),
        change_of_all([form, sign, regularity]),
    )
    return [whole, form, sign, regularity]
