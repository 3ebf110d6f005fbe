"""How fast is one-pass training of power-law random features, beside a loop over samples?

20,000 inputs, 1,000 features. The baseline is what a reader would write: hold W, draw a sample, project, update. Both
make the same training in distribution (`tests/lab/exact/test_power_law_features.py`); the question is what it costs.
Seconds are of one thread; compare the ratio.

Run:  OMP_NUM_THREADS=1 python benchmarks/random_features.py [--samples 100000] [--inputs 20000] [--features 1000]
"""

import argparse
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np

from _machine import write
from eigenflow.lab.exact import PowerLawFeatures, expected_one_pass, largest_one_pass_rate, simulate_one_pass

REPEATS = 3
NAIVE = 300  # samples of the baseline; its cost a sample does not depend on their number


def naive(model: PowerLawFeatures, rate: float, samples: int, rng: np.random.Generator) -> float:
    """Seconds of the processor a sample, for the loop alone."""
    deviations, target = model.deviations, model.target
    W = rng.standard_normal((model.inputs, model.features)) / np.sqrt(model.features)
    theta = np.zeros(model.features)
    start = time.process_time()
    for _ in range(samples):
        x = deviations * rng.standard_normal(model.inputs)
        features = x @ W
        theta -= rate * (features @ theta - x @ target) * features
    return (time.process_time() - start) / samples


def timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """Result, wall seconds and processor seconds."""
    wall, processor = time.perf_counter(), time.process_time()
    result = work()
    return result, time.perf_counter() - wall, time.process_time() - processor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--features", type=int, default=1_000)
    parser.add_argument("--samples", type=int, default=100_000)
    args = parser.parse_args()
    model = PowerLawFeatures(1.0, 0.7, args.inputs, args.features)
    warm = PowerLawFeatures(1.0, 0.7, 500, 50).draw(np.random.default_rng(0))
    simulate_one_pass(warm, 100, 0.1, np.random.default_rng(0))
    rows = []
    for seed in range(REPEATS):
        drawn, wall, processor = timed(lambda seed=seed: model.draw(np.random.default_rng(seed)))
        rate = 0.5 * largest_one_pass_rate(drawn)
        steps = np.unique(np.geomspace(1, args.samples, 40).astype(int))
        rng = np.random.default_rng(seed)
        runs, run_wall, run_processor = timed(lambda d=drawn, s=steps, r=rate, g=rng: simulate_one_pass(d, s, r, g))
        risk, expected_wall, expected_processor = timed(lambda d=drawn, s=steps, r=rate: expected_one_pass(d, s, r))
        loop = naive(model, rate, NAIVE, np.random.default_rng(seed))
        rows.append(
            {
                "seed": seed,
                "draw_wall_s": wall,
                "draw_cpu_s": processor,
                "one_pass_wall_s": run_wall,
                "one_pass_cpu_s": run_processor,
                "expected_wall_s": expected_wall,
                "expected_cpu_s": expected_processor,
                "naive_cpu_s_per_sample": loop,
                "one_pass_cpu_s_per_sample": run_processor / args.samples,
                "ratio_per_sample": loop / (run_processor / args.samples),
                "ratio_with_draw": loop * args.samples / (run_processor + processor),
                "last_loss": float(runs.mean[-1]),
                "last_expected_loss": float(risk.loss[-1]),
            }
        )
        print({name: round(value, 6) for name, value in rows[-1].items()})
    summary = {name: median(row[name] for row in rows) for name in rows[0] if name != "seed"}
    print(write("random_features", rows, "scipy", summary=summary, arguments=vars(args)))


if __name__ == "__main__":
    main()
