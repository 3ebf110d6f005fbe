"""PyTorch's losses: values and gradients are torch's own, roots belong to autograd's Hessians, the rest is refused.

Oracles: the loss itself called on the outputs in float64, `torch.autograd.functional.hessian` of it, and differences of
the root over +-1e-6, whose own error is 1e-9 of the derivative.
"""

import copy
import functools

import pytest
import torch
from torch import nn
from torch.nn import functional

import eigenflow as ef
from eigenflow.core.errors import ArgumentError, NonFiniteError, ShapeError
from eigenflow.tangent import CrossEntropyLoss, GeneralLoss, SquaredLoss, make_loss
from eigenflow.tangent.loss.pointwise import AbstractPointwiseLoss

pytestmark = pytest.mark.filterwarnings("ignore:size_average and reduce args will be deprecated:UserWarning")

COUNT, CLASSES = 5, 4


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


VALUES, POSITIVE = draw(COUNT, CLASSES, seed=1), draw(COUNT, CLASSES, seed=2).exp()
LABELS = torch.tensor([0, 3, 1, 1, 2])
BITS, SIGNS = (VALUES > 0).long(), VALUES.sign()
SHARES = VALUES.sigmoid()
COUNTS = torch.tensor([0.0, 1.0, 2.0, 5.0]).double().expand(COUNT, CLASSES).contiguous()
SOFT = VALUES.softmax(-1)
WEIGHTS = torch.tensor([1.0, 0.5, 2.0, 3.0])

# Losses, and targets for them; outputs are standard normal unless said otherwise.
LOSSES = {
    "mse": (nn.MSELoss(), VALUES),
    "mse, sum": (nn.MSELoss(reduction="sum"), VALUES),
    "mse, function": (functional.mse_loss, VALUES),
    "mse, older reduction": (functools.partial(functional.mse_loss, size_average=False), VALUES),
    "mse, weights": (functools.partial(functional.mse_loss, weight=POSITIVE), VALUES),
    "cross-entropy": (nn.CrossEntropyLoss(), LABELS),
    "cross-entropy, function": (functional.cross_entropy, LABELS),
    "cross-entropy, weights": (nn.CrossEntropyLoss(weight=WEIGHTS), LABELS),
    "cross-entropy, zero weight": (nn.CrossEntropyLoss(weight=torch.tensor([1.0, 0.0, 2.0, 3.0])), LABELS),
    "cross-entropy, smoothing": (nn.CrossEntropyLoss(label_smoothing=0.1), LABELS),
    "cross-entropy, both": (nn.CrossEntropyLoss(weight=WEIGHTS, label_smoothing=0.2), LABELS),
    "cross-entropy, both and a class left out": (
        nn.CrossEntropyLoss(weight=WEIGHTS, label_smoothing=0.2, ignore_index=1),
        LABELS,
    ),
    "cross-entropy, both and sum": (nn.CrossEntropyLoss(WEIGHTS, reduction="sum", label_smoothing=0.2), LABELS),
    "cross-entropy, probabilities": (nn.CrossEntropyLoss(weight=WEIGHTS, label_smoothing=0.2), SOFT),
    "cross-entropy, partial": (functools.partial(functional.cross_entropy, label_smoothing=0.1), LABELS),
    "binary": (nn.BCEWithLogitsLoss(), SHARES),
    "binary, integers": (nn.BCEWithLogitsLoss(), BITS),
    "binary, booleans": (nn.BCEWithLogitsLoss(), BITS.bool()),
    "binary, weights": (nn.BCEWithLogitsLoss(weight=POSITIVE.float()[:, :1], pos_weight=WEIGHTS), BITS),
    "binary, sum": (nn.BCEWithLogitsLoss(reduction="sum", weight=WEIGHTS), SHARES),
    "binary, function": (functional.binary_cross_entropy_with_logits, BITS),
    "binary, of probabilities": (nn.BCELoss(), SHARES),
    "huber, wide": (nn.HuberLoss(delta=10.0), VALUES),
    "smooth l1, wide": (nn.SmoothL1Loss(beta=10.0, reduction="sum"), VALUES),
    "poisson": (nn.PoissonNLLLoss(), COUNTS),
    "poisson, full": (nn.PoissonNLLLoss(full=True, reduction="sum"), COUNTS),
    "poisson, rates": (nn.PoissonNLLLoss(log_input=False), COUNTS + 1),
    "soft margin": (nn.SoftMarginLoss(), SIGNS),
    "soft margin, integers": (nn.SoftMarginLoss(reduction="sum"), SIGNS.long()),
    "many labels": (nn.MultiLabelSoftMarginLoss(), BITS),
    "many labels, sum": (nn.MultiLabelSoftMarginLoss(weight=WEIGHTS, reduction="sum"), BITS),
    "squared hinge": (nn.MultiMarginLoss(p=2, margin=4.0, weight=WEIGHTS), LABELS),
    "squared hinge, sum": (nn.MultiMarginLoss(p=2, margin=4.0, reduction="sum"), LABELS),
    "gaussian": (functools.partial(functional.gaussian_nll_loss, var=0.5), VALUES),
}


