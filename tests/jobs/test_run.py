"""Results into a store, region by region: whole, gone on with after any stop, and never over anything else."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pytest
import rioxarray  # noqa: F401  registers .rio
import xarray as xr
import zarr

import s2koop
from s2koop._jobs import store as stores
from s2koop._jobs.compute import large_tasks
from s2koop._jobs.layout import layout
from s2koop._jobs.run import _Target, _written
from s2koop.engine import Output, map_pixels
from s2koop.errors import InputError, StoreError
from tests.jobs import sums


def counted(fail_at: int | None = None) -> tuple[xr.DataArray, list[int]]:
    """A lazy array that tells which of its 10 chunks were computed, and may be interrupted in one."""
    seen: list[int] = []

    def block(values: np.ndarray) -> np.ndarray:
        row = int(values.flat[0]) // 4
        if row == fail_at:
            raise KeyboardInterrupt
        seen.append(row)
        return values * 2.0

    rows = xr.DataArray(
        np.arange(38.0)[:, None] * np.ones(3), dims=("y", "feature"), coords={"y": np.arange(38) * 10.0}
    )
    lazy = rows.chunk(y=4)
    data = lazy.data.map_blocks(block, dtype=float, meta=np.empty((0, 0)), name="doubled")
    return lazy.copy(data=data).rename("embedding").assign_attrs(encoder="trial"), seen


@pytest.fixture(autouse=True)
def _one_by_one():
    with dask.config.set(scheduler="synchronous"):
        yield


def write(result, path, **options):
    return s2koop.run(result, path, progress=False, **options)


def test_what_is_written_is_what_was_asked(tmp_path):
    result, _ = counted()
    stored = write(result, tmp_path / "a.zarr")
    assert stored.chunks is not None
    xr.testing.assert_identical(stored.compute(), result.compute())


@pytest.mark.parametrize("chunks", [{"y": 5}, {"y": -1}, {"y": (3, 7, 7, 7)}, {"y": 7, "x": 2, "band": 1}])
def test_datasets_of_many_shapes(tmp_path, chunks):
    result = sums.job().chunk(chunks)
    stored = write(result, tmp_path / "a.zarr")
    xr.testing.assert_identical(stored.compute(), result.compute())


def test_chunks_of_the_store_may_be_smaller_than_regions(tmp_path):
    """A cube that is read date by date, in large images, becomes one of whole series of small windows."""
    cube = xr.DataArray(np.arange(4 * 12 * 10.0).reshape(4, 12, 10), dims=("time", "y", "x"), name="a")
    lazy = cube.chunk(time=2, y=6, x=10)
    stored = write(lazy, tmp_path / "a.zarr", chunks={"y": 3, "x": 5})
    assert stored.chunksizes == {"time": (2, 2), "y": (3,) * 4, "x": (5, 5)}
    xr.testing.assert_identical(stored.compute(), cube)
    with pytest.raises(InputError, match=r"chunks of \(2, 3, 5\) there, \(2, 6, 10\) here"):
        write(lazy, tmp_path / "a.zarr")
    for chunks, message in (({"y": 4}, "does not divide a region"), ({"z": 1}, "dims of"), ({"y": 0}, "whole number")):
        with pytest.raises(InputError, match=message):
            write(lazy, tmp_path / "b.zarr", chunks=chunks)


def test_labels_attributes_and_crs_come_back(tmp_path):
    cube = s2koop.simulate.seasonal_cube(seed=0, every_days=60).chunk(y=3).rio.write_crs(32633)
    cube.encoding = {"scale_factor": 1e-4, "dtype": "int16", "chunks": (1, 1, 1, 1)}  # of the file it was read from
    stored = write(cube, tmp_path / "a.zarr")
    xr.testing.assert_identical(stored.compute(), cube.compute())
    assert stored.rio.crs == cube.rio.crs


def test_what_a_job_wrote_can_be_the_input_of_the_next(tmp_path):
    """Coordinates of an opened store are lazy, and those of text are no numbers to write region by region."""
    cube = s2koop.simulate.seasonal_cube(seed=0, every_days=60).chunk(y=3)
    cube = cube.assign_coords(platform=("time", np.array(["sentinel-2a"] * cube.sizes["time"], object)))
    first = write(cube, tmp_path / "a.zarr")
    assert first["platform"].chunks is None
    reopened = xr.open_zarr(tmp_path / "a.zarr", consolidated=False, decode_coords="all")[first.name]
    assert reopened["platform"].chunks is not None
    second = write(reopened + 1, tmp_path / "b.zarr")
    xr.testing.assert_identical(second.compute(), (first + 1).compute())


def test_a_stop_loses_and_doubles_nothing(tmp_path):
    broken, before = counted(fail_at=6)
    with pytest.raises(KeyboardInterrupt) as caught:
        write(broken, tmp_path / "a.zarr")
    assert f"{len(before)} of 10 regions" in "".join(caught.value.__notes__)
    result, after = counted()
    stored = write(result, tmp_path / "a.zarr")
    assert sorted(before + after) == list(range(10))
    xr.testing.assert_identical(stored.compute(), counted()[0].compute())


def test_what_all_regions_share_is_computed_once(tmp_path):
    """A table of the whole cube, such as the effects of dates, must not be made anew for each region."""
    result, seen = counted()
    centred = result - result.mean()
    write(centred, tmp_path / "a.zarr")
    assert sorted(seen) == list(range(10))


def _three(model, values):
    return {name: values.nanmean(1) for name in ("a", "b", "c")}


def test_a_tile_is_computed_and_written_by_one_task(tmp_path):
    """Were kernel and write two tasks, the order of dask would keep results of many tiles before it writes one."""
    cube = s2koop.simulate.seasonal_cube(seed=0, every_days=60, shape=(8, 8)).chunk(time=-1, band=-1, y=2, x=2)
    outputs = {name: Output({"band": cube["band"].values}) for name in ("a", "b", "c")}
    job = layout(map_pixels(cube, _three, outputs=outputs))
    target = _Target(stores.address(tmp_path / "a.zarr", None), "begun", job.sizes, 0.0, "")
    written, keys = _written(job, target)
    graph = dict(da.Array.__dask_optimize__(written.dask, keys))
    assert len(keys) == 16
    assert len(graph) <= 2 * 16 + 1  # a piece of the array in memory, and all else


def test_what_a_region_alone_needs_is_one_task_and_what_many_need_another(tmp_path):
    """For any computation of xarray, whose outputs of one function are tasks of their own."""
    cube = s2koop.simulate.seasonal_cube(seed=0, every_days=60, shape=(8, 8)).chunk(time=-1, band=-1, y=2, x=2)
    filled = s2koop.baselines.harmonic(cube, times=cube["time"].values[:3])
    result = filled.assign(mean=filled["mean"] - cube.mean())
    job = layout(result)
    target = _Target(stores.address(tmp_path / "a.zarr", None), "begun", job.sizes, 0.0, "")
    written, keys = _written(job, target)
    graph, groups = large_tasks(da.Array.__dask_optimize__(written.dask, keys), keys)
    assert sum(groups.values()) == len(groups) == 16
    shared = {name for key in groups for name in graph[key].dependencies}
    assert len(shared) <= 16 + 1  # chunks of the cube, which the mean of all needs too, and that mean
    xr.testing.assert_allclose(write(result, tmp_path / "a.zarr").compute(), result.compute(), rtol=1e-6)


def test_regions_that_were_read_together_are_written_together(tmp_path):
    """Or the order of dask would read many chunks before it works on the parts of one."""
    live, most = [0], [0]

    def read(values):
        live[0] += 1
        most[0] = max(most[0], live[0])
        return values + 1.0

    def use(values, block_info=None):
        live[0] -= block_info[0]["chunk-location"][1] == 3  # the last part of a chunk
        return values

    large = xr.DataArray(np.zeros((10, 8)), dims=("y", "x"), name="a").chunk(y=1, x=8)
    data = large.data.map_blocks(read, dtype=float, meta=np.empty((0, 0))).rechunk((1, 2)).map_blocks(use, dtype=float)
    shared = da.zeros(1, chunks=1).map_blocks(lambda v: v, dtype=float)  # what all need keeps none together
    job = large.copy(data=data + shared.sum())
    assert float(write(job, tmp_path / "a.zarr").sum()) == 80
    assert most[0] == 1


def test_blocks_that_read_beyond_their_edges_stay_apart(tmp_path):
    """Each shares a little with its neighbours; as one task they would use one thread, and tell of no progress."""
    cube = xr.DataArray(np.arange(256.0).reshape(16, 16), dims=("y", "x"), name="a").chunk(y=4, x=4)
    data = da.overlap.map_overlap(lambda v: v.copy(), cube.data, depth=1, boundary="none", dtype=float)
    job = layout(cube.copy(data=data).to_dataset())
    target = _Target(stores.address(tmp_path / "a.zarr", None), "begun", job.sizes, 0.0, "")
    written, keys = _written(job, target)
    _, groups = large_tasks(da.Array.__dask_optimize__(written.dask, keys), keys)
    assert len(groups) == 16
    np.testing.assert_array_equal(write(cube.copy(data=data), tmp_path / "a.zarr"), cube)


def test_what_lacks_a_dim_is_computed_once(tmp_path):
    """And not once for each region that it could be written with."""
    seen = []

    def once(values):
        seen.append(values.shape)
        return values

    y = xr.DataArray(np.arange(6.0), dims="y").chunk(y=3)
    static = y.copy(data=y.data.map_blocks(once, dtype=float, meta=np.empty(0), name="once"))
    dates = xr.DataArray(np.ones((10, 6)), dims=("time", "y")).chunk(time=1, y=3)
    result = xr.Dataset({"dates": dates, "static": static})
    xr.testing.assert_identical(write(result, tmp_path / "a.zarr").compute(), result.compute())
    assert len(seen) == 2 + 2  # of the job, and of this comparison


def test_what_is_complete_is_not_computed_again(tmp_path):
    write(counted()[0], tmp_path / "a.zarr")
    result, seen = counted()
    stored = write(result, tmp_path / "a.zarr")
    assert seen == []
    assert set(zarr.open_group(tmp_path / "a.zarr")) == {"embedding", "y"}
    np.testing.assert_array_equal(stored, 2 * np.arange(38.0)[:, None] * np.ones(3))


def test_values_in_memory_are_written_too(tmp_path):
    result = counted()[0].compute().assign_coords(feature=np.array(["a", "b", "c"], object))
    xr.testing.assert_identical(write(result, tmp_path / "a.zarr").compute(), result)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.assign_attrs(encoder="another"), 'encoder "trial" there, "another" here'),
        (lambda a: a[:20], "'y': 38"),
        (lambda a: a.assign_coords(y=np.arange(38.0)), "other values of 'y'"),
        (lambda a: a.chunk(y=19), "other chunks"),
        (lambda a: a.astype("float32"), "float64 there, float32 here"),
        (lambda a: a + 1, "other options"),
        (lambda a: a.rename("other"), "it has no 'other'"),
        (lambda a: a.assign_coords(x=3), "it has no 'x'"),
    ],
)
def test_other_results_are_not_written_over(tmp_path, change, message):
    with pytest.raises(KeyboardInterrupt):
        write(counted(fail_at=3)[0], tmp_path / "a.zarr")
    other = xr.DataArray(change(counted()[0]), attrs=change(counted()[0]).attrs or {"encoder": "trial"})
    with pytest.raises(InputError, match=message):
        write(other, tmp_path / "a.zarr")
    write(counted()[0], tmp_path / "a.zarr")  # what was begun is still whole


def test_another_result_replaces_it_where_asked(tmp_path):
    write(counted()[0], tmp_path / "a.zarr")
    other = counted()[0] + 1
    stored = write(other, tmp_path / "a.zarr", overwrite=True)
    np.testing.assert_array_equal(stored, other)


def test_what_replaces_is_gone_on_with_by_the_same_call(tmp_path):
    """Or a batch job that is given again as it is would never end."""
    write(counted()[0] + 1, tmp_path / "a.zarr")
    broken, before = counted(fail_at=6)
    with pytest.raises(KeyboardInterrupt):
        write(broken, tmp_path / "a.zarr", overwrite=True)
    result, after = counted()
    stored = write(result, tmp_path / "a.zarr", overwrite=True)
    assert sorted(before + after) == list(range(10))
    np.testing.assert_array_equal(stored, counted()[0])


def test_a_kill_while_a_result_is_replaced_leaves_none(tmp_path, monkeypatch):
    """What is half deleted must not look complete, nor stand in the way of the same call."""
    write(counted()[0], tmp_path / "a.zarr")
    real = zarr.Group.__delitem__

    def killed(group, name):
        real(group, name)
        raise KeyboardInterrupt

    monkeypatch.setattr(zarr.Group, "__delitem__", killed)
    with pytest.raises(KeyboardInterrupt):
        write(counted()[0] + 1, tmp_path / "a.zarr", overwrite=True)
    monkeypatch.undo()
    np.testing.assert_array_equal(write(counted()[0], tmp_path / "a.zarr"), counted()[0])


def test_what_is_made_of_a_replaced_result_is_another(tmp_path):
    """The same path, other values: a job further down must not take its old result for complete."""
    first = write(counted()[0], tmp_path / "a.zarr")
    write(first * 2, tmp_path / "b.zarr")
    second = write(counted()[0] + 1, tmp_path / "a.zarr", overwrite=True)
    with pytest.raises(InputError, match="other options, other data"):
        write(second * 2, tmp_path / "b.zarr")
    np.testing.assert_array_equal(write(second * 2, tmp_path / "b.zarr", overwrite=True), 2 * (counted()[0] + 1))


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint16", "float16", "float32", "complex64"])
def test_types_and_words_of_packed_files_come_back(tmp_path, dtype):
    """rioxarray keeps scale, fill value and links among attributes: values are written as they are."""
    values = xr.DataArray(np.arange(12).reshape(3, 4).astype(dtype), dims=("y", "x"), name="v").chunk(y=2)
    packed = {"_FillValue": 0, "scale_factor": 0.5, "add_offset": 0.0} if dtype == "uint16" else {}
    words = {"bands": [["a"], ["b", "c"]], "deep": {"a": np.float32(1)}, "none": None, "many": np.arange(3)}
    given = values.assign_attrs(packed | words | {"grid_mapping": "spatial_ref"}).assign_coords(spatial_ref=0)
    for _ in range(2):  # the second is recognised
        stored = write(given, tmp_path / "a.zarr")
    assert stored.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(stored, values)
    assert {name: stored.attrs[name] for name in packed} == packed


def test_dates_spans_and_old_formats_come_back(tmp_path):
    times = np.array(["2020-01-01T10:00:00.123", "NaT", "2021-05-05"], "datetime64[ns]")
    lazy = xr.DataArray(np.arange(3.0), dims="time", name="v").chunk(time=1).assign_coords(
        seen=("time", times), span=("time", times - times[0]), text=("time", ["a", "bb", "c"])
    )  # fmt: skip
    lazy.to_dataset().to_zarr(tmp_path / "old.zarr", zarr_format=2, consolidated=False)
    with xr.open_zarr(tmp_path / "old.zarr", consolidated=False, decode_timedelta=True) as old:
        for given in (lazy, old["v"] * 1.0):
            stored = write(given, tmp_path / "a.zarr", overwrite=True)
            xr.testing.assert_equal(stored.compute(), lazy.compute())
            assert stored["seen"].dtype == times.dtype


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.to_dataset(name="a/b"), "cannot be a folder"),
        (lambda a: a.to_dataset(name="s2koop_regions_done"), "cannot be a folder"),
        (lambda a: a.to_dataset(name="zarr.json"), "cannot be a folder"),
        (lambda a: a.assign_attrs(place=Path("x")), "attribute 'place' of 'embedding' is a PosixPath"),
        (lambda a: a.assign_attrs(units="days since 2000-01-01"), "take numbers for dates"),
        (lambda a: a.assign_coords(o=("feature", np.array([1, "a", 2.0], object))), r"'o' holds objects \(float, int"),
        (lambda a: a.stack(both=("y", "feature")), "index of several levels"),
    ],
)
def test_what_cannot_be_written_is_told_first(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        write(change(counted()[0]), tmp_path / "a.zarr")
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_taken_by_a_label_is_no_matter(tmp_path):
    for name in ("y", "feature", None):
        stored = write(counted()[0].rename(name), tmp_path / f"{name}.zarr")
        assert stored.name == name
        np.testing.assert_array_equal(stored, counted()[0])


def test_other_places_are_left_alone(tmp_path):
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / "precious.txt").write_text("mine")
    foreign = xr.Dataset({"mine": ("x", [1])})
    foreign.to_zarr(tmp_path / "b.zarr", consolidated=False)
    (tmp_path / "c.zarr").write_text("a file")
    for name, message in (("a", "no Zarr store"), ("b", "did not begin"), ("c", r"no Zarr store|cannot write")):
        for overwrite in (False, True):  # what is not ours is not ours to replace
            with pytest.raises((InputError, StoreError), match=message):
                write(counted()[0], tmp_path / f"{name}.zarr", overwrite=overwrite)
    assert (tmp_path / "a.zarr" / "precious.txt").read_text() == "mine"
    assert (tmp_path / "c.zarr").read_text() == "a file"
    xr.testing.assert_identical(xr.open_zarr(tmp_path / "b.zarr", consolidated=False), foreign)


@pytest.mark.parametrize(
    ("result", "store", "options", "message"),
    [
        (np.ones(3), "a", {}, "expected a DataArray or Dataset"),
        (xr.Dataset(), "a", {}, "no variable"),
        (counted()[0], "", {}, "expected a path"),
        (counted()[0], 5, {}, "expected a path"),
        (counted()[0], "a", {"storage_options": {"anon": True}}, "is a path"),
        (counted()[0], "nosuch://a", {}, "nosuch:// cannot be opened"),
        (counted()[0].astype(str), "a", {}, "numbers are written"),
        (counted()[0].astype("datetime64[ns]"), "a", {}, "numbers are written"),
    ],
)
def test_wrong_input_is_told_before_anything_is_written(tmp_path, monkeypatch, result, store, options, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        write(result, store, **options)
    assert list(tmp_path.iterdir()) == []


def test_any_address_of_fsspec(tmp_path):
    result = sums.job()
    for url in ("memory://jobs/a.zarr", f"file://{tmp_path}/a.zarr"):
        xr.testing.assert_identical(write(result, url).compute(), result.compute())
        assert write(result, url).identical(write(result, url))


def test_a_stop_while_the_store_is_laid_out(tmp_path, monkeypatch):
    """The state is written first and last: whatever lies between is made anew."""
    real = xr.Dataset.to_zarr

    def stopped(self, *given, **options):
        real(self, *given, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(xr.Dataset, "to_zarr", stopped)
    with pytest.raises(KeyboardInterrupt):
        write(counted()[0], tmp_path / "a.zarr")
    monkeypatch.undo()
    xr.testing.assert_identical(write(counted()[0], tmp_path / "a.zarr").compute(), counted()[0].compute())


def test_a_stop_between_the_last_two_steps(tmp_path, monkeypatch):
    monkeypatch.setattr(zarr.Group, "__delitem__", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write(counted()[0], tmp_path / "a.zarr")
    monkeypatch.undo()
    result, _ = counted()
    xr.testing.assert_identical(write(result, tmp_path / "a.zarr").compute(), counted()[0].compute())
    assert stores.DONE not in zarr.open_group(tmp_path / "a.zarr")


def test_a_full_disk_says_so_and_what_is_there_stays(tmp_path, monkeypatch):
    from zarr.storage import _local

    real, room = _local._put, [30]

    def put(path, value, exclusive=False):
        room[0] -= 1
        if room[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, value, exclusive)

    monkeypatch.setattr(_local, "_put", put)
    with pytest.raises(StoreError, match="No space left on device; mend that and call again") as caught:
        write(sums.job(), tmp_path / "a.zarr")
    kept = int(caught.value.__notes__[0].split()[0])
    assert 0 < kept < sums.ROWS
    monkeypatch.undo()
    xr.testing.assert_identical(write(sums.job(), tmp_path / "a.zarr").compute(), sums.job().compute())


def test_a_place_without_right_says_so(tmp_path):
    with pytest.raises(StoreError, match="/proc"):
        write(counted()[0], "/proc/nothing/a.zarr")


def test_two_threads_do_not_write_one_store(tmp_path):
    held, go = threading.Event(), threading.Event()

    def block(values):
        held.set()
        assert go.wait(30)
        return values

    slow = xr.DataArray(np.ones((2, 2)), dims=("y", "x"), name="a").chunk(y=1)
    slow = slow.copy(data=slow.data.map_blocks(block, dtype=float, meta=np.empty((0, 0)), name="slow"))
    first = threading.Thread(target=write, args=(slow, tmp_path / "a.zarr"))
    first.start()
    assert held.wait(30)
    with pytest.raises(StoreError, match="being written by another"):
        write(slow, tmp_path / "a.zarr")
    go.set()
    first.join()
    assert write(slow, tmp_path / "a.zarr").sum() == 4
    assert [path.name for path in tmp_path.iterdir()] == ["a.zarr"]


def test_a_region_that_is_late_is_not_written_into_another_result(tmp_path):
    """Threads go on for a moment after an interrupt; the store may have been begun anew meanwhile."""
    where = stores.address(tmp_path / "a.zarr", None)
    write(counted()[0], tmp_path / "a.zarr")
    with pytest.raises(StoreError, match="begun anew"):
        stores.put(where, "an older one", 0, {"embedding": ((slice(0, 4), slice(None)), np.zeros((4, 3)))}, [])
    np.testing.assert_array_equal(write(counted()[0], tmp_path / "a.zarr"), counted()[0])


def test_the_same_computation_has_the_same_name_in_another_process():
    """Or no job could be gone on with."""
    code = """
        import s2koop
        from s2koop._jobs.layout import layout
        cube = s2koop.sample(resolution=20, chunks="time")
        for tolerance in (1e-4, 1e-3):
            print(layout(cube.koopman.forecast("land", steps=2, tolerance=tolerance)).identity())
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    said = [subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() for _ in range(2)]
    assert said[0] == said[1]
    assert said[0][0] != said[0][1]


def test_what_was_skipped_travels_with_the_result(tmp_path):
    from s2koop import _skipped

    def block(values):
        _skipped.note("token", _skipped.Skip("S2A_1", "http://h/B04.tif", "HTTP 404"))
        return values

    lazy = xr.DataArray(np.ones((4, 2)), dims=("y", "x"), name="a").chunk(y=1)
    lazy = lazy.copy(data=lazy.data.map_blocks(block, dtype=float, meta=np.empty((0, 0)), name="noting"))
    lazy[0].compute()  # a look at a part beforehand notes it already
    stored = write(lazy, tmp_path / "a.zarr")
    assert json.loads(stored.attrs["skipped"]) == [{"item": "S2A_1", "asset": "http://h/B04.tif", "reason": "HTTP 404"}]
    assert "skipped" not in write(counted()[0], tmp_path / "b.zarr").attrs  # another run's is not this one's
