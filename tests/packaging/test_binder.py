"""What Binder would build: repo2docker writes the whole recipe without an engine, and the recipe is read here."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.parse
from pathlib import Path

import pytest

from tests.support.lab import CHROMIUM, browser_page, jupyter_lab, write_notebook

ROOT = Path(__file__).parents[2]
BINDER = ROOT / "binder"


@pytest.fixture(scope="module")
def recipe() -> str:
    """The Dockerfile that repo2docker would hand to an engine, and what it says on the way."""
    pytest.importorskip("repo2docker", reason="needs jupyter-repo2docker")
    command = [
        sys.executable,
        "-m",
        "repo2docker",
        "--no-build",
        "--debug",
        "--user-id=1000",
        "--user-name=jovyan",
        ".",
    ]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout + run.stderr


def test_the_files_of_binder_are_used_and_the_python_is_ours(recipe) -> None:
    assert "Building conda environment for python=3.12" in recipe  # anything but one "=" would say 3.10
    assert re.search(r"COPY \S+ src/binder/environment.yml", recipe)
    assert '--file "binder/environment.yml"' in recipe
    assert "src/environment.yml" not in recipe


def test_the_environment_is_kept_from_commit_to_commit(recipe) -> None:
    """Environment before the repository, postBuild after it, and start around whatever the hub runs."""
    steps = ["src/binder/environment.yml", "env update", "COPY --chown=1000:1000 src/ ", "RUN ./binder/postBuild"]
    places = [recipe.index(step) for step in [*steps, 'R2D_ENTRYPOINT="${REPO_DIR}/binder/start"']]
    assert places == sorted(places)
    before = recipe[: places[2]]
    assert "pip install" not in before, "a local package in the environment would be installed anew at each commit"


def test_start_sets_the_limits_and_becomes_what_the_hub_asks_for() -> None:
    """The script ends in exec, so that signals of the hub reach the server."""
    names = ("OMP_NUM_THREADS", "GDAL_CACHEMAX", "S2KOOP_BINDER")
    ask = f"import os; print(os.getppid(), *(os.environ[name] for name in {names}))"
    command = [str(BINDER / "start"), sys.executable, "-c", ask]
    answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert answer == [str(os.getpid()), "1", "64", "1"]


def test_post_build_writes_settings_that_jupyterlab_knows(tmp_path) -> None:
    """Run with a Python that only notes what it is asked; its settings are compared with JupyterLab's own schemas."""
    jupyterlab = pytest.importorskip("jupyterlab", reason="needs jupyterlab")
    fake = tmp_path / "bin" / "python"
    fake.parent.mkdir()
    fake.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    fake.chmod(0o755)
    environment = {"PATH": f"{fake.parent}:/usr/bin:/bin", "NB_PYTHON_PREFIX": str(tmp_path)}
    subprocess.run([BINDER / "postBuild"], env=environment, check=True, cwd=ROOT)
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked[0] == "-m pip install --no-deps --no-cache-dir ."
    assert 's2koop.search("sample")' in asked[2], "nobody shall wait for the sample in a first session"

    overrides = json.loads((tmp_path / "share/jupyter/lab/settings/overrides.json").read_text())
    schemas = Path(jupyterlab.__file__).parents[4] / "share" / "jupyter" / "lab" / "schemas"
    for plugin, settings in overrides.items():
        package, _, name = plugin.partition(":")
        known = json.loads((schemas / package / f"{name}.json").read_text())["properties"]
        for key, value in settings.items():
            choices = [choice["const"] for choice in known[key].get("oneOf", [])]
            assert value in choices if choices else isinstance(value, bool)
    assert overrides["@jupyterlab/notebook-extension:tracker"]["windowingMode"] == "defer"


def test_what_is_left_out_is_not_needed() -> None:
    build = pytest.importorskip("docker.utils.build", reason="needs docker, which comes with jupyter-repo2docker")
    lines = [line.strip() for line in (BINDER / ".dockerignore").read_text().splitlines()]
    kept = build.exclude_paths(str(ROOT), [line for line in lines if line and not line.startswith("#")])
    needed = {"pyproject.toml", "README.md", "LICENSE", "s2koop/__init__.py", "notebooks/00_start.ipynb"}
    assert needed <= set(kept)
    assert {f"binder/{name}" for name in ("environment.yml", "postBuild", "start")} <= set(kept)
    assert not [name for name in kept if name.startswith(("tests/", ".git/", ".venv/"))]


def test_links_to_binder_open_what_is_there() -> None:
    links = re.findall(r"https://mybinder\.org/v2/gh/[^)\s\"]+", (ROOT / "README.md").read_text())
    paths = [urllib.parse.parse_qs(urllib.parse.urlparse(link).query)["urlpath"][0] for link in links]
    assert {path.split("/")[0] for path in paths} == {"lab", "voila"}
    for path in paths:
        assert (ROOT / re.sub(r"^(lab/tree|voila/render)/", "", path)).is_file(), path


@pytest.mark.browser
@pytest.mark.timeout(600)
@pytest.mark.skipif(not CHROMIUM.exists(), reason=f"needs the system's Chromium at {CHROMIUM}")
def test_voila_answers_under_the_server_of_jupyterlab(tmp_path) -> None:
    """The address that the link to Voila opens: run by the server of JupyterLab, without code, with plots, offline."""
    pytest.importorskip("voila", reason="needs voila")
    cells = "import s2koop, holoviews as hv\ns2koop.notebook()", "print(s2koop._host.host().name)\nhv.Curve([1, 3, 2])"
    write_notebook(tmp_path / "look.ipynb", *cells)
    with jupyter_lab(tmp_path) as address, browser_page(tmp_path) as (page, traffic):
        page.goto(f"{address}/voila/render/look.ipynb", timeout=180_000)
        page.locator(".bk-Figure").first.wait_for(timeout=120_000)
        assert page.get_by_text("Voila", exact=True).count() == 1
        assert page.get_by_text("import s2koop").count() == 0
        scripts = [url for url in traffic.outside if url.partition("?")[0].endswith(".js")]
        assert [url for url in scripts if "mathjax" not in url] == []  # asked for by Voila, for formulas
