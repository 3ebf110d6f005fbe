"""What do certified leading eigenpairs cost, once and along training, beside the recipes a reader would use?

W2: the 32 largest eigenpairs of M of the MLP 64-256-256-10 on 1000 samples (10,000 rows) after 50 steps of training,
eigenvalues to 1e-6. W3: the same at ten consecutive checkpoints, to 1e-5. Drift: the exact Mdot, eigenvalue rates and
couplings of 64 modes against the modes themselves. Peers and package take turns in one process on one thread, and
CPU seconds count everything from the weights on. The package also evaluates in float32 where it says so: network,
factors and products; errors are against float64 all the same. Reference of W2: eigsh to 1e-11 over torch.func products.
W3 compares with the peer's eigenvalues, which at the settings that reach 1e-8 in W2 are off by up to 5e-6 at other
checkpoints, without a word: there the certificates are the measure.

Run:  python benchmarks/operator_tracking_peers.py --repeats 3 --spacings 1 10 100
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import eigenflow as ef
from _machine import write
from _tracking_peers import Found, eigenthings, scipy_eigsh
from _tracking_workload import Training, train
from eigenflow.linalg import ModeTracker, SymmetricOperator, block_eigenpairs

MODES = 32
PARTS = ("W2", "drift", "W3")
# What W2 finds to be the peer's cheapest settings, for W3 alone.
PEER_CHOICE = {torch.float32: (1e-3, 65), torch.float64: (1e-3, 65)}
# Tolerance and basis of eigsh: its default basis of 2 k + 1, and one that needs no restart.
PEER_SETTINGS = [(1e-3, 65), (1e-3, 128), (1e-2, 128)]


def told(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Print rows as they come."""
    for row in rows:
        print({key: value for key, value in row.items() if key != "checkpoints"}, flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--spacings", type=int, nargs="*", default=[1, 10, 100])
    parser.add_argument("--peer-spacings", type=int, nargs="*", help="Spacings with peers beside; all if left out.")
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--short", action="store_true", help="W2: the package and eigsh in float64, settings known.")
    parser.add_argument("--peer-types", nargs="*", choices=["float64", "float32"], default=["float64", "float32"])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows, settings = [], PEER_CHOICE
    training = train(1, 1)
    training.model.load_state_dict(training.states[0])
    if "W2" in arguments.parts:
        reference = exact(training)
        settings = settings if arguments.short else best_peer(training, reference)
        rows += told(once(training, reference, settings, arguments.repeats, arguments.short))
    if "drift" in arguments.parts:
        rows += told(drift(training, arguments.repeats))
    for spacing in arguments.spacings if "W3" in arguments.parts else []:
        has_peers = arguments.peer_spacings is None or spacing in arguments.peer_spacings
        types = arguments.peer_types if has_peers else []
        peers = {dtype: choice for dtype, choice in settings.items() if str(dtype)[6:] in types}
        rows += told(along(train(spacing, 10), spacing, peers))
    name = "_".join(["operator_tracking_peers", *([] if len(arguments.parts) == len(PARTS) else arguments.parts)])
    name += "_short" * arguments.short
    print(write(name, rows, "scipy", "hessian-eigenthings", gemm_gflops=gemm_rates()))


def exact(training: Training) -> np.ndarray:
    """Reference eigenvalues, sharing no code with the package."""
    found = scipy_eigsh(training.model, training.inputs, MODES, tolerance=1e-11, basis=128, dtype=torch.float64)
    return found.eigenvalues


def best_peer(training: Training, reference: np.ndarray) -> dict[torch.dtype, tuple[float, int]]:
    """For each type of products, the eigsh settings that reach 1e-6 in the fewest products."""
    best = {}
    for dtype in (torch.float64, torch.float32):
        tried = []
        for tolerance, basis in PEER_SETTINGS:
            found = scipy_eigsh(training.model, training.inputs, MODES, tolerance=tolerance, basis=basis, dtype=dtype)
            if error(found, reference) <= 1e-6:
                tried.append((found.products, tolerance, basis))
        if tried:
            best[dtype] = min(tried)[1:]
    return best


def once(
    training: Training, reference: np.ndarray, settings: dict[torch.dtype, tuple[float, int]], repeats: int, short: bool
) -> list[dict[str, Any]]:
    """W2."""
    probe = ef.Probe(training.model, training.inputs, training.targets, loss="half_mean")
    rounded = ef.Probe(training.model, training.inputs, training.targets, loss="half_mean", dtype=torch.float32)
    model, inputs = training.model, training.inputs
    contenders: dict[str, Callable[[], Found | None]] = {
        "eigenflow, float32": lambda: by_products(rounded, torch.float32),
        "eigenflow, float64 with float32 products": lambda: by_products(probe, torch.float32),
        "eigenflow, float64": lambda: by_products(probe, torch.float64),
        "eigenflow, dense M formed in float32": lambda: by_forming(training),
        "hessian-eigenthings, defaults": lambda: eigenthings(model, inputs, MODES),
        "hessian-eigenthings, 128 steps": lambda: eigenthings(model, inputs, MODES, max_iter=128, reorthogonalize=True),
    }
    for dtype, (tolerance, basis) in settings.items():
        contenders[f"scipy eigsh over torch.func, {dtype}, tol {tolerance:g}, ncv {basis}"] = (
            lambda dtype=dtype, tolerance=tolerance, basis=basis: scipy_eigsh(
                model, inputs, MODES, tolerance=tolerance, basis=basis, dtype=dtype
            )
        )
    if short:
        contenders = {n: f for n, f in contenders.items() if n == "eigenflow, float32" or "torch.float64, tol" in n}
    runs: dict[str, list[Found]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, contender in contenders.items():
            if (found := contender()) is not None:
                runs[name].append(found)
    return [{"workload": "W2", "method": name, **summary(found, reference)} for name, found in runs.items() if found]


def by_products(probe: ef.Probe, dtype: torch.dtype) -> Found:
    began = time.process_time()
    snapshot = probe.measure(MODES, drift=False, method="products", product_dtype=dtype, tolerance=1e-6)
    cpu_s = time.process_time() - began
    bound = float((snapshot.eigenvalue_bounds / snapshot.eigenvalues).max())
    says = f"{int(snapshot.is_converged.sum())} of {MODES} certified, worst bound {bound:.1e}"
    return Found(snapshot.eigenvalues.numpy(), snapshot.products, cpu_s, says)


def by_forming(training: Training) -> Found:
    began = time.process_time()
    model, inputs, targets = training.model, training.inputs, training.targets
    probe = ef.Probe(model, inputs, targets, loss="half_mean", dtype=torch.float32)
    pairs = block_eigenpairs(SymmetricOperator.of_matrix(probe.at().dense()), MODES, tolerance=1e-6)
    cpu_s = time.process_time() - began
    return Found(pairs.eigenvalues.numpy(), pairs.stats.products, cpu_s, f"{int(pairs.is_converged.sum())} certified")


def drift(training: Training, repeats: int) -> list[dict[str, Any]]:
    """The Mdot row: 64 modes without and with their drift."""
    rows = []
    for dtype in (torch.float32, torch.float64):
        probe = ef.Probe(training.model, training.inputs, training.targets, loss="half_mean", dtype=dtype)
        seconds: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(repeats):
            for with_drift, found in seconds.items():
                began = time.process_time()
                probe.measure(64, drift=with_drift, method="products", tolerance=1e-6)
                found.append(time.process_time() - began)
        modes_s, both_s = (min(seconds[key]) for key in (False, True))
        rows.append(
            {
                "workload": "Mdot, 64 modes",
                "method": f"eigenflow, {dtype}",
                "modes_cpu_s": modes_s,
                "modes_and_drift_cpu_s": both_s,
                "drift_over_modes": (both_s - modes_s) / modes_s,
            }
        )
    return rows


def along(training: Training, spacing: int, settings: dict[torch.dtype, tuple[float, int]]) -> list[dict[str, Any]]:
    """W3: package and peer, in both types, take turns at every checkpoint."""
    model, inputs = training.model, training.inputs
    probe = ef.Probe(model, inputs, training.targets, loss="half_mean", dtype=torch.float32)
    tracker = ModeTracker(MODES, tolerance=1e-5)
    tracked: list[dict[str, Any]] = []
    peers: dict[torch.dtype, list[Found]] = {dtype: [] for dtype in settings}
    for state in training.states:
        model.load_state_dict(state)
        began = time.process_time()
        snapshot = probe.measure(drift=False, tracker=tracker)
        cpu_s = time.process_time() - began
        for dtype, (tolerance, basis) in settings.items():
            peers[dtype].append(scipy_eigsh(model, inputs, MODES, tolerance=tolerance, basis=basis, dtype=dtype))
        assert snapshot.identity is not None
        difference = None
        if peers:
            peer = peers[torch.float64 if torch.float64 in peers else torch.float32][-1]
            difference = error(Found(snapshot.eigenvalues.numpy(), 0, 0.0), peer.eigenvalues)
        tracked.append(
            {
                "cpu_s": cpu_s,
                "products": snapshot.products,
                "difference_to_peer": difference,
                "bound": float((snapshot.eigenvalue_bounds / snapshot.eigenvalues).max()),
                "certified": int(snapshot.is_converged.sum()),
                "crossings": len(snapshot.identity.crossings),
            }
        )
    total = sum(step["cpu_s"] for step in tracked)
    workload = f"W3, ten checkpoints, {spacing} steps apart"
    return [
        {
            "workload": workload,
            "method": "eigenflow tracker, float32",
            "cpu_s": total,
            "products": sum(step["products"] for step in tracked),
            "worst_difference_to_peer": max(step["difference_to_peer"] for step in tracked) if peers else None,
            "worst_bound": max(step["bound"] for step in tracked),
            "certified": min(step["certified"] for step in tracked),
            "peer_over_this": {str(dtype): sum(one.cpu_s for one in found) / total for dtype, found in peers.items()},
            "cold_cpu_s": tracked[0]["cpu_s"],
            "checkpoints": tracked,
        },
        *(
            {
                "workload": workload,
                "method": f"scipy eigsh over torch.func at every checkpoint, {dtype}",
                "cpu_s": sum(one.cpu_s for one in found),
                "products": sum(one.products for one in found),
            }
            for dtype, found in peers.items()
        ),
    ]


def error(found: Found, reference: np.ndarray) -> float:
    """Largest relative error of an eigenvalue."""
    return float(np.abs(found.eigenvalues / reference - 1.0).max())


def summary(found: list[Found], reference: np.ndarray) -> dict[str, Any]:
    seconds = [run.cpu_s for run in found]
    return {
        "cpu_s": min(seconds),
        "median_cpu_s": statistics.median(seconds),
        "products": found[0].products,
        "worst_error": error(found[0], reference),
        "says": found[0].says,
    }


def gemm_rates() -> dict[str, float]:
    """Rate of a square matrix product of side 2000, in GFLOP/s: the machine's limit in this run."""
    rates = {}
    for dtype in (torch.float32, torch.float64):
        a = torch.ones(2000, 2000, dtype=dtype)
        seconds = []
        for _ in range(5):
            began = time.process_time()
            a @ a
            seconds.append(time.process_time() - began)
        rates[str(dtype)] = 16.0 / min(seconds)
    return rates


if __name__ == "__main__":
    main()
