"""Lines of text logs: how a row is recognised, and what it says.

In an entry, `<step>` stands for a whole number and any other `<name>` for a number; both become columns of that name.
The entries of known programs stand in `programs`; here are the two for lines of any program.
"""

import re
from dataclasses import dataclass
from functools import cached_property

__all__ = ["ANY_EPOCH", "ANY_STEP", "BELOW", "LN2", "NUMBER", "RATE", "LogPattern"]

WHOLE = r"\d+"
NUMBER = r"[-+]?(?:(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?|[-+]?\b(?i:nan|inf(?:inity)?)\b"
# What is counted, not measured: `at` of `of` batches of an epoch; `total` updates of the run; the numbers in the
# progress bars `before` and `after` a row.
COUNTS = ("step", "epoch", "at", "of", "total", "before", "after")
LN2 = 0.6931471805599453


def expand(text: str) -> str:
    """A regular expression of an entry: `<name>` written out."""
    return re.sub(r"(?<!\?P)<(\w+)>", lambda found: f"(?P<{found[1]}>{WHOLE if found[1] in COUNTS else NUMBER})", text)


@dataclass(frozen=True)
class LogPattern:
    """The lines of one program.

    Attributes:
        name: The program.
        rows: A line in which one of these is found is a row, with what it names.
        also: Looked for in the same line, and added if found.
        pairs: Every find of it (`key`, `value`) in a row's line is a column more.
        heads: What these name holds for the rows below, until it is named again. So do the counts of a row.
        bars: Whether progress bars around the rows tell the step.
        marks: No row and no head is without one of these; letters as they stand.
        first_epoch: Number of the first epoch, None if it is 0 where an epoch 0 occurs, else 1.
        shift: Added to the steps to count completed updates.
        nats: Factor from the losses to nats.
        is_whole: Whether rows of one epoch replace each other, and only complete ones count (progress bars).
        is_dict: Whether rows are printed dicts, whose step stands in the progress bar around them, if at all.
        is_loose: Whether it is of no program: names are brought into one form, and a step that begins anew in each
            epoch is a batch of it.
        note: What a reader of the result should know.
    """

    name: str
    rows: tuple[str, ...]
    also: tuple[str, ...] = ()
    pairs: str = ""
    heads: tuple[str, ...] = ()
    marks: tuple[str, ...] = ("loss",)
    first_epoch: int | None = None
    shift: int = 0
    nats: float = 1.0
    is_whole: bool = False
    is_dict: bool = False
    is_loose: bool = False
    note: str = ""

    @cached_property
    def compiled(self) -> tuple[list[re.Pattern[str]], list[re.Pattern[str]], re.Pattern[str] | None]:
        """Rows, additions and pairs."""
        pairs = re.compile(expand(self.pairs)) if self.pairs else None
        return [re.compile(expand(one)) for one in self.rows], [re.compile(expand(one)) for one in self.also], pairs

    @cached_property
    def compiled_heads(self) -> list[re.Pattern[str]]:
        """Heads."""
        return [re.compile(expand(one)) for one in self.heads]

    def row_of(self, line: str) -> dict[str, str] | None:
        """What a line says, None if it is no row."""
        rows, also, pairs = self.compiled
        for row in rows:
            match = row.search(line)
            if match:
                break
        else:
            return None
        found = {name: text for name, text in match.groupdict().items() if text is not None}
        for one in also:
            more = one.search(line)
            if more:
                found.update((name, text) for name, text in more.groupdict().items() if text is not None)
        if pairs is not None:
            for pair in pairs.finditer(line):
                name = (
                    _column(pair["key"], line[: pair.start()])
                    if self.is_loose
                    else pair["key"].strip().replace(" ", "_")
                )
                found.setdefault(name, pair["value"])
        return found if found.keys() - set(COUNTS) else None

    def head_of(self, line: str) -> dict[str, str]:
        """What a line says of the rows below it."""
        for head in self.compiled_heads:
            match = head.search(line)
            if match:
                return {name: text for name, text in match.groupdict().items() if text is not None}
        return {}


_VALIDATION = re.compile(r"(?<![a-z])(?:val(?:id(?:ation)?)?|eval(?:uation)?|test|dev)(?![a-z])")


def _column(key: str, before: str) -> str:
    """The column of a key: "Train Loss" is `train_loss`, and "loss" after a word of validation `val_loss`."""
    name = re.sub(r"[^\w/.-]+", "_", key.strip().lower()).strip("_")
    plain = name.replace("-", "_").replace("_", " ")
    if not plain.endswith("loss") and "loss" not in plain.split():
        return name
    if _VALIDATION.search(plain) or (plain == "loss" and _VALIDATION.search(before.lower())):
        return "val_loss"
    return "train_loss" if plain in {"train loss", "training loss", "loss train"} else name


RATE = r"\b(?i:lr|learning[ _-]?rate)\b\s*[:=]?\s*[\[(]?<learning_rate>"
_ANY_LOSS = (
    r"(?P<key>(?:\b(?:[A-Za-z]+[ _/-]){0,2}|\b)[Ll](?:oss|OSS)(?: (?i:train|val))?)"
    rf"\s*(?:\([a-z ]*\))?\s*[:=|]?\s*\(?(?P<value>{NUMBER})"
)
_STEP_WORD = (
    r"(?i:global[ _-]?steps?|train(?:ing)?[ _-]?steps?|num[ _-]?updates?|steps?|iter(?:ation)?s?|updates?|it"
    r"|batch(?:es)?)"
)
_EPOCH = r"\b(?i:ep(?:och)?s?)\b[ .#:=\[(]*<epoch>"

ANY_STEP = LogPattern(
    "lines with a step and a loss",
    (
        rf"\b{_STEP_WORD}\b[ _]?(?i:no|num)?[ .#:=\[(]*<step>(?: *(?:/|of) *<total>)?",
        r"^\W{0,3}<step>(?: ?/ ?<total>)? ?[|:,\])] ",
        r"^\W*(?i:val(?:id(?:ation)?)?|eval(?:uation)?|test|dev)[ _-]?loss\b",
    ),
    also=(RATE, _EPOCH),
    pairs=_ANY_LOSS,
    marks=("loss", "Loss", "LOSS"),
    is_loose=True,
)
ANY_EPOCH = LogPattern(
    "lines with an epoch and a loss",
    (_EPOCH,),
    also=(RATE,),
    pairs=_ANY_LOSS,
    marks=("loss", "Loss", "LOSS"),
    is_loose=True,
)
BELOW = LogPattern(
    "losses below a line with the step or the epoch",
    (r"(?i:loss)",),
    also=(RATE,),
    pairs=_ANY_LOSS,
    heads=(rf"\b{_STEP_WORD}\b[ .#:=\[(]*<step>(?: *(?:/|of) *<total>)?", _EPOCH),
    marks=("loss", "Loss", "LOSS", "poch", "EPOCH", "tep", "STEP", "ter", "ITER"),
    is_loose=True,
)
