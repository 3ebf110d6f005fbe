"""A collated batch of Hugging Face as a probe: the loss that the model itself computes from its labels.

Which part of the logits meets which labels (shifted for causal models, as they stand for masked ones, one for a whole
sequence, ...) is not looked up by the model's name. Every reading that the shapes allow is tried, and the one is taken
with which the loss is the model's own, at the present parameters and at others near them. If there is none, the batch
is refused, so no probe has another loss than the model.

Works for any module that takes the batch by name and returns a mapping with `loss` and `logits` (or `start_logits` and
`end_logits`). Only PyTorch is imported.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from eigenflow.core.checks import check_kind
from eigenflow.core.errors import ArgumentError, ModelError
from eigenflow.tangent import AbstractLoss, CrossEntropyLoss, Probe, SquaredLoss, make_loss
from eigenflow.tangent.loss.cross_entropy import IGNORED_LABEL
from eigenflow.tangent.model.evaluation import undisturbed
from eigenflow.tangent.model.network import Network
from eigenflow.tangent.model.samples import checked_inputs
from eigenflow.tangent.model.wrappers import unwrapped

__all__ = ["BatchProbe", "Logits", "evaluating", "language_probe", "probe_arguments", "read_batch"]

# Relative distance of the probe's loss from the model's own: sums of the same terms in another order.
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4}
# Relative size of the change of parameters with which a reading is tried again: outputs that are all equal, as of a
# head that starts at zero, make every reading the same.
NEARBY = 0.05
BY_HAND = "Make the probe by hand: Probe(model, inputs, targets, loss=..., output=...)."
# What models of Hugging Face call the function that makes a decoder's inputs.
PREPARE = "prepare_decoder_input_ids_from_labels"
SPAN = ("start_positions", "end_positions")


@dataclass(frozen=True)
class Logits:
    """Takes the logits that meet a label out of what a model returns; passed to `Probe` as `output`.

    Attributes:
        positions: Positions of a sequence that are kept; None: all of them, or there are none.
        is_span: Whether logits of starts and ends are stacked, as in extractive question answering.
    """

    positions: tuple[int, ...] | None = None
    is_span: bool = False

    def __call__(self, returned: Any) -> Tensor:
        """Logits, sample axis first."""
        if self.is_span:
            return torch.stack([returned["start_logits"], returned["end_logits"]], 1)
        logits = returned["logits"]
        if self.positions is None:
            return logits
        first, last = self.positions[0], self.positions[-1]
        is_range = last - first + 1 == len(self.positions)
        return logits[:, first : last + 1] if is_range else logits[:, list(self.positions)]

    @property
    def __name__(self) -> str:
        """What a record says was taken."""
        if self.is_span:
            return "start_logits and end_logits"
        return "logits" if self.positions is None else f"logits of {len(self.positions)} positions"


@dataclass(frozen=True)
class BatchProbe:
    """What `Probe` is made of, for one batch.

    Attributes:
        inputs: Of the forward pass, by name, without labels.
        targets: What the outputs meet.
        loss: A loss object, not yet bound.
        output: Takes the outputs out of what the model returns.
        kind: The reading, in words.
        own_loss: What the model itself says.
        classes: Outputs that meet one label.
    """

    inputs: dict[str, Any]
    targets: Tensor
    loss: AbstractLoss
    output: Logits
    kind: str
    own_loss: float
    classes: int


def language_probe(
    model: nn.Module,
    batch: Mapping[str, Any],
    *,
    holdout: Mapping[str, Any] | None = None,
    dtype: torch.dtype = torch.float64,
    label_smoothing: float = 0.0,
    sketch: Callable[[AbstractLoss], AbstractLoss] | None = None,
    check_determinism: bool = True,
    memory_budget: int | None = None,
) -> Probe:
    """Make a probe whose loss is `model(**batch).loss`.

    The model is measured in eval mode, whatever mode it is in, and is in its own again afterwards. Positions that no
    sample has a label for are left out of the operator, which changes nothing: they have no error.

    Args:
        model: A model of Hugging Face, or one that is called in the same way; wrappers are taken off.
        batch: As the collator gives it, with `labels` (or start and end positions). Brought to the model's device.
        holdout: A test batch, or None.
        dtype: Type in which all is evaluated, and in which the loss is held against the model's own.
        label_smoothing: As `Trainer` adds it to the model's loss (`label_smoothing_factor`).
        sketch: Called with the loss, to see it through fewer outputs: large vocabularies make many rows. For example
            `lambda loss: eigenflow.sketched(loss, count=4, generator=generator)`.
        check_determinism: As for `Probe`.
        memory_budget: As for `Probe`.

    Raises:
        ArgumentError: For a batch without labels, or with what the model does not take.
        ModelError: If the model's loss is not one of logits and labels.
    """
    told = probe_arguments(model, batch, holdout=holdout, dtype=dtype, label_smoothing=label_smoothing, sketch=sketch)
    with evaluating(model):
        return Probe(model, **told, check_determinism=check_determinism, memory_budget=memory_budget)


def probe_arguments(
    model: nn.Module,
    batch: Mapping[str, Any],
    *,
    holdout: Mapping[str, Any] | None = None,
    dtype: torch.dtype = torch.float64,
    label_smoothing: float = 0.0,
    sketch: Callable[[AbstractLoss], AbstractLoss] | None = None,
) -> dict[str, Any]:
    """What `language_probe` makes its probe of, for other probes than `Probe`; make them inside `evaluating`.

    Args:
        model: As for `language_probe`, and so are the others.
        batch: Likewise.
        holdout: Likewise.
        dtype: Likewise.
        label_smoothing: Likewise.
        sketch: Likewise.

    Raises:
        ArgumentError, ModelError: As `language_probe`.
    """
    found = read_batch(model, batch, dtype=dtype)
    held = None if holdout is None else read_batch(model, holdout, dtype=dtype, name="holdout")
    if held is not None:
        found, held = _alike(found, held)
    found = _without_empty_positions(found, held)
    positions = found.output.positions
    loss = found.loss
    if label_smoothing:
        if not isinstance(loss, CrossEntropyLoss):
            raise ArgumentError(f"`label_smoothing` is for class labels, but the loss is '{loss.name}'. Leave it out.")
        loss = replace(loss, label_smoothing=label_smoothing)
    return {
        "inputs": found.inputs,
        "targets": _kept(found.targets, positions),
        "loss": loss if sketch is None else sketch(loss),
        "holdout": None if held is None else (held.inputs, _kept(held.targets, positions)),
        "output": found.output,
        "dtype": dtype,
    }


@undisturbed()
@torch.no_grad()
def read_batch(
    model: nn.Module, batch: Mapping[str, Any], *, dtype: torch.dtype = torch.float64, name: str = "batch"
) -> BatchProbe:
    """Tell inputs from targets, and find the loss that the model computes from them.

    Args:
        model: As for `language_probe`.
        batch: Likewise.
        dtype: Type in which losses are compared.
        name: Of the batch, for messages.

    Raises:
        ArgumentError, ModelError: As `language_probe`.
    """
    check_kind("model", model, nn.Module, "a torch.nn.Module")
    check_kind(name, batch, Mapping, "a mapping of names to tensors, as a collator gives it")
    model = unwrapped(model)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    batch = {str(k): v.to(device) if isinstance(v, Tensor) else v for k, v in batch.items()}
    labels = _labels(batch, name)
    _require_taken(model, batch, name)
    inputs = {key: value for key, value in batch.items() if key not in labels} | _constants(model)
    if len(labels) == 1 and "decoder_input_ids" not in inputs and hasattr(model, PREPARE):
        # Models with a decoder make its inputs from the labels.
        inputs["decoder_input_ids"] = getattr(model, PREPARE)(labels=next(iter(labels.values())))
    with evaluating(model):
        runs = _Runs(model, dtype)
        own = runs.own(batch | _constants(model))
        returned = [runs.returned(inputs, state) for state in range(len(own))]
    keys = SPAN if labels.keys() == set(SPAN) else next(iter(labels))
    tried = []
    own_dtype = next(p.dtype for p in model.parameters() if p.is_floating_point())
    for kind, output, targets, loss in _readings(returned[0], labels, keys, own_dtype):
        ours = [_value(loss, output(one), targets, dtype) for one in returned]
        if all(abs(a - b) <= TOLERANCE[dtype] * max(abs(b), 1.0) for a, b in zip(ours, own, strict=True)):
            return BatchProbe(inputs, targets, loss, output, kind, own[0], int(output(returned[0]).shape[-1]))
        tried.append(f"{kind} {ours[0]:.8g}")
    raise ModelError(
        f"`model` ({type(model).__name__}) gives loss {own[0]:.8g} for `{name}`, and no reading of its logits and "
        f"{_listed(labels)} does: {', '.join(tried) or 'none fits their shapes'}. It may add another term (experts' "
        f"balance: config.output_router_logits=False) or weights. Make the probe by hand: Probe(model, inputs, "
        f"targets, loss=function of outputs and targets, output=...)."
    )


class _Runs:
    """The model at its present parameters and at others near them, in the probe's type."""

    def __init__(self, model: nn.Module, dtype: torch.dtype):
        self.network, self.dtype = Network(model, dtype, output=self._noted), dtype
        parameters, self.rest = self.network.state()
        generator = torch.Generator().manual_seed(0)
        nearby = {}
        for key, tensor in parameters.items():
            noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float64).to(tensor)
            scale = tensor.square().mean().sqrt()
            nearby[key] = tensor + NEARBY * (scale if scale > 0 else 1.0) * noise
        self.states = [parameters, nearby]
        self.seen: Any = None

    def _noted(self, returned: Any) -> Tensor:
        self.seen = returned
        return torch.zeros(1)

    def returned(self, inputs: Mapping[str, Any], state: int) -> Any:
        """What the forward pass returns."""
        samples = checked_inputs(inputs, "batch", self.dtype)
        self.network.apply_unflattened(self.states[state], self.rest, samples)
        if not isinstance(self.seen, Mapping):
            raise ModelError(
                f"`model` must return a mapping with `logits`, as models of Hugging Face do, but returns "
                f"{type(self.seen).__name__}. {BY_HAND}"
            )
        return self.seen

    def own(self, batch: Mapping[str, Any]) -> list[float]:
        """The model's own loss at both; at the present parameters alone if the others give no number."""
        found = []
        for state in range(2):
            loss = self.returned(batch, state).get("loss")
            if not isinstance(loss, Tensor) or loss.numel() != 1:
                raise ModelError(
                    "`model` returns no `loss` for the batch, so there is nothing to hold the probe's loss against. "
                    f"{BY_HAND}"
                )
            if bool(torch.isfinite(loss)) or state == 0:
                found.append(float(loss))
        if not abs(found[0]) < float("inf"):
            raise ArgumentError(
                "`batch` has a loss that is NaN or infinite. Look for a batch without a single label (all are "
                f"{IGNORED_LABEL}), or at the model's weights."
            )
        return found


