"""How this house is built, in numbers: rooms and files, longest functions, arrows between packages, ways through it.

    python tools/house.py                  the tables, from the source alone
    python tools/house.py --results        also the length of every result's repr and the three ways, traced

A *room* is a package folder. A *way* is one use of the library from end to end. It is read as a newcomer reads it:
each function once, in the order of its first call. `rooms` counts the folders entered, `returns` how often the walk
comes back to one that it had left.
"""

import argparse
import ast
import re
from collections import Counter
from pathlib import Path

from citations import unresolved

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "eigenflow"
LONG_FILE, LONG_FUNCTION = 400, 40


def packages() -> list[Path]:
    return sorted(path for path in SOURCE.iterdir() if (path / "__init__.py").exists())


def functions(tree: ast.AST) -> list[tuple[int, str]]:
    """Lines and names; what a docstring takes is not counted."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node, clean=False)
            lines = (node.end_lineno or node.lineno) - node.lineno + 1 - (text.count("\n") + 1 if text else 0)
            found.append((lines, node.name))
    return found


def arrows() -> Counter:
    """Imports from one package into another, counted by importing module; what only types need is left out."""
    found = Counter()
    for path in SOURCE.rglob("*.py"):
        home = path.relative_to(SOURCE).parts[0]
        tree = ast.parse(path.read_text())
        typing = {
            id(inner)
            for node in ast.walk(tree)
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
            for inner in ast.walk(node)
        }
        targets = set()
        for node in ast.walk(tree):
            if id(node) in typing:
                continue
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("eigenflow."):
                targets.add((node.module or "").split(".")[1])
            elif isinstance(node, ast.Import):
                targets |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("eigenflow.")}
        found.update((home, target) for target in targets if target != home and home != "__init__.py")
    return found


def structure() -> None:
    print(f"{'package':12} {'files':>5} {'rooms':>5} {'lines':>6} {'>400':>5} {'fn>40':>5}  longest function")
    for package in packages():
        files = sorted(package.rglob("*.py"))
        every = [(lines, name, path.name) for path in files for lines, name in functions(ast.parse(path.read_text()))]
        counts = [len(path.read_text().splitlines()) for path in files]
        lines, name, file = max(every, default=(0, "", ""))
        rooms = len({path.parent for path in files})
        long_files, long_functions = sum(n > LONG_FILE for n in counts), sum(n > LONG_FUNCTION for n, *_ in every)
        row = f"{len(files):5} {rooms:5} {sum(counts):6} {long_files:5} {long_functions:5}"
        print(f"{package.name:12} {row}  {lines} {file}:{name}")
    print("\narrows between packages (modules that import):")
    by_home: dict[str, list[str]] = {}
    for (home, target), count in sorted(arrows().items()):
        by_home.setdefault(home, []).append(f"{target} {count}")
    for home, targets in by_home.items():
        print(f"  {home:12} -> {', '.join(targets)}")
    print(f"{sum(map(len, by_home.values()))} arrows")


def shadows() -> list[str]:
    """Modules whose name is also a function that their package offers."""
    found = []
    for path in SOURCE.rglob("*.py"):
        init = path.parent / "__init__.py"
        if (
            path.stem != "__init__"
            and init.exists()
            and re.search(rf"import {path.stem}( as {path.stem})?\b", init.read_text())
        ):
            found.append(str(path.relative_to(SOURCE)))
    return sorted(found)


def loose_citations() -> list[str]:
    """Citations that nobody can look up: the ones on which the tests fail."""
    return unresolved()


def blocks() -> str:
    """Code blocks of the pages, and how many of them the tests run."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    kinds = Counter(kind for page in pages for kind in re.findall(r"^```(\w+)", page.read_text(), re.MULTILINE))
    return ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--results", action="store_true", help="also make every result and walk the three ways (needs torch)"
    )
    wanted = parser.parse_args()
    structure()
    loose = loose_citations()
    print(f"\ncitations that nobody can look up: {len(loose)}")
    print("\n".join(f"  {line}" for line in loose[:5]))
    print(f"modules shadowed by a function of their package: {len(shadows())} {shadows()}")
    print(f"blocks in README and docs: {blocks()}")
    if wanted.results:
        from walks import results, ways

        results()
        ways()


if __name__ == "__main__":
    main()