def outputs_for(kind):
    outputs = draw(COUNT, CLASSES, seed=3)
    return outputs.sigmoid() if "of probabilities" in kind else outputs.exp() if "rates" in kind else outputs


def in_double(loss, targets):
    """torch's loss in float64, as a function of the outputs that can be differentiated twice."""
    if isinstance(loss, nn.MultiMarginLoss):  # its own second derivative is missing in PyTorch 2.13
        return lambda z: squared_hinge(z, targets, loss)
    if isinstance(loss, nn.Module):
        loss = copy.deepcopy(loss).double()
        if getattr(loss, "weight", None) is not None:
            loss.weight = loss.weight.double()
    is_class = targets.ndim == 1
    return lambda z: loss(z, targets if is_class else targets.double())


def squared_hinge(z, labels, loss):
    """The formula of torch's documentation, term by term."""
    total = 0.0
    for row, y in zip(z, labels.tolist(), strict=True):
        weight = 1.0 if loss.weight is None else float(loss.weight[y])
        others = [c for c in range(z.shape[1]) if c != y]
        total = total + weight * sum((loss.margin - row[y] + row[c]).clamp(min=0) ** 2 for c in others) / z.shape[1]
    return total / len(z) if loss.reduction == "mean" else total


def bound(kind):
    loss, targets = LOSSES[kind]
    return make_loss(loss).bind(targets, torch.Size((COUNT, CLASSES)), torch.float64, "targets")


def matrix(product, outputs):
    eye = torch.eye(outputs.numel(), dtype=torch.float64).reshape(-1, *outputs.shape)
    return product(eye).reshape(outputs.numel(), -1)


