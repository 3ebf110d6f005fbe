"""Formulas as MathML, which browsers typeset by themselves; and symbols in texts that were written for terminals."""

import re
from functools import lru_cache

from latex2mathml.converter import convert
from markupsafe import Markup

__all__ = ["formula", "typeset"]

_GREEK = {
    "alpha": "α", "beta": "β", "gamma": "γ", "eta": "η", "kappa": "κ", "lambda": "λ", "phi": "φ", "rho": "ρ",
    "sigma": "σ", "tau": "τ", "theta": "θ", "dtheta": "δθ",
}  # fmt: skip
_RAISED = str.maketrans("0123456789-+bpzat", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ᵇᵖᶻᵃᵗ")
_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"lambda-dot"), "dλ/dt"),
    (re.compile(r"\|\|(.+?)\|\|"), r"‖\1‖"),
    (re.compile(r">="), "≥"),
    (re.compile(r"<="), "≤"),
    (re.compile(r"!="), "≠"),
    (re.compile(r" \+- "), " ± "),
    (re.compile(r"\bd_t\b"), "∂ₜ"),
    (re.compile(r"\bd_lambda\b"), "∂_λ"),
    (re.compile(r"(?<![\w.])-(?=\d|\w+\()"), "−"),
    (re.compile(r" - "), " − "),
)
_NAMES = re.compile(r"(?<![A-Za-z-])(" + "|".join(sorted(_GREEK, key=len, reverse=True)) + r")(?![A-Za-z])")
_POWER = re.compile(r"\^\(?(-?[0-9bpzat+-]+)\)?(?![\w.])")


@lru_cache(maxsize=256)
def formula(latex: str) -> Markup:
    """A formula in LaTeX as inline MathML."""
    # In HTML the element says it all; the address of its namespace would be the only one in a page.
    return Markup(convert(latex).replace(' xmlns="http://www.w3.org/1998/Math/MathML"', ""))


def typeset(text: str) -> str:
    """A text with `lambda^b` and the like as symbols: λᵇ."""
    for pattern, put in _RULES:
        text = pattern.sub(put, text)
    text = _NAMES.sub(lambda match: _GREEK[match.group()], text)
    return _POWER.sub(lambda match: match.group(1).translate(_RAISED), text)
