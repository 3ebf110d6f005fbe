"""Products with M where no process holds all parameters: those of the plain model, to rounding."""

import copy
import gc
import json
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh

import eigenflow as ef
from eigenflow.core.errors import ModelError
from eigenflow.linalg import ModeTracker
from eigenflow.tangent import SpreadJacobian, spread_parameters
from two_processes import on_two_processes

pytestmark = pytest.mark.long

WIDE = 1200


def network():
    torch.manual_seed(0)
    layers = [nn.Linear(6, 32), nn.Tanh(), nn.LayerNorm(32), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 3)]
    return nn.Sequential(*layers).double()


def batch(name):
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(7, 6, generator=generator, dtype=torch.float64)
    if name == "cross_entropy":
        return inputs, torch.randint(0, 3, (7,), generator=generator)
    return inputs, torch.randn(7, 3, generator=generator, dtype=torch.float64)


def assert_same_products(loss):
    """1e-12 of the largest: sums in another order."""
    inputs, targets = batch(loss)
    model = spread_parameters(network(), init_device_mesh("cpu", (dist.get_world_size(),)))
    jacobian, plain = SpreadJacobian(model, inputs, targets, loss), ef.Probe(network(), inputs, targets, loss)
    point = plain.at()
    rows = torch.randn(3, plain.size, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    expected = point.product(rows)
    torch.testing.assert_close(jacobian.product(rows), expected, rtol=0, atol=1e-12 * float(expected.abs().max()))
    torch.testing.assert_close(jacobian.error, point.error, rtol=0, atol=1e-13)
    for name, gradient in point.gradient().items():
        own = jacobian.gradient()[name]
        whole = own.full_tensor() if hasattr(own, "full_tensor") else own
        torch.testing.assert_close(whole, gradient, rtol=0, atol=1e-12)
    pairs = ModeTracker(4, tolerance=1e-12).update(jacobian.operator()).pairs
    dense = plain.measure(4).eigenvalues
    torch.testing.assert_close(pairs.eigenvalues, dense, rtol=0, atol=1e-11 * float(dense[0]))


@pytest.fixture
def alone(tmp_path):
    """A group of this process only."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_products_of_one_process(alone, loss):
    assert_same_products(loss)


def status(key):
    line = next(one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith(key + ":"))
    return int(line.split()[1]) * 1024


def product_bytes():
    """What a product with a model of wide layers adds to the memory of this process, beside the whole parameters."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, WIDE), nn.Tanh(), nn.Linear(WIDE, WIDE), nn.Tanh(), nn.Linear(WIDE, 1)).double()
    whole = sum(p.numel() * p.element_size() for p in model.parameters())
    model = spread_parameters(model, init_device_mesh("cpu", (dist.get_world_size(),)))
    here = sum(p.to_local().numel() * p.element_size() for p in model.parameters())
    jacobian = SpreadJacobian(model, torch.randn(2, 4).double(), torch.randn(2, 1).double())
    row = torch.ones(1, 2, dtype=torch.float64)
    jacobian.product(row)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    jacobian.pull(row[0])
    return {"whole": whole, "here": here, "pull": status("VmHWM") - before}


def work(rank, folder):
    for loss in ("mse", "cross_entropy"):
        assert_same_products(loss)
    Path(f"{folder}/{rank}.json").write_text(json.dumps(product_bytes()))


@pytest.mark.slow
def test_two_processes_hold_half_of_the_parameters_each(tmp_path):
    """And a row of J is never whole: going back takes less than its size."""
    on_two_processes(__file__, "work", tmp_path)
    for rank in (0, 1):
        found = json.loads((tmp_path / f"{rank}.json").read_text())
        assert found["here"] < 0.51 * found["whole"]
        assert found["pull"] < 0.9 * found["whole"], found


@pytest.mark.rejects
def test_a_plain_model_needs_no_such_products():
    model = copy.deepcopy(network())
    with pytest.raises(ModelError, match=r"no parameters that are DTensors.*spread_parameters\(model, mesh\)"):
        SpreadJacobian(model, *batch("mse"))
