"""Docstrings are Google sections with Markdown's single backticks: made into what reStructuredText understands.

Words in backticks become literals, and marks that reStructuredText would read as markup (`*`, `|`, a trailing `_`) are
text. Indented lines at the outer level are shown as they stand.
"""

import re
from typing import Any

from sphinx.application import Sphinx
from sphinx.domains.python._object import PyObject

_SECTION = re.compile(r"^(Args|Attributes|Returns|Raises|Yields|Example|Examples|Note|Notes|Warns):\s*$")
_CODE = re.compile(r"(``[^`]+``|`[^`]+`)")


def to_literals(text: str) -> str:
    """One line, or several that share a pair of backticks."""
    parts = _CODE.split(text)
    return "".join(_literal(part) if part.startswith("`") else _plain(part) for part in parts)


def _literal(part: str) -> str:
    return f"``{part.strip('`')}``"


def _plain(part: str) -> str:
    part = part.replace("\\", "\\\\")
    # Stars before the name of an argument are escaped by napoleon itself.
    part = re.sub(r"(?m)(?<!^    )(?<!^    \*)[*|]", r"\\\g<0>", part)
    return re.sub(r"(?<=\w)_(?=[\s.,;:)\]']|$)", r"\\_", part)


def process(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Rewrite the lines in place, before napoleon reads its sections."""
    made: list[str] = []
    in_section = in_block = False
    for line in lines:
        if _SECTION.match(line):
            in_section, in_block = True, False
        elif line and not line.startswith(" "):
            in_section = in_block = False
        is_shown = bool(line.strip()) and line.startswith("    ") and not in_section
        if is_shown and not in_block and (not made or not made[-1].strip()):
            made += ["::", ""]
            in_block = True
        made.append(line if is_shown and in_block else line.rstrip())
    text, verbatim = [], False
    for line in made:
        if line == "::":
            verbatim = True
        elif line.strip() and not line.startswith(" "):
            verbatim = False
        text.append(("\0" if verbatim else "") + line)
    lines[:] = _outside("\n".join(text)).split("\n")


def _outside(text: str) -> str:
    """Backticks may open on one line and close on the next."""
    kept: list[str] = []
    pending: list[str] = []
    for line in text.split("\n"):
        if line.startswith("\0"):
            kept += [to_literals("\n".join(pending))] * bool(pending) + [line[1:]]
            pending = []
        else:
            pending.append(line)
    return "\n".join([*kept, *[to_literals("\n".join(pending))] * bool(pending)])


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", process, priority=400)
    for field in PyObject.doc_field_types:
        if field.name == "variable":
            field.label = "Attributes"
    return {"parallel_read_safe": True}
