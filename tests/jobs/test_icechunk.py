"""Jobs into an Icechunk repository: readers see whole commits, and a stop keeps what was written."""

from __future__ import annotations

import dask
import numpy as np
import pytest
import xarray as xr

import s2koop
from s2koop._jobs import transactions
from s2koop.errors import InputError
from tests.jobs import sums
from tests.jobs.test_run import counted

icechunk = pytest.importorskip("icechunk", reason="icechunk is an extra: pip install 's2koop[icechunk]'")


@pytest.fixture
def repository():
    with dask.config.set(scheduler="synchronous"):
        yield icechunk.Repository.create(icechunk.in_memory_storage())


def seen(repository):
    return xr.open_zarr(repository.readonly_session("main").store, consolidated=False)


def test_what_is_written_is_what_was_asked(repository):
    stored = s2koop.run(sums.job(), repository, progress=False)
    xr.testing.assert_identical(stored.compute(), sums.job().compute())
    assert [entry.message for entry in repository.ancestry(branch="main")][:2] == [
        "s2koop.run: complete",
        "s2koop.run: begun",
    ]
    xr.testing.assert_identical(s2koop.run(sums.job(), repository, progress=False).compute(), sums.job().compute())


def test_a_stop_keeps_what_was_written(repository):
    broken, before = counted(fail_at=6)
    with pytest.raises(KeyboardInterrupt):
        s2koop.run(broken, repository, progress=False)
    assert np.isfinite(seen(repository)["embedding"]).sum() == 3 * (4 * len(before) - 2 * (9 in before))
    result, after = counted()
    stored = s2koop.run(result, repository, progress=False)
    assert sorted(before + after) == list(range(10))
    np.testing.assert_array_equal(stored, counted()[0])


def test_commits_come_in_time(repository, monkeypatch):
    monkeypatch.setattr(transactions, "BETWEEN_COMMITS", 0.0)
    s2koop.run(counted()[0], repository, progress=False)
    assert sum(entry.message == "s2koop.run: regions" for entry in repository.ancestry(branch="main")) == 10


def test_threads_write_in_turn(repository):
    with dask.config.set(scheduler="threads", num_workers=4):
        xr.testing.assert_identical(s2koop.run(sums.job(), repository, progress=False).compute(), sums.job().compute())


def test_another_result_is_refused_or_replaces(repository):
    s2koop.run(sums.job(), repository, progress=False)
    with pytest.raises(InputError, match="holds another result"):
        s2koop.run(sums.job() + 1, repository, progress=False)
    stored = s2koop.run(sums.job() + 1, repository, overwrite=True, progress=False)
    xr.testing.assert_equal(stored.compute(), (sums.job() + 1).compute())


def test_workers_elsewhere_are_refused(repository):
    distributed = pytest.importorskip("distributed")
    cluster = distributed.LocalCluster(
        n_workers=1, processes=False, dashboard_address=":0", host="127.0.0.1", protocol="tcp"
    )
    with (
        cluster,
        distributed.Client(cluster),
        dask.config.set(scheduler=None),
        pytest.raises(InputError, match="threads of this process"),
    ):
        s2koop.run(sums.job(), repository, progress=False)
