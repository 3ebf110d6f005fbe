"""Inputs as people have them: measured as one tensor would be, or refused with a remedy that works."""

import math
from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from transformers import BatchEncoding

import eigenflow as ef
from eigenflow.core.errors import ArgumentError, NonFiniteError, ShapeError
from problems import tanh_net
from reference.kernel_rates import Flow, assert_measured

COUNT = 5


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Joined(nn.Module):
    """One network on whatever it is given, put side by side."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.net = tanh_net(inputs=5)

    def forward(self, a, b=None, scale=1.0, flag=None):
        if isinstance(a, dict):
            a, b = a["a"], a["more"][0]
        elif isinstance(a, list | tuple):
            a, b = a
        assert flag in (None, True)
        return self.net(torch.cat([a, b], 1) * scale)


A, B, TARGETS = draw(COUNT, 2), draw(COUNT, 3, seed=1), draw(COUNT, 2, seed=2)

KINDS = {
    "tuple": (A, B),
    "list": [A, B],
    "dict": {"b": B, "a": A},
    "ordered dict": OrderedDict(b=B, a=A),
    "batch encoding": BatchEncoding({"a": A, "b": B}),
    "nested dict": ({"a": A, "more": [B, None]},),
    "nested tuple": ((A, B),),
    "nested by name": {"a": [A, B]},
    "constants": {"a": A, "b": B, "scale": 1.0, "flag": True},
    "none and 0-dim": (A, B, torch.tensor(1.0, dtype=torch.float64), None),
}


@pytest.mark.parametrize("method", ["dense", "products"])
@pytest.mark.parametrize("kind", KINDS)
def test_parts_give_the_snapshot_of_one_concatenated_tensor(kind, method):
    """The same operations on the same numbers, up to the order of sums."""
    model = Joined()
    expected = ef.Probe(model.net, torch.cat([A, B], 1), TARGETS).measure(4, method=method)
    found = ef.Probe(model, KINDS[kind], TARGETS).measure(4, method=method)
    for name in ("eigenvalues", "eigenvalue_rates", "error"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(found.coefficients.abs(), expected.coefficients.abs(), rtol=1e-10, atol=1e-12)
    assert found.loss == pytest.approx(expected.loss, rel=1e-14)
    assert found.operator_error < 1e-12


def test_constants_reach_the_forward_pass_as_they_are():
    inputs = (A, B, torch.tensor(0.5, dtype=torch.float64), True)
    assert_measured(ef.Probe(Joined(), inputs, TARGETS).measure(), Flow(Joined(), inputs, TARGETS))


def test_holdout_takes_the_same_kinds():
    inputs, targets = {"a": draw(3, 2, seed=4), "b": draw(3, 3, seed=5)}, draw(3, 2, seed=6)
    model = Joined()
    probe = ef.Probe(model, {"a": A, "b": B}, TARGETS, holdout=(inputs, targets))
    expected = float((model(**inputs).detach() - targets).square().mean())
    assert probe.holdout_loss(probe.at()) == pytest.approx(expected, rel=1e-14)


def test_the_user_s_containers_stay_as_they_are():
    inputs = {"a": A.float(), "b": B, "flag": None}
    with pytest.raises(ArgumentError):
        ef.Probe(Joined(), {"a": A, "b": B[:2]}, TARGETS)
    ef.Probe(Joined(), {"a": A, "b": B}, TARGETS).measure()
    assert list(inputs) == ["a", "b", "flag"] and inputs["a"].dtype == torch.float32 and inputs["b"] is B


def refused(inputs, match, model=None, error=ArgumentError):
    with pytest.raises(error, match=match):
        ef.Probe(model or Joined(), inputs, TARGETS)


@pytest.mark.rejects
def test_other_lengths_are_named_and_expand_is_the_remedy():
    shared = draw(1, 3, seed=1)
    refused((A, shared), r"5 in inputs\[0\], 1 in inputs\[1\].*x\.expand\(samples", error=ShapeError)
    probe = ef.Probe(Joined(), (A, shared.expand(COUNT, 3)), TARGETS)
    assert_measured(probe.measure(), Flow(Joined(), (A, shared.expand(COUNT, 3)), TARGETS))
    refused({"a": A, "b": B[:4]}, r"5 in inputs\['a'\], 4 in inputs\['b'\]", error=ShapeError)


@pytest.mark.rejects
def test_samples_in_a_list_are_stacked():
    """As many samples as arguments of forward would look like arguments; as many as samples do not."""
    model, samples = tanh_net(inputs=3), list(B)
    refused(samples, r"have 3 and 5.*torch\.stack\(inputs\)", model=model, error=ShapeError)
    assert_measured(ef.Probe(model, torch.stack(samples), TARGETS).measure(), Flow(model, B, TARGETS))


@pytest.mark.rejects
def test_sequences_of_different_lengths_are_padded():
    model = Sequences()
    sequences = [draw(length, 3, seed=length) for length in (2, 4, 3, 1, 4)]
    refused(sequences, r"different lengths.*pad_sequence\(inputs, batch_first=True\)", model=model)
    padded = torch.nn.utils.rnn.pad_sequence(sequences, batch_first=True)
    lengths = torch.tensor([len(s) for s in sequences])
    snapshot = ef.Probe(model, (padded, lengths), TARGETS).measure(drift=False)
    assert_measured(snapshot, Flow(model, (padded, lengths), TARGETS))


class Sequences(nn.Module):
    """Packs its inputs itself, as the message about packed sequences says."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.core, self.head = nn.GRU(3, 4, batch_first=True).double(), nn.Linear(4, 2).double()

    def forward(self, x, lengths):
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return self.head(self.core(packed)[1][0])


