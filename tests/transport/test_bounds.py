"""What a problem may ask for: work and memory are bounded, late times are exact, growth without bound is refused."""

import numpy as np
import pytest
from scipy.integrate import quad

import eigenflow as ef
from eigenflow.core.errors import ArgumentError, ConfigError, FileError, LimitError, NonFiniteError
from eigenflow.transport import GivenSource, KernelSource, LogNormalKernel, SgdNoise
from eigenflow.transport.cell_table import read_cells
from eigenflow.transport.config import SolveConfig, load_solve_config
from eigenflow.transport.finite_volumes.propagator import Propagator

DOMAIN = (1e-2, 1.0)


def power(lam):
    return lam**-0.5


def problem(source=None, c=0.5, b=2.0, dissipation=2.0, domain=DOMAIN):
    return ef.TransportProblem(ef.PowerDrift(c=c, b=b), dissipation, power, domain, source)


@pytest.mark.filterwarnings("ignore:The solution is inaccurate")  # sums over such times do not close to 1e-9
@pytest.mark.parametrize("time", [1e4, 1e12, 1e19])
def test_a_constant_source_settles_and_stays_however_late(time):
    """With S = 1 and v = -c lambda the settled state is g = (1 - e^(-2 (1 - lambda) / c)) / (2 lambda).

    At t = 1e19 the time that a path has spent in the domain is far below the spacing of floats around t.
    """
    c = 0.3
    expected = quad(lambda lam: (1 - np.exp(-2 * (1 - lam) / c)) / (2 * lam), *DOMAIN, epsabs=0, epsrel=1e-12)[0]
    source = GivenSource(lambda lam, t: np.ones(lam.shape))
    found = ef.solve(problem(source, c=c, b=1.0), [time], cells=8)
    assert found.total[0] == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize(
    ("source", "method"),
    [
        (None, "exact"),
        (None, "march"),
        (GivenSource(lambda lam, t: lam), "exact"),
        (KernelSource(0.5, LogNormalKernel(0.5)), "ladder"),
        (KernelSource(0.5, LogNormalKernel(0.5)), "positive"),
        (KernelSource(0.5, LogNormalKernel(0.5)), "lines"),
        (SgdNoise(0.01, 4, power), "positive"),
    ],
)
def test_every_method_counts_its_work(source, method):
    """The same problem passes with the limit that users have, and is refused in words with a small one."""
    assert np.isfinite(ef.solve(problem(source), [0.5, 1.0], cells=16, method=method).total).all()
    with ef.limits(work=30), pytest.raises(LimitError, match=r"The solve asks for .* evaluations.*--limit work="):
        ef.solve(problem(source), [0.5, 1.0], cells=16, method=method)


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("source", "method", "cells", "times", "message"),
    [
        (None, "auto", 100_000, 10_000, "`cells` = 100,000 at 10,000 `times` asks for 1,000,000,000 cells"),
        (KernelSource(0.5, LogNormalKernel(0.5)), "ladder", 100_000, 1, "'ladder' on 100,000 cells asks for"),
        (KernelSource(0.5, LogNormalKernel(0.5)), "positive", 100_000, 1, "'positive' on 100,000 cells asks for"),
        (KernelSource(0.5, LogNormalKernel(0.5)), "lines", 100_000, 1, "'lines' on 100,000 cells asks for"),
    ],
)
def test_what_would_fill_the_memory_is_refused_before_it_is_asked_for(source, method, cells, times, message):
    with pytest.raises(LimitError, match=message):
        ef.solve(problem(source), np.linspace(1, 2, times), cells=cells, method=method)


@pytest.mark.rejects
def test_jumps_over_many_decades_at_late_times_are_refused():
    """More doublings of the first step than whole numbers hold; it was a loop without end."""
    jumps = KernelSource(0.5, LogNormalKernel(0.5))
    with pytest.raises(ArgumentError, match=r"fastest rate.*times the last of `times` is .*e\+"):
        ef.solve(problem(jumps, domain=(1e-9, 1e9)), [1e12], cells=16)
    for carried in (lambda p: p.apply(np.array([1e300]), np.ones(2)), lambda p: p.carry(1e300, np.ones(2))):
        with pytest.raises(ArgumentError, match="fastest rate"):
            carried(Propagator(-np.eye(2)))
    with pytest.raises(NonFiniteError, match="fastest rate"):
        Propagator(np.array([[np.inf]]))


