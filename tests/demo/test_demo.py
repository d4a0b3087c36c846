"""`python -m s2koop.demo` as `make demo` calls it, with fewer training steps; the notebook is the quick twin."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pandas as pd
import pytest

from s2koop.demo import by_band


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    output = tmp_path_factory.mktemp("demo")
    # a proxy that nobody serves: any request outside fails
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    command = [sys.executable, "-m", "s2koop.demo", "--output", str(output), "--steps", "20"]
    run = subprocess.run(command, capture_output=True, text=True, env=os.environ | proxies, check=False)
    return run, output


@pytest.mark.slow
def test_it_runs_and_says_where_to_look(demo):
    run, output = demo
    assert run.returncode == 0, run.stderr
    assert str(output / "index.html") in run.stdout
    assert "make lab" in run.stdout


@pytest.mark.slow
def test_it_writes_figures_scores_model_and_one_page(demo):
    _, output = demo
    names = {path.name for path in output.iterdir()}
    figures = {"gap_filling.png", "forecast.png", "pixel_series.png"}
    assert names == figures | {"index.html", "scores.csv", "model.safetensors", "model.json"}
    assert all((output / name).read_bytes().startswith(b"\x89PNG") for name in figures)
    page = (output / "index.html").read_text()
    assert page.count("<img") == 3
    assert "http" not in re.sub(r"data:image/png;base64,[^\"]*", "", page)  # nothing is fetched when it is opened
    assert "Contains modified Copernicus Sentinel data" in page


@pytest.mark.slow
def test_scores_hold_every_method_on_the_same_observations(demo):
    _, output = demo
    table = pd.read_csv(output / "scores.csv", index_col=["method", "band"])
    methods = {"koopman", "persistence", "pixel_mean", "same_day_last_year", "harmonic", "whittaker"}
    assert set(table.index.unique("method")) == methods
    assert table["n"].groupby("band").nunique().eq(1).all()
    assert table["n"].min() > 10_000
    assert by_band(table, "rmse").shape == (6, 6)


@pytest.mark.slow
def test_it_stays_within_the_memory_of_a_small_machine(demo):
    run, _ = demo
    (peak,) = re.findall(r"peak memory (\d+) MB", run.stdout)
    assert int(peak) < 1500


def test_what_is_refused_is_said_without_a_traceback(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    run = subprocess.run(
        [sys.executable, "-m", "s2koop.demo", "--output", str(tmp_path / "out")],
        capture_output=True, text=True, env=os.environ | {"S2KOOP_CACHE": str(blocked)}, check=False,
    )  # fmt: skip
    assert run.returncode == 1
    assert "S2KOOP_CACHE" in run.stderr
    assert "Traceback" not in run.stderr