Reading = tuple[str, Logits, Tensor, AbstractLoss]


def _readings(
    returned: Mapping[str, Any], labels: Mapping[str, Tensor], keys: Any, dtype: torch.dtype
) -> Iterator[Reading]:
    """What logits and labels may mean, as their shapes allow; the commonest first."""
    if keys == SPAN:
        if all(isinstance(returned.get(key), Tensor) for key in ("start_logits", "end_logits")):
            length = returned["start_logits"].shape[1]
            spans = torch.stack([labels[key].reshape(-1).clamp(0, length) for key in SPAN], 1)
            yield "spans", Logits(is_span=True), spans, CrossEntropyLoss(class_axis=-1, ignore_index=length)
        return
    logits, label = returned.get("logits"), labels[keys]
    if not isinstance(logits, Tensor) or len(label) != len(logits):
        return
    if not label.is_floating_point():
        yield from _class_readings(logits, label.long())
    if label.numel() == logits.numel():
        targets = label.reshape(logits.shape)
        targets = targets if targets.is_floating_point() else targets.to(dtype)
        yield "values", Logits(), targets, SquaredLoss(kind="mse")
        yield "independent labels", Logits(), targets, make_loss(nn.BCEWithLogitsLoss())


def _class_readings(logits: Tensor, label: Tensor) -> Iterator[Reading]:
    if logits.ndim == 3 and label.ndim == 2 and 0 < label.shape[1] <= logits.shape[1] and logits.shape[2] > 1:
        loss = CrossEntropyLoss(class_axis=-1)
        missing = logits.shape[1] - label.shape[1]  # prompts that an adapter puts before the sequence
        label = nn.functional.pad(label, (missing, 0), value=IGNORED_LABEL)
        if label.shape[1] > 1:
            before = tuple(range(label.shape[1] - 1))
            yield "next tokens", Logits(before), label[:, 1:], loss
        yield "tokens", Logits(tuple(range(label.shape[1]))), label, loss
    if logits.ndim == 2 and label.numel() == len(logits) and logits.shape[1] > 1:
        yield "one class a sample", Logits(), label.reshape(-1), CrossEntropyLoss()


