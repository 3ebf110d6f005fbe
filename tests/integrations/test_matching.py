"""Probes made of a training step, against probes that are made by hand of the same network and loss."""

import re
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - as people write it

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import lightning.pytorch as lightning

import eigenflow as ef
from eigenflow.core.errors import ModelError
from eigenflow.integrations.matching import matching_probe
from eigenflow.tangent import CrossEntropyLoss
from integrations.lightning_modules import LIGHTNINGS_OWN

pytestmark = LIGHTNINGS_OWN
GENERATOR = torch.Generator().manual_seed(0)
INPUTS = torch.randn(7, 5, generator=GENERATOR)
LABELS = torch.randint(0, 3, (7,), generator=GENERATOR)
WEIGHT = torch.tensor([0.5, 1.0, 2.0])
IMAGES = torch.randn(6, 2, 5, 5, generator=GENERATOR)
MASKS = torch.randint(0, 3, (6, 5, 5), generator=GENERATOR)
TOKENS = torch.randint(0, 11, (4, 6), generator=GENERATOR)


def mlp(outputs=3):
    return nn.Sequential(
        nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Dropout(0.4), nn.Tanh(), nn.Linear(8, outputs)
    ).requires_grad_()


def step_of(function, network):
    """A module whose training step is a function of itself and the batch."""

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.network = network
            self.seen = []
            self.register_buffer("weight", WEIGHT)

        def forward(self, inputs):
            return F.log_softmax(self.network(inputs), 1)

        def training_step(self, batch, batch_idx):
            self.seen.append(batch_idx)
            return function(self, batch)

    torch.manual_seed(0)
    for one in network.modules():
        if hasattr(one, "reset_parameters"):
            one.reset_parameters()
    return Module()


