"""How a page answers a question of its reader."""

from dataclasses import dataclass

__all__ = ["Answer"]


@dataclass(frozen=True)
class Answer:
    """An answer.

    Attributes:
        key: Short name.
        question: As a reader would ask it.
        headline: The answer in a few words.
        text: The numbers behind it, a sentence or two.
        anchor: Where in the page more of it stands.
        is_warning: Whether it is one to be careful about.
    """

    key: str
    question: str
    headline: str
    text: str
    anchor: str
    is_warning: bool = False
