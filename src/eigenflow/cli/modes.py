"""`eigenflow modes RUN`: which modes are learned when."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from eigenflow.cli.console import learning_table, out, print_json
from eigenflow.cli.writing import Force, check_outputs
from eigenflow.core.writing import FORMAT, write_whole

__all__ = ["modes"]


def modes(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    by: Annotated[Literal["shell", "rank"], typer.Option("--by", help="Gather modes in shells, or one by one.")] = (
        "shell"
    ),
    shells: Annotated[int, typer.Option("--shells", help="Shells a decade: 1, 2, 4, 8 or 16.")] = 4,
    most: Annotated[int | None, typer.Option("--most", help="Only so many, from the largest eigenvalue down.")] = None,
    csv: Annotated[Path | None, typer.Option("--csv", help="Also write the table.", metavar="FILE")] = None,
    force: Force = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
) -> None:
    """Say which modes of RUN are learned when: times at which their energy has fallen to 1/e and to 5 %.

    Example: `eigenflow modes runs/digits --by rank --most 10`
    """
    from eigenflow.store import open_run
    from eigenflow.theory import learning_times

    check_outputs({"--csv": csv}, inputs=[run], replace=force)
    found = learning_times(open_run(run), by=by, shells_per_decade=shells, most=most)
    if csv is not None:
        write_whole(csv, found.to_dataframe().to_csv(index=False), replace=force)
    if as_json:
        print_json({"format": FORMAT} | found.to_dict())
        return
    out.print(learning_table(found))
    for note in found.notes:
        out.print(note, markup=False, soft_wrap=True)
    if csv is not None:
        out.print(f"Table: {csv}", markup=False, soft_wrap=True)
