"""Feed broken inputs to all readers, and print what came of them. From tests/:

python -m fuzz.run --minutes 30                      every reader in turn, a new seed each round
python -m fuzz.run --reader csv --count 2000 --seed 7
python -m fuzz.run --reader csv --seed 7 --show 1234 --out folder    write that input to a folder, to look at it
"""

import argparse
import json
import time
from collections import Counter
from pathlib import Path

from fuzz.registry import FAULTS, OUTCOMES, Report, input_of, readers, run
from fuzz.worker import Worker, write_sample

__all__ = ["main"]

ROUND = 200


def main() -> int:
    """Run; status 1 if a reader did what it must not."""
    args = _arguments()
    names = args.reader or list(readers())
    if args.show is not None:
        sample = input_of(names[0], args.seed, args.show)
        write_sample(sample.files, args.out)
        print(args.out / sample.target)
        return 0
    totals = {name: Report(name) for name in names}
    end = time.monotonic() + 60 * args.minutes
    limits = {} if args.default_limits else None
    with Worker(limits, memory=8 * 2**30) if args.default_limits else Worker() as worker:
        done = 0
        while done < args.count and time.monotonic() < end:
            for name in names:
                many = min(ROUND, args.count - done)
                _merge(totals[name], run(name, many, args.seed, first=done, worker=worker))
                if time.monotonic() > end:
                    break
            done += ROUND
    _print(totals)
    if args.json:
        args.json.write_text(json.dumps({name: dict(one.counts) for name, one in totals.items()}, indent=1))
    return int(any(one.counts[fault] for one in totals.values() for fault in FAULTS))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reader", action="append", choices=list(readers()), help="one reader, or several; else all")
    parser.add_argument("--minutes", type=float, default=30.0, help="wall time at most")
    parser.add_argument("--count", type=int, default=10**9, help="inputs for each reader at most")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the inputs; the clock's if left out")
    parser.add_argument("--default-limits", action="store_true", help="the limits that users have, and 8 GiB")
    parser.add_argument("--json", type=Path, help="write the counts there")
    parser.add_argument("--show", type=int, metavar="INDEX", help="write one input to the folder --out")
    parser.add_argument("--out", type=Path, default=Path("fuzz-input"))
    return parser.parse_args()


def _merge(total: Report, one: Report) -> None:
    total.counts.update(one.counts)
    total.faults += one.faults
    total.seconds = max(total.seconds, one.seconds)
    for index, outcome, detail in one.faults[:5]:
        print(f"{one.reader} {index}: {outcome}: {detail[:300]}", flush=True)


def _print(totals: dict[str, Report]) -> None:
    width = max(map(len, totals))
    print(f"{'reader':{width}} {'tried':>8} " + " ".join(f"{one:>8}" for one in OUTCOMES) + "  slowest")
    for name, one in totals.items():
        counts = " ".join(f"{one.counts[outcome]:8d}" for outcome in OUTCOMES)
        print(f"{name:{width}} {one.counts.total():8d} {counts}  {one.seconds:.2f} s")
    places = Counter((outcome, detail.split(": ")[0]) for one in totals.values() for _, outcome, detail in one.faults)
    for (outcome, place), many in places.most_common():
        print(f"{many:6d} {outcome}: {place}")


if __name__ == "__main__":
    raise SystemExit(main())
