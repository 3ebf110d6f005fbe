"""How much cheaper is the dense operator by layer rules than by the contraction of explicit Jacobians?

The network and data are workload W1a's (MLP 64-256-256-10, tanh, Gaussian mixture inputs), at sizes where the
baseline is still bearable. The baseline is the usual torch.func recipe: per-sample Jacobians by
vmap(jacrev), then a contraction.

Run:  python benchmarks/dense_operator.py --samples 32 64 128
"""

import argparse
import statistics
import time

import numpy as np
import torch
from torch import nn
from torch.func import functional_call, jacrev, vmap

import eigenflow as ef
from _machine import write


def workload(samples: int) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(0)
    layers: list[nn.Module] = []
    for fan_in, fan_out in ((64, 256), (256, 256), (256, 10)):
        layer = nn.Linear(fan_in, fan_out)
        layer.weight.data = torch.from_numpy(rng.standard_normal((fan_out, fan_in)) * fan_in**-0.5)
        layer.bias.data = torch.from_numpy(rng.standard_normal(fan_out) * 0.1)
        layers += [layer, nn.Tanh()]
    rng = np.random.default_rng(1)
    centres, labels = rng.standard_normal((10, 64)), rng.integers(0, 10, samples)
    inputs = 0.7 * centres[labels] + 0.7 * rng.standard_normal((samples, 64))
    model = nn.Sequential(*layers[:-1]).float()
    return model, torch.from_numpy(inputs).float(), torch.from_numpy(np.eye(10)[labels]).float()


def contraction(model: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    parameters = {name: p.detach() for name, p in model.named_parameters()}

    def single(p, x):
        return functional_call(model, p, (x[None],))[0]

    jacobians = vmap(jacrev(single), (None, 0))(parameters, inputs)
    flat = [j.flatten(0, 1).flatten(1) for j in jacobians.values()]
    return sum(j @ j.T for j in flat)


def median_seconds(function, repeats: int = 5) -> tuple[float, float]:
    function()  # warm-up
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), max(seconds) - min(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, nargs="+", default=[32, 64, 128])
    rows = []
    for samples in parser.parse_args().samples:
        model, inputs, targets = workload(samples)
        point = ef.Probe(model, inputs, targets, loss="half_sum", dtype=torch.float32).at()
        difference = (point.dense() - contraction(model, inputs)).norm() / point.dense().norm()
        rules, rules_spread = median_seconds(point.dense)
        recipe, recipe_spread = median_seconds(lambda m=model, x=inputs: contraction(m, x))
        rows.append(
            {
                "samples": samples,
                "rows": 10 * samples,
                "layer_rules_s": rules,
                "layer_rules_spread_s": rules_spread,
                "contraction_s": recipe,
                "contraction_spread_s": recipe_spread,
                "ratio": recipe / rules,
                "relative_difference": float(difference),
            }
        )
        print(f"{samples:5d} samples: rules {rules:.4f} s, contraction {recipe:.4f} s, ratio {recipe / rules:.0f}")
    print(write("dense_operator", rows))


if __name__ == "__main__":
    main()