@pytest.mark.rejects
def test_packed_sequences_are_unpacked_by_what_the_message_says():
    sequences = [draw(length, 3, seed=length) for length in (2, 4, 3, 1, 4)]
    packed = nn.utils.rnn.pack_sequence(sequences, enforce_sorted=False)
    refused(packed, r"PackedSequence.*pad_packed_sequence\(x, batch_first=True\)", model=Sequences())
    padded, lengths = nn.utils.rnn.pad_packed_sequence(packed, batch_first=True)
    snapshot = ef.Probe(Sequences(), (padded, lengths), TARGETS).measure(drift=False)
    assert_measured(snapshot, Flow(Sequences(), (padded, lengths), TARGETS))


@pytest.mark.rejects
def test_a_loader_s_batch_is_taken():
    model = tanh_net(inputs=3)
    loader = DataLoader(TensorDataset(B, TARGETS), batch_size=COUNT)
    refused(loader, r"DataLoader.*next\(iter\(loader\)\)", model=model)
    inputs, targets = next(iter(loader))
    assert_measured(ef.Probe(model, inputs, targets).measure(), Flow(model, B, TARGETS))
    parts = list(DataLoader(TensorDataset(B, TARGETS), batch_size=2))
    probe = ef.Probe(model, torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts]))
    assert probe.samples == COUNT


@pytest.mark.rejects
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
def test_nested_and_sparse_tensors_are_made_dense():
    model = tanh_net(inputs=3)
    for layout in (torch.strided, torch.jagged):
        nested = torch.nested.nested_tensor([*B], layout=layout)
        refused(nested, r"nested.*to_padded_tensor\(x, 0\.0\)", model=model)
        probe = ef.Probe(model, torch.nested.to_padded_tensor(nested, 0.0), TARGETS)
        assert torch.equal(probe.inputs, B)
    sparse = B.to_sparse()
    refused(sparse, r"sparse_coo.*x\.to_dense\(\)", model=model)
    assert torch.equal(ef.Probe(model, sparse.to_dense(), TARGETS).inputs, B)


@pytest.mark.rejects
def test_arrays_and_frames_are_converted():
    model = tanh_net(inputs=3)
    refused(B.numpy(), r"ndarray.*torch\.as_tensor", model=model)
    assert torch.equal(ef.Probe(model, torch.as_tensor(B.numpy()), TARGETS).inputs, B)
    refused({"a": A.numpy(), "b": B.numpy()}, r"ndarray.*torch\.as_tensor")
    with pytest.raises(ArgumentError, match=r"`targets` must be a torch.Tensor, but is ndarray.*as_tensor"):
        ef.Probe(model, B, np.zeros((COUNT, 2)))


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("inputs", "match"),
    [
        ("text", "is str"),
        (b"text", "is bytes"),
        (3.0, "is float.*as_tensor"),
        (None, "is NoneType"),
        ([], "nothing"),
        ({}, "nothing"),
        (["a", "b"], "str"),
        ([1.0, 2.0], "float"),
        ({"a": None}, "NoneType"),
        (torch.tensor(1.0, dtype=torch.float64), "at least one sample"),
        ((torch.zeros(0, 2), torch.zeros(0, 3)), r"inputs\[0\].*at least one sample"),
    ],
)
def test_what_holds_no_samples_is_refused(inputs, match):
    refused(inputs, match)


@pytest.mark.rejects
def test_bad_numbers_are_found_by_path():
    bad = B.clone()
    bad[1, 1], bad[2, 0] = math.nan, math.inf
    refused({"a": A, "b": bad}, r"`inputs\['b'\]` must be finite, but has 2", error=NonFiniteError)


@pytest.mark.rejects
def test_a_dict_for_a_forward_without_these_names_is_refused_in_words():
    refused({"a": A, "c": B}, r"`model` cannot be evaluated.*unexpected keyword argument 'c'")
    refused((A, B, 1.0, None, A), r"`model` cannot be evaluated.*positional arguments")
