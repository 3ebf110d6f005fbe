"""Buttons of a page that show and hide what is drawn."""

from dataclasses import dataclass

__all__ = ["Toggle"]


@dataclass(frozen=True)
class Toggle:
    """A button that shows and hides traces in every figure of a page.

    Attributes:
        group: Of the traces.
        name: On the button.
        colour: Of the traces; "" where there are several.
        is_shown: Whether they are seen at first.
        is_warning: Whether they show where a forecast missed.
    """

    group: str
    name: str
    colour: str
    is_shown: bool
    is_warning: bool = False
