"""What is published: wheel and source archive hold what they should, say it right, and work once installed."""

import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# Read at run time from beside the modules; each is asked for by name, so that none can go missing with its folder.
READ_AT_RUN_TIME = {
    "eigenflow/py.typed",
    "eigenflow/forecast/fitting/priors.json",
    "eigenflow/forecast/intervals/interval_calibration.json",
    "eigenflow/lab/configs/digits.toml",
    "eigenflow/lab/configs/digits-cnn.toml",
    "eigenflow/lab/configs/digits-sgd.toml",
    "eigenflow/report/templates/report.html.j2",
    "eigenflow/report/templates/forecast.html.j2",
    "eigenflow/report/templates/comparison.html.j2",
    "eigenflow/report/templates/report.css",
    "eigenflow/report/templates/report.js",
    "eigenflow/report/live/templates/live.html.j2",
    "eigenflow/report/live/templates/live.css",
    "eigenflow/report/live/templates/live.js",
}
READING_FACES = ("core", "store", "shells", "transport", "closure", "theory", "forecast", "scaling", "plots", "report")


def run(*command, **options):
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=300, check=False, **options)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Wheel and source archive; the wheel is made from the archive, as whoever packages it would."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT)
    return next(folder.glob("*.whl")), next(folder.glob("*.tar.gz"))


@pytest.fixture(scope="module")
def in_wheel(built):
    with zipfile.ZipFile(built[0]) as wheel:
        return {name: wheel.read(name) for name in wheel.namelist()}


def test_twine_accepts_both(built):
    run(sys.executable, "-m", "twine", "check", "--strict", *built)


def test_wheel_holds_every_file_of_the_package_and_no_other(in_wheel):
    """Against the folder itself, byte for byte; caches of Python are no part of it."""
    source = {
        f"eigenflow/{path.relative_to(ROOT / 'src' / 'eigenflow').as_posix()}": path.read_bytes()
        for path in (ROOT / "src" / "eigenflow").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    packed = {name: content for name, content in in_wheel.items() if ".dist-info/" not in name}
    assert packed == source


def test_wheel_holds_what_is_read_at_run_time(in_wheel):
    assert in_wheel.keys() >= READ_AT_RUN_TIME


def test_metadata_say_what_pyproject_says(in_wheel):
    (name,) = [name for name in in_wheel if name.endswith(".dist-info/METADATA")]
    told = message_from_bytes(in_wheel[name])
    assert told["Name"] == "eigenflow" and told["License-Expression"] == "MIT"
    assert told["Requires-Python"] == PROJECT["requires-python"]
    needed = {word.replace(" ", "") for word in told.get_all("Requires-Dist") if "extra ==" not in word}
    assert needed == {word.replace(" ", "") for word in PROJECT["dependencies"]}
    assert set(told.get_all("Provides-Extra")) == set(PROJECT["optional-dependencies"])


def test_source_archive_can_be_tested_and_holds_no_private_folder(built):
    with tarfile.open(built[1]) as archive:
        top = {name.split("/")[1] for name in archive.getnames()}
    assert {"src", "tests", "docs", "benchmarks", "examples", "tools", "constraints.txt", "LICENSE"} <= top
    hidden = {name for name in top if name.startswith(".")}
    assert hidden <= {".gitignore", ".gitattributes", ".pre-commit-config.yaml"}


@pytest.mark.slow
def test_installed_wheel_works_elsewhere(built, tmp_path):
    """In an environment of its own, with the packages installed here, and without the folders of this repository."""
    venv, beside = tmp_path / "venv", sysconfig.get_path("purelib")
    run(sys.executable, "-m", "venv", "--without-pip", venv)
    binaries = venv / ("Scripts" if sys.platform == "win32" else "bin")
    run(sys.executable, "-m", "pip", "--python", binaries / "python", "install", "--no-deps", "--no-index", built[0])
    # PYTHONPATH comes before the environment's own packages, so the copy under test is found by being the only one:
    # an editable install here is a .pth file, which Python does not read there.
    outside = {"PYTHONPATH": beside, "PATH": str(binaries), "SYSTEMROOT": "C:\\Windows"}
    code = (
        "import importlib, eigenflow; "
        f"[importlib.import_module('eigenflow.' + face) for face in {READING_FACES!r}]; "
        "print(eigenflow.__file__)"
    )
    assert str(venv) in run(binaries / "python", "-c", code, cwd=tmp_path, env=outside)
    version = run(binaries / "eigenflow", "--version", cwd=tmp_path, env=outside)
    assert version.split()[-1] == built[0].name.split("-")[1]


def test_citation_file_has_the_version():
    import eigenflow

    assert f"\nversion: {eigenflow.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
