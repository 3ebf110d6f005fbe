"""What does it take to analyse and report a run with 200 measurements of 1,000 modes: seconds and memory?

A digits network is recorded once into the folder given (or taken from it, if it is there). The analysis, everything
that `eigenflow analyse` concludes, and then the page of `eigenflow report` are made in a process of their own, three
times.

Run:  python benchmarks/analyse_run.py runs/two_hundred      (about four minutes the first time)
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
analysed, begun = time.process_time(), time.perf_counter()
from eigenflow.report import write_report
path = write_report(analysis)
written, wall = time.process_time(), time.perf_counter() - begun
print(json.dumps({
    "measurements": len(analysis.run.measured_steps),
    "modes": int(analysis.run.measurements.sizes["mode"]),
    "rows_of_claims": len(analysis.claims),
    "import_cpu_s": imported - start,
    "analyse_cpu_s": analysed - imported,
    "analyse_wall_s": analysis.wall_s,
    "report_cpu_s": written - analysed,
    "report_wall_s": wall,
    "page_mb": path.stat().st_size / 1e6,
    "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
}))
"""


CHANGES = ["task.samples=100", "measure.count=200"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    if not (arguments.folder / "run.json").is_file():
        from eigenflow.lab import load_config, run_experiment

        run_experiment(load_config("digits", CHANGES), arguments.folder)
    command = [sys.executable, "-c", ONCE, str(arguments.folder)]
    rows = []
    for _ in range(arguments.repeats):
        rows.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
        print(rows[-1], flush=True)
    print(f"Result: {write('analyse_run', rows, 'scipy', 'xarray', 'zarr', goal_s=15, goal_mib=2048)}")


if __name__ == "__main__":
    main()
