"""`eigenflow forecast backtest CURVES`: which law forecasts these curves best, judged on what it did not see."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from eigenflow.cli.console import err, out, print_json
from eigenflow.cli.forecast import options
from eigenflow.core.writing import FORMAT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd

    from eigenflow.forecast.curves import Curve, CurveSet
    from eigenflow.forecast.evaluation.backtests import Backtest
    from eigenflow.forecast.fitting.fit import Fit

__all__ = ["PRIORS", "backtest", "held_out"]

COLUMNS = (
    "n: hidden curves, over which the rest are means; |final|: error of the last loss; MAE: mean absolute error; "
    "inside: share of points in the 90 % interval; score: Winkler's interval score (width of the interval, and 20 "
    "times what lies outside), smaller is better"
)
PRIORS = "the transport law is fitted with its learned priors, the other laws have none: they see these curves alone"


@options.reads_curves
def backtest(
    known: "CurveSet",
    law: Annotated[
        list[str] | None, typer.Option(help="Law to test; repeat for several. Default: every law.", metavar="LAW")
    ] = None,
    seed: options.Seed = 0,
    as_json: options.AsJson = False,
) -> None:
    """Refit every law without part of CURVES and score it on that part.

    Hidden in turn: what follows 10, 25 and 50 % of a run; each schedule; each model size, as far as there are several.
    The recommended law is the one with the best held-out score.

    Example: `eigenflow forecast backtest curves.csv --schedules schedules.csv --law transport --law multi_power`
    """
    import numpy as np

    from eigenflow.core.errors import ArgumentError
    from eigenflow.forecast.evaluation.selection import recommend
    from eigenflow.forecast.laws.registry import LAWS

    wanted = list(law or LAWS)
    with err.status("Backtest ...") as status:
        found = held_out(known, wanted, seed, status.update)
    scores = found.scores()
    options.show_notes(found.problems)
    try:
        choice = recommend(scores, np.random.default_rng(seed))
    except ArgumentError as error:
        choice, reason = None, str(error)
    else:
        reason = choice.reason
    if as_json:
        rows = [{key: _plain(value) for key, value in row.items()} for row in scores.to_dict("records")]
        told = None if choice is None else asdict(choice)
        priors = PRIORS if "transport" in wanted else None
        result = {"format": FORMAT, "rows": rows, "recommendation": told, "reason": reason}
        print_json(result | {"priors": priors, "problems": found.problems})
        return
    out.print(_table(scores))
    out.print(COLUMNS, markup=False, soft_wrap=True)
    if "transport" in wanted:
        out.print(f"priors: {PRIORS}", markup=False, soft_wrap=True)
    out.print(f"recommended: {reason}" if choice else f"no recommendation: {reason}", markup=False, soft_wrap=True)
    for caution in () if choice is None else choice.cautions:
        out.print(f"caution: {caution}", markup=False, soft_wrap=True)


def held_out(
    known: "CurveSet", laws: "Sequence[str]", seed: int, progress: "Callable[[str], None] | None" = None
) -> "Backtest":
    """Backtest laws: the transport law with its learned priors, the others from the curves alone."""
    from eigenflow.forecast.evaluation.backtests import backtest as run_backtest
    from eigenflow.forecast.evaluation.backtests import pooled_fitter
    from eigenflow.forecast.fitting.search import fit_parameters
    from eigenflow.forecast.laws.registry import law_named

    fitters = {
        name: (lambda part: fit_parameters(part, "transport", starts=2, seed=seed))
        if name == "transport"
        else pooled_fitter(law_named(name), seed=seed, starts=2)
        for name in dict.fromkeys(laws)
    }

    def refit(fit: "Fit", part: "Sequence[Curve]") -> "Fit":
        return fit_parameters(part, "transport", prior=fit.prior, starts=1, seed=seed, mixes=False)

    return run_backtest(known, fitters, refitters={"transport": refit}, progress=progress)


def _table(scores: "pd.DataFrame") -> Table:
    table = Table(title="Held-out scores", title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("hidden", overflow="fold")
    table.add_column("law", no_wrap=True)
    for name in ("n", "|final|", "MAE", "inside", "score"):
        table.add_column(name, justify="right", no_wrap=True)
    for protocol in dict.fromkeys(scores["protocol"]):
        part = scores[scores["protocol"] == protocol]
        for index, law in enumerate(dict.fromkeys(part["law"])):
            own = part[part["law"] == law]
            cells = [str(protocol) if index == 0 else "", str(law), str(len(own))]
            cells += [f"{float(abs(own['final_error']).mean()):.5f}", f"{own['mae'].mean():.5f}"]
            cells += [f"{own['coverage'].mean():.0%}", f"{own['winkler'].mean():.5f}"]
            table.add_row(*cells)
    return table


def _plain(value: object) -> object:
    return None if isinstance(value, float) and value != value else value
