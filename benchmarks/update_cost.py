"""Does measuring keep to the cost that was stated, and to the cap on its share of the time?

Real training, each row in a fresh process on one thread. First some updates are recorded: operations are counted in
one, memory and processor seconds taken in another, and held against `Recorder.cost`, which was stated before the
first. Then training is recorded again with `max_overhead=0.05`, with far more scheduled steps than that has time for,
and the share of the processor's time that went into the recorder is taken by a clock around it.

Run:  python benchmarks/update_cost.py [--seconds 30] [--only mlp]
"""

import argparse
import gc
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import cross_entropy

import eigenflow as ef
from _machine import write
from eigenflow.tangent.counted import counted
from eigenflow.trajectory import Recorder
from measurement_cost import Tokens, status

CAP = 0.05
# Network, samples of the probe, optimizer, further arguments of the recorder.
CASES = [
    ("mlp", 24, "adamw", {}),
    ("mlp", 60, "sgd", {}),
    ("relu", 100, "sgd", {}),
    ("relu", 60, "adamw", {}),
    ("relu", 200, "adamw", {"modes": 32, "method": "tracked"}),
    ("tiny", 64, "adamw", {}),
    ("tiny", 300, "sgd", {}),
    ("tiny", 800, "sgd", {}),
    ("conv", 40, "sgd", {}),
    ("conv", 20, "adamw", {}),
    ("conv", 120, "sgd", {"modes": 32, "method": "tracked"}),
    ("norm", 40, "sgd", {}),
    ("tokens", 30, "sgd", {}),
    ("tokens", 20, "adamw", {}),
    ("tokens", 60, "adamw", {"modes": 16, "method": "tracked"}),
    ("large", 24, "sgd", {}),
    ("large", 24, "adamw", {}),
    ("large", 60, "adamw", {"modes": 16, "method": "tracked"}),
]


def network(name):
    """A network, its inputs and the size of a batch."""
    torch.manual_seed(0)
    count = 512
    if name in ("mlp", "relu"):
        kind = nn.Tanh if name == "mlp" else nn.ReLU
        layers = [nn.Linear(64, 256), kind(), nn.Linear(256, 256), kind(), nn.Linear(256, 10)]
        return nn.Sequential(*layers), torch.randn(count, 64), 128
    if name == "tiny":
        return nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 3)), torch.randn(count, 10), 64
    if name == "large":
        layers = [nn.Linear(256, 1000), nn.ReLU(), nn.Linear(1000, 700), nn.ReLU(), nn.Linear(700, 10)]
        return nn.Sequential(*layers), torch.randn(count, 256), 256
    if name in ("conv", "norm"):
        norms = [nn.BatchNorm2d(16)] if name == "norm" else []
        layers = [nn.Conv2d(3, 16, 3, padding=1), *norms, nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2, padding=1)]
        return nn.Sequential(*layers, nn.ReLU(), nn.Flatten(), nn.Linear(2048, 10)), torch.randn(count, 3, 16, 16), 16
    return Tokens(), torch.randint(0, 50, (count, 16)), 16


class Training:
    """Some network in training on labels that can be learned, with a recorder beside it."""

    def __init__(self, name, samples, optimizer, options, schedule, folder, **more):
        self.model, self.inputs, self.batch = network(name)
        first = self.model(self.inputs).detach()
        self.labels = torch.randint(0, first.shape[1], (len(first),))
        kinds = {"adamw": lambda p: torch.optim.AdamW(p, lr=1e-3), "sgd": lambda p: torch.optim.SGD(p, lr=0.05)}
        self.optimizer = kinds[optimizer](self.model.parameters())
        self.model.eval()
        probe = ef.Probe(self.model, self.inputs[:samples], self.labels[:samples], "cross_entropy")
        self.model.train()
        own = {"preconditioner": self.optimizer} if optimizer == "adamw" else {}
        self.recorder = Recorder(folder, probe, schedule, **own, **options, **more)

    def step(self, k):
        """One update; returns the seconds in the recorder and whether it measured."""
        rows = torch.arange(k * self.batch, (k + 1) * self.batch) % len(self.inputs)
        self.optimizer.zero_grad()
        loss = cross_entropy(self.model(self.inputs[rows]), self.labels[rows])
        loss.backward()
        self.optimizer.step()
        began = time.process_time()
        rate = self.optimizer.param_groups[0]["lr"]
        measured = self.recorder.step(k, loss=loss.detach(), learning_rate=rate)
        return time.process_time() - began, measured


