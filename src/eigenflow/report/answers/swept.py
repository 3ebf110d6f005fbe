"""Questions about a sweep, answered: how far is it? what is best? what does size bring? lazy or rich? what flips?"""

from eigenflow.report.answers.questions import Answer
from eigenflow.report.numbers import interval_text, number
from eigenflow.theory.claim_words import CLAIM_WORDS
from eigenflow.theory.lazy_rich import LAZY, RICH
from eigenflow.theory.over_sweep.dataset import STATES
from eigenflow.theory.over_sweep.effects import FlippedClaim, SizeExponent, SweepEffects, where_text
from eigenflow.theory.over_sweep.powers import Power

__all__ = ["swept_answers"]

ENDED = STATES.index("recorded")


def swept_answers(effects: SweepEffects, loss: str) -> list[Answer]:
    """Answer what a sweep was made for.

    Args:
        effects: As from `sweep_effects`.
        loss: Name of the loss that is compared.
    """
    found = [
        Answer("done", "Is it done?", *_done(effects), "runs"),
        Answer("best", "What is best?", *_best(effects, loss), "sweep-loss"),
    ]
    if effects.exponents:
        found.append(Answer("size", "What does size bring?", *_sizes(effects.exponents), "exponents"))
    return [
        *found,
        Answer("regime", "Lazy or feature learning?", *_regimes(effects), "map"),
        Answer("flips", "Which verdicts flip?", *_flips(effects.flips, "verdict" in effects.data), "flips"),
    ]


def _done(effects: SweepEffects) -> tuple[str, str]:
    total = sum(effects.states.values())
    ended = sum(effects.states.get(state, 0) for state in STATES[ENDED:])
    told = ", ".join(f"{count} {state}" for state, count in effects.states.items())
    return f"{'Yes' if ended == total else 'No'}: {ended} of {total} runs ended", f"{told}."


def _best(effects: SweepEffects, loss: str) -> tuple[str, str]:
    if effects.best is None:
        return "Not known", "No run that ended has a loss."
    values, least, error = effects.best
    spread = "" if error is None else f" ± {number(error, 2)}"
    told = "" if error is None else "The mean over repeats, with its standard error. "
    worst = float(effects.data[effects.loss].where(effects.data["state"] >= ENDED).max())
    told += f"The largest {loss} of a run that ended is {number(worst)}."
    return f"{where_text(values) or 'The one setting'}: {loss} {number(least)}{spread}", told


def _sizes(exponents: tuple[SizeExponent, ...]) -> tuple[str, str]:
    """The exponent over each resource, or the range of several."""
    heads, told = [], []
    for resource in dict.fromkeys(one.resource for one in exponents):
        here = [one for one in exponents if one.resource == resource]
        fitted = [one for one in here if one.law is not None and one.law.status.value == "fitted"]
        values = sorted(one.law.exponent.value for one in fitted if one.law is not None)
        if not fitted:
            heads.append(f"Exponent over {resource} open")
            told.append(f"{resource.capitalize()}: {here[0].told() if len(here) == 1 else here[0].why}.")
        elif len(here) == 1:
            heads.append(f"Exponent over {resource}: {number(values[0])}")
            told.append(f"{resource.capitalize()}: {here[0].told()}.")
        else:
            heads.append(f"Exponent over {resource}: {number(values[0])} to {number(values[-1])}")
            each = "; ".join(f"{where_text(one.where)}: {one.told()}" for one in fitted[:3])
            told.append(f"{resource.capitalize()}, fitted at {len(fitted)} of {len(here)} other settings. {each}.")
    return "; ".join(heads), " ".join(told)


def _regimes(effects: SweepEffects) -> tuple[str, str]:
    ended = effects.data["distance"].where(effects.data["state"] >= ENDED).values.ravel()
    ended = ended[ended == ended]
    if not len(ended):
        return "Not known", "No run that ended says how far its operator went."
    lazy, rich = int((ended < LAZY).sum()), int((ended >= RICH).sum())
    headline = f"{lazy} lazy, {rich} rich, {len(ended) - lazy - rich} between"
    told = f"Distances of the operator from {number(float(ended.min()))} to {number(float(ended.max()))}."
    moved: dict[str, list[str]] = {}
    for one in effects.powers:
        if one.quantity == "distance":
            moved.setdefault(where_text(dict(one.where)), []).append(f"{one.key} to the power {_power(one)}")
    words = [" and ".join(powers) + (f" with {where}" if where else "") for where, powers in moved.items()]
    return headline, told + (f" It goes as {'; '.join(words)}." if words else "")


def _power(one: Power) -> str:
    return f"{number(one.value)} {interval_text((one.lower, one.upper))}"


def _flips(flips: tuple[FlippedClaim, ...], is_judged: bool) -> tuple[str, str]:
    if not is_judged:
        return "Not known", "No run was judged."
    if not flips:
        return "None", "No row of the claims is supported in one run and contradicted in another."
    whole = [one for one in flips if "." not in one.claim]
    parts = [one for one in flips if "." in one.claim]
    told = []
    for one in whole[:4]:
        plain = CLAIM_WORDS[one.claim].plain.rstrip(".") if one.claim in CLAIM_WORDS else one.claim
        by = f", told by {one.key}" if one.key else ""
        counts = f"{one.counts['supported']} supported, {one.counts['contradicted']} contradicted"
        told.append(f"{one.claim}, {plain[0].lower()}{plain[1:]}: {counts}{by}.")
    if parts:
        more = f" and {len(parts) - 6} more" if len(parts) > 6 else ""
        told.append(f"Single assertions: {', '.join(one.claim for one in parts[:6])}{more}.")
    return ", ".join(one.claim for one in whole) or "None of the eight", " ".join(told)
