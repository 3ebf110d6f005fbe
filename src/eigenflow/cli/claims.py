"""`eigenflow claims RUN`: the theory's claims on a run."""

from pathlib import Path
from typing import Annotated

import typer

from eigenflow.cli.console import claims_table, err, out, print_json, say, verdicts_table
from eigenflow.core.judged import beside_last

__all__ = ["claims"]


def claims(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    everything: Annotated[bool, typer.Option("--all", help="Show every assertion of every claim.")] = False,
    reasons: Annotated[bool, typer.Option("--reasons", help="Print the reason below each verdict.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the rows as a JSON list.")] = False,
) -> None:
    """Test the theory's claims on RUN and say which hold, which do not, and why.

    Example: `eigenflow claims runs/digits --all --reasons`
    """
    from eigenflow.store import open_run
    from eigenflow.theory.claims import claims as test_claims

    with err.status("Testing the claims, a few seconds ..."):
        rows = test_claims(open_run(run))
    if as_json:
        print_json([row.to_dict() for row in rows])
        return
    out.print(claims_table(rows) if everything else verdicts_table(rows))
    if reasons:
        for row, is_first in beside_last(rows):
            if is_first:
                say(f"Beside {row.claim.split('.')[0]}, which does not depend on it:")
            controls = f" {row.controls[0].upper()}{row.controls[1:]}." if row.controls else ""
            by = f", decided by {row.decided_by}" if row.decided_by else ""
            say(f"{row.claim} ({row.verdict}{by}): {row.reason}. It would change: {row.would_change}.{controls}")
    elif not everything:
        say("Every assertion: --all. Why, and what would change it: --reasons.")