@pytest.mark.parametrize("kind", LOSSES)
def test_value_and_gradient_are_those_of_torch(kind):
    (loss, targets), z = bound(kind), outputs_for(kind)
    function = in_double(*LOSSES[kind])
    assert float(loss.value(z, targets)) == pytest.approx(float(function(z)), rel=1e-13)
    if kind.startswith("squared hinge"):
        own = _double(LOSSES[kind][0])
        assert float(own(z, targets)) == pytest.approx(float(function(z)), rel=1e-13)
    leaf = z.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(function(leaf), leaf)
    torch.testing.assert_close(loss.gradient(z, targets), gradient, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("anchored", [False, True])
@pytest.mark.parametrize("kind", LOSSES)
def test_root_squares_to_the_hessian_and_error_to_the_gradient(kind, anchored):
    """B B^T = H, B^T and B transposed, B e = r: to rounding, and that of a square root where H is singular."""
    (loss, targets), z = bound(kind), outputs_for(kind)
    if anchored:
        loss = loss.anchored(outputs_for(kind) * 0.9 + 0.01, targets)
    loss.require_valid(z, targets)
    leaf = z.clone().requires_grad_(True)
    function = in_double(*LOSSES[kind])
    H = torch.autograd.functional.hessian(function, z).reshape(z.numel(), z.numel())
    (r,) = torch.autograd.grad(function(leaf), leaf)
    B = matrix(lambda rows: loss.spread(z, targets, rows), z).T
    scale = float(H.abs().max())
    # Probabilities: PyTorch adds 1e-12 to p (1 - p).
    accuracy = 1e-10 if "of probabilities" in kind else 1e-13
    torch.testing.assert_close(B @ B.T, H, rtol=0, atol=accuracy * scale)
    torch.testing.assert_close(matrix(lambda rows: loss.weigh(z, targets, rows), z), B, rtol=0, atol=1e-13 * scale**0.5)
    torch.testing.assert_close((B @ loss.error(z, targets).reshape(-1)).reshape(z.shape), r, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("kind", LOSSES)
def test_derivative_of_the_root_is_that_of_differences(kind):
    """Along a random change of the outputs, in forward and in reverse mode, from a function of the outputs."""
    (loss, targets), z = bound(kind), outputs_for(kind)
    change, rows = draw(COUNT, CLASSES, seed=7) * 0.1, draw(3, COUNT, CLASSES, seed=8)
    step = 1e-5
    for product in (loss.spread, loss.weigh):
        with torch.no_grad():
            ends = [product(z + sign * step * change, targets, rows) for sign in (1, -1)]
            _, rate = torch.func.jvp(lambda x, p=product: p(x, targets, rows), (z,), (change,))
            _, pull_back = torch.func.vjp(lambda x, p=product: p(x, targets, rows), z)
            pulled = float((pull_back(rows)[0] * change).sum())
        expected = (ends[0] - ends[1]) / (2 * step)
        torch.testing.assert_close(rate, expected, rtol=0, atol=1e-8 * max(1.0, float(rows.abs().max())))
        assert pulled == pytest.approx(float((rows * expected).sum()), abs=1e-7)


@pytest.mark.parametrize("kind", LOSSES)
def test_anchored_root_has_a_symmetric_frame(kind):
    """At the anchor B^+ dB is symmetric on the range of B, whatever the direction: differences over 1e-6."""
    (loss, targets), z = bound(kind), outputs_for(kind)
    loss = loss.anchored(z, targets)
    change = draw(COUNT, CLASSES, seed=7) * 0.1
    roots = [matrix(lambda rows, t=t: loss.spread(z + t * change, targets, rows), z).T for t in (0.0, 1e-6, -1e-6)]
    inside = torch.linalg.pinv(roots[0], rtol=1e-9)
    X = inside @ (roots[1] - roots[2]) / 2e-6 @ inside @ roots[0]
    assert float((X - X.T).abs().max()) <= 1e-6 * max(1.0, float(X.abs().max()))


@pytest.mark.parametrize("kind", LOSSES)
def test_probe_measures_with_rates_and_leaves_the_loss_alone(kind):
    """M and Mdot of a small network, against differences of M over +-1e-5 (error 1e-9 relative)."""
    loss, targets = LOSSES[kind]
    held = {n: t.clone() for n, t in loss.state_dict().items()} if isinstance(loss, nn.Module) else {}
    torch.manual_seed(0)
    layers = [nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, CLASSES)]
    layers += [nn.Sigmoid()] if "of probabilities" in kind else [nn.Softplus()] if "rates" in kind else []
    model, x = nn.Sequential(*layers).double(), draw(COUNT, 3, seed=9)
    probe = ef.Probe(model, x, targets, loss=loss)
    point = probe.at()
    direction = point.descent()
    M, rate = point.dense_and_rate(direction)
    ends = [
        probe.at(({n: p + sign * 1e-5 * direction[n] for n, p in point.parameters.items()}, point.rest)).dense()
        for sign in (1, -1)
    ]
    assert float((rate - (ends[0] - ends[1]) / 2e-5).norm()) <= 1e-7 * float(rate.norm() + M.norm())
    assert probe.measure().loss == pytest.approx(float(in_double(loss, targets)(model(x)).detach()), rel=1e-13)
    for name, tensor in held.items():
        assert loss.state_dict()[name].dtype == tensor.dtype and torch.equal(loss.state_dict()[name], tensor)


@pytest.mark.parametrize("kind", LOSSES)
def test_samples_in_chunks_keep_the_weight_of_the_whole_set(kind):
    """Only weights that differ between samples forbid chunks, and only where the function is not known."""
    loss, targets = bound(kind)
    z, rows = outputs_for(kind), draw(2, COUNT, CLASSES, seed=8)
    if kind == "mse, weights":
        with pytest.raises(ArgumentError, match=r"neither a plain sum nor a plain mean"):
            loss.part(slice(1, 4), COUNT)
        return
    whole = loss.spread(z, targets, rows)[:, 1:4]
    part = loss.part(slice(1, 4), COUNT).spread(z[1:4], targets[1:4], rows[:, 1:4])
    torch.testing.assert_close(part, whole, rtol=1e-11, atol=1e-14)


def test_which_losses_have_a_closed_root():
    kinds = {kind: type(make_loss(loss)) for kind, (loss, _) in LOSSES.items()}
    general = {kind for kind, found in kinds.items() if found is GeneralLoss}
    assert general == {"mse, weights", "squared hinge", "squared hinge, sum", "gaussian"}
    assert all(
        issubclass(k, (SquaredLoss, CrossEntropyLoss, AbstractPointwiseLoss, GeneralLoss)) for k in kinds.values()
    )
    assert make_loss(nn.CrossEntropyLoss()).name == "cross_entropy"
    assert make_loss(nn.CrossEntropyLoss(label_smoothing=0.1)).name == "cross_entropy (label smoothing 0.1)"


@pytest.mark.parametrize("shape", [(4, 7), (4, 3, 2)])
@pytest.mark.parametrize("options", [{}, {"weight": WEIGHTS}, {"label_smoothing": 0.1}, {"reduction": "sum"}])
def test_weights_and_smoothing_at_many_positions(shape, options):
    """(n, C, d...) as torch has it, with positions left out."""
    z = draw(3, *shape)
    labels = torch.randint(0, 4, (3, *shape[1:]), generator=torch.Generator().manual_seed(1))
    labels[0] = -100
    labels[1, 0] = -100
    loss = nn.CrossEntropyLoss(**options)
    own, targets = make_loss(loss).bind(labels, z.shape, torch.float64, "targets")
    leaf = z.clone().requires_grad_(True)
    expected = _double(loss)(leaf, labels)
    (gradient,) = torch.autograd.grad(expected, leaf)
    flat = z.reshape(3, -1)
    assert float(own.value(flat, targets)) == pytest.approx(float(expected.detach()), rel=1e-14)
    torch.testing.assert_close(own.gradient(flat, targets).reshape(z.shape), gradient, rtol=1e-12, atol=1e-16)


def _double(loss):
    loss = copy.deepcopy(loss)
    loss.weight = None if loss.weight is None else loss.weight.double()
    return loss


@pytest.mark.parametrize("margin", [30.0, 300.0, 700.0])
def test_binary_samples_that_are_sure_keep_their_relative_accuracy(margin):
    """With u = exp(-margin): sqrt(s (1 - s)) = sqrt(u) / (1 + u), e = sqrt(u) if right and -1 / sqrt(u) if wrong."""
    loss, right = make_loss(nn.BCEWithLogitsLoss(reduction="sum")).bind(
        torch.zeros(1, 1), torch.Size((1, 1)), torch.float64, "targets"
    )
    u = torch.exp(torch.tensor([[-margin]], dtype=torch.float64))
    z = torch.full((1, 1), -margin, dtype=torch.float64)
    one = torch.ones(1, 1, 1, dtype=torch.float64)
    torch.testing.assert_close(loss.spread(z, right, one)[0], u.sqrt() / (1 + u), rtol=1e-13, atol=0)
    torch.testing.assert_close(loss.error(z, right), u.sqrt(), rtol=1e-13, atol=0)
    torch.testing.assert_close(loss.error(z, right + 1), -1 / u.sqrt(), rtol=1e-13, atol=0)


def test_subclass_that_computes_otherwise_is_a_function():
    class Scaled(nn.MSELoss):
        def forward(self, input, target):
            return 3.0 * super().forward(input, target)

    class Renamed(nn.MSELoss):
        pass

    assert isinstance(make_loss(Scaled()), GeneralLoss) and isinstance(make_loss(Renamed()), SquaredLoss)
    torch.manual_seed(0)
    model, x = nn.Linear(3, CLASSES).double(), draw(COUNT, 3)
    one, three = (ef.Probe(model, x, VALUES, loss=loss).measure() for loss in (nn.MSELoss(), Scaled()))
    torch.testing.assert_close(three.eigenvalues, 3 * one.eigenvalues, rtol=1e-12, atol=1e-14)


torch.manual_seed(3)
NETWORK = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, CLASSES)).double()
INPUTS = draw(COUNT, 3, seed=9)