def _value(loss: AbstractLoss, outputs: Tensor, targets: Tensor, dtype: torch.dtype) -> float:
    try:
        bound, flat = loss.bind(targets, outputs.shape, dtype, "labels")
    except ArgumentError:
        return float("nan")
    return float(bound.value(outputs.reshape(len(outputs), -1).to(dtype), flat))


def _without_empty_positions(found: BatchProbe, held: BatchProbe | None) -> BatchProbe:
    """Leave out the positions at which no sample has a label."""
    positions = found.output.positions
    if positions is None:
        return found
    has_label = (found.targets != IGNORED_LABEL).any(0)
    if held is not None:
        has_label = has_label | (held.targets != IGNORED_LABEL).any(0)
    return replace(found, output=replace(found.output, positions=tuple(has_label.nonzero().flatten().tolist())))


def _kept(targets: Tensor, positions: tuple[int, ...] | None) -> Tensor:
    return targets if positions is None else targets[:, list(positions)].contiguous()


def _alike(found: BatchProbe, held: BatchProbe) -> tuple[BatchProbe, BatchProbe]:
    """Both batches under one reading, as one `output` serves both."""
    if (found.kind, found.output) != (held.kind, held.output):
        raise ArgumentError(
            f"`holdout` must be a batch like `batch`, with sequences of one length: it is read as {held.kind} with "
            f"{held.output.__name__}, and `batch` as {found.kind} with {found.output.__name__}. Collate both with "
            f"padding='max_length'."
        )
    return found, held


