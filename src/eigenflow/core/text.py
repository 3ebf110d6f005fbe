"""Names and messages from strangers' files, made harmless before they are shown."""

import re
import unicodedata

__all__ = ["clean"]

# Terminal sequences: CSI ("\x1b[31m"), OSC ("\x1b]0;title\x07", also links), and those of two characters.
_TERMINAL = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-~]"
)
# Controls, marks that turn the direction of writing, halves of surrogate pairs, and what ends a line.
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# Zero-width joiners are part of words and of emoji.
_KEPT = frozenset("\u200c\u200d")


def clean(text: str, *, lines: bool = False) -> str:
    """Drop from a text what would steer a terminal, turn its direction, or break its line.

    Args:
        text: From a file, such as the name of a curve.
        lines: Whether line ends stay; otherwise they become spaces.
    """
    shown = _TERMINAL.sub("", text)
    if shown.isascii() and shown.isprintable():
        return shown
    kept = "\n" if lines else ""
    return "".join(_shown(character) if character not in kept else character for character in shown)


def _shown(character: str) -> str:
    if character in _KEPT or unicodedata.category(character) not in _HIDDEN:
        return character
    return " " if character.isspace() else ""
