"""Pictures for print: fonts, sizes, and where every text lies, on a run whose numbers are formulas."""

import re
import struct
import zlib
from itertools import combinations

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from typer.testing import CliRunner

from eigenflow.cli.app import app
from eigenflow.cli.figures import NAMES
from eigenflow.core.errors import ArgumentError
from eigenflow.plots import PAPER_WIDTHS, paper_style
from eigenflow.report import analyse
from eigenflow.report.publication import PICTURES, course_figure, run_figure, write_figures
from eigenflow.store import open_run
from report.recorded import record_run

pytestmark = pytest.mark.long

POINTS = 72.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("printed") / "synthetic"
    record_run(folder)
    return folder


@pytest.fixture(scope="module")
def analysis(folder):
    return analyse(open_run(folder))


def texts_of(figure):
    """Every text that is seen, with its box in pixels."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    found = []
    for one in figure.findobj(Text):
        box = one.get_window_extent(renderer)
        if one.get_visible() and one.get_text().strip() and box.width > 0:
            found.append((one, box))
    # Labels of ticks that lie outside of the axes' range are kept by matplotlib, but not drawn.
    ticks = {label for ax in figure.axes for axis in (ax.xaxis, ax.yaxis) for label in _unseen(axis)}
    return [(one, box) for one, box in found if one not in ticks]


def _unseen(axis):
    drawn = {id(tick) for tick in axis._update_ticks()}
    every = [*axis.majorTicks, *axis.minorTicks]
    return [label for tick in every if id(tick) not in drawn for label in (tick.label1, tick.label2)]


@pytest.mark.parametrize("columns", [1, 2])
@pytest.mark.parametrize("name", PICTURES)
def test_every_text_is_inside_and_lies_on_no_other(analysis, name, columns):
    with paper_style(columns):
        figure = run_figure(name, analysis, columns=columns)
        assert figure.get_figwidth() == PAPER_WIDTHS[columns]
        texts = texts_of(figure)
    assert len(texts) > 3
    for one, box in texts:
        assert box.x0 >= -0.5 and box.y0 >= -0.5, one.get_text()
        assert box.x1 <= figure.bbox.width + 0.5 and box.y1 <= figure.bbox.height + 0.5, one.get_text()
        assert one.get_fontsize() >= 5.0
    for (one, first), (other, second) in combinations(texts, 2):
        across = min(first.x1, second.x1) - max(first.x0, second.x0)
        down = min(first.y1, second.y1) - max(first.y0, second.y0)
        assert across <= 1.5 or down <= 1.5, (one.get_text(), other.get_text())


def fonts_of(pdf):
    """Words of a PDF about its fonts, compressed parts unpacked."""
    parts = [pdf]
    for stream in re.findall(rb"stream\r?\n(.*?)endstream", pdf, re.DOTALL):
        try:
            parts.append(zlib.decompress(stream))
        except zlib.error:
            continue
    return b"\n".join(parts)


def test_fonts_of_pdf_are_embedded_truetype_and_pages_as_large_as_told(analysis, tmp_path):
    found = write_figures(analysis, tmp_path, kind="pdf", columns=1)
    assert set(found.files) | set(found.left_out) == set(PICTURES) and {"loss", "eigenvalues"} <= set(found.files)
    for name, path in found.files.items():
        text = fonts_of(path.read_bytes())
        assert b"/Type3" not in text and b"/FontFile2" in text, name
        (box,) = set(re.findall(rb"/MediaBox \[ *([\d. ]+)\]", text))
        left, bottom, right, _ = map(float, box.split())
        assert (left, bottom, right) == (0, 0, pytest.approx(3.3 * POINTS, abs=0.01)), name


def test_type_3_would_be_seen(tmp_path):
    """What the check of the fonts looks for is what matplotlib writes by itself."""
    figure = Figure()
    figure.text(0.5, 0.5, "word")
    with mpl.rc_context({"pdf.fonttype": 3}):
        figure.savefig(tmp_path / "other.pdf")
    assert b"/Type3" in fonts_of((tmp_path / "other.pdf").read_bytes())


def test_png_has_300_pixels_an_inch_and_svg_keeps_words(analysis, tmp_path):
    found = write_figures(analysis, tmp_path, kind="png", columns=2)
    for name, path in found.files.items():
        width, _ = struct.unpack(">II", path.read_bytes()[16:24])
        assert width == round(6.9 * 300), name
    found = write_figures(analysis, tmp_path, kind="svg")
    words = found.files["eigenvalues"].read_text(encoding="utf-8")
    assert "eigenvalue λ [1 / time]" in words and "<text" in words


def test_lines_of_the_style_differ_without_colour():
    """Six lines in one grey, drawn one at a time, put ink on six different sets of pixels."""
    with paper_style(1) as size:
        inks = set()
        for place in range(6):
            figure = Figure(figsize=size)
            ax = figure.subplots()
            lines = [ax.plot([0, 1], [0, 1])[0] for _ in range(place + 1)]
            for line in lines:
                line.set(color="black", visible=line is lines[-1])
            canvas = FigureCanvasAgg(figure)
            canvas.draw()
            inks.add(bytes(canvas.buffer_rgba()))
        assert len(inks) == 6 and mpl.rcParams["font.size"] == 8.0
    assert mpl.rcParams["pdf.fonttype"] == mpl.rcParamsDefault["pdf.fonttype"]  # nothing stays behind


def test_verdicts_differ_without_colour(analysis):
    figure = run_figure("claims", analysis)
    looks = {
        (patch.get_hatch(), round(float(np.dot(patch.get_facecolor()[:3], (0.299, 0.587, 0.114))), 1))
        for patch in figure.axes[0].patches
    }
    assert len(looks) == len({row.verdict for row in analysis.claims if "." not in row.claim})


def test_the_command_writes_lists_and_does_not_replace(folder, tmp_path):
    def call(*words):
        return CliRunner().invoke(app, ["figures", str(folder), *words], env={"COLUMNS": "200"})

    done = call("--out", str(tmp_path / "new"), "--format", "svg")
    assert done.exit_code == 0 and len(done.stdout.splitlines()) == len(list((tmp_path / "new").iterdir())) >= 8
    again = call("--out", str(tmp_path / "new"), "--format", "svg")
    assert again.exit_code != 0 and isinstance(again.exception, ArgumentError | SystemExit)
    assert call("--out", str(tmp_path / "new"), "--format", "svg", "--force").exit_code == 0
    assert tuple(PICTURES) == NAMES


@pytest.mark.rejects
class TestRejects:
    def test_three_columns(self):
        with pytest.raises(ArgumentError, match=r"1 or 2, but is 3.*3\.3 inches"), paper_style(3):
            pass

    def test_no_height(self):
        with pytest.raises(ArgumentError, match="above 0 inches"), paper_style(1, height=0.0):
            pass

    def test_unknown_picture_or_kind(self, analysis, tmp_path):
        with pytest.raises(ArgumentError, match="loss, forecast"):
            run_figure("los", analysis)
        with pytest.raises(ArgumentError, match="pdf, png"):
            write_figures(analysis, tmp_path, kind="gif")


def test_the_picture_of_a_run_has_its_loss_and_its_eigenvalues(analysis):
    """On a screen, over the whole of the record; dashes are left to what is no measurement."""
    loss, eigenvalues = course_figure(analysis).axes
    steps = analysis.run.losses["step"].to_numpy() + 1
    np.testing.assert_allclose(loss.get_lines()[0].get_xdata(), steps)
    data = analysis.run.measurements
    shown = data["time"].values > 0
    np.testing.assert_allclose(eigenvalues.get_lines()[0].get_ydata(), data["eigenvalue"].values[shown, 0])
    assert {line.get_linestyle() for line in eigenvalues.get_lines()[:-1]} == {"-"}
