"""How fast and how small is the dense operator by layer rules, beside what other packages offer for the same matrix?

Workloads W1a (MLP 64-256-256-10, tanh) and W1b (three convolutions and a linear layer), float32. Every method forms
the whole J_net J_net^T and runs in a fresh process: minimum and median CPU-seconds of a few calls after a warm-up, and
how far the resident memory rises above what it was before the first call. Methods take turns, round after round, so
that a busy machine slows them alike; only ratios within one run mean something. Results are compared with ours
through a product. Methods that would take minutes run on fewer samples, beside ours on as many.

Run, in an environment with the group `operator-peers`:  python benchmarks/dense_operator_peers.py --rounds 3
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from _dense_workloads import workload
from _machine import write

# Workload, method, samples; ours stands beside every number of samples.
CASES = [
    ("mlp", "eigenflow", 512),
    ("mlp", "neural-tangents", 512),
    ("mlp", "nngeometry", 512),
    ("mlp", "eigenflow", 64),
    ("mlp", "torch.func contraction", 64),
    ("mlp", "flat Jacobian", 64),
    ("mlp", "curvlinops", 64),
    ("conv", "eigenflow", 256),
    ("conv", "neural-tangents", 256),
    ("conv", "nngeometry", 256),
    ("conv", "torch.func contraction", 256),
    ("conv", "eigenflow", 64),
    ("conv", "flat Jacobian", 64),
    ("conv", "curvlinops", 64),
]
REPEATS = 2


def eigenflow_method(kind: str, samples: int) -> Callable[[], np.ndarray]:
    import torch

    import eigenflow as ef

    model, inputs, targets = workload(kind, samples)
    point = ef.Probe(model, inputs, targets, loss="half_sum", dtype=torch.float32).at()
    return lambda: point.dense().numpy()


def contraction(kind: str, samples: int) -> Callable[[], np.ndarray]:
    import torch
    from torch.func import functional_call, jacrev, vmap

    model, inputs, _ = workload(kind, samples)
    parameters = {name: p.detach() for name, p in model.named_parameters()}

    def form() -> np.ndarray:
        jacobians = vmap(jacrev(lambda p, x: functional_call(model, p, (x[None],))[0]), (None, 0))(parameters, inputs)
        size = 10 * samples
        with torch.no_grad():
            flat = [j.reshape(size, -1) for j in jacobians.values()]
            return sum(j @ j.T for j in flat).numpy()

    return form


def flat_jacobian(kind: str, samples: int) -> Callable[[], np.ndarray]:
    import torch

    model, inputs, _ = workload(kind, samples)

    def form() -> np.ndarray:
        outputs = model(inputs).reshape(-1)
        eye = torch.eye(len(outputs))
        rows = torch.autograd.grad(outputs, list(model.parameters()), eye, is_grads_batched=True)
        jacobian = torch.cat([r.flatten(1) for r in rows], 1)
        return (jacobian @ jacobian.T).numpy()

    return form


def nngeometry_method(kind: str, samples: int) -> Callable[[], np.ndarray]:
    import torch
    from nngeometry.gram import GramMatrix

    model, inputs, _ = workload(kind, samples)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(inputs), batch_size=samples)

    def form() -> np.ndarray:
        gram = GramMatrix(model, loader).to_torch().detach()  # (output, sample, output, sample)
        return gram.permute(1, 0, 3, 2).reshape(10 * samples, -1).numpy()

    return form


def curvlinops_method(kind: str, samples: int) -> Callable[[], np.ndarray]:
    import torch
    from curvlinops import JacobianLinearOperator, TransposedJacobianLinearOperator

    model, inputs, targets = workload(kind, samples)
    parameters = [p for p in model.parameters() if p.requires_grad]
    data = [(inputs, targets)]
    jacobian = JacobianLinearOperator(model, parameters, data)
    transposed = TransposedJacobianLinearOperator(model, parameters, data)

    def form() -> np.ndarray:
        eye = torch.eye(10 * samples)
        return (jacobian @ (transposed @ eye)).detach().numpy()

    return form


def neural_tangents_method(kind: str, samples: int) -> Callable[[], np.ndarray]:
    import types

    # Its converter to TensorFlow is imported on start, and not used here.
    sys.modules["neural_tangents.experimental"] = types.ModuleType("neural_tangents.experimental")
    import jax
    import jax.numpy as jnp
    import neural_tangents as nt

    model, inputs, _ = workload(kind, samples)
    parameters = [jnp.asarray(p.detach().numpy()) for p in model.parameters()]
    x = jnp.asarray(inputs.numpy())
    strides = {"mlp": [], "conv": [1, 2, 2]}[kind]

    def apply(p: list, x: jax.Array) -> jax.Array:
        for layer, stride in enumerate(strides):
            weight, bias = p[2 * layer], p[2 * layer + 1]
            x = jax.lax.conv_general_dilated(x, weight, (stride, stride), ((1, 1), (1, 1)))
            x = jnp.tanh(x + bias[None, :, None, None])
        x = x.reshape(len(x), -1)
        rest = p[2 * len(strides) :]
        for layer in range(0, len(rest), 2):
            x = x @ rest[layer].T + rest[layer + 1]
            x = jnp.tanh(x) if layer + 2 < len(rest) else x
        return x

    kernel = nt.empirical_ntk_fn(
        apply, trace_axes=(), vmap_axes=0, implementation=nt.NtkImplementation.STRUCTURED_DERIVATIVES
    )
    compiled = jax.jit(lambda p, x: kernel(x, None, p))

    def form() -> np.ndarray:
        return np.asarray(compiled(parameters, x).block_until_ready()).transpose(0, 2, 1, 3).reshape(10 * samples, -1)

    return form


METHODS = {
    "eigenflow": eigenflow_method,
    "neural-tangents": neural_tangents_method,
    "nngeometry": nngeometry_method,
    "curvlinops": curvlinops_method,
    "torch.func contraction": contraction,
    "flat Jacobian": flat_jacobian,
}


def measure(kind: str, method: str, samples: int) -> dict:
    """One method in this process."""
    import torch

    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    form = METHODS[method](kind, samples)
    METHODS[method](kind, 2)()  # libraries are loaded before memory is read
    start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    matrix = form()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    vector = torch.randn(10 * samples, generator=generator).numpy()
    image = matrix @ vector
    del matrix
    seconds = []
    for _ in range(REPEATS):
        begin = time.process_time()
        form()
        seconds.append(time.process_time() - begin)
    return {
        "cpu_s": seconds,
        "memory_growth_bytes": 1024 * (peak - start),
        "process_peak_bytes": 1024 * peak,
        "image": image.astype(float).tolist(),
        "gemm_gflops": gemm_rate(),
    }


def gemm_rate() -> float:
    """Best rate of a 2048 x 2048 float32 product in this process, in GFLOP/s."""
    import torch

    a = torch.randn(2048, 2048)
    seconds = []
    for _ in range(3):
        begin = time.process_time()
        a @ a
        seconds.append(time.process_time() - begin)
    return 2 * 2048**3 / min(seconds) / 1e9


def in_fresh_process(kind: str, method: str, samples: int) -> dict | None:
    command = [sys.executable, __file__, "--one", kind, method, str(samples)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=Path(__file__).parent)
    if done.returncode:
        print(f"  {method} failed: {done.stderr.strip().splitlines()[-1] if done.stderr else ''}", file=sys.stderr)
        return None
    return json.loads(done.stdout.splitlines()[-1])


def summarise(kind: str, method: str, samples: int, runs: list[dict], ours: list[dict], flops: float) -> dict:
    seconds = [s for run in runs for s in run["cpu_s"]]
    own = [s for run in ours for s in run["cpu_s"]]
    mine, theirs = (np.array(r[0]["image"]) for r in (ours, runs))
    difference = float(np.linalg.norm(mine - theirs) / np.linalg.norm(mine))
    assert difference < 1e-4, (kind, method, difference)
    gemm = max(run["gemm_gflops"] for run in runs)
    row = {
        "workload": {"mlp": "W1a", "conv": "W1b"}[kind],
        "method": method,
        "samples": samples,
        "cpu_s_min": min(seconds),
        "cpu_s_median": statistics.median(seconds),
        "cpu_s_max": max(seconds),
        "memory_growth_mb": max(run["memory_growth_bytes"] for run in runs) / 1e6,
        "process_peak_mb": max(run["process_peak_bytes"] for run in runs) / 1e6,
        "times_ours_min": min(seconds) / min(own),
        "times_ours_median": statistics.median(seconds) / statistics.median(own),
        "relative_difference_of_a_product": difference,
        "gemm_gflops": gemm,
    }
    if method == "eigenflow":
        row["planned_gflop"] = flops / 1e9
        row["fraction_of_gemm_rate"] = flops / 1e9 / min(seconds) / gemm
    return row


def planned_flops(kind: str, samples: int) -> float:
    import torch

    import eigenflow as ef

    point = ef.Probe(*workload(kind, samples), loss="half_sum", dtype=torch.float32).at()
    return point.dense_plan(drift=False).cost.flops


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="Only the cases of full size.")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.one[0], args.one[1], int(args.one[2]))))
        return
    cases = [c for c in CASES if c[2] > 64] if args.quick else CASES
    runs: dict[tuple, list[dict]] = {case: [] for case in cases}
    for number in range(args.rounds):
        for case in cases:
            print(f"round {number + 1}: {case[0]}, {case[1]}, {case[2]} samples", file=sys.stderr)
            run = in_fresh_process(*case)
            if run is not None:
                runs[case].append(run)
        print(written(runs, number + 1))  # after every round, so that an interrupted run leaves its result


def written(runs: dict[tuple, list[dict]], rounds: int) -> Path:
    rows = []
    for case, found in runs.items():
        kind, method, samples = case
        if found:
            ours = runs[kind, "eigenflow", samples]
            rows.append(summarise(kind, method, samples, found, ours, planned_flops(kind, samples)))
            print(json.dumps(rows[-1]))
        else:
            name = {"mlp": "W1a", "conv": "W1b"}[kind]
            rows.append({"workload": name, "method": method, "samples": samples, "status": "not installed, or failed"})
    peers = ("nngeometry", "curvlinops-for-pytorch", "neural-tangents", "jax")
    return write("dense_operator_peers", rows, *peers, rounds=rounds, repeats=REPEATS)


if __name__ == "__main__":
    main()
