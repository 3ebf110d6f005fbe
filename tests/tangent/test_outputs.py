"""Which of a model's outputs is measured: the obvious one, the one that is named, or a refusal in words."""

from collections import namedtuple
from dataclasses import dataclass

import pytest
import torch
from torch import nn
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.utils import ModelOutput

import eigenflow as ef
from eigenflow.core.errors import ArgumentError, ModelError
from eigenflow.tangent.model.outputs import chosen_output, name_output
from problems import samples, tanh_net
from reference.kernel_rates import Flow, assert_measured

INPUTS, TARGETS = samples()
Pair = namedtuple("Pair", ["scores", "hidden"])


@dataclass
class Plain:
    """Neither mapping nor sequence."""

    scores: torch.Tensor


class Returns(nn.Module):
    """Whatever is made of the outputs and of the hidden layer, which has another width."""

    def __init__(self, form):
        super().__init__()
        self.net, self.form = tanh_net(), form

    def forward(self, x):
        hidden = self.net[:-1](x)
        return self.form(self.net[-1](hidden), hidden)


# What is returned, what is passed as `output`, what is said to be taken.
TAKEN = {
    "tensor": (lambda z, h: z, None, None),
    "model output": (lambda z, h: SequenceClassifierOutput(logits=z, hidden_states=(h,)), None, "logits"),
    "dict": (lambda z, h: {"hidden": h, "logits": z}, None, "logits"),
    "dict of one": (lambda z, h: {"anything": z}, None, "anything"),
    "dict with numbers": (lambda z, h: {"loss": z.sum(), "mine": z, "count": 3}, None, "mine"),
    "tuple": (lambda z, h: (z, h), None, 0),
    "tuple with none": (lambda z, h: (z, None), None, 0),
    "tuple with loss": (lambda z, h: (h.sum(), z), None, 1),
    "list": (lambda z, h: [z, h, h], None, 0),
    "key": (lambda z, h: {"a": h, "b": z}, "b", "b"),
    "attribute": (lambda z, h: Plain(z), "scores", "scores"),
    "named tuple": (lambda z, h: Pair(z, h), "scores", "scores"),
    "named tuple, obvious": (lambda z, h: Pair(z, h), None, 0),
    "index": (lambda z, h: (h, z), 1, 1),
    "negative index": (lambda z, h: (h, h, z), -1, -1),
    "index into a model output": (lambda z, h: SequenceClassifierOutput(logits=z), 0, 0),
    "lambda": (lambda z, h: (h, (h, {"deep": z})), lambda out: out[1][1]["deep"], "a function"),
    "function": (lambda z, h: (h, z), None, "last_one"),
}


def last_one(returned):
    return returned[-1]


@pytest.mark.parametrize("name", TAKEN)
def test_what_is_taken_is_measured_and_said(name):
    form, output, said = TAKEN[name]
    output = last_one if said == "last_one" else output
    probe = ef.Probe(Returns(form), INPUTS, TARGETS, output=output)
    assert_measured(probe.measure(), Flow(tanh_net(), INPUTS, TARGETS))
    assert probe.describe()["output"] == said


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_recurrent_layers_return_their_outputs_first(kind):
    torch.manual_seed(0)
    model, x = kind(3, 2, batch_first=True).double(), torch.randn(3, 2, 3, dtype=torch.float64)
    y = torch.randn(3, 2, 2, dtype=torch.float64)
    snapshot = ef.Probe(model, x, y).measure()
    assert_measured(snapshot, Flow(model, x, y, select=lambda returned: returned[0]))


def test_attention_returns_its_outputs_first():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.MultiheadAttention(4, 2, batch_first=True)

        def forward(self, x):
            return self.inner(x, x, x)

    torch.manual_seed(0)
    model, x = Attention().double(), torch.randn(2, 3, 4, dtype=torch.float64)
    y = torch.randn(2, 3, 4, dtype=torch.float64)
    snapshot = ef.Probe(model, x, y).measure(drift=False)
    assert_measured(snapshot, Flow(model, x, y, select=lambda returned: returned[0]))


def test_complex_outputs_are_taken_apart_as_the_message_says():
    model, targets = Returns(lambda z, h: torch.complex(z, z.sin())), TARGETS.repeat_interleave(2, 1)
    with pytest.raises(ModelError, match=r"complex.*output=lambda z: torch.view_as_real\(z\)\.flatten\(1\)"):
        ef.Probe(model, INPUTS, targets)

    def remedy(z):
        return torch.view_as_real(z).flatten(1)

    probe = ef.Probe(model, INPUTS, targets, output=remedy)
    assert_measured(probe.measure(), Flow(model, INPUTS, targets, select=remedy))


def refused(form, match, error=ModelError, **options):
    with pytest.raises(error, match=match):
        ef.Probe(Returns(form), INPUTS, TARGETS, **options)


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("form", "match"),
    [
        (lambda z, h: {"a": z, "b": h}, r"keys \['a', 'b'\].*output=key or index or function"),
        (lambda z, h: (None, z, h), "3 entries.*not obvious"),
        (lambda z, h: Plain(z), "Plain.*not obvious"),
        (lambda z, h: {}, "not obvious"),
        (lambda z, h: (), "0 entries.*not obvious"),
        (lambda z, h: None, "NoneType"),
        (lambda z, h: "text", "str"),
        (lambda z, h: z.argmax(1), "torch.int64.*argmax.*Return the scores"),
        (lambda z, h: z > 0, "torch.bool.*comparisons"),
    ],
)
def test_what_is_not_obvious_is_refused(form, match):
    refused(form, match)


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("output", "match", "error"),
    [
        ("wrong", r"keys \['logits', 'hidden'\].*'wrong' gives KeyError", ArgumentError),
        (7, "gives KeyError", ArgumentError),
        (lambda out: out["logits"][99], "gives IndexError", ArgumentError),
        (lambda out: out.nothing, "gives AttributeError", ArgumentError),
        (lambda out: 1.0, "what is taken is float", ModelError),
        (lambda out: out["logits"].argmax(1), "torch.int64", ModelError),
        (lambda out: out["logits"].sum(), "one row of outputs a sample", ArgumentError),
        (lambda out: 1 / 0, "cannot be evaluated.*ZeroDivisionError", ArgumentError),
    ],
)
def test_a_wrong_choice_names_what_there_is(output, match, error):
    refused(lambda z, h: {"logits": z, "hidden": h}, match, error=error, output=output)


@pytest.mark.rejects
def test_a_key_of_a_tensor_and_an_index_out_of_range_are_refused():
    refused(lambda z, h: (z, h), "gives IndexError", error=ArgumentError, output=5)
    refused(lambda z, h: z, "gives AttributeError", error=ArgumentError, output="logits")


def test_labels_of_a_model_output_take_precedence_over_its_states():
    z, h = torch.zeros(2, 3), torch.zeros(2, 4)
    assert name_output(ModelOutput(last_hidden_state=h, logits=z), None) == "logits"
    assert name_output(ModelOutput(last_hidden_state=h, pooler_output=z), None) == "last_hidden_state"
    assert chosen_output(ModelOutput(logits=z), "logits") is z