def against_the_estimate(name, samples, optimizer, options):
    """What one recorded update takes over what was stated."""
    with tempfile.TemporaryDirectory() as folder:
        training = Training(name, samples, optimizer, options, [5, 15, 25, 35], Path(folder) / "run")
        began = time.process_time()
        cost = training.recorder.cost
        took = time.process_time() - began
        seen, method = {}, training.recorder._measured.method

        def watched(variables):
            def inner(*args, **named):
                gc.collect()
                Path("/proc/self/clear_refs").write_text("5")
                before, began = status("VmRSS"), time.process_time()
                if (
                    len(seen) < 2
                ):  # memory of the first, in a process that holds none for later use; seconds of a warm one
                    found = variables(*args, **named)
                    peak, seconds = status("VmHWM") - before, time.process_time() - began
                    seen.update({"cpu_s": seconds} if seen else {"peak_bytes": peak})
                    return found
                one = counted(lambda: variables(*args, **named))
                seen["flops"], seen["tensor_bytes"] = one.flops, one.peak_bytes
                return one.result

            return inner

        method.variables = watched(method.variables)
        for k in range(40):
            training.step(k)
        training.recorder.close()
    ratios = {f"{what}_ratio": getattr(cost, key) / max(seen[what], 1e-9) for what, key in NAMES.items()}
    if seen["peak_bytes"] < LEAST_BYTES:
        ratios["peak_bytes_ratio"] = None
    return {"rows": training.recorder.probe.size, **seen, **ratios, "estimate_cpu_s": took, "parts": cost.parts}


NAMES = {"flops": "flops", "peak_bytes": "peak_bytes", "tensor_bytes": "peak_bytes", "cpu_s": "seconds"}
# A process that grows by less took its memory from what it held for later use.
LEAST_BYTES = 200 * 2**20


def under_the_cap(name, samples, optimizer, options, seconds):
    """The share of the time that went into the recorder, over about so many seconds of training."""
    with tempfile.TemporaryDirectory() as folder:
        trial = Training(name, samples, optimizer, options, [10**9], Path(folder) / "trial")
        trial.step(0)
        began = time.perf_counter()
        for k in range(1, 31):
            trial.step(k)
        steps = max(50, round(30 * seconds / (time.perf_counter() - began)))
        trial.recorder.close()
        every = range(0, steps, max(1, steps // 300))
        training = Training(name, samples, optimizer, options, every, Path(folder) / "run", max_overhead=CAP)
        began = time.process_time()
        inside, measured = zip(*(training.step(k) for k in range(steps)), strict=True)
        whole = time.process_time() - began
        training.recorder.close()
    # A call that only listens takes the median; what calls take beyond it is copies, the estimate and measurements.
    listening = statistics.median(inside)
    return {
        "share": sum(x - listening for x in inside if x > 5 * listening) / whole,
        "listening_share": listening * steps / whole,
        "measured": sum(measured),
        "training_s": whole - sum(inside),
        "steps": steps,
    }


def row(index, seconds):
    """One case, in this process."""
    torch.set_num_threads(1)
    case = CASES[index]
    name, samples, optimizer, options = case
    capped = under_the_cap(name, samples, optimizer, options, seconds)
    held = against_the_estimate(name, samples, optimizer, options)
    return {"network": name, "optimizer": optimizer, "method": options.get("method", "dense"), **held, **capped}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0, help="Of training under the cap.")
    parser.add_argument("--only", default="", help="Cases of this network alone; nothing is written.")
    parser.add_argument("--row", type=int, help="Used by itself: one case, printed as JSON.")
    args = parser.parse_args()
    if args.row is not None:
        print(json.dumps(row(args.row, args.seconds)))
        return
    rows = []
    for index, case in enumerate(CASES):
        if args.only not in case[0]:
            continue
        command = [sys.executable, __file__, "--row", str(index), "--seconds", str(args.seconds)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stderr)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        keys = (
            "rows",
            "flops_ratio",
            "peak_bytes_ratio",
            "tensor_bytes_ratio",
            "cpu_s_ratio",
            "cpu_s",
            "share",
            "measured",
        )
        print(*case[:3], *(f"{k} {rows[-1][k] or 0:.3g}" for k in keys), flush=True)
    if not args.only:
        write("update_cost", rows)


if __name__ == "__main__":
    main()
