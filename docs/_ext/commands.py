"""The page of commands, written from the commands themselves at each build; it is not kept in the repository."""

from pathlib import Path

import typer
import typer.main
from sphinx.application import Sphinx
from typer.cli import get_docs_for_click

_INTRO = """# Commands

Every command has `--help`, and `--json` for programs. Progress and notes go to stderr.
The exit status is 0 for success, 1 for bad data or a failed run, and 2 where another command line helps.

"""


def write_page(app: Sphinx) -> None:
    """Write `reference/commands.md` where it is not what stands there already."""
    from eigenflow.cli.app import app as program

    command = typer.main.get_command(program)
    context = typer.Context(command, info_name="eigenflow")
    found = get_docs_for_click(obj=command, ctx=context, name="eigenflow")
    text = _INTRO + found.replace("# `eigenflow`", "## `eigenflow`", 1)
    page = Path(app.srcdir) / "reference" / "commands.md"
    if not page.is_file() or page.read_text(encoding="utf-8") != text:
        page.write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("builder-inited", write_page)
    return {"parallel_read_safe": True}
