"""The environments agree: pyproject.toml is the source of truth, the conda files follow it."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
#: Names that differ on conda-forge.
CONDA = {"torch": "pytorch-cpu", "dask": "dask-core", "matplotlib": "matplotlib-base"}
HEAVY = (
    "torch",
    "bokeh",
    "holoviews",
    "rasterio",
    "rioxarray",
    "stackstac",
    "pystac_client",
    "dask.array",
    "matplotlib",
    "scipy",
    "sklearn",
)


def wanted() -> dict[str, str]:
    """Conda name to bounds, of what a user of the notebooks needs."""
    extras = PROJECT["optional-dependencies"]
    wanted_extras = [line for name in ("notebook", "cluster", "odc", "cql2", "baselines") for line in extras[name]]
    requirements = [Requirement(line) for line in [*PROJECT["dependencies"], *wanted_extras]]
    return {CONDA.get(r.name, r.name): ",".join(sorted(str(r.specifier).split(","))) for r in requirements}


def listed(path: Path) -> dict[str, str]:
    dependencies = yaml.safe_load(path.read_text())["dependencies"]
    pip = next(d["pip"] for d in dependencies if isinstance(d, dict))
    names = [d for d in dependencies if isinstance(d, str)] + [d for d in pip if not d.startswith("-e")]
    found = {}
    for line in names:
        cut = min((line.index(c) for c in "<>=" if c in line), default=len(line))
        found[line[:cut].strip()] = ",".join(sorted(line[cut:].split(",")))
    return found


@pytest.mark.parametrize("file", ["environment.yml", "binder/environment.yml"])
def test_conda_files_follow_pyproject(file):
    found = listed(ROOT / file)
    assert found.pop("python") == "=3.12"  # one "=": repo2docker reads no other form, and falls back to an old Python
    found.pop("pip")
    assert found == wanted()


def test_binder_installs_the_package_and_hands_over():
    assert "pip install --no-deps --no-cache-dir ." in (ROOT / "binder" / "postBuild").read_text()
    assert (ROOT / "binder" / "start").read_text().rstrip().endswith('exec "$@"')
    assert all(os.access(ROOT / "binder" / name, os.X_OK) for name in ("postBuild", "start"))


def test_import_is_light():
    """Little more than xarray, which is timed in the same process, so that a busy machine counts for both."""
    code = (
        "import sys, time; began = time.process_time(); import xarray; base = time.process_time() - began;"
        "began = time.process_time(); import s2koop; added = time.process_time() - began;"
        f"print(added / base, [m for m in {HEAVY!r} if m in sys.modules])"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        for _ in range(3)
    ]
    assert all(run.strip().endswith("[]") for run in runs), runs
    assert min(float(run.split()[0]) for run in runs) < 0.5


def test_every_public_name_loads():
    import s2koop

    assert {"search", "load", "sample", "dashboard", "baselines", "scores", "koopman"} <= set(dir(s2koop))
    for name in s2koop.__all__:
        assert getattr(s2koop, name) is not None


def test_setup_is_idempotent_and_speaks_clearly(tmp_path):
    """With a stamp of the same content set-up ends at once; without a fitting Python it says what to do."""
    for name in ("pyproject.toml", "scripts/setup.sh"):
        target = tmp_path / name
        target.parent.mkdir(exist_ok=True)
        target.write_text((ROOT / name).read_text())
    empty = tmp_path / "bin"
    empty.mkdir()
    for tool in ("bash", "dirname", "cat", "cut", "sha256sum", "shasum", "uname"):
        found = subprocess.run(["which", tool], capture_output=True, text=True, check=False).stdout.strip()
        if found:
            (empty / tool).symlink_to(found)
    run = subprocess.run(
        ["bash", str(tmp_path / "scripts" / "setup.sh")],
        capture_output=True,
        text=True,
        env={"PATH": str(empty)},
        check=False,
    )
    assert run.returncode == 1
    assert "Python 3.11, 3.12 or 3.13 is needed" in run.stderr
    assert not (tmp_path / ".venv").exists()
