"""Run benchmarks, each in a process of its own, and write the tables of docs/results/."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from benchmarks._report import markdown

FOLDER = Path(__file__).parent
RESULTS = FOLDER.parent / "docs" / "results"


def _join(topic: str) -> None:
    """One page, docs/results/<topic>.md, of all benchmarks whose names start with a topic."""
    pages = sorted(RESULTS.glob(f"{topic}_*.md"))
    whole = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    (RESULTS / f"{topic}.md").write_text(whole, encoding="utf-8")


def main() -> int:
    """Run them all, or those that are named; the exit status is 1 if one of them fails."""
    every = sorted(path.stem for path in FOLDER.glob("*.py") if not path.name.startswith("_"))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"all by default: {', '.join(every)}")
    parser.add_argument("--quick", action="store_true", help="smaller cases; writes no table")
    options = parser.parse_args()
    if unknown := sorted(set(options.names) - set(every)):
        parser.error(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(every)}")
    failed = []
    for name in options.names or every:
        print(f"== {name}", flush=True)
        command = [sys.executable, "-m", f"benchmarks.{name}", "--json", *(["--quick"] if options.quick else [])]
        done = subprocess.run(command, cwd=FOLDER.parent, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            failed.append(name)
            continue
        result = json.loads(done.stdout.splitlines()[-1])
        text = markdown(result)
        print(text)
        if not options.quick:
            RESULTS.mkdir(parents=True, exist_ok=True)
            (RESULTS / f"{name}.md").write_text(f"# {name}\n\n{text}", encoding="utf-8")
            (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if not options.quick:
        _join("koopman")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
