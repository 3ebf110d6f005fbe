"""C4: the drift is one signed power of the eigenvalue, v = -c(t) lambda^b."""

from eigenflow.theory.claims.closure import law_rows
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
    rows = [form, sign, regularity, *law_rows(evidence)]
    told = ", ".join(f"{row.claim} {row.verdict}" for row in rows)
    gap = law.self_similar_interval
    whole = Claim(
        "C4",
        "Drift v = -c(t) lambda^b",
        law.b,
        law.b_interval,
        (None, None),
        overall([row.verdict for row in rows]),
        f"b = {law.b:.2f} from {law.points} shell velocities ({evidence.velocities.kind}) at {len(law.times)} times, "
        f"with c {'negative (growth)' if law.gamma < 0 else 'positive'}; {told}; a scale-free drift has c ~ t^(b-2), "
        f"that is b + p - 2 = 0: it is {law.self_similar_gap:.2f} [{gap[0]:.2f}, {gap[1]:.2f}]"
        + ("" if budget.cut is None else "; only shells above the cut are used"),
        change_of_all(rows),
    )
    return [whole, *rows]
