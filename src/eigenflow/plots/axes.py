"""Axes to draw into, where a reader in a notebook gave none, and plain numbers on them."""

from matplotlib.axes import Axes

__all__ = ["axes_or_new", "plain_if_short"]


def axes_or_new(ax: Axes | None) -> Axes:
    """The axes that were given, or those of a new figure of pyplot's, which a notebook shows by itself."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(6.0, 4.0), layout="constrained")[1]


def plain_if_short(ax: Axes) -> None:
    """Plain numbers on a vertical logarithmic axis of less than a decade, whose ticks are no powers of ten."""
    low, high = ax.get_ylim()
    if high < 10.0 * low:
        for place in (ax.yaxis.set_major_formatter, ax.yaxis.set_minor_formatter):
            place(lambda value, _: f"{value:.3g}")
