"""Terms of the pages of forecasts."""

from eigenflow.report.glossary import GLOSSARY, Term

__all__ = ["FORECAST_TERMS"]

_OWN = (
    Term(
        "law",
        "law",
        "A formula of the loss over updates and learning rates, with a few parameters that are fitted.",
        r"\blaws?\b",
    ),
    Term(
        "transport-law",
        "transport law",
        "The law that is fitted unless another is asked for: a bias that falls as a power of the training time, and "
        "noise that each learning rate brings in and that relaxes after it.",
        r"\btransport law\b|\btransport\b",
        r"L = L_{\infty}\,(1 + A X^{-a})\,(1 + \mathrm{noise})",
    ),
    Term("schedule", "schedule", "Every learning rate of a run, update by update.", r"\bschedules?\b"),
    Term("warmup", "warm-up", "The first updates, over which the rate rises to its peak.", r"\bwarm-?up\b"),
    Term("cosine", "cosine", "Rates that fall from the peak along half a cosine.", r"\bcosine\b"),
    Term("wsd", "WSD", "Warm-up, a stable rate, then a decay over the last part of the run.", r"\bWSD\b"),
    Term(
        "hidden",
        "hidden part",
        "Logged losses that a law was not given and then forecast, as a test: the rest of a run, a schedule, a size.",
        r"\bhidden parts?\b|\bbacktests?\b|\bheld-out curves?\b",
    ),
    Term(
        "baseline",
        "baseline",
        "What one would say without a law: the last value, or a power of the steps.",
        r"\bbaselines?\b|\blast value\b|\bpower of (?:the )?steps\b",
    ),
    Term(
        "coverage",
        "coverage",
        "Share of hidden points that lie inside of their 90 % intervals; nine in ten should.",
        r"\bcoverage\b",
    ),
    Term(
        "score",
        "interval score",
        "Width of the 90 % interval, and 20 times what lies outside: small for intervals that are narrow and hold.",
        r"\binterval scores?\b",
    ),
    Term("misfit", "misfit", "How far the law is off the points that it was fitted to.", r"\bmisfit\b|\bresiduals?\b"),
    Term("noise", "noise", "Scatter of the logged loss about the law, as a share of it.", r"\bnoise\b"),
    Term(
        "prior",
        "prior",
        "What other runs say of the parameters before this log does; it decides where the log is silent.",
        r"\bpriors?\b",
    ),
    Term(
        "profile",
        "profile likelihood",
        "How much worse the best fit gets with one parameter held away from its optimum.",
        r"\bprofile likelihood\b",
    ),
)
# What the pages of forecasts name, in the order of their glossary.
FORECAST_TERMS = (*_OWN, *(term for term in GLOSSARY if term.key in ("rate", "interval")))
