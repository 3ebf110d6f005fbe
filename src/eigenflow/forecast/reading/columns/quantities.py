"""What the numbers of a loss column are, by its name and by the columns beside it: a loss, or something else.

Accuracies and other scores rise, rewards and policy losses may be negative and rise: no forecast of those makes sense
here, so they are refused. Perplexities are turned into losses. What can be fitted, but is not what the law was made
for, gets a caution.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from eigenflow.core.errors import ArgumentError

__all__ = ["A_LOSS", "Quantity", "quantity_of"]

MOST_NAMED = 6
# Words of a column's name that say what it holds. A name is split at every sign and at capitals: `valLoss`, val loss.
SCORES = re.compile(
    r"acc|accuracy|accuracies|top\d*|map\d*|m?ap\d+|bleu\d*|sacrebleu|chrf|rouge\w*|meteor|cider|spice|f1|fscore|"
    r"precision|recall|m?iou|dice|auc|auroc|auprc|psnr|ssim|em|exact|match|score|scores|mcc|matthews|pearsonr?|"
    r"spearmanr?|kendall|r2|pck|ndcg|mrr|hits?\d*|winrate|margins?|correct"
)
POLICY = re.compile(
    r"rewards?|returns?|advantages?|policy|actor|critic|pg|vf|ppo|grpo|rloo|reinforce|approxkl|clipfrac|explained"
)
BOOKKEEPING = re.compile(
    r"gradnorm|norm|runtime|throughput|mfu|hfu|flops?|tflops?|memory|mem|gpu|samples|epochs?|seconds|secs?|ms|eta|lr"
)
LOSS_WORDS = {"loss", "losses", "error", "err", "nll", "ce", "xent", "entropy", "crossentropy", "perplexity", "ppl"}
VALIDATION = {"val", "valid", "validation", "eval", "evaluation", "test", "dev", "holdout", "heldout"}
ROOTS = re.compile(r"rmse|rmsd|rms|mae|rrmse")
BITS = re.compile(r"bpb|bpc|bpd|bits?")
GENERAL = {"loss", "losses", "train", "training", "total", "batch", "step", "epoch", "mean", "avg", "average"}
SMOOTHED = {"smooth", "smoothed", "ema", "ewma", "moving", "running"}
CONTRASTIVE = re.compile(r"contrastive|infonce|ntxent|nce|clip|simclr|moco|byol|dino|ibot|triplet")
ADVERSARIAL = re.compile(r"gan|generator|discriminator|gen|disc|adversarial|adv|g|d")
PREFERENCE = re.compile(r"dpo|ipo|kto|orpo|simpo|cpo|apo")
# Columns that only the training of a policy logs; a reward model logs none of them, a preference loss the second kind.
OF_POLICIES = re.compile(
    r"reward|reward_std|mean_reward_per_episode|rewards_(?!chosen|rejected|margins|accuracies).+|reward_mean|rewards_mean|"
    r"completion_length|completions_.+|objective_(kl|rlhf_reward|scores|entropy)|actor_.+|approx_?kl(_.+)?|"
    r"policy_(approxkl|clipfrac|entropy|gradient_loss|ratio).*|"
    r"clip_ratio.*|clip_frac(tion)?|clip_range|clipfrac|advantages?(_.+)?|(rollout_)?ep_rew_mean|exploration_rate|"
    r"episode_(reward|return).*|ppo_.+|kl_in_reward|average_returns?|"
    r"critic_(rewards?|scores?|returns?|advantages?|values?|vf)(_.+)?"
)
OF_PREFERENCES = re.compile(r"(rewards|logps|logits)_(chosen|rejected|margins)|log_odds_ratio")
TRACKERS = re.compile(r"^(train|trainer|training|eval|val|test|validation|metrics|env|expl|loss|rollout)_(?=.)")


@dataclass(frozen=True)
class Quantity:
    """What a column holds.

    Attributes:
        column: The file's name of it.
        kind: "loss", "perplexity", "root", "bits", "smoothed", "summed", "preference", "contrastive" or "adversarial".
        is_validation: Whether its name says that it was measured on data that were not trained on.
        others: Columns beside it that look like losses.
    """

    column: str = "loss"
    kind: str = "loss"
    is_validation: bool = False
    others: tuple[str, ...] = ()

    @property
    def named(self) -> str:
        """The column, for messages."""
        return f"column {self.column!r}"

    @property
    def advice(self) -> str:
        """Which other columns could be meant."""
        return _advice(self.others)

    @property
    def caution(self) -> str:
        """What makes a forecast of such values doubtful; nothing for a loss."""
        said = CAUTIONS.get(self.kind, "")
        return f"{self.named} {said}" if said else ""

    @property
    def unit(self) -> str | None:
        """Unit of the values where it is not that of a cross-entropy."""
        return {"root": "its own unit", "bits": "bits"}.get(self.kind)


CAUTIONS = {
    "root": "is a root of mean squares or a mean of absolute errors, fitted as it stands. If the mean square is "
    "a power law above a floor, its root is one only far above the floor: the square may be forecast better",
    "bits": "counts bits, not nats: its forecast is in bits as well. Pass `unit='bits'` (--unit bits) to convert",
    "smoothed": "is smoothed, so it lags behind the loss, and its points are not independent: intervals are too narrow",
    "summed": "is a sum and not a mean: it changes with the batch size and the length of the data",
    "preference": "is a preference loss (DPO and its kin): it starts at ln 2 and may fall to 0, which the law's priors "
    "were not made for",
    "contrastive": "is a contrastive loss: it depends on the batch size, and may rise slowly while training goes well",
    "adversarial": "is the loss of a game between two networks: it need not fall while training goes well",
}


A_LOSS = Quantity()


def quantity_of(column: str, available: Sequence[str], place: str) -> Quantity:
    """What a column holds.

    Args:
        column: That was taken, or chosen, for the loss.
        available: All columns of the table.
        place: File and curve, for messages.

    Raises:
        ArgumentError: If it is a score, a reward, a policy loss or no loss at all; says which columns could be meant.
    """
    words = words_of(column)
    others = tuple(name for name in available if name != column and looks_like_a_loss(name))
    is_rl = any(OF_POLICIES.fullmatch(plain) for name in available for plain in _plain(name))
    is_preference = any(OF_PREFERENCES.fullmatch(plain) for name in available for plain in _plain(name))
    # The loss of a trainer of policies is one; a loss of another name beside it need not be.
    is_rl = is_rl and not is_preference
    if is_rl:
        others = tuple(name for name in others if not words_of(name) <= GENERAL)
    if _is_policy(words) or (is_rl and words <= GENERAL):
        beside = "" if _is_policy(words) else ", beside columns that only the training of a policy logs,"
        raise ArgumentError(
            f"{place}: column {column!r}{beside} is a reward or a policy loss. Rewards and policy losses cannot be "
            f"forecast here: they may be negative and may rise, and no law of learning curves describes them. "
            f"{_advice(others)}"
        )
    if not words & LOSS_WORDS and any(SCORES.fullmatch(word) for word in words):
        raise ArgumentError(
            f"{place}: column {column!r} is a score, of which the values rise: this is no loss. Of a score up to 1, "
            f"the error 1 - {column} can be forecast, as a column of its own. {_advice(others)}"
        )
    is_bookkeeping = not words & LOSS_WORDS and any(BOOKKEEPING.fullmatch(word) for word in words)
    if is_bookkeeping or {"loss", "scale"} <= words:
        raise ArgumentError(f"{place}: column {column!r} is no loss. {_advice(others)}")
    kind = _kind(words, is_preference and not words & VALIDATION)
    return Quantity(column, kind, bool(words & VALIDATION), others)


def looks_like_a_loss(column: str) -> bool:
    """Whether a name is that of a loss, for advice."""
    words = words_of(column)
    is_other = _is_policy(words) or "scale" in words or any(SCORES.fullmatch(word) for word in words - LOSS_WORDS)
    return bool(words & {"loss", "losses", "nll", "perplexity", "ppl", "crossentropy", "rmse"}) and not is_other


def words_of(column: str) -> set[str]:
    """Words of a name, without case: `valLoss` and `val/loss` are val and loss."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z][a-z])", " ", str(column))
    found = set(re.sub(r"[^a-z0-9]+", " ", parted.lower()).split())
    return found | ({"gradnorm"} if {"grad", "norm"} <= found else set())


