"""Citations in code and pages, and whether a reader can look them up. The tests ask that all of them can.

A citation is a page with an anchor, `equations/identities.md#eq-d3`, or a key of the bibliography, `[@saxe2013exact]`.
An equation's label (D3, S1) may stand alone in a file that gives its anchor, or the anchor of its section.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CODE = ("src", "tests", "benchmarks", "examples", "tools")
# The first two hold wrong examples and patterns; the changelog names pages as they were.
EXEMPT = ("tools/citations.py", "tests/docs/test_citations.py", "CHANGELOG.md")
GENERATED = ("_build", "gallery")

_TARGET = re.compile(r"^\(([\w'-]+)\)=$")
_HEADING = re.compile(r"^#+ (.*)$")
_FENCE = re.compile(r"^(```|:::|~~~)")
_PAGE = re.compile(r"(?<![\w/.<>{}*-])((?:\.\./)*(?:[\w-]+/)*[\w-]+\.md)(?:#([\w-]+))?")
_SCRIPT = re.compile(r"`(?:python )?((?:[\w.]+/)+\w+\.py)\b")
_LINK = re.compile(r"\]\(([^)\s]+)\)|^\[[^\]]+\]: (\S+)$", re.MULTILINE)
_KEY = re.compile(r"\[@([\w-]+)\]")
_NUMBERED = re.compile(r"\b(?:[Ss]ections?|[Cc]hapter|[Aa]ppendix|[Bb]ullet|Theorem) [0-9A-Z]+(?:\.[0-9]+)*\b")
_SOURCE_BEFORE = re.compile(r"(?:\[@[\w-]+\]|\.md(?:#[\w-]+)?)[^.;]{0,60}$")
_NUMBERED_THEORY = re.compile(r"\btheory,?:? \(?(?:sections? |[0-9](?:\b|[a-h]\b)|[TDSM][1-8]\b)")
# D and M name nothing else here; T and S are also tasks and sums, so only these forms of theirs count.
_LABEL = re.compile(
    r"(?<![\w-])(D[1-5]'?|M[1-3]|(?<=\()[TS][1-8](?=[),])|\A[TS][1-8](?=: )|T[1-8](?=-T[1-8]))(?![\w'])"
)


def slug(heading: str) -> str:
    """The anchor that a heading gets, on the site as in a repository's page view."""
    return re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()).strip().replace(" ", "-")


def anchors(text: str) -> dict[str, str]:
    """Anchors of a page, each with the anchor of the section that it lies in."""
    found: dict[str, str] = {}
    pending, section, fenced = [], "", False
    for line in text.splitlines():
        if _FENCE.match(line) and not line.startswith(":::"):
            fenced = not fenced
        if fenced:
            continue
        if target := _TARGET.match(line):
            pending.append(target[1])
        elif heading := _HEADING.match(line):
            name = slug(heading[1])
            section = pending[0] if pending else name
            found |= dict.fromkeys([*pending, name], section)
            pending = []
        elif line.strip():
            found |= dict.fromkeys(pending, section)
            pending = []
    return found | dict.fromkeys(pending, section)


@dataclass(frozen=True)
class Reference:
    """What can be cited: pages with their anchors, labels of equations, keys of the bibliography."""

    root: Path = ROOT

    @cached_property
    def keys(self) -> set[str]:
        return set(re.findall(r"^@\w+\{([\w-]+),$", (self.root / "docs/bibliography.bib").read_text(), re.MULTILINE))

    @cached_property
    def _anchors(self) -> dict[Path, dict[str, str]]:
        return {}

    def anchors(self, page: Path) -> dict[str, str]:
        """The anchors of a page, read once."""
        if page not in self._anchors:
            self._anchors[page] = anchors(page.read_text())
        return self._anchors[page]

    @cached_property
    def labels(self) -> dict[str, set[str]]:
        """Every label of an equation, with the anchors that give it."""
        found: dict[str, set[str]] = {}
        for page in sorted((self.root / "docs" / "equations").glob("*.md")):
            for name, section in self.anchors(page).items():
                if label := re.fullmatch(r"eq-([tdsm][1-8])(-prime)?", name):
                    found[label[1].upper() + ("'" if label[2] else "")] = {name, section}
        return found

    @cached_property
    def _scripts(self) -> list[str]:
        return [f"/{path.relative_to(self.root)}" for folder in CODE for path in (self.root / folder).rglob("*.py")]

    def has_script(self, name: str) -> bool:
        """Whether a file of Python ends so: paths are written short, after the folder that they lie in."""
        return any(path.endswith(f"/{name}") for path in self._scripts)

    def page(self, name: str, home: Path) -> Path | None:
        """The page that a name in a file means: beside it, under docs, or at the root."""
        for folder in (home, self.root / "docs", self.root):
            if (folder / name).is_file():
                return (folder / name).resolve()
        return None


def prose(text: str) -> Iterator[tuple[int, str]]:
    """Comments and docstrings of a Python file, joined over lines, with the line where each begins."""
    comment: list[str] = []
    begin = last = 0
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            line = token.start[0]
            if comment and line != last + 1:
                yield begin, "\n".join(comment)
                comment = []
            begin, last = (begin if comment else line), line
            comment.append(token.string.lstrip("# "))
    if comment:
        yield begin, "\n".join(comment)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value


