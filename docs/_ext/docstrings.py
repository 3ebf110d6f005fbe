"""Docstrings are Google sections with Markdown's single backticks: made into what reStructuredText understands.

Words in backticks become literals, and marks that reStructuredText would read as markup (`*`, `|`, a trailing `_`) are
text. Indented lines at the outer level are shown as they stand. Citations become links: a page with an anchor leads to
the equation, a key of the bibliography to its entry. Keys are shown as author and year, in docstrings and on pages.
"""

import re
from functools import cache
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.domains.python._object import PyObject

_SECTION = re.compile(r"^(Args|Attributes|Returns|Raises|Yields|Example|Examples|Note|Notes|Warns):\s*$")
_DOCS = Path(__file__).resolve().parent.parent
_CODE = re.compile(r"(``[^`]+``|`[^`]+`|\[@[\w-]+\]|(?<![\w/.-])(?:[\w-]+/)*[\w-]+\.md(?:#[\w-]+)?)")
_KEY = re.compile(r"(?<!`)\[@([\w-]+)\](?!:)")


def to_literals(text: str) -> str:
    """One line, or several that share a pair of backticks."""
    parts = _CODE.split(text)
    return "".join(_made(part, is_special=k % 2 == 1) for k, part in enumerate(parts))


def _made(part: str, *, is_special: bool) -> str:
    if not is_special:
        return _plain(part)
    return _literal(part) if part.startswith("`") else _link(part)


def _literal(part: str) -> str:
    return f"``{part.strip('`')}``"


def _plain(part: str) -> str:
    part = part.replace("\\", "\\\\")
    # Stars before the name of an argument are escaped by napoleon itself.
    part = re.sub(r"(?m)(?<!^    )(?<!^    \*)[*|]", r"\\\g<0>", part)
    return re.sub(r"(?<=\w)_(?=[\s.,;:)\]']|$)", r"\\_", part)


def _link(part: str) -> str:
    """A key or a page; what leads nowhere on the site stays text."""
    if key := re.fullmatch(r"\[@([\w-]+)\]", part):
        label = _labels().get(key[1])
        return f":ref:`{label} <{key[1]}>`" if label else _plain(part)
    page, _, anchor = part.removeprefix("docs/").partition("#")
    if not (_DOCS / page).is_file():
        return _plain(part)
    if anchor and f"({anchor})=" in (_DOCS / page).read_text(encoding="utf-8"):
        return f":ref:`{part} <{anchor}>`"
    return f":doc:`{part} </{page.removesuffix('.md')}>`"


@cache
def _labels() -> dict[str, str]:
    """Author and year of every key, with a letter where two keys share them."""
    text = (_DOCS / "bibliography.bib").read_text(encoding="utf-8")
    found = {}
    for key, entry in re.findall(r"^@\w+\{([\w-]+),\n(.*?)^\}", text, re.MULTILINE | re.DOTALL):
        fields = dict(re.findall(r"^  (\w+) = \{(.*)\},$", entry, re.MULTILINE))
        names = [_family(name) for name in fields["author"].split(" and ")]
        is_long = len(names) > 2 or names[-1] == "others"
        found[key] = f"{names[0]} et al. {fields['year']}" if is_long else f"{' and '.join(names)} {fields['year']}"
    shared = {name: [key for key in found if found[key] == name] for name in found.values()}
    return {k: name + ("abcdef"[shared[name].index(k)] if len(shared[name]) > 1 else "") for k, name in found.items()}


def _family(name: str) -> str:
    family, comma, _ = name.replace('{\\"o}', "ö").partition(",")
    return (family if comma else name.split()[-1]).strip("{} ")


def name_keys(app: Sphinx, docname: str, source: list[str]) -> None:
    """`[@key]` on a page is a link whose text is author and year; its address stands at the page's end."""
    labels = _labels()
    source[0] = _KEY.sub(lambda key: f"[{labels[key[1]]}][@{key[1]}]" if key[1] in labels else key[0], source[0])


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
    app.connect("source-read", name_keys)
    for field in PyObject.doc_field_types:
        if field.name == "variable":
            field.label = "Attributes"
    return {"parallel_read_safe": True}