def _is_policy(words: set[str]) -> bool:
    """Whether a name is of rewards, of a policy or a value, of a bare KL divergence, or of an entropy."""
    is_entropy = "entropy" in words and not words & {"cross", "ce", "binary", "categorical", "softmax"}
    is_bare = "kl" in words and not words & {"loss", "losses", "distill", "distillation", "kd"}
    is_value = "value" in words and bool(words & LOSS_WORDS)
    is_clipping = "clip" in words and bool(words & {"frac", "fraction", "ratio"})
    return is_entropy or is_bare or is_value or is_clipping or any(POLICY.fullmatch(word) for word in words)


def _kind(words: set[str], is_preference: bool) -> str:
    if words & {"perplexity", "ppl"}:
        return "perplexity"
    if is_preference or any(PREFERENCE.fullmatch(word) for word in words):
        return "preference"
    if words & SMOOTHED:
        return "smoothed"
    if "sum" in words or "summed" in words:
        return "summed"
    for kind, pattern in (("bits", BITS), ("root", ROOTS), ("contrastive", CONTRASTIVE)):
        if any(pattern.fullmatch(word) for word in words):
            return kind
    return "adversarial" if "loss" in words and any(ADVERSARIAL.fullmatch(word) for word in words) else "loss"


def _plain(column: str) -> tuple[str, str]:
    """A name in small letters with `_` for every sign, with and without a tracker's prefix."""
    plain = re.sub(r"[^a-z0-9]+", "_", str(column).lower()).strip("_")
    return plain, TRACKERS.sub("", plain)


def _advice(others: Sequence[str]) -> str:
    if not others:
        return "No other column of the table looks like a loss."
    listed = ", ".join(map(repr, others[:MOST_NAMED])) + (" ..." if len(others) > MOST_NAMED else "")
    return f"Columns that could be meant: {listed} (`columns={{'loss': NAME}}`, --column loss=NAME)."
