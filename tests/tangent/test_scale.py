"""What measuring takes on many devices: formulas held against counted operations, tensors and collective calls."""

import pytest
import torch
import torch.distributed as dist
from torch import nn

from eigenflow.core.errors import ArgumentError
from eigenflow.tangent import ShardedProbe, plan_scale
from eigenflow.tangent.counted import counted
from eigenflow.tangent.scale import product_operations, product_traffic

SAMPLES = 8


@pytest.fixture
def alone(tmp_path):
    """A group of this process only."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def wide(width):
    torch.manual_seed(0)
    layers = [nn.Linear(width, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 4)]
    model = nn.Sequential(*layers)
    probe = ShardedProbe(model, torch.randn(SAMPLES, width), torch.randn(SAMPLES, 4), check_determinism=False)
    return probe, sum(p.numel() for p in model.parameters()), layers[0].weight.numel()


@pytest.mark.long
@pytest.mark.parametrize(("width", "vectors"), [(96, 1), (96, 4), (1500, 1)])
def test_a_product_takes_the_operations_and_memory_of_the_formula(alone, width, vectors):
    """Operations to 2 %: biases are no matrix products. Memory to 10 %, where gradients outweigh the activations."""
    probe, parameters, first = wide(width)
    jacobian = probe.jacobian(probe.at())
    rows = torch.ones(vectors, probe.size, dtype=torch.float64)
    found = counted(lambda: jacobian.product(rows), jacobian.point.parameters.values())
    expected = product_operations(parameters, SAMPLES, vectors=vectors, first_share=first / parameters)
    assert found.flops == pytest.approx(expected, rel=0.02)
    if width > 1000:
        plan = plan_scale(parameters=parameters, rows=probe.size, outputs=4, precision="float64", modes=1)
        assert found.peak_bytes == pytest.approx(plan.gradient_bytes, rel=0.10)


def test_what_is_handed_to_collective_calls(alone):
    probe, parameters, _ = wide(96)
    jacobian, handed, plain = probe.jacobian(probe.at()), [], probe.processes.sum

    def sum_of(part):
        handed.append(part.numel() * part.element_size())
        return plain(part)

    probe.processes.sum = sum_of
    for dtype, itemsize in ((torch.float64, 8), (torch.float32, 4)):
        handed.clear()
        jacobian.dtype = dtype
        jacobian.__dict__.pop("_rounded", None)
        jacobian.product(torch.ones(3, probe.size, dtype=torch.float64))
        assert sum(handed) == product_traffic(parameters, 3, itemsize).handed_bytes
        assert len(handed) == 2  # one bucket, and whether all is finite


def test_a_plan_by_hand():
    """10^9 parameters in float32 on 64 devices, 10^5 rows of one output, 64 modes."""
    plan = plan_scale(parameters=1e9, rows=1e5, devices=64, modes=64)
    assert plan.products == 256
    assert plan.parameter_bytes == 8e9 and plan.gradient_bytes == 8e9  # one vector at once
    assert plan.basis_bytes == 16 * (4 * 64 + 64) * 1e5 / 64
    passes = 256 * 2e9 * (1e5 / 64) * (2 + 2 * 3)
    assert plan.device_flops == pytest.approx(passes, rel=1e-3)
    assert plan.wire_bytes == pytest.approx(256 * 2 * 63 / 64 * 4e9, rel=1e-6)
    assert plan.fits and not plan.advice and len(repr(plan).splitlines()) <= 15


def test_what_does_not_fit_is_said():
    plan = plan_scale(parameters=1e11, rows=1e9, devices=8, outputs=1000, activations=1e6)
    assert not plan.fits
    assert any("spread_parameters" in line for line in plan.advice)
    assert any("sketch" in line for line in plan.advice)


@pytest.mark.rejects
def test_numbers_out_of_range():
    with pytest.raises(ArgumentError, match="`parameters` must be a number > 0"):
        plan_scale(parameters=0, rows=10)
    with pytest.raises(ArgumentError, match="`devices` must be a whole number >= 1"):
        plan_scale(parameters=1e6, rows=10, devices=0)
    with pytest.raises(ArgumentError, match="`precision` must be one of 'float32', 'float64'"):
        plan_scale(parameters=1e6, rows=10, precision="float16")
