"""Jobs that are killed, interrupted or crowded: the finished store is the one of a job that never was."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import xarray as xr

import s2koop
from tests.jobs import sums

ROOT = Path(__file__).parents[2]


def started(store: Path, folder: Path, seconds: float) -> subprocess.Popen:
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "tests.jobs.sums", str(store), str(folder), str(seconds)]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)


def after_some_block(process: subprocess.Popen, folder: Path, delay: float) -> None:
    """Wait until the process has computed a block more, then a moment longer."""
    before = len(list(folder.iterdir()))
    while process.poll() is None and len(list(folder.iterdir())) == before:
        time.sleep(0.005)
    time.sleep(delay)


def is_whole(store: Path) -> None:
    stored = s2koop.run(sums.job(), store, identity="sums", progress=False)
    xr.testing.assert_identical(stored.compute(), sums.job().compute())
    assert list(store.parent.glob(".*.lock")) == []


def files(store: Path) -> dict[Path, bytes]:
    """All files of a store but those that tell which beginning of it they are of."""
    return {f.relative_to(store): f.read_bytes() for f in store.rglob("*") if f.is_file() and f.name != "zarr.json"}


def killed(tmp_path: Path, times: int, how: int, seed: int) -> list[Path]:
    """Files that say which block was computed when, after so many kills and a run to the end."""
    store, folder, rng = tmp_path / "a.zarr", tmp_path / "seen", random.Random(seed)
    for _ in range(times):
        process = started(store, folder, 0.04)
        after_some_block(process, folder, rng.uniform(0, 0.25))
        process.send_signal(how)
        process.communicate(timeout=60)
    last = started(store, folder, 0.0)
    assert last.wait(timeout=60) == 0, last.stderr.read()
    return list(folder.iterdir())


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_killed_job_is_gone_on_with(tmp_path, how):
    seen = killed(tmp_path, 2, how, seed=1)
    is_whole(tmp_path / "a.zarr")
    assert len({path.name.split("-")[0] for path in seen}) == sums.ROWS
    assert len(seen) <= sums.ROWS + 2 * 4  # nothing is computed again but what was under way in two threads and a graph


@pytest.mark.slow
def test_twenty_kills_at_random_moments(tmp_path):
    """From the first import to the last write: no moment is safe from it."""
    store, folder, rng = tmp_path / "a.zarr", tmp_path / "seen", random.Random(7)
    for _ in range(20):
        process = started(store, folder, 0.2)
        time.sleep(rng.uniform(0.5, 4.0))
        process.kill()
        process.communicate(timeout=60)
    last = started(store, folder, 0.0)
    assert last.wait(timeout=60) == 0, last.stderr.read()
    is_whole(store)


#: Runs the job, and kills itself between a file's last byte and its name.
_DIES_WRITING = """
import os, pathlib, signal, sys
from tests.jobs import sums
import s2koop
def replace(path, target, name=pathlib.Path.replace):
    if "twice/c/9" in str(target):
        os.kill(os.getpid(), signal.SIGKILL)
    return name(path, target)
pathlib.Path.replace = replace
s2koop.run(sums.job(), sys.argv[1], identity="sums", progress=False)
"""


def test_a_kill_while_a_file_is_written_leaves_nothing_of_it(tmp_path):
    """zarr writes each file under another name first, which a kill leaves behind."""
    once, twice = tmp_path / "once.zarr", tmp_path / "twice.zarr"
    died = subprocess.run([sys.executable, "-c", _DIES_WRITING, str(twice)], cwd=ROOT, timeout=120)
    assert died.returncode == -signal.SIGKILL
    assert [path for path in files(twice) if path.suffix == ".partial"]
    is_whole(twice)
    is_whole(once)
    assert files(twice) == files(once)


def test_an_array_may_have_the_name_of_a_half_file(tmp_path):
    wanted = xr.Dataset({"half.partial": ("y", [1.0, 2.0])}).chunk()
    xr.testing.assert_identical(s2koop.run(wanted, tmp_path / "a.zarr", progress=False).compute(), wanted.compute())


def test_two_processes_on_one_store(tmp_path):
    """The second is told, and finds the result once the first is done."""
    store, folder = tmp_path / "a.zarr", tmp_path / "seen"
    folder.mkdir()
    (folder / "hold").touch()
    first = started(store, folder, 0.0)
    after_some_block(first, folder, 0.0)
    second = started(store, folder, 0.0)
    _, said = second.communicate(timeout=60)
    assert second.returncode != 0
    assert "being written by another process" in said
    (folder / "hold").unlink()
    assert first.wait(timeout=60) == 0, first.stderr.read()
    is_whole(store)
