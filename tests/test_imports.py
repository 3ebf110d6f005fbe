"""The package as a whole: light to import, and split in two sides."""

import subprocess
import sys

import pytest

READING = [
    "eigenflow.shells",
    "eigenflow.transport",
    "eigenflow.theory",
    "eigenflow.forecast",
    "eigenflow.report",
    "eigenflow.cli",
]


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)


def test_import_loads_no_heavy_package():
    """The promise is 0.3 s; what takes longer than that are these packages, so none may be loaded."""
    done = python(
        "import sys, eigenflow; print(*sorted({'torch','numpy','scipy','xarray','pandas'} & set(sys.modules)))"
    )
    assert done.stdout.strip() == "", done.stderr


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_load_nothing_that_computes(option):
    """A third of a second of processor time each would be felt at every look."""
    done = python(
        f"import sys\nfrom eigenflow.cli import main\ntry:\n    sys.argv = ['eigenflow', '{option}']\n    main()\n"
        "except SystemExit:\n    pass\n"
        "print(*sorted({'torch', 'numpy', 'scipy', 'xarray', 'pandas', 'plotly', 'jinja2'} & set(sys.modules)), 'end')"
    )
    assert done.stdout.splitlines()[-1] == "end"


@pytest.mark.long
@pytest.mark.parametrize("package", READING)
def test_reading_side_does_not_load_torch(package):
    done = python(f"import sys, {package}; print('torch' in sys.modules)")
    assert done.stdout.strip() == "False", done.stderr


@pytest.mark.long
@pytest.mark.measure
def test_every_public_name_is_there():
    code = "import eigenflow as ef; print(all(getattr(ef, n) is not None for n in ef.__all__))"
    assert python(code).stdout.strip() == "True"


@pytest.mark.long
def test_without_torch_measuring_says_what_to_install_and_reading_goes_on():
    hide = "import sys; sys.modules['torch'] = None; "
    measuring = python(hide + "import eigenflow as ef\ntry: ef.Probe\nexcept ModuleNotFoundError as e: print(e)")
    assert "eigenflow[measure]" in measuring.stdout
    assert python(hide + "import eigenflow as ef; print(ef.open_run.__name__)").stdout.strip() == "open_run"


@pytest.mark.rejects
def test_unknown_name_lists_the_known_ones():
    import eigenflow

    with pytest.raises(AttributeError, match="Recorder"):
        _ = eigenflow.Nonesuch
