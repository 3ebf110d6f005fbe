"""Does a live page lose an update, or grow, with fifty viewers for a minute while its run is killed and resumed?

A trainer (a process of its own) records a run; at a third of the time it is killed (SIGKILL), and five seconds later
resumed from an earlier step. `eigenflow watch` (another) serves it. Fifty viewers read its events over sockets of their
own; every second some lose their connection and come back with the id of the last event that they had.

Run:  python benchmarks/live_viewers.py [--viewers 50] [--seconds 60] [--rows 50]
"""

import argparse
import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from _machine import write
from eigenflow.store import RunWriter, Variable

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from report.live.viewers import AsyncViewer

MODES, RATE = 16, 0.02
AWAY_S, BACK = 5.0, 200


def train(path: Path, start: int, steps: int, rows_a_second: float) -> None:
    """Record a run that falls as a power law, a measurement every second."""
    rng, header = np.random.default_rng(start), {"config": {"name": "benchmark", "train": {"steps": steps}}}
    header["probe"] = {"checksum": "a"}
    edges = np.geomspace(1e-3, 1e3, 20)
    made = RunWriter.resume(path, start=start) if start else RunWriter.create(path, header=header)
    with made as writer:
        for step in range(start, steps):
            if step % round(rows_a_second) == 0:
                values = np.sort(100 * (1 - np.exp(-step / 500)) * rng.uniform(0.1, 1, MODES))[::-1] + 1e-3
                eigenvalue = Variable(("mode",), values, "1 / time", "eigenvalue")
                edge = Variable(("edge",), edges, "1 / time", "edges of shells")
                writer.append(step, {"eigenvalue": eigenvalue}, constants={"edge": edge})
            loss = (0.1 + 2 * (step + 40) ** -0.5) * np.exp(0.03 * rng.normal())
            writer.log({"step": step, "time": step * RATE, "loss": float(loss), "learning_rate": RATE})
            writer.flush()
            time.sleep(1 / rows_a_second)


def trainer(path: Path, start: int, args: argparse.Namespace) -> subprocess.Popen[bytes]:
    steps = round(args.seconds * args.rows)
    words = [__file__, "--train", path, "--start", start, "--steps", steps, "--rows", args.rows]
    return subprocess.Popen([sys.executable, *map(str, words)])


def logged(path: Path) -> int:
    return (path / "losses.jsonl").read_bytes().count(b"\n")


class Memory:
    """Of the server, and of the process that forecasts for it."""

    def __init__(self, pid: int) -> None:
        self._server, self.rows = psutil.Process(pid), list[dict[str, float]]()

    def look(self, at_s: float) -> None:
        children = self._server.children()
        worker = sum(child.memory_info().rss for child in children if child.is_running())
        own = self._server.memory_info().rss
        cpu = self._server.cpu_times()
        self.rows.append(
            {"at_s": round(at_s, 1), "server_bytes": own, "worker_bytes": worker, "processes": 1 + len(children),
             "server_cpu_s": cpu.user + cpu.system}
        )  # fmt: skip

    def at(self, second: float) -> dict[str, float]:
        return min(self.rows, key=lambda row: abs(row["at_s"] - second))


async def watched(port: int, path: Path, memory: Memory, args: argparse.Namespace) -> list[AsyncViewer]:
    """The minute: viewers come, the run is killed and resumed, and they leave when they have the last event."""
    viewers, rng = [AsyncViewer(port) for _ in range(args.viewers)], random.Random(0)
    tasks = [asyncio.create_task(one.watch()) for one in viewers]
    begun, training, killed_at = time.monotonic(), trainer(path, 0, args), None
    is_resumed = False
    while (at_s := time.monotonic() - begun) < args.seconds:
        await asyncio.sleep(1.0)
        memory.look(time.monotonic() - begun)
        for one in rng.sample(viewers, max(1, args.viewers // 10)):
            one.drop()
        if killed_at is None and at_s > args.seconds / 3:
            training.send_signal(signal.SIGKILL)
            training.wait()
            killed_at = at_s
        elif killed_at is not None and not is_resumed and at_s > killed_at + AWAY_S:
            training, is_resumed = trainer(path, max(logged(path) - BACK, 1), args), True
    training.send_signal(signal.SIGKILL)
    training.wait()
    await asyncio.sleep(3.0)
    last = max(one.number for one in viewers)
    async with asyncio.timeout(20):
        while any(one.number < last for one in viewers):
            await asyncio.sleep(0.05)
    for one in viewers:
        one.leave()
    await asyncio.gather(*tasks)
    return viewers


def summary(
    viewers: list[AsyncViewer], memory: Memory, final: dict[str, Any], rows: int, args: argparse.Namespace
) -> dict[str, Any]:
    last = max(one.number for one in viewers)
    came: dict[int, list[float]] = {}
    for one in viewers:
        for _, number, at in one.seen:
            came.setdefault(number, []).append(at)
    spread = np.array([max(times) - min(times) for times in came.values() if len(times) == len(viewers)])
    missed = sum(last - one.seen[0][1] + 1 - len({number for _, number, _ in one.seen}) for one in viewers)
    early, late = memory.at(10), memory.at(args.seconds)
    return {
        "viewers": len(viewers),
        "seconds": args.seconds,
        "updates": last,
        "connections": sum(one.connections for one in viewers),
        "missed_updates": missed,
        "out_of_order": sum(len(one.wrong) for one in viewers),
        "whole_states_after_the_first": sum([kind for kind, *_ in one.seen[1:]].count("state") for one in viewers),
        "viewers_whose_state_is_the_servers": sum(one.state == final for one in viewers),
        "server_bytes_at_10_s": early["server_bytes"],
        "server_bytes_at_the_end": late["server_bytes"],
        "server_growth": late["server_bytes"] / early["server_bytes"] - 1,
        "most_processes": max(row["processes"] for row in memory.rows),
        "server_cpu_share": late["server_cpu_s"] / args.seconds,
        "received_bytes_a_viewer_a_second": float(np.mean([one.received for one in viewers])) / args.seconds,
        "first_to_last_viewer_s": [float(np.quantile(spread, q)) for q in (0.5, 0.95)] if len(spread) else None,
        "happened": [row["text"] for row in final["happened"]],
        "status": final["status"],
        "rows": final["rows"],
        "rows_in_the_log": rows,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--viewers", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rows", type=float, default=50.0, help="losses a second")
    parser.add_argument("--out", default="live_viewers", help="name of the result")
    parser.add_argument("--train", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--start", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--steps", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.train is not None:
        train(args.train, args.start, args.steps, args.rows)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        words = [sys.executable, "-m", "eigenflow", "watch", str(path), "--every", "0.5"]
        server = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=os.environ)
        try:
            assert server.stdout is not None
            address = server.stdout.readline().strip()
            memory = Memory(server.pid)
            viewers = asyncio.run(watched(int(address.rstrip("/").rpartition(":")[2]), path, memory, args))
            with urllib.request.urlopen(f"{address}state.json", timeout=10) as answer:
                final = json.load(answer)
            told = summary(viewers, memory, final, logged(path), args)
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(20)
    for name, value in told.items():
        print(f"{name}: {value}")
    print(write(args.out, [told], "starlette", "uvicorn", memory=memory.rows))


if __name__ == "__main__":
    main()
