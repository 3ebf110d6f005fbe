"""Every citation in code and pages can be looked up: page, anchor, equation and key exist (`tools/citations.py`)."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("citations", ROOT / "tools" / "citations.py")
citations = importlib.util.module_from_spec(SPEC)
sys.modules["citations"] = citations
SPEC.loader.exec_module(citations)

REFERENCE = citations.Reference(ROOT)
MODULE, PAGE = ROOT / "src" / "eigenflow" / "example.py", ROOT / "docs" / "guides" / "example.md"


def in_code(text: str) -> list[str]:
    return citations.problems_in_code(MODULE, text, REFERENCE)


def in_page(text: str) -> list[str]:
    return citations.problems_in_page(PAGE, text, REFERENCE)


def test_every_citation_of_the_repository_resolves():
    assert citations.unresolved() == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('"""As in theory.md."""', "1: theory.md: there is no such page"),
        ('"""As in theory.md section 7."""', "1: theory.md: there is no such page"),
        ("x = 1\n# The sign as in design.md.", "2: design.md: there is no such page"),
        ('"""A.\n\nThe budget (theory: D3\')."""', "3: theory: D3: give the page and anchor"),
        ('"""Bounds (theory 3.14)."""', "1: theory 3: give the page and anchor"),
        ('"""Known from theory 5a."""', "1: theory 5a: give the page and anchor"),
        ('"""Numbers of section 8."""', "1: section 8: of what? Give a page with an anchor, or a key before it"),
        ('"""Section 8, last bullet."""', "1: Section 8: of what? Give a page with an anchor, or a key before it"),
        ('"""Sums are exact (S1)."""', "1: S1: the file gives no anchor of this equation"),
        ('"""T2: the rate of an eigenvalue."""', "1: T2: the file gives no anchor of this equation"),
        ('"""D3\': an identity."""', "1: D3': the file gives no anchor of this equation"),
        ('"""See equations/identities.md#eq-d9."""', "1: equations/identities.md#eq-d9: the page has no such anchor"),
        ('"""See equations/nowhere.md#eq-d3."""', "1: equations/nowhere.md: there is no such page"),
        ('"""Source: [@nobody1900nothing]."""', "1: [@nobody1900nothing]: docs/bibliography.bib has no such key"),
        ('"""See `benchmarks/nothing.py`."""', "1: benchmarks/nothing.py: there is no such file"),
        ('raise ValueError("see docs/nowhere.md")', "1: docs/nowhere.md: there is no such page"),
    ],
)
def test_a_citation_in_code_that_leads_nowhere_is_found(text, problem):
    assert problem in in_code(text)


@pytest.mark.parametrize(
    "text",
    [
        '"""See equations/identities.md#eq-d3, and docs/equations.md#eq-c4."""',
        '"""The budget (equations/identities.md#one-update): D1, D3\' and D4."""',
        '"""T2: the rate (equations/identities.md#eq-t2)."""',
        '"""Source: [@strang1968construction]."""',
        '"""Rounds go on ([@parlett1998symmetric], section 6.9)."""',
        '"""See `benchmarks/transport_peers.py` and `laws/published.py`."""',
        '"""Task T1 of the benchmarks; L = L0 + A S1^-a."""',
        'path.write_text("theory.md section 7")',
    ],
)
def test_a_citation_in_code_that_resolves_is_left_alone(text):
    assert in_code(text) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "See [D3](../equations/identities.md#eq-d33).",
            "1: ../equations/identities.md#eq-d33: the page has no such anchor",
        ),
        ("\nSee [it](nowhere.md).", "2: nowhere.md: the link leads nowhere"),
        ("See [below](#not-here).", "1: #not-here: the page has no such anchor"),
        ("The noise of (S1).", "1: S1: the file gives no anchor of this equation"),
        ("From [@nobody1900nothing].", "1: [@nobody1900nothing]: docs/bibliography.bib has no such key"),
        ("In nowhere.md.", "1: nowhere.md: there is no such page"),
    ],
)
def test_a_citation_on_a_page_that_leads_nowhere_is_found(text, problem):
    assert problem in in_page(text)


def test_a_page_may_link_to_headings_targets_and_addresses():
    text = (
        "# One page\n\nSee [S1](../equations/identities.md#eq-s1), (S1), [all](../equations.md), [web](https://a.b).\n"
    )
    assert in_page(text) == []


def test_anchors_are_targets_and_headings_and_not_what_stands_in_code():
    """MyST: `(name)=` before a block. A heading's own anchor as GitHub makes it."""
    text = "(top)=\n# `A` page, at last\n\n(one)=\n**One.**\n\n```text\n(two)=\n# none\n```\n\n## Next\n(three)=\n"
    found = citations.anchors(text)
    assert found == {"top": "top", "a-page-at-last": "top", "one": "top", "next": "next", "three": "next"}


def test_every_label_has_its_equation():
    labels = {f"T{k}" for k in range(1, 9)} | {f"D{k}" for k in range(1, 6)} | {"D3'"}
    labels |= {f"{letter}{k}" for letter in "SM" for k in range(1, 4)}
    assert set(REFERENCE.labels) == labels
    claims = REFERENCE.anchors(ROOT / "docs" / "equations.md")
    assert {f"eq-c{k}" for k in range(1, 9)} <= set(claims)


def test_no_two_equations_share_an_anchor():
    pages = [ROOT / "docs" / "equations.md", *sorted((ROOT / "docs" / "equations").glob("*.md"))]
    targets = [name for page in pages for name in re.findall(r"^\(([\w-]+)\)=$", page.read_text(), re.MULTILINE)]
    assert len(targets) == len(set(targets))


def test_the_bibliography_is_whole_and_its_page_agrees():
    """Every entry has author, title, year and where it appeared; the page made to read has the same entries."""
    text = (ROOT / "docs" / "bibliography.bib").read_text()
    entries = dict(re.findall(r"^@\w+\{([\w-]+),\n(.*?)^\}", text, re.MULTILINE | re.DOTALL))
    page = (ROOT / "docs" / "bibliography.md").read_text()
    assert list(entries) == re.findall(r"^\*\*([\w-]+)\.\*\*", page, re.MULTILINE) == sorted(entries)
    for key, entry in entries.items():
        fields = dict(re.findall(r"^  (\w+) = \{(.*)\},$", entry, re.MULTILINE))
        assert {"author", "title", "year"} <= set(fields), key
        shown = re.search(rf"^\*\*{key}\.\*\* (.*)$", page, re.MULTILINE)[1]
        assert f"({fields['year']}). {fields['title'].strip('{}')}" in shown, key


def test_every_entry_of_the_bibliography_is_cited():
    files = [path for folder in citations.CODE for path in (ROOT / folder).rglob("*.py")]
    files += [path for path in (ROOT / "docs").rglob("*.md") if path.name != "bibliography.md"]
    cited = {key for path in files for key in re.findall(r"\[@([\w-]+)\]", path.read_text())}
    assert REFERENCE.keys - cited == set()
