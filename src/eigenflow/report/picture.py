"""What stands in a page as a figure."""

from dataclasses import dataclass

from eigenflow.report.figures.figure import Figure

__all__ = ["Picture"]


@dataclass(frozen=True)
class Picture:
    """A figure with its caption, or the reason why there is none.

    Attributes:
        key: Short name, unique in a page.
        figure: None where the results do not allow it.
        caption: How to read the figure and what is behind it; without a figure, why it is missing.
    """

    key: str
    figure: Figure | None
    caption: str