KINDS = {
    "label smoothing": (
        lambda m, b: F.cross_entropy(m.network(b[0]), b[1], label_smoothing=0.1),
        mlp,
        (INPUTS, LABELS),
        lambda m: (INPUTS, LABELS, nn.CrossEntropyLoss(label_smoothing=0.1)),
    ),
    "class weights of a buffer": (
        lambda m, b: F.cross_entropy(m.network(b["x"]), b["label"], weight=m.weight),
        mlp,
        {"x": INPUTS, "label": LABELS, "name": ["a"] * 7},
        lambda m: (INPUTS, LABELS, nn.CrossEntropyLoss(weight=WEIGHT)),
    ),
    "log-probabilities": (
        lambda m, b: {"loss": F.nll_loss(m(b[0]), b[1]), "other": 1},
        mlp,
        [INPUTS, LABELS],
        lambda m: (INPUTS, LABELS, "cross_entropy"),
    ),
    "squeezed": (
        lambda m, b: F.mse_loss(m.network(b[0]).squeeze(1), b[1]),
        lambda: mlp(1),
        (INPUTS, INPUTS[:, 0] ** 2),
        lambda m: (INPUTS, INPUTS[:, :1] ** 2, "mse"),
    ),
    "squares by hand, half the sum over outputs": (
        lambda m, b: 0.5 * (m.network(b[0]) - b[1]).pow(2).sum(1).mean(),
        mlp,
        (INPUTS, INPUTS[:, :3]),
        lambda m: (INPUTS, INPUTS[:, :3], "half_mean"),
    ),
    "sum over the batch": (
        lambda m, b: F.mse_loss(m.network(b[0]), b[1], reduction="sum"),
        mlp,
        (INPUTS, INPUTS[:, :3]),
        lambda m: (INPUTS, INPUTS[:, :3], "sum_squares"),
    ),
    "independent labels of whole numbers": (
        lambda m, b: F.binary_cross_entropy_with_logits(m.network(b[0])[:, 0], b[1].float()),
        lambda: mlp(1),
        (INPUTS, LABELS.clamp(max=1)),
        lambda m: (INPUTS, LABELS.clamp(max=1)[:, None].float(), nn.BCEWithLogitsLoss()),
    ),
    "Huber, scaled": (
        lambda m, b: 3.0 * F.huber_loss(m.network(b[0]), b[1], delta=8.0),
        mlp,
        (INPUTS, INPUTS[:, :3]),
        lambda m: (INPUTS, INPUTS[:, :3], lambda o, t: 3.0 * F.huber_loss(o, t, delta=8.0)),
    ),
    "Poisson": (
        lambda m, b: F.poisson_nll_loss(m.network(b[0]), b[1].float()),
        lambda: mlp(1),
        (INPUTS, LABELS[:, None]),
        lambda m: (INPUTS, LABELS[:, None].float(), nn.PoissonNLLLoss()),
    ),
    "an autoencoder of one tensor": (
        lambda m, b: F.mse_loss(m.network(b), b),
        lambda: mlp(5),
        INPUTS,
        lambda m: (INPUTS, INPUTS, "mse"),
    ),
    "segmentation": (
        lambda m, b: F.cross_entropy(m.network(b[0]), b[1]),
        lambda: nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, 3, 1)),
        (IMAGES, MASKS),
        lambda m: (IMAGES, MASKS, CrossEntropyLoss(class_axis=1)),
    ),
    "tokens, flattened": (
        lambda m, b: F.cross_entropy(m.network(b["ids"]).view(-1, 11), b["ids"].view(-1)),
        lambda: nn.Sequential(nn.Embedding(11, 4), nn.Linear(4, 11)),
        {"ids": TOKENS},
        lambda m: (TOKENS, TOKENS, CrossEntropyLoss(class_axis=-1)),
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_network_and_loss_are_those_of_the_step(kind):
    """Eigenvalues of a probe made by hand: the same operator, 1e-10 as sums are in another order."""
    step, network, batch, by_hand = KINDS[kind]
    module = step_of(step, network())
    found = matching_probe(module, batch)
    inputs, targets, loss = by_hand(module)
    modes = module.network.training
    module.network.eval()
    expected = ef.Probe(module.network, inputs, targets, loss=loss)
    module.network.train(modes)
    assert found.network.model is module.network and module.training and module.network.training
    torch.testing.assert_close(
        found.measure(drift=False).eigenvalues, expected.measure(drift=False).eigenvalues, rtol=1e-10, atol=1e-12
    )
    if not callable(loss) or isinstance(loss, nn.Module):
        assert found.factor == pytest.approx(expected.factor, rel=1e-12)
    assert module.seen == []


class Stacked(lightning.LightningModule):
    """As in the first example of Lightning's documentation: no network of its own, `forward` is never called."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.encoder, self.decoder = nn.Linear(5, 2), nn.Linear(2, 5)

    def training_step(self, batch, batch_idx):
        inputs, _ = batch
        inputs = inputs.view(inputs.size(0), -1)
        loss = F.mse_loss(torch.relu(self.decoder(self.encoder(inputs))), inputs)
        self.log("train_loss", loss)
        return loss


def test_networks_that_the_step_puts_together():
    """The operator follows the live parameters, although the network is a copy of the module."""
    module = Stacked()
    found = matching_probe(module, (INPUTS, LABELS))
    whole = nn.Sequential(module.encoder, module.decoder, nn.ReLU())
    for _ in range(2):
        expected = ef.Probe(whole, INPUTS, INPUTS).measure(drift=False)
        torch.testing.assert_close(found.measure(drift=False).eigenvalues, expected.eigenvalues, rtol=1e-10, atol=1e-12)
        with torch.no_grad():
            module.encoder.weight.mul_(1.5)


class Language(lightning.LightningModule):
    """A language model that is shifted in the step, with a decoder that is tied."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(11, 4)
        self.mixing = nn.GRU(4, 4, batch_first=True)

    def training_step(self, batch):
        hidden, _ = self.mixing(self.embedding(batch[:, :-1]))
        logits = hidden @ self.embedding.weight.T
        return F.cross_entropy(logits.reshape(-1, 11), batch[:, 1:].reshape(-1))


def test_a_step_that_shifts_tokens_and_ties_weights():
    module = Language()
    found = matching_probe(module, TOKENS)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.module = module

        def forward(self, tokens):
            return self.module.mixing(self.module.embedding(tokens))[0] @ self.module.embedding.weight.T

    expected = ef.Probe(Net().eval(), TOKENS[:, :-1], TOKENS[:, 1:], loss=CrossEntropyLoss(class_axis=-1))
    assert found.size == expected.size == 4 * 5 * 11
    torch.testing.assert_close(
        found.measure(drift=False).eigenvalues[:40],
        expected.measure(drift=False).eigenvalues[:40],
        rtol=1e-9,
        atol=1e-12,
    )


def test_noise_of_a_denoising_step_stays_the_same():
    """Targets that the step draws are those of the probe, at all parameters."""

    def step(module, batch):
        noise = torch.randn_like(batch)
        return F.mse_loss(module.network(batch + noise), noise)

    found = matching_probe(step_of(step, mlp(5)), INPUTS)
    assert float(found.targets.std()) > 0.5 and found.samples == 7
    assert found.measure(4, drift=False).eigenvalues[0] > 0


def test_probes_are_made_small_enough():
    """Fewer samples first, but not under four; then positions that are the same for all samples."""
    module = step_of(KINDS["segmentation"][0], KINDS["segmentation"][1]())
    said = []
    found = matching_probe(module, (IMAGES, MASKS), max_rows=5 * 75, say=said.append)
    assert (found.samples, found.size) == (5, 5 * 75)
    found = matching_probe(module, (IMAGES, MASKS), max_rows=100, say=said.append)
    assert (found.samples, found.size) == (4, 4 * 3 * 8)
    assert "4 of 6 samples, 8 positions of each" in said[-1] and "max_rows=100" in said[-1]
    positions = [index * 25 // 8 for index in range(8)]
    expected = ef.Probe(
        nn.Sequential(*module.network, nn.Flatten(2)).eval(),
        IMAGES[:4],
        MASKS[:4].flatten(1)[:, positions],
        loss="cross_entropy",
        output=lambda outputs: outputs[:, :, positions],
    )
    torch.testing.assert_close(
        found.measure(drift=False).eigenvalues, expected.measure(drift=False).eigenvalues, rtol=1e-10, atol=1e-12
    )
    network = KINDS["segmentation"][1]()
    regression = step_of(lambda m, b: F.mse_loss(m.network(b[0]), b[1]), network)
    found = matching_probe(regression, (IMAGES, IMAGES[:, :1].expand(-1, 3, -1, -1)), max_rows=40)
    assert (found.samples, found.size) == (4, 40)


def test_buffers_and_logging_of_the_live_module_are_untouched():
    module = step_of(KINDS["segmentation"][0], KINDS["segmentation"][1]())
    module.network.insert(1, nn.BatchNorm2d(4))
    module.network[1].eval()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    state = torch.get_rng_state()
    found = matching_probe(module, (IMAGES, MASKS))
    found.measure(4, drift=False)
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())
    assert not module.network[1].training and module.network[0].training and module.seen == []


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("step", "message"),
    [
        (
            lambda m, b: F.cross_entropy(m.network(b[0]), b[1]) + 0.1 * m.network[0].weight.square().sum(),
            r"no reading of its networks' outputs.*cross_entropy.*penalty.*Pass probe=",
        ),
        (lambda m, b: F.l1_loss(m.network(b[0]), b[0][:, :3]), r"no reading of"),
        (lambda m, b: None, r"gives no loss that depends on trainable parameters"),
        (lambda m, b: m.nothing, r"could not be run on a copy.*AttributeError.*Pass probe="),
        (
            lambda m, b: min(0, *[id(m.manual_backward(m.network(b[0]).mean())) for _ in range(2)]),
            r"goes back from 2 losses",
        ),
    ],
)
def test_what_is_not_the_steps_own_loss_is_refused(step, message):
    with pytest.raises(ModelError, match=re.compile(message, re.DOTALL)):
        matching_probe(step_of(step, mlp()), (INPUTS, LABELS))