def strings(text: str) -> Iterator[tuple[int, str]]:
    """Other strings of a Python file, in which only whole paths of pages count."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "docs/" in node.value:
            yield node.lineno, " ".join(re.findall(r"docs/[\w/-]+\.md(?:#[\w-]+)?", node.value))


def pages_of(text: str, home: Path, reference: Reference) -> Iterator[tuple[int, str]]:
    """Pages and anchors that a text names and that do not exist."""
    for hit in _PAGE.finditer(text):
        page = reference.page(hit[1], home)
        if page is None:
            yield hit.start(), f"{hit[1]}: there is no such page"
        elif hit[2] and hit[2] not in reference.anchors(page):
            yield hit.start(), f"{hit[0]}: the page has no such anchor"


def others(text: str, reference: Reference) -> Iterator[tuple[int, str]]:
    """Keys that the bibliography lacks, files that are not there, numbers of sections that nobody can look up."""
    for hit in _KEY.finditer(text):
        if hit[1] not in reference.keys:
            yield hit.start(), f"[@{hit[1]}]: docs/bibliography.bib has no such key"
    for hit in _SCRIPT.finditer(text):
        if not reference.has_script(hit[1]):
            yield hit.start(), f"{hit[1]}: there is no such file"
    for hit in _NUMBERED.finditer(text):
        if not _SOURCE_BEFORE.search(text[: hit.start()]):
            yield hit.start(), f"{hit[0]}: of what? Give a page with an anchor, or a key before it"
    for hit in _NUMBERED_THEORY.finditer(text):
        yield hit.start(), f"{hit[0]}: give the page and anchor"


def labels_of(text: str, whole: str, reference: Reference) -> Iterator[tuple[int, str]]:
    """Labels of equations in a text whose file gives no anchor of theirs."""
    for hit in _LABEL.finditer(text):
        wanted = reference.labels.get(hit[1], set())
        if not any(re.search(rf"#{name}\b(?!-)", whole) for name in wanted):
            yield hit.start(), f"{hit[1]}: the file gives no anchor of this equation"


def problems_in_code(path: Path, text: str, reference: Reference) -> list[str]:
    """What cannot be looked up in a Python file, one line each."""
    pieces = [(line, piece, True) for line, piece in prose(text)]
    pieces += [(line, piece, False) for line, piece in strings(text)]
    found = []
    for line, piece, is_prose in pieces:
        hits = list(pages_of(piece, path.parent, reference))
        if is_prose:
            hits += [*others(piece, reference), *labels_of(piece, text, reference)]
        found += [(line + piece.count("\n", 0, at), problem) for at, problem in hits]
    return [f"{line}: {problem}" for line, problem in sorted(set(found))]


def _links(text: str, path: Path, reference: Reference) -> Iterator[tuple[int, str]]:
    """Links of a page that lead nowhere. Those in inline code are examples."""
    for hit in _LINK.finditer(re.sub(r"`[^`\n]*`", lambda code: " " * len(code[0]), text)):
        goal = hit[1] or hit[2]
        if re.match(r"[a-z]+:", goal):
            continue
        name, _, anchor = goal.partition("#")
        page = (path.parent / name).resolve()
        if any(folder in Path(name).parts for folder in GENERATED):
            continue
        if not page.exists():
            yield hit.start(), f"{goal}: the link leads nowhere"
        elif anchor and anchor not in (reference.anchors(page) if name else anchors(text)):
            yield hit.start(), f"{goal}: the page has no such anchor"


def problems_in_page(path: Path, text: str, reference: Reference) -> list[str]:
    """What cannot be looked up on a page, one line each. Code blocks are not prose."""
    blank = re.sub(r"^(```|~~~).*?^\1", lambda block: "\n" * block[0].count("\n"), text, flags=re.MULTILINE | re.DOTALL)
    hits = list(_links(blank, path, reference))
    unlinked = _LINK.sub(lambda link: " " * len(link[0]), blank)
    hits += pages_of(unlinked, path.parent, reference)
    hits += others(blank, reference)
    if (reference.root / "docs" / "equations") not in (path.with_suffix(""), *path.parents):
        hits += labels_of(blank, text, reference)
    found = sorted({(blank.count("\n", 0, at) + 1, problem) for at, problem in hits})
    return [f"{line}: {problem}" for line, problem in found]


def unresolved(root: Path = ROOT) -> list[str]:
    """Every citation of the repository that nobody can look up, as `file:line: why`."""
    reference = Reference(root)
    found = []
    for folder in CODE:
        for path in sorted((root / folder).rglob("*.py")):
            name = str(path.relative_to(root))
            if name not in EXEMPT:
                found += [f"{name}:{problem}" for problem in problems_in_code(path, path.read_text(), reference)]
    pages = [*sorted(root.glob("*.md")), *sorted((root / "docs").rglob("*.md"))]
    for path in pages:
        if path.name not in EXEMPT and not any(folder in path.relative_to(root).parts for folder in GENERATED):
            problems = problems_in_page(path, path.read_text(), reference)
            found += [f"{path.relative_to(root)}:{problem}" for problem in problems]
    return found


if __name__ == "__main__":
    print("\n".join(unresolved()) or "Every citation can be looked up.")