def _labels(batch: Mapping[str, Any], name: str) -> dict[str, Tensor]:
    found = {key: value for key, value in batch.items() if "label" in key or key in SPAN}
    if found.keys() != set(SPAN) and len(found) != 1:
        raise ArgumentError(
            f"`{name}` must hold `labels`, or `start_positions` and `end_positions`, but holds {_listed(batch)}"
            f"{', with several kinds of labels' * (len(found) > 1)}. For causal models: labels=input_ids, with "
            f"{IGNORED_LABEL} where padded."
        )
    for key, value in found.items():
        check_kind(f"{name}[{key!r}]", value, Tensor, "a tensor, sample axis first")
    return found


def _require_taken(model: nn.Module, batch: Mapping[str, Any], name: str) -> None:
    known = _parameters(model)
    if any(one.kind is one.VAR_KEYWORD for one in known.values()):
        return
    if others := [key for key in batch if key not in known]:
        raise ArgumentError(
            f"`{name}` holds {_listed(others)}, which {type(model).__name__}.forward does not take. It takes "
            f"{_listed(known)}. Take them out, as Trainer does with remove_unused_columns=True."
        )


def _constants(model: nn.Module) -> dict[str, Any]:
    """What is the same for all samples: no cache, which changes no value and cannot be differentiated through."""
    constants: dict[str, Any] = {"use_cache": False} if "use_cache" in _parameters(model) else {}
    if getattr(getattr(model, "config", None), "return_dict", True) is False:
        constants["return_dict"] = True
    return constants


def _parameters(model: nn.Module) -> Mapping[str, inspect.Parameter]:
    inner: Any = getattr(model, "get_base_model", None)  # adapters pass everything on
    base = model if inner is None else inner()
    return inspect.signature(base.forward).parameters


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode, and every module back in its own afterwards."""
    before = [(module, module.training) for module in unwrapped(model).modules()]
    unwrapped(model).eval()
    try:
        yield
    finally:
        for module, was_training in before:
            module.training = was_training


def _listed(names: Any) -> str:
    return ", ".join(f"'{one}'" for one in names)
