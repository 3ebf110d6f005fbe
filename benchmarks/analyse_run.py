"""What does it take to analyse a run with 60 measurements of 1,000 modes: seconds and memory?

A digits network is recorded once into the folder given (or taken from it, if it is there). The analysis, everything
that `eigenflow analyse` concludes, then runs in a process of its own, three times.

Run:  python benchmarks/analyse_run.py runs/sixty            (about two minutes the first time)
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from _machine import write

ONCE = """
import json, resource, sys, time
start = time.process_time()
from eigenflow.report.summary import analyse
from eigenflow.store import open_run
imported = time.process_time()
analysis = analyse(open_run(sys.argv[1]))
print(json.dumps({
    "measurements": len(analysis.run.measured_steps),
    "modes": int(analysis.run.measurements.sizes["mode"]),
    "rows_of_claims": len(analysis.claims),
    "import_cpu_s": imported - start,
    "analyse_cpu_s": time.process_time() - imported,
    "analyse_wall_s": analysis.wall_s,
    "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    if not (arguments.folder / "run.json").is_file():
        from eigenflow.lab import load_config, run_experiment

        run_experiment(load_config("digits", ["measure.count=60"]), arguments.folder)
    command = [sys.executable, "-c", ONCE, str(arguments.folder)]
    rows = []
    for _ in range(arguments.repeats):
        rows.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
        print(rows[-1], flush=True)
    print(f"Result: {write('analyse_run', rows, 'scipy', 'xarray', 'zarr', goal_s=10, goal_mib=2048)}")


if __name__ == "__main__":
    main()
