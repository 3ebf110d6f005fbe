"""The picture of the phase diagram holds the diagram's exponents, lines and words."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from eigenflow.core.errors import ArgumentError
from eigenflow.plots import PhaseArrays, plot_phase_diagram, plot_phase_diagrams
from eigenflow.transport import classify, phase_diagram
from eigenflow.transport.selfsimilar import Regime

B, P, S = np.linspace(0.25, 3.25, 31), np.linspace(-0.95, 2.05, 31), 0.6


def arrays(sign, s=S):
    found = phase_diagram(B, P, sign, s)
    regions = {regime.value: found.is_in(regime) for regime in Regime}
    return PhaseArrays(found.b, found.p, found.loss_exponent, regions, found.s, found.c0 < 0)


def words_of(ax):
    return " | ".join(text.get_text() for text in ax.texts)


@pytest.mark.parametrize("sign", [1, -1])
def test_colours_are_the_loss_exponents_where_they_belong(sign):
    """Every pixel is `classify` at its b and p, read back through the picture's own axes; infinite ones are masked."""
    ax = Figure().subplots()
    assert plot_phase_diagram(arrays(sign), ax=ax) is ax
    (image,) = ax.images
    left, right, bottom, top = image.get_extent()
    shown = image.get_array()
    assert shown.shape == (len(P), len(B)) and image.origin == "lower"
    for row in range(0, len(P), 5):
        for column in range(0, len(B), 5):
            b = left + (column + 0.5) * (right - left) / len(B)
            p = bottom + (row + 0.5) * (top - bottom) / len(P)
            expected = classify(b, 0.5 * sign, p, S).loss_exponent
            if expected is None:
                assert np.ma.getmaskarray(shown)[row, column]
            else:
                assert shown[row, column] == pytest.approx(expected, abs=1e-9)


def test_lines_and_words_are_those_of_the_direction():
    """b = 1, p = 1 and p = 2 - b divide both; only growth escapes and stretches, only decay has plateaus."""
    growth, decay = Figure().subplots(1, 2)
    for ax, sign in ((growth, -1), (decay, 1)):
        plot_phase_diagram(arrays(sign), ax=ax)
        lines = [np.asarray(line.get_data(), dtype=float) for line in ax.lines]
        assert any(np.all(x == 1.0) for x, _ in lines) and any(np.all(y == 1.0) for _, y in lines)
        diagonal = [(x, y) for x, y in lines if np.allclose(x + y, 2.0) and len(x) == 2 and np.ptp(x) > 0]
        assert {float(x.max()) for x, _ in diagonal} == {1.0, ax.get_xlim()[1]}
        assert "lazy" in words_of(ax) and "self-similar" in words_of(ax)
        assert "no unit" in ax.get_xlabel() and "no unit" in ax.get_ylabel()
    assert "escape" in words_of(growth) and "faster than" in words_of(growth) and "to L_" not in words_of(growth)
    assert "plateau" in words_of(decay) and "arrest" in words_of(decay) and "escape" not in words_of(decay)
    assert growth.get_title().startswith("growth") and decay.get_title().startswith("decay")


@pytest.mark.long
def test_several_share_one_scale(tmp_path):
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots(1, 2)
    plot_phase_diagrams([arrays(sign, s) for sign, s in ((-1, 0.4), (1, 0.9))], axes=list(axes))
    for ax in axes:
        assert ax.images[0].get_clim() == pytest.approx((0.0, 2.7))
    figure.savefig(tmp_path / "phases.png", dpi=60)
    assert (tmp_path / "phases.png").stat().st_size > 20_000


@pytest.mark.rejects
def test_wrong_number_of_axes():
    with pytest.raises(ArgumentError, match=r"`axes` must be as many as `diagrams`.*they are 1 and 2"):
        plot_phase_diagrams([arrays(sign) for sign in (-1, 1)], axes=[Figure().subplots()])
