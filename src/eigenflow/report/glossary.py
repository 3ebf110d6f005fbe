"""Terms and symbols of the pages: what they mean, and links to that from every text that uses them."""

import re
from dataclasses import dataclass
from functools import lru_cache

from markupsafe import Markup, escape

__all__ = ["GLOSSARY", "Term", "linked"]


@dataclass(frozen=True)
class Term:
    """An entry.

    Attributes:
        key: Short name; its anchor is `term-` and this.
        name: As it is headed.
        meaning: A sentence or two.
        pattern: Regular expression of the words that are linked to it; "" for none.
        formula: In LaTeX; "" where there is none.
    """

    key: str
    name: str
    meaning: str
    pattern: str
    formula: str = ""


GLOSSARY = (
    Term("error", "error e", "The network’s outputs minus what they should be; half its square is the loss.", "", r"e"),
    Term(
        "operator",
        "operator M",
        "Says how fast each direction of the error is learned: M = J Jᵀ, J the Jacobian of the "
        "error by the parameters.",
        r"operators? M\b|\boperator\b",
        r"M = J J^{T}",
    ),
    Term(
        "eigenvalue",
        "eigenvalue λ",
        "A rate of M, 1 / time. A direction with a large one is learned early.",
        r"eigenvalues?|λ",
        r"\lambda",
    ),
    Term(
        "mode",
        "mode",
        "An eigenvector of M with its eigenvalue: one direction that is learned at one rate.",
        r"\bmodes?\b",
    ),
    Term(
        "energy",
        "energy",
        "The squared error along a mode, or over some of them. Twice the loss for squared losses.",
        r"energ(?:y|ies)",
        r"\|e\|^2",
    ),
    Term("time", "time t", "The sum of learning rates up to an update.", r"\btime t\b", r"t = \sum \eta"),
    Term("rate", "learning rate η", "The length of an update in time.", r"learning rates?|η", r"\eta"),
    Term("shell", "shell", "All modes whose eigenvalues lie in one interval of ln λ.", r"shells?"),
    Term(
        "frontier",
        "frontier",
        "The eigenvalue that separates what has been learned from what has not: about 1 / (2t) while M stands still.",
        r"frontiers?",
    ),
    Term(
        "drift",
        "drift v",
        "The speed at which eigenvalues move. The theory has v = −c(t) λᵇ.",
        r"drift law|\bdrift\b|velocit(?:y|ies)",
        r"v = -c(t) \lambda^{b}",
    ),
    Term(
        "strength",
        "strength κ",
        "How fast the eigenvalues near a reference shrink, relative to their size; below zero they grow.",
        r"κ(?:\(t\))?",
        r"\kappa = c(t) \lambda^{b-1}",
    ),
    Term("gamma", "γ", "Median of t κ(t): negative where eigenvalues grow.", r"γ", r"\gamma"),
    Term("dissipation", "dissipation", "Energy that is learned.", r"dissipation"),
    Term("flux", "flux", "Energy that passes an eigenvalue from larger to smaller ones, per unit of time.", r"flux"),
    Term("transfer", "transfer", "Energy that one update carries from shell to shell.", r"transfer"),
    Term(
        "source",
        "source S",
        "Energy that jumps past neighbouring shells, which a drift cannot describe.",
        r"\bS\b",
        r"S",
    ),
    Term("remainder", "remainder", "What first order in the update leaves of the change of the energy.", r"remainder"),
    Term("lazy", "lazy", "The limit in which M stands still.", r"\blazy\b", r"v = 0"),
    Term(
        "rich",
        "rich",
        "Also feature learning: M becomes another operator while the network trains.",
        r"\brich\b|feature learning",
    ),
    Term(
        "distance",
        "distance",
        "How far M has gone from the first measurement, relative to its size.",
        r"\bdistance\b",
        r"\frac{\|M - M_0\|}{\|M_0\|}",
    ),
    Term(
        "clock",
        "effective time τ",
        "The time that a mode would have needed to come as far, had its eigenvalue stood still.",
        r"effective time|τ",
        r"\tau",
    ),
    Term("probe", "probe", "The fixed samples on which everything here is measured.", r"\bprobe\b"),
    Term("heldout", "held-out loss", "The loss on samples that nothing was trained on.", r"held-out|holdout"),
    Term("interval", "90 % interval", "Nine in ten such intervals hold the truth.", r"90 % intervals?"),
    Term(
        "band",
        "band",
        "Where the estimate of an assertion has to lie for it to hold: fixed before any run.",
        r"\bband\b",
    ),
    Term(
        "control",
        "control",
        "A system of which it is known whether an assertion holds; verdicts are tried on them.",
        r"\bcontrols?\b",
    ),
)


@lru_cache(maxsize=8)
def _searched(terms: tuple[Term, ...]) -> tuple[re.Pattern[str], dict[str, Term]]:
    """A pattern of all words, with groups that are numbered, and the term of each group."""
    named = {f"term{k}": term for k, term in enumerate(terms) if term.pattern}
    return re.compile("|".join(f"(?P<{name}>{term.pattern})" for name, term in named.items())), named


def linked(text: str, terms: tuple[Term, ...] = GLOSSARY) -> Markup:
    """A text with the first use of every term made a link to its entry; whatever else it holds is escaped."""
    words, named = _searched(terms)
    made, seen, place = Markup(""), set(), 0
    for match in words.finditer(text):
        term = named.get(match.lastgroup or "")
        if term is None or term.key in seen:
            continue
        seen.add(term.key)
        made += escape(text[place : match.start()])
        link = '<a class="term" href="#term-{}" title="{}">{}</a>'
        made += Markup(link).format(term.key, term.meaning, match.group())
        place = match.end()
    return made + escape(text[place:])
