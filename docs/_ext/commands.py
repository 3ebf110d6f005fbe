"""The page of commands, from the commands themselves. The build writes it anew; a test says when it is out of date."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer
import typer.main
from typer.cli import get_docs_for_click

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_INTRO = """# Commands

Every command has `--help`, and `--json` for programs. Progress and notes go to stderr.
The exit status is 0 for success, 1 for bad data or a failed run, and 2 where another command line helps.

"""


def page_text() -> str:
    """What `reference/commands.md` holds."""
    from eigenflow.cli.app import app as program

    command = typer.main.get_command(program)
    found = get_docs_for_click(obj=command, ctx=typer.Context(command, info_name="eigenflow"), name="eigenflow")
    return _INTRO + found.replace("# `eigenflow`", "## `eigenflow`", 1).rstrip() + "\n"


def write_page(app: "Sphinx") -> None:
    """Write the page where it is not what stands there already, so that it is not built anew for nothing."""
    page = Path(app.srcdir) / "reference" / "commands.md"
    if not page.is_file() or page.read_text(encoding="utf-8") != page_text():
        page.write_text(page_text(), encoding="utf-8")


def setup(app: "Sphinx") -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("builder-inited", write_page)
    return {"parallel_read_safe": True}
