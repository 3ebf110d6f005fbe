"""How much cheaper is the dense operator by layer rules than by the contraction of explicit Jacobians?

The network and data are workload W1a's (MLP 64-256-256-10, tanh, Gaussian mixture inputs), at sizes where the
baseline is still bearable. The baseline is the usual torch.func recipe: per-sample Jacobians by
vmap(jacrev), then a contraction.

Run:  python benchmarks/dense_operator.py --samples 32 64 128
"""

import argparse
import statistics
import time

import torch
from torch import nn
from torch.func import functional_call, jacrev, vmap

import eigenflow as ef
from _dense_workloads import workload
from _machine import write


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
        start = time.process_time()
        function()
        seconds.append(time.process_time() - start)
    return statistics.median(seconds), max(seconds) - min(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, nargs="+", default=[32, 64, 128])
    rows = []
    for samples in parser.parse_args().samples:
        model, inputs, targets = workload("mlp", samples)
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
