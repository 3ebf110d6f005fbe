"""Estimated cost of a measurement, held against the measurement: operations as PyTorch's own counter sees them.

Memory and seconds are compared in fresh processes by benchmarks/measurement_cost.py (docs/validation/scaling_out.md).
"""

import pytest
import torch
from torch import nn

import eigenflow as ef
from eigenflow.core.errors import ArgumentError
from eigenflow.linalg import ModeTracker
from eigenflow.tangent import measurement_cost
from eigenflow.tangent.counted import counted

MODES = 6


def transformer():
    layer = nn.TransformerEncoderLayer(16, 2, 32, 0.0, batch_first=True)
    return nn.Sequential(nn.Embedding(20, 16), layer, nn.Flatten(), nn.Linear(16 * 6, 4))


def network(name, samples):
    torch.manual_seed(0)
    if name == "mlp":
        layers = [nn.Linear(12, 40), nn.Tanh(), nn.Linear(40, 40), nn.Tanh(), nn.Linear(40, 4)]
        return nn.Sequential(*layers), torch.randn(samples, 12)
    if name == "conv":
        layers = [nn.Conv2d(1, 8, 3, padding=1), nn.Tanh(), nn.Conv2d(8, 8, 3, stride=2), nn.Tanh(), nn.Flatten()]
        return nn.Sequential(*layers, nn.Linear(72, 4)), torch.randn(samples, 1, 8, 8)
    return transformer(), torch.randint(0, 20, (samples, 6))


def probe_of(name, samples):
    model, inputs = network(name, samples)
    return ef.Probe(model.eval(), inputs, torch.randint(0, 4, (samples,)), "cross_entropy")


def operations(work):
    """By PyTorch's counter, with what it leaves out: see `test_operations_that_pytorch_does_not_count`."""
    return counted(work).flops


def test_operations_that_pytorch_does_not_count():
    """Closed forms: two for every multiply-add, 9 n^3 for an eigensolver."""
    left, right, square = torch.randn(3, 4), torch.randn(4, 5), torch.eye(6)
    kept = torch.zeros(2, 3, 5)
    works = {
        2 * 3 * 4 * 5: lambda: kept[0].addmm_(left, right),
        2 * 2 * 3 * 4 * 5: lambda: kept.baddbmm_(left.expand(2, 3, 4), right.expand(2, 4, 5)),
        2 * 3 * 4: lambda: left @ right[:, 0],
        2 * 4: lambda: left[0] @ right[:, 0],
        9 * 6**3: lambda: torch.linalg.eigh(square),
        2 * 2 * 7 * 7 * 8: lambda: torch.nn.functional.scaled_dot_product_attention(*torch.randn(3, 1, 1, 7, 8)),
    }
    for taken, work in works.items():
        assert counted(work).flops == taken


@pytest.mark.long
@pytest.mark.parametrize("drift", [True, False])
@pytest.mark.parametrize("name", ["mlp", "conv", "transformer"])
def test_operations_of_a_dense_measurement(name, drift):
    """10 %: small sizes give the coefficients; cubic terms of the small eigenproblem hold a few quadratic ones."""
    probe = probe_of(name, 60)
    taken = operations(lambda: probe.measure(drift=drift, method="dense"))
    estimate = measurement_cost(probe, method="dense", drift=drift)
    assert estimate.flops == pytest.approx(taken, rel=0.10)
    assert estimate.flops == pytest.approx(sum(phase.flops for phase in estimate.phases))
    assert estimate.peak_bytes > 4 * 8 * probe.size**2 and estimate.seconds > 0 and estimate.products == 0


@pytest.mark.long
@pytest.mark.parametrize("drift", [True, False])
@pytest.mark.parametrize("name", ["mlp", "conv", "transformer"])
def test_operations_of_a_dense_measurement_with_a_preconditioner(name, drift):
    """As above: some layers go unit by unit, in slices that depend on the number of samples, others by rows."""
    probe = probe_of(name, 60)
    inverse = {n: torch.rand_like(p) for n, p in probe.at().parameters.items()}
    at = probe.at(preconditioner=inverse)
    taken = operations(lambda: probe.measure(drift=drift, method="dense", at=at))
    estimate = measurement_cost(probe, method="dense", drift=drift, at=at)
    assert estimate.flops == pytest.approx(taken, rel=0.10)


@pytest.mark.long
@pytest.mark.parametrize("name", ["mlp", "conv", "transformer"])
@pytest.mark.parametrize("method", ["products", "tracked"])
def test_operations_of_a_measurement_by_products(name, method):
    """15 % on small problems, where the solver's own algebra, known by its leading terms, is a tenth of all."""
    probe, tracker = probe_of(name, 80), ModeTracker(MODES, tolerance=1e-2)
    if method == "tracked":
        probe.measure(tracker=tracker)
    found = []

    def run():
        found.append(
            probe.measure(MODES, method="products") if method == "products" else probe.measure(tracker=tracker)
        )

    taken = operations(run)
    estimate = measurement_cost(probe, MODES, method, products=found[0].products)
    assert estimate.flops == pytest.approx(taken, rel=0.15)
    assert estimate.products == found[0].products


def test_memory_that_tensors_take():
    """By hand: a result of 8 MB, and a copy of it that is gone before the next one is made."""
    plain = torch.zeros(1000, 1000, dtype=torch.float64)

    def work():
        for _ in range(3):
            copy = plain + 1.0
            del copy
        return plain * 2.0

    one = counted(work, [plain])
    assert one.peak_bytes == one.kept_bytes == 8_000_000 and one.flops == 0
    two = counted(lambda: (plain + 1.0) @ plain[:, :10], [plain])
    assert two.flops == 2 * 1000 * 1000 * 10 and two.peak_bytes == 8_000_000 + 80_000 and two.kept_bytes == 80_000


@pytest.mark.long
def test_a_card_of_few_lines():
    text = repr(measurement_cost(probe_of("mlp", 10)))
    assert text.startswith("MeasurementCost") and "GFLOP" in text and len(text.splitlines()) <= 15


@pytest.mark.rejects
def test_what_cannot_be_estimated():
    probe = probe_of("mlp", 6)
    with pytest.raises(ArgumentError, match=r"`method='products'` finds some of the modes"):
        measurement_cost(probe, method="products")
    with pytest.raises(ArgumentError, match=r"`method`"):
        measurement_cost(probe, method="sparse")
    with pytest.raises(ArgumentError, match=r"`probe` must be a Probe"):
        measurement_cost(None)