@pytest.mark.parametrize("count", [2.0**40, 2.0**61])
def test_many_doublings_are_still_right(count):
    """exp(-t) underflows to 0 and a conserved component stays, after as many doublings as are allowed."""
    propagator = Propagator(np.diag([-1.0, 0.0]))
    found = propagator.apply(np.array([count * propagator.step]), np.array([1.0, 1.0]))[:, 0]
    assert found[0] == 0.0 and found[1] == 1.0


@pytest.mark.rejects
@pytest.mark.parametrize("method", ["ladder", "positive"])
def test_a_source_that_grows_for_ever_is_refused_in_words(method):
    """mu = (eta / 2m) times the integral of lambda nu is far above 1, so the energy grows like e^(2 (mu - 1) ...)."""
    noise = SgdNoise(1e3, 1.0, power)
    with pytest.raises(NonFiniteError, match=r"[Mm]asses.*beyond what doubles hold"):
        ef.solve(problem(noise, c=0.0), [1e6], cells=16, method=method)


@pytest.mark.rejects
@pytest.mark.parametrize("width", [0.0, -1.0, np.nan, np.inf, 1e-30, 1e19])
def test_widths_of_jumps(width):
    with pytest.raises(ArgumentError, match="`width` must be positive, in"):
        LogNormalKernel(width)


@pytest.mark.parametrize("width", [1e-9, 1e4])
def test_the_narrowest_and_the_widest_jumps_keep_the_mass(width):
    """Nothing leaves and nothing dissipates, so the total stays; the widest kernel spreads evenly over ln(lambda)."""
    jumps = KernelSource(1.0, LogNormalKernel(width))
    found = ef.solve(problem(jumps, c=0.0, dissipation=0.0), [1.0, 1e4], cells=16, method="positive")
    np.testing.assert_allclose(found.total, found.budget.initial, rtol=1e-9)
    if width > 1:  # rates grow with lambda, so what has settled falls as 1 / rate
        settled = found.mass[-1] * np.sqrt(found.edges[1:] * found.edges[:-1])
        np.testing.assert_allclose(settled, settled[0], rtol=0.05)


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"initial": {"exponent": -90.0}}, "initial: amplitude lambda.exponent must stay below 1e260"),
        ({"source": {"form": "given", "exponent": 100.0, "amplitude": 1e90}}, "source: amplitude lambda"),
        ({"drift": {"decay": -100.0}, "times": {"last": 1e10}}, "drift: .1 . t / t0.*times.last"),
        ({"drift": {"c": 1e101}}, "between -1e\\+100 and 1e\\+100"),
        ({"times": {"first": 1.0, "last": 1.0 + 1e-15}}, "last must be later"),
        ({"dissipation": float("inf")}, "finite"),
    ],
)
def test_settings_whose_numbers_overflow(changes, message):
    with pytest.raises(ValueError, match=message):
        SolveConfig.model_validate({"domain": (1e-6, 1e3), **changes})


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "cannot be read as a table"),
        (b"\xff\xfe\x00", "cannot be read as a table"),
        (b"\x1f\x8b\x08\x00packed", "cannot be read as a table"),
        (b"low,high,mass\n1,2\n", "row 1: `mass` must be a number"),
        (b"low,high,mass\n1,2,3,4\n", "more entries than its header"),
        (b"low,high,mass\n1,2,1e201\n", "row 1: `mass`"),
        (b"low,high,mass\n0,2,1\n", "row 1: `low` must be positive"),
        (b"low,high,mass\n1,1,1\n", "row 1: `high` must be above"),
        (b"low,high,mass\n1,2,1\n3,4,1\n", "row 2: a cell's `low` must be the `high`"),
        (b"low,high,mass\n" + b"1,2,1\n" * 100_001, "more than 100,000 rows"),
    ],
)
def test_tables_of_cells_are_refused_with_their_row(tmp_path, text, message):
    (tmp_path / "cells.csv").write_bytes(text)
    with pytest.raises(ConfigError, match=message):
        read_cells(tmp_path / "cells.csv")


@pytest.mark.rejects
def test_paths_that_the_system_refuses(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    for path in (tmp_path / ("n" * 300), tmp_path / "loop" / "a"):
        with pytest.raises((FileError, ConfigError), match=r"cannot be read|no file"):
            load_solve_config(path)
        with pytest.raises((FileError, ConfigError), match="cannot be read"):
            read_cells(path)
