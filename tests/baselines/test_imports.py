"""What a baseline needs is imported when it runs, not with the package."""

from __future__ import annotations

import subprocess
import sys

LATER = ("torch", "sklearn", "scipy", "pydmd", "whittaker_eilers", "dask.array")


def test_the_baselines_import_no_heavy_library():
    code = f"import sys, s2koop.baselines; print([m for m in {LATER!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
