"""Small wrong changes to the code, one at a time: which of them do the tests not notice?

    .venv/bin/python tools/mutate.py --seed 3 --count 100 --minutes 30
    .venv/bin/python tools/mutate.py --only shells/balance.py --count 40
    .venv/bin/python tools/mutate.py --list --only transport/narrow.py

A mutant is one change of one expression: a comparison turned, + for -, a factor dropped, a constant moved, a slice off
by one, an absolute value left out, another axis. Each is written into a copy of the package, never into the working
tree, and only the tests that run the changed lines are run on it, the quick ones first, until one fails. Which tests
run which lines is found once for each test file, and again when that file or the code it runs changes; kept in
build/mutate. A mutant that takes too long counts as killed: the right code does not.

Survivors are printed with file, line, operator and both versions. Those that docs/validation/mutants.md names, with the
reason why they do no harm, are counted apart.
"""

import argparse
import hashlib
import json
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType

sys.path.insert(0, str(Path(__file__).resolve().parent))

from mutants import Mutant, mutants_of

PACKAGES = ("theory", "shells", "transport", "closure")
# CPU time of a mutant's tests beside what the same tests take without it, and at least.
SLOWER, AT_LEAST_S = 4.0, 20.0
# Tests of one mutant, counted as they last without it, that are run before it counts as a survivor.
TESTS_S = 60.0
MEMORY_BYTES = 24 << 30
# What tests of this package import.
HEAVY = ("numpy", "scipy.integrate", "scipy.optimize", "scipy.special", "xarray", "hypothesis", "torch")
KNOWN = "docs/validation/mutants.md"


@dataclass(frozen=True)
class Project:
    """Where the code and its tests are.

    Attributes:
        root: Of the repository.
        source: The package; `parts` its folders that are changed.
        tests: Folders or modules that test it.
        least_s: CPU time that the tests of any mutant are given.
    """

    root: Path
    source: Path
    parts: tuple[str, ...]
    tests: tuple[str, ...]
    least_s: float = AT_LEAST_S

    def files(self) -> list[Path]:
        """Give the modules that are changed."""
        return sorted(file for part in self.parts for file in (self.source / part).rglob("*.py"))

    def test_files(self) -> list[Path]:
        """Give the test modules."""
        found: set[Path] = set()
        for name in self.tests:
            place = self.root / name
            found |= {place} if place.is_file() else set(place.rglob("test_*.py"))
        return sorted(found)


class Tracer:
    """A pytest plugin that notes which lines of the package each test runs, counted from their function's first."""

    def __init__(self, source: Path) -> None:
        self.prefix = str(source) + os.sep
        self.found: dict[str, dict] = {}
        self._lines: set[tuple[CodeType, int]] = set()

    def pytest_runtest_protocol(self, item: object, nextitem: object) -> None:
        """Forget what the last test has run."""
        self._lines = set()

    def pytest_runtest_setup(self, item: object) -> None:
        """Begin to look."""
        sys.settrace(self._called)

    def pytest_runtest_teardown(self, item: object) -> None:
        """End."""
        sys.settrace(None)

    def pytest_runtest_logreport(self, report: object) -> None:
        """Keep what a test that passes has run, and for how long."""
        if report.when == "call" and report.passed:  # type: ignore[attr-defined]
            lines = sorted(
                {f"{_module(c, self.prefix)}:{c.co_qualname}:{n - c.co_firstlineno}" for c, n in self._lines}
            )
            self.found[report.nodeid] = {"seconds": report.duration, "lines": lines}  # type: ignore[attr-defined]

    def _called(self, frame: FrameType, event: str, argument: object) -> Callable | None:
        return self._inside if frame.f_code.co_filename.startswith(self.prefix) else None

    def _inside(self, frame: FrameType, event: str, argument: object) -> Callable:
        self._lines.add((frame.f_code, frame.f_lineno))
        return self._inside


def _module(code: CodeType, prefix: str) -> str:
    return code.co_filename[len(prefix) :]


