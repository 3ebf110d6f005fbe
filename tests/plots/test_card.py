"""A card to share: of one size, every text inside of it and none on another, whatever a name is."""

import struct

import numpy as np
import pytest

from eigenflow.plots.card import CARD_PIXELS, DPI, CardFan, share_card, write_card

STEPS = np.arange(1.0, 401.0)
LOSS = 2 + 3 / STEPS**0.5
FAN = CardFan(STEPS[-1] + STEPS, LOSS[-1] - STEPS / 4000, LOSS[-1] - STEPS / 2000, LOSS[-1] + STEPS / 4000)
EIGHT = [(f"C{k}", verdict) for k, verdict in enumerate(["supported", "contradicted", "undecided", "supported"] * 2, 1)]
NAMES = ["digits", "a name that is far too long for any card, " * 4, "$x_{1}$ \\alpha ^ _", "名前 \n новый"]


def card(name="digits", **more):
    notes = ["Lazy or feature learning? Feature learning, and for a long time at that.", name] * 3
    return share_card(name, "report", f"Ends at 2.123 [2.1, 2.2] {name}", notes, measured=(STEPS, LOSS), **more)


def boxes(figure):
    """Every text that is seen, with its box in pixels from the lower left corner."""
    figure.set_dpi(DPI)
    figure.canvas.draw()
    texts = [*figure.texts]
    for ax in figure.axes:
        texts += [ax.title, ax._left_title]
        for axis, place in ((ax.xaxis, 0), (ax.yaxis, 1)):
            low, high = sorted(axis.get_view_interval())  # labels beyond it are not drawn
            texts += [label for label in axis.get_ticklabels() if low <= label.get_position()[place] <= high]
    return [(text.get_text(), text.get_window_extent()) for text in texts if text.get_text().strip()]


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:Glyph")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("more", [{}, {"fan": FAN}, {"fan": FAN, "verdicts": EIGHT, "unit": "nats"}])
def test_every_text_lies_inside_and_none_on_another(name, more):
    found = boxes(card(name, **more))
    assert len(found) > 10
    for words, box in found:
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= CARD_PIXELS[0] and box.y1 <= CARD_PIXELS[1], words
        assert box.height >= 10, words
    for k, (words, one) in enumerate(found):
        for others, other in found[k + 1 :]:
            assert not one.overlaps(other), (words, others)


def test_a_card_is_a_png_of_the_size_that_is_shared(tmp_path):
    path = write_card(card(fan=FAN, verdicts=EIGHT), tmp_path / "card.png")
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n" and struct.unpack(">II", head[16:24]) == (1200, 630)


def test_a_card_shows_the_loss_the_fan_and_each_verdict():
    figure = card(fan=FAN, verdicts=EIGHT)
    (ax,) = figure.axes
    measured, forecast = ax.lines[0], ax.lines[1]
    np.testing.assert_array_equal(measured.get_ydata(), LOSS)
    np.testing.assert_array_equal(forecast.get_ydata(), FAN.loss)
    low, high = ax.get_ylim()
    assert low < FAN.lower.min() and high > FAN.upper.max()
    told = [text.get_text() for text in figure.texts]
    assert [told.count(word) for word in ("holds", "fails", "open")] == [4, 2, 2]
