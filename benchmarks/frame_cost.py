"""What does it cost to record how the eigenbasis moves, beside the measurement of an update?

A digits-sized network is measured along gradient descent with all modes of the dense operator. The overlaps with the
frames of the measurement before and of the first one, couplings and sample energies are timed apart; the first
measurement, which has no frames, is warm-up.

Run:  python benchmarks/frame_cost.py --rows 300 1000       (about half a minute)
"""

import argparse
import time

import numpy as np
import torch
from torch import nn

import eigenflow as ef
from _machine import write
from eigenflow.trajectory import methods


def measure(rows: int, repeats: int, outputs: int = 10) -> dict[str, float]:
    """CPU seconds of a measurement, and of its part that looks at frames."""
    generator = torch.Generator().manual_seed(0)
    inputs, targets = (torch.randn(rows // outputs, n, generator=generator).double() for n in (64, outputs))
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 128), nn.Tanh(), nn.Linear(128, outputs)).double()
    probe = ef.Probe(model, inputs, targets)
    method, edges = methods.make_method("dense", probe, None), None
    frames, spent = methods.frame_variables, []

    def timed(*arguments, **options):
        start = time.process_time()
        found = frames(*arguments, **options)
        spent.append(time.process_time() - start)
        return found

    methods.frame_variables = timed
    totals = []
    try:
        for k in range(repeats + 2):
            before, gradient = probe.state(), probe.at().gradient()
            with torch.no_grad():
                for name, parameter in model.named_parameters():
                    parameter -= 0.1 * gradient[name]
            start = time.process_time()
            _, edges = method.variables(probe, before, probe.state(), 0.1, edges=edges, time=0.1 * k)
            totals.append(time.process_time() - start)
    finally:
        methods.frame_variables = frames
    whole, part = np.array(totals[2:]), np.array(spent[2:])
    return {
        "rows": rows,
        "measurement_cpu_s": float(np.median(whole)),
        "frames_cpu_s": float(np.median(part)),
        "share_added": float(np.median(part / (whole - part))),
        "share_added_max": float(np.max(part / (whole - part))),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[300, 1000])
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for count in arguments.rows:
        rows.append(measure(count, arguments.repeats))
        print(rows[-1], flush=True)
    print(f"Result: {write('frame_cost', rows, goal_share_added=0.25)}")


if __name__ == "__main__":
    main()
