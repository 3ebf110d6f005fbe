"""What the name of a column says: the words in it, and how well it fits a loss, a learning rate, a step or an epoch.

Trainers and trackers put the same few words together in many ways: `train_loss`, `train/loss`, `Train Loss`,
`loss/train/total`, `trainLoss`. So a name is taken apart into its words, and judged by them. A lower rank fits better.
"""

import re
from collections.abc import Iterable
from functools import cache

__all__ = [
    "COMPONENT",
    "EPOCH_MEAN",
    "FINAL",
    "VALIDATION",
    "is_epoch",
    "listed",
    "loss_rank",
    "phase_of",
    "rate_rank",
    "step_rank",
    "words_of",
]

# Kinds of losses, the better ones first.
TRAINING, EPOCH_MEAN, VALIDATION, SMOOTHED, COMPONENT, ERROR, PERPLEXITY, OF_REWARDS, FINAL = range(9)

TRAIN = {"train", "training", "trn", "tr", "trainer", "opt", "sft", "fit"}
VALID = {"val", "valid", "validation", "eval", "evaluation", "test", "testing", "dev", "holdout", "heldout"}
_LOSS = {"loss", "losses", "nll", "crossentropy", "xent"}
# Words that stand beside those without making the loss a part of another one.
_PLAIN = TRAIN | VALID | {
    "step", "iter", "iteration", "batch", "epoch", "total", "lm", "ce", "mean", "avg", "average", "reduced", "global",
    "language", "masked", "mlm", "clm", "causal", "metrics", "metric", "learning", "objective", "nats", "nat", "token",
    "tokens", "per", "main", "overall", "all", "model", "raw", "inner", "running", "current", "the", "of", "a", "s",
    "log", "logs", "scalars", "cross", "entropy", "mse", "l",
}  # fmt: skip
# Words of what is no loss, though the word stands in its name.
_NO_LOSS = {
    "scale", "scaler", "scaling", "weight", "weights", "unit", "units", "mask", "ratio", "lambda", "coef", "coeff",
    "coefficient", "vs", "best", "min", "minimum", "max", "maximum", "lowest", "delta", "diff", "std", "var",
    "variance", "stderr", "spike", "spikes", "stop", "time", "num", "count", "improvement", "patience", "grad", "norm",
    "gradient", "gradients", "lr", "target", "threshold", "type", "name", "function", "ppl", "perplexity", "multiplier",
}  # fmt: skip
_SMOOTH = {"smooth", "smoothed", "ema"}
_REWARDS = {"policy", "value", "reward", "rewards", "actor", "critic", "pg", "advantage", "kl", "vf"}
_ERRORS = {"rmse", "mse", "mae"}
_PERPLEXITY = {"ppl", "perplexity"}

_RATE_PLAIN = TRAIN | {"lr", "optim", "optimizer", "epoch", "current", "learning", "step", "group", "param", "x", "pg"}
_NO_RATE = {
    "momentum", "scale", "scaler", "mult", "multiplier", "max", "min", "peak", "end", "final", "init", "initial",
    "warmup", "decay", "weight", "wd", "vs", "scheduler", "schedule", "type", "name", "ratio", "factor", "policy",
    "finder", "beta", "eps", "drop", "patience",
}  # fmt: skip
_OF_CONFIGURATION = {"config", "args", "hparams", "params", "base", "hp"}

_COUNTS = {
    "update": "global_step global_steps step steps num_updates n_updates update updates current_steps current_step "
    "iteration iterations iteration_step iter iters optimizer_step optimizer_steps opt_step train_step training_step "
    "train_steps training_steps num_steps train_iter training_iteration n_iter num_iter iter_num step_num step_count "
    "it itr global_step/max_steps time/batch batch_num num_batches_seen _step",
    # These begin anew in every epoch; elsewhere `batch` is the size of one.
    "batch": "batch batch_idx batch_index batch_id batch_no minibatch mini_batch inner_iter batch_number i",
    "epoch": "epoch epochs epoch_num epoch_idx epoch_index epoch_id current_epoch cur_epoch n_epoch ep epoch_number",
}
_COUNTED = {unit: names.split() for unit, names in _COUNTS.items()}
PREFIXES = ("train/", "trainer/", "training/", "metrics/", "eval/", "val/", "test/", "validation/")


@cache
def words_of(name: str) -> tuple[str, ...]:
    """The words of a name, in small letters: camelCase, blanks, signs and digits part them; pairs are one word."""
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", str(name))
    text = " ".join(re.findall(r"[a-z]+|\d+", text.lower()))
    for pair, word in (("learning rates", "lr"), ("learning rate", "lr"), ("learningrate", "lr")):
        text = text.replace(pair, word)
    text = re.sub(r"\b(lrs|lrate)\b", "lr", text)
    return tuple(text.replace("cross entropy", "crossentropy").replace("held out", "heldout").split())


def loss_rank(name: str) -> int | None:
    """The kind of loss that a column holds by its name, None if by its name it holds none."""
    words = set(words_of(name))
    spoken = {word for word in words if not word.isdigit()}
    if words & _PERPLEXITY and not words & (_NO_LOSS - _PERPLEXITY):
        return PERPLEXITY
    if words & _NO_LOSS:
        return None
    if not words & _LOSS:
        return ERROR if words & _ERRORS and spoken <= _ERRORS | _PLAIN else None
    if "final" in words:
        return FINAL
    if words & _REWARDS:
        return OF_REWARDS
    if not spoken <= _PLAIN | _LOSS | _SMOOTH or len(spoken) < len(words):
        return COMPONENT
    if words & _SMOOTH:
        return SMOOTHED
    if words & VALID:
        return VALIDATION
    return EPOCH_MEAN if "epoch" in words else TRAINING


def rate_rank(name: str) -> int | None:
    """How well a name fits a learning rate; the first group of parameters is the best. None if not at all."""
    words = words_of(name)
    if "lr" not in words or set(words) & _NO_RATE:
        return None
    number = next((int(word) for word in words if word.isdigit()), 0)
    if set(words) & _OF_CONFIGURATION:
        return 1000 + min(number, 99)
    is_plain = {word for word in words if not word.isdigit()} <= _RATE_PLAIN
    return (0 if len(words) == 1 else 1 if is_plain else 100) + min(number, 99)


def step_rank(name: str, *, within_epoch: bool = False) -> int | None:
    """How well a name fits a count of updates; with `within_epoch`, one that may begin anew in every epoch."""
    known = _COUNTED["batch" if within_epoch else "update"]
    return next((known.index(form) for form in _last_forms(name) if form in known), None)


def is_epoch(name: str) -> bool:
    """Whether a name is one of an epoch's number."""
    return any(form in _COUNTED["epoch"] for form in _last_forms(name))


def phase_of(text: str) -> str | None:
    """Give "train" or "val" for a word that says so, such as `train_step` or `validation`, else None."""
    words = set(words_of(text))
    return "train" if words & TRAIN else "val" if words & VALID else None


def listed(names: Iterable[str]) -> str:
    """Names in quotes, with commas."""
    return ", ".join(repr(str(name)) for name in names)


def _last_forms(name: str) -> tuple[str, ...]:
    """A name as it stands, with its blanks filled, its last part alone, and its words."""
    plain = re.sub(r"\s+", " ", str(name)).strip().lower().replace(" ", "_")
    return plain, plain.rpartition("/")[2], plain.rpartition(".")[2], "_".join(words_of(name))
