"""Long results: written region by region, gone on with after a stop, and never over anything else."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from s2koop import _store
from s2koop._store import write_regions
from s2koop.errors import InputError


def counted(fail_at: int | None = None) -> tuple[xr.DataArray, list[int]]:
    """A lazy array that tells which of its 10 chunks were computed, and may fail in one."""
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
    found = lazy.copy(data=lazy.data.map_blocks(block, dtype=float, meta=np.empty((0, 0)))).rename("embedding")
    return found.assign_attrs(encoder="trial"), seen


@pytest.fixture(autouse=True)
def _one_by_one(monkeypatch):
    monkeypatch.setattr(_store, "_TOGETHER", 1)
    monkeypatch.setattr(_store.os, "cpu_count", lambda: 1)


def test_what_is_written_is_what_was_asked(tmp_path):
    result, _ = counted()
    stored = write_regions(result, tmp_path / "a.zarr", progress=False)
    assert stored.chunks is not None
    xr.testing.assert_identical(stored.compute(), result.compute())


def test_a_stop_loses_and_doubles_nothing(tmp_path):
    broken, before = counted(fail_at=6)
    with pytest.raises(KeyboardInterrupt):
        write_regions(broken, tmp_path / "a.zarr", progress=False)
    assert before == list(range(6))
    result, after = counted()
    stored = write_regions(result, tmp_path / "a.zarr", progress=False)
    assert after == list(range(6, 10))
    xr.testing.assert_identical(stored.compute(), counted()[0].compute())


def test_what_is_complete_is_not_computed_again(tmp_path):
    write_regions(counted()[0], tmp_path / "a.zarr", progress=False)
    result, seen = counted()
    stored = write_regions(result, tmp_path / "a.zarr", progress=False)
    assert seen == []
    np.testing.assert_array_equal(stored, 2 * np.arange(38.0)[:, None] * np.ones(3))
    assert set(stored.to_dataset()) == {"embedding"}


def test_values_in_memory_are_written_too(tmp_path):
    result = counted()[0].compute()
    xr.testing.assert_identical(write_regions(result, tmp_path / "a.zarr", progress=False).compute(), result)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.assign_attrs(encoder="another"), "encoder 'trial' there, 'another' here"),
        (lambda a: a[:20], "'y': 38"),
        (lambda a: a.assign_coords(y=np.arange(38)), "other y"),
        (lambda a: a.chunk(y=19), "other chunks"),
    ],
)
def test_other_results_are_not_written_over(tmp_path, change, message):
    with pytest.raises(KeyboardInterrupt):
        write_regions(counted(fail_at=3)[0], tmp_path / "a.zarr", progress=False)
    with pytest.raises(InputError, match=message):
        write_regions(change(counted()[0]), tmp_path / "a.zarr", progress=False)
    write_regions(counted()[0], tmp_path / "a.zarr", progress=False)  # what was begun is still whole


def test_other_stores_are_left_alone(tmp_path):
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / "precious.txt").write_text("mine")
    with pytest.raises(InputError, match="was not begun by this call"):
        write_regions(counted()[0], tmp_path / "a.zarr", progress=False)
    assert (tmp_path / "a.zarr" / "precious.txt").read_text() == "mine"