def in_child(work: Callable[[], int], log: Path, cpu_s: float) -> int | None:
    """Run a function in a forked child with its output in a file; None if it ran out of CPU or twice that of wall time.

    Args:
        work: Gives the exit status.
        log: Where stdout and stderr go.
        cpu_s: Limit.
    """
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        limit = int(cpu_s) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(stream, 1)
        os.dup2(stream, 2)
        status = 70
        try:
            status = work()
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    end = time.monotonic() + 3.0 * cpu_s + 30.0
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else None
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def pytest_in(project: Project, package_parent: Path, arguments: list[str], plugins: list[object]) -> int:
    """Run pytest in this process on the package in a folder."""
    import pytest

    os.chdir(project.root)
    sys.path.insert(0, str(package_parent))
    os.environ["PYTHONPATH"] = str(package_parent)
    # What was imported before the fork cannot be rewritten by pytest, and need not be.
    quiet = ["-q", "-W", "ignore::pytest.PytestAssertRewriteWarning", "-p", "no:cacheprovider", "-p", "no:xdist"]
    return int(pytest.main([*arguments, *quiet, "-m", "not slow"], plugins))


def digest(files: Iterable[Path]) -> str:
    """Give one hash of the contents of files."""
    joined = hashlib.sha256()
    for file in files:
        joined.update(file.read_bytes() if file.exists() else b"-")
    return joined.hexdigest()[:16]


def collect(project: Project, copy: Path, cache: Path, say: Callable[[str], None]) -> dict[str, dict]:
    """Find which tests run which lines, anew only for test files of which something has changed."""
    kept = json.loads(cache.read_text()) if cache.exists() else {}
    found: dict[str, dict] = {}
    for file in project.test_files():
        name = str(file.relative_to(project.root))
        old = kept.get(name)
        if old is None or old["key"] != digest([file, *(project.source / used for used in old["used"])]):
            say(f"which lines does {name} run?")
            old = _collect_one(project, copy, name)
        found[name] = old
        cache.parent.mkdir(parents=True, exist_ok=True)
        cache.write_text(json.dumps({**kept, **found}))
    return {test: entry for file in found.values() for test, entry in file["tests"].items()}


def _collect_one(project: Project, copy: Path, name: str) -> dict:
    out = copy.parent / "found.json"
    out.unlink(missing_ok=True)

    def work() -> int:
        tracer = Tracer(copy)
        status = pytest_in(project, copy.parent, [name], [tracer])
        out.write_text(json.dumps(tracer.found))
        return status

    in_child(work, copy.parent / "log", 900.0)
    tests = json.loads(out.read_text()) if out.exists() else {}
    used = sorted({line.split(":")[0] for entry in tests.values() for line in entry["lines"]})
    key = digest([project.root / name, *(project.source / file for file in used)])
    return {"key": key, "used": used, "tests": tests}


def covering(mutant: Mutant, tests: dict[str, dict]) -> list[str]:
    """Order the tests of a mutant: those that run its line, then others of their files, each the quick ones first.

    Others, because what a file computes once for all of its tests is run by the first of them only. Lines of a module
    itself run when it is imported, so all tests that run anything in it count.
    """
    start = f"{mutant.file}:{mutant.function}:" if mutant.function else f"{mutant.file}:"
    exact = {f"{start}{n}" for n in range(mutant.first, mutant.last + 1)} if mutant.function else None

    def runs(lines: list[str]) -> bool:
        return any(line in exact if exact else line.startswith(start) for line in lines)

    direct = [name for name, entry in tests.items() if runs(entry["lines"])]
    files = {name.split("::")[0] for name in direct}
    others = [name for name in tests if name.split("::")[0] in files and name not in set(direct)]
    ordered = [name for group in (direct, others) for name in sorted(group, key=lambda n: tests[n]["seconds"])]
    spent, chosen = 0.0, []
    for name in ordered:
        spent += tests[name]["seconds"]
        if spent > TESTS_S and chosen:
            break
        chosen.append(name)
    return chosen


def try_one(project: Project, copy: Path, mutant: Mutant, names: list[str], seconds: float) -> bool:
    """Say whether the tests notice a mutant."""
    file = copy / mutant.file
    right = file.read_text()
    file.write_text(mutant.source)
    shutil.rmtree(file.parent / "__pycache__", ignore_errors=True)
    try:
        limit = project.least_s + SLOWER * seconds
        status = in_child(lambda: pytest_in(project, copy.parent, ["-x", *names], []), copy.parent / "log", limit)
        return status != 0
    finally:
        file.write_text(right)
        shutil.rmtree(file.parent / "__pycache__", ignore_errors=True)


