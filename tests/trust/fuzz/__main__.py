"""``python -m tests.trust.fuzz``: fuzz what comes from outside, and say what was found."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import sys
import tempfile
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

from tests.trust.fuzz import harness
from tests.trust.fuzz.targets import TARGETS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.trust.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000, help="in all, over the targets by their shares")
    parser.add_argument("--targets", nargs="+", choices=list(TARGETS), default=list(TARGETS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--replay", metavar="HEX", help="run one input of the one target that is named, and show why")
    parser.add_argument("--guided", type=int, metavar="SECONDS", help="of the one target named, with atheris")
    parser.add_argument("--json", action="store_true", help="print one object instead of lines")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="s2koop-cache-") as cache:
        os.environ.setdefault("S2KOOP_CACHE", cache)  # the user's own is none of ours
        if asked.replay is not None:
            TARGETS[asked.targets[0]][0](harness.Choices(bytes.fromhex(asked.replay)))
            return 0
        if asked.guided:
            harness.guided(TARGETS[asked.targets[0]][0], asked.guided, seed=asked.seed, folder=cache)
        return _campaign(asked)


def _campaign(asked: argparse.Namespace) -> int:
    shares = sum(TARGETS[name][1] for name in asked.targets)
    rows, found = [], []
    for name in asked.targets:
        target, share = TARGETS[name]
        begun = time.process_time()
        with contextlib.redirect_stdout(io.StringIO()):  # readers of others print what they could not read
            tally = harness.run(name, target, round(asked.inputs * share / shares), seed=asked.seed)
        seconds = time.process_time() - begun
        row = {"target": name, "inputs": tally.inputs, "refused": tally.refused, "failures": len(tally.failures)}
        rows.append(row | {"cpu_seconds": round(seconds, 1)})
        found += [(name, failure) for failure in tally.failures.values()]
        if not asked.json:
            print(", ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
            for failure in tally.failures.values():
                print(f"  {failure}", flush=True)
    total = sum(row["inputs"] for row in rows)
    if asked.json:
        failures = [{"target": name, "failure": str(failure)} for name, failure in found]
        print(json.dumps({"seed": asked.seed, "inputs": total, "rows": rows, "failures": failures}))
    else:
        print(f"{total} inputs, seed {asked.seed}, {len(found)} kinds of failure")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