def measured(loss, targets, model=NETWORK, **options):
    return ef.Probe(model, INPUTS, targets, loss=loss, **options).measure()


# What is refused when the probe is made, a part of the reason, and what the message says to do instead.
REFUSED = {
    "l1": (nn.L1Loss(), VALUES, "HuberLoss", lambda: measured(nn.HuberLoss(delta=10.0), VALUES)),
    "smooth l1, sharp": (nn.SmoothL1Loss(beta=0.0), VALUES, "HuberLoss", lambda: measured("mse", VALUES)),
    "nll": (nn.NLLLoss(), LABELS, "LogSoftmax.*'cross_entropy'", lambda: measured("cross_entropy", LABELS)),
    "kl": (nn.KLDivLoss(), SOFT, "LogSoftmax.*'cross_entropy'", lambda: measured("cross_entropy", SOFT)),
    "hinge": (nn.HingeEmbeddingLoss(), SIGNS, "SoftMarginLoss", lambda: measured(nn.SoftMarginLoss(), SIGNS)),
    "many margins": (
        nn.MultiLabelMarginLoss(),
        BITS,
        "BCEWithLogitsLoss",
        lambda: measured(nn.BCEWithLogitsLoss(), BITS),
    ),
    "margin": (nn.MultiMarginLoss(), LABELS, "p=2", lambda: measured(nn.MultiMarginLoss(p=2), LABELS)),
    "gaussian": (
        nn.GaussianNLLLoss(),
        VALUES[:, :1],
        r"lambda z, y.*defect='drop'",
        lambda: measured(
            GeneralLoss(lambda z, y: functional.gaussian_nll_loss(z[:, :1], y, z[:, 1:2].exp()), defect="drop"),
            VALUES[:, :1],
        ),
    ),
    "cosine": (
        nn.CosineEmbeddingLoss(),
        SIGNS[:, 0],
        r"lambda z, y.*defect='drop'",
        lambda: measured(
            GeneralLoss(lambda z, y: functional.cosine_embedding_loss(z[:, :2], z[:, 2:], y), defect="drop"),
            SIGNS[:, 0],
        ),
    ),
    "triplet": (
        nn.TripletMarginLoss(),
        VALUES,
        r"lambda z, y.*defect='drop'",
        lambda: measured(
            GeneralLoss(lambda z, y: functional.triplet_margin_loss(z[:, :2], z[:, 2:4], z[:, 4:]), defect="drop"),
            VALUES,
            nn.Linear(3, 6).double(),
        ),
    ),
    "ranking": (
        nn.MarginRankingLoss(),
        SIGNS[:, 0],
        "softplus",
        lambda: measured(lambda z, y: functional.softplus(-y * (z[:, 0] - z[:, 1])).mean(), SIGNS[:, 0]),
    ),
    "ctc": (nn.CTCLoss(), LABELS, "aligned", lambda: measured("cross_entropy", LABELS)),
    "adaptive": (nn.AdaptiveLogSoftmaxWithLoss(4, 4, [2]), LABELS, "part of `model`", None),
    "no reduction": (nn.MSELoss(reduction="none"), VALUES, "'mean' or 'sum'", lambda: measured("mse", VALUES)),
    "batch mean": (
        functools.partial(functional.soft_margin_loss, reduce=False),
        SIGNS,
        "'mean' or 'sum'.*weighted sum",
        lambda: measured(lambda z, y: (POSITIVE * functional.softplus(-y * z)).sum(), SIGNS),
    ),
    "class": (nn.MSELoss, VALUES, r"Pass MSELoss\(\)", lambda: measured(nn.MSELoss(), VALUES)),
    "function": (functional.l1_loss, VALUES, "'mse'", lambda: measured("mse", VALUES)),
    "trainable": (
        nn.Sequential(nn.Linear(1, 1)),
        VALUES,
        r"0.weight, 0.bias.*requires_grad_\(False\)",
        None,
    ),
}