def known(page: Path) -> set[str]:
    """Read from the page the keys of mutants that do no harm: code in the first column of its tables."""
    if not page.exists():
        return set()
    return set(re.findall(r"^\| `(\S+ \S+ .+?)` \|", page.read_text(), re.MULTILINE))


def preload(names: Iterable[str]) -> None:
    """Import once what tests need; children are forked off."""
    for name in names:
        try:
            __import__(name)
        except ImportError:
            continue


def sample(found: list[Mutant], count: int, seed: int) -> Iterator[Mutant]:
    """Draw mutants at random, at most one of a line."""
    order, seen = random.Random(seed).sample(found, len(found)), set()
    for mutant in order:
        place = (mutant.file, mutant.line)
        if len(seen) < count and place not in seen:
            seen.add(place)
            yield mutant


def cpu_s() -> float:
    """Give the CPU time of this process and its children so far."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def run(
    project: Project, mutants: list[Mutant], minutes: float, cache: Path, say: Callable[[str], None]
) -> list[Mutant]:
    """Try mutants one after the other until the time is spent; give those that survive."""
    survivors, killed, harmless, begun = [], 0, 0, 0
    with tempfile.TemporaryDirectory(prefix="mutate-") as folder:
        copy = Path(folder).resolve() / project.source.name
        shutil.copytree(project.source, copy, ignore=shutil.ignore_patterns("__pycache__"))
        preload(["pytest", *(HEAVY if project.source.name == "eigenflow" else ())])
        tests = collect(project, copy, cache, say)
        start, excused = cpu_s(), known(project.root / KNOWN)
        for mutant in mutants:
            if cpu_s() - start > 60.0 * minutes:
                break
            begun += 1
            names = covering(mutant, tests)
            if names and try_one(project, copy, mutant, names, sum(tests[n]["seconds"] for n in names)):
                killed += 1
            elif mutant.key in excused:
                harmless += 1
            else:
                survivors.append(mutant)
                say(
                    f"{mutant.words()}\n  {len(names)} tests ran"
                    if names
                    else f"{mutant.words()}\n  no test runs this line"
                )
        spent = (cpu_s() - start) / 60.0
    say(
        f"{begun} of {len(mutants)} mutants tried in {spent:.1f} CPU-minutes: {killed} killed, "
        f"{harmless} known to do no harm, {len(survivors)} survive."
    )
    return survivors


def main(arguments: list[str] | None = None) -> int:
    """Read the arguments and print the survivors; 0 even if there are some."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seed", type=int, default=0, help="Of the random sample.")
    parser.add_argument("--count", type=int, default=100, help="Mutants in the sample.")
    parser.add_argument("--minutes", type=float, default=30.0, help="CPU time for trying them.")
    parser.add_argument("--only", action="append", default=[], help="Part of the path of files; may be repeated.")
    parser.add_argument("--list", action="store_true", help="Only print the sample.")
    parser.add_argument("--least", type=float, default=AT_LEAST_S, help="CPU seconds that any mutant is given.")
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parents[1])
    parser.add_argument("--source", default="src/eigenflow", help="The package, from the root.")
    parser.add_argument("--parts", default=",".join(PACKAGES), help="Its folders that are changed.")
    parser.add_argument("--tests", default=",".join(f"tests/{part}" for part in PACKAGES))
    chosen = parser.parse_args(arguments)
    root = chosen.root.resolve()
    project = Project(
        root, root / chosen.source, tuple(chosen.parts.split(",")), tuple(chosen.tests.split(",")), chosen.least
    )
    files = [f for f in project.files() if not chosen.only or any(part in str(f) for part in chosen.only)]
    found = [m for file in files for m in mutants_of(file.read_text(), str(file.relative_to(project.source)))]
    drawn = list(sample(found, chosen.count, chosen.seed))
    print(f"{len(found)} mutants of {len(files)} files; {len(drawn)} drawn with seed {chosen.seed}.", flush=True)
    if chosen.list:
        print("\n".join(mutant.words() for mutant in drawn))
        return 0
    run(project, drawn, chosen.minutes, root / "build/mutate/lines.json", lambda text: print(text, flush=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