@pytest.mark.rejects
@pytest.mark.parametrize("kind", REFUSED)
def test_refused_when_the_probe_is_made_and_the_remedy_works(kind):
    loss, targets, match, remedy = REFUSED[kind]
    with pytest.raises(ArgumentError, match=match):
        ef.Probe(NETWORK, INPUTS, targets, loss=loss)
    if remedy is not None:
        snapshot = remedy()
        assert float(snapshot.eigenvalues[0]) > 0 and bool(torch.isfinite(snapshot.error).all())


def test_log_likelihood_of_the_dropped_layer_is_cross_entropy():
    """What NLLLoss and KLDivLoss advise is the same loss, up to the targets' entropy."""
    z = NETWORK(INPUTS).detach()
    nll = functional.nll_loss(z.log_softmax(-1), LABELS)
    assert measured("cross_entropy", LABELS).loss == pytest.approx(float(nll), rel=1e-13)
    kl = functional.kl_div(z.log_softmax(-1), SOFT, reduction="batchmean")
    entropy = -(SOFT * SOFT.log()).sum() / COUNT
    assert measured("cross_entropy", SOFT).loss == pytest.approx(float(kl + entropy), rel=1e-13)


@pytest.mark.rejects
class TestRejects:
    def test_targets_that_torch_would_broadcast(self):
        with pytest.raises(ShapeError, match=r"\(5, 1\), but has \(5,\).*targets.reshape\(\(5, 1\)\)"):
            measured(nn.MSELoss(), VALUES[:, 0], nn.Linear(3, 1).double())
        measured(nn.MSELoss(), VALUES[:, 0].reshape((5, 1)), nn.Linear(3, 1).double())

    def test_transposed_targets(self):
        model = nn.Sequential(nn.Linear(3, 6), nn.Unflatten(1, (2, 3))).double()
        with pytest.raises(ShapeError, match=r"\(5, 2, 3\), but has \(5, 3, 2\)"):
            measured("mse", draw(5, 3, 2), model)

    def test_straight_parts(self):
        with pytest.raises(ArgumentError, match=r"straight at \d+ of 20 outputs.*above 0.1.*defect='drop'"):
            measured(nn.HuberLoss(delta=0.1), VALUES * 0.2)
        measured(nn.HuberLoss(delta=9.0), VALUES * 0.2)
        measured(GeneralLoss(nn.HuberLoss(delta=0.1), defect="drop"), VALUES * 0.2)

    def test_straight_everywhere(self):
        with pytest.raises(ArgumentError, match=r"no curvature on any output.*'mse'"):
            measured(nn.HuberLoss(delta=0.1), VALUES + 50)

    def test_shares_out_of_range(self):
        with pytest.raises(ArgumentError, match=r"in \[0, 1\].*SoftMarginLoss"):
            measured(nn.BCEWithLogitsLoss(), SIGNS)
        measured(nn.SoftMarginLoss(), SIGNS)

    def test_negative_counts(self):
        with pytest.raises(ArgumentError, match="counts >= 0"):
            measured(nn.PoissonNLLLoss(), VALUES)

    def test_rates_that_are_not_positive(self):
        with pytest.raises(ArgumentError, match="log_input=True"):
            measured(nn.PoissonNLLLoss(log_input=False), COUNTS + 1)
        measured(nn.PoissonNLLLoss(log_input=True), COUNTS + 1)

    def test_counts_of_zero_with_rates(self):
        model = nn.Sequential(NETWORK, nn.Softplus())
        with pytest.raises(ArgumentError, match=r"straight at 5 of 20.*log_input=True"):
            measured(nn.PoissonNLLLoss(log_input=False), COUNTS, model)

    def test_probabilities_that_are_none(self):
        with pytest.raises(ArgumentError, match=r"Drop Sigmoid.*BCEWithLogitsLoss\(\)"):
            measured(nn.BCELoss(), BITS)

    def test_class_weights_of_another_length(self):
        with pytest.raises(ArgumentError, match=r"`weight`.*each of the 4 classes.*shape \(3,\)"):
            measured(nn.CrossEntropyLoss(weight=torch.ones(3)), LABELS)

    def test_negative_class_weights(self):
        with pytest.raises(ArgumentError, match=r"weight >= 0.*from -1"):
            measured(nn.CrossEntropyLoss(weight=torch.tensor([1.0, -1.0, 1.0, 1.0])), LABELS)

    def test_weights_of_another_shape(self):
        with pytest.raises(ArgumentError, match=r"`pos_weight`.*broadcast.*shape \(3,\)"):
            measured(nn.BCEWithLogitsLoss(pos_weight=torch.ones(3)), BITS)

    def test_positive_weights_of_samples(self):
        with pytest.raises(ArgumentError, match=r"same for all samples.*`weight`"):
            measured(nn.BCEWithLogitsLoss(pos_weight=torch.ones(5, 1)), BITS)

    def test_label_that_is_left_out_with_probabilities(self):
        with pytest.raises(ArgumentError, match="no meaning for probabilities"):
            measured(nn.CrossEntropyLoss(ignore_index=2), SOFT)

    def test_binary_error_that_overflows(self):
        model = copy.deepcopy(NETWORK)
        with torch.no_grad():
            model[2].bias.fill_(-4000.0)
        with pytest.raises(NonFiniteError, match="error of loss 'binary_cross_entropy_with_logits' overflows"):
            measured(nn.BCEWithLogitsLoss(), torch.ones_like(BITS), model)

    @pytest.mark.parametrize("options", [{"reduction": "median"}, {"defect": "hide"}])
    def test_options_of_pointwise_losses(self, options):
        from eigenflow.tangent.loss.pointwise_losses import HuberLoss

        with pytest.raises(ArgumentError, match="must be"):
            HuberLoss(**options)

    @pytest.mark.parametrize("options", [{"reduction": "median"}, {"label_smoothing": 1.5}])
    def test_options_of_cross_entropy(self, options):
        with pytest.raises(ArgumentError, match="must"):
            CrossEntropyLoss(**options)
