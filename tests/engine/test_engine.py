"""The bridge: same numbers on NumPy, threads and processes; memory by the tile; models by reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from s2koop._memory import LARGEST_BLOCK
from s2koop.engine import ModelReference, Output, map_pixels, whole_series
from s2koop.errors import InputError, ModelError
from s2koop.simulate import seasonal_cube

TIMES = np.array(["2020-01-01", "2020-02-01", "2020-03-01"], dtype="datetime64[ns]")
OUTPUTS = {"two": Output({"time": TIMES, "band": ["B04", "B08"]}), "count": Output({}, np.int16)}


def kernel(model, values, *, factor=1.0):
    seen = torch.isfinite(values)
    mean = torch.nan_to_num(values).sum(1) / seen.sum(1).clamp(min=1)
    return {"two": factor * mean[:, None, :].expand(-1, 3, -1), "count": seen.any(2).sum(1).to(torch.int16)}


def reference_twin(cube, factor=1.0):
    values = cube.transpose("time", "band", "y", "x").values
    counts = np.isfinite(values).sum(0)
    mean = np.where(counts > 0, np.nansum(values, axis=0) / np.maximum(counts, 1), 0)
    empty = ~np.isfinite(values).any(axis=(0, 1))
    return factor * np.where(empty, np.nan, np.broadcast_to(mean, (3, *mean.shape))), np.isfinite(values).any(1).sum(0)


@pytest.fixture
def cube():
    cube = seasonal_cube(shape=(7, 9), seed=4)
    cube[:, :, 1:3, 2] = np.nan
    return cube


@settings(deadline=None, max_examples=15)
@given(y=st.integers(1, 7), x=st.integers(1, 9), t=st.integers(5, 80), tile=st.integers(1, 70))
def test_chunks_and_tiles_do_not_change_numbers(y, x, t, tile):
    cube = seasonal_cube(shape=(7, 9), seed=4)
    cube[:, :, 1:3, 2] = np.nan
    expected, count = reference_twin(cube, 2.0)
    for data in (cube, cube.chunk({"y": y, "x": x, "time": t, "band": 1})):
        result = map_pixels(data, kernel, outputs=OUTPUTS, options={"factor": 2.0}, tile=tile)
        np.testing.assert_allclose(result["two"].values, expected, rtol=1e-6)
        np.testing.assert_array_equal(result["count"].values, count)


def test_labels_dims_and_dtypes(cube):
    result = map_pixels(cube.transpose("y", "band", "x", "time"), kernel, outputs=OUTPUTS)
    assert result["two"].dims == ("time", "band", "y", "x")
    assert result["count"].dtype == np.int16
    xr.testing.assert_equal(result["y"].variable, cube["y"].variable)
    np.testing.assert_array_equal(result["time"], TIMES)


def test_lazy_and_one_pass_for_all_outputs(cube):
    calls = []

    def counting(model, values):
        calls.append(len(values))
        return kernel(model, values)

    lazy = map_pixels(cube.chunk({"y": 4, "x": 9}), counting, outputs=OUTPUTS)
    assert not calls
    lazy.compute()
    assert len(calls) == 2
    assert sum(calls) == 7 * 9 - 2  # pixels without observations never reach the kernel


def test_tiles_bound_what_a_kernel_sees(cube):
    sizes = []

    def sizing(model, values):
        sizes.append(len(values))
        return kernel(model, values)

    map_pixels(cube, sizing, outputs=OUTPUTS, tile=10)
    assert max(sizes) <= 10


def test_wide_chunks_are_split_and_narrow_ones_kept():
    import dask.array as da

    wide = xr.DataArray(
        da.zeros((100, 10, 2048, 2048), chunks=(1, 1, 2048, 2048), dtype="float32"),
        dims=("time", "band", "y", "x"),
    )
    chunked = whole_series(wide)
    assert chunked.chunksizes["time"] == (100,)
    assert 4 * np.prod([max(c) for c in chunked.chunks]) <= LARGEST_BLOCK
    narrow = xr.DataArray(
        da.zeros((10, 2, 64, 64), chunks=(10, 2, 16, 64), dtype="float32"), dims=("time", "band", "y", "x")
    )
    assert whole_series(narrow).chunks == narrow.chunks


def test_gradients_are_off_and_threads_are_given_back(cube):
    before = torch.get_num_threads()
    seen = []

    def looking(model, values):
        seen.append((torch.is_grad_enabled(), torch.get_num_threads()))
        return kernel(model, values)

    map_pixels(cube.chunk({"y": 2}), looking, outputs=OUTPUTS).compute(scheduler="threads", num_workers=2)
    assert {grad for grad, _ in seen} == {False}
    assert {threads for _, threads in seen} == {1}
    assert torch.get_num_threads() == before


def test_wrong_dims(cube):
    with pytest.raises(InputError, match="expected .'time', 'band', 'y', 'x'"):
        map_pixels(cube.isel(time=0), kernel, outputs=OUTPUTS)


class _Doubler(torch.nn.Module):
    def forward(self, x):
        return 2 * x


def load_doubler(path):
    assert path.read_bytes() == b"weights"
    return _Doubler()


def apply_model(model, values):
    return {"two": model(kernel(None, values)["two"])}


def test_reference_is_checked_before_use(cube, tmp_path):
    import hashlib

    path = tmp_path / "model.bin"
    path.write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    good = ModelReference(str(path), digest, load_doubler)
    outputs = {"two": OUTPUTS["two"]}
    result = map_pixels(cube.chunk({"y": 3}), apply_model, outputs=outputs, model=good).compute()
    np.testing.assert_allclose(result["two"].values, reference_twin(cube, 2.0)[0], rtol=1e-6)
    with pytest.raises(ModelError, match="has changed"):
        map_pixels(
            cube.chunk({"y": 3}),
            apply_model,
            outputs=outputs,
            model=ModelReference(str(path), "0" * 64, load_doubler),
        ).compute()
    gone = ModelReference(str(tmp_path / "gone"), digest, load_doubler)
    with pytest.raises(ModelError, match="S2KOOP_CACHE"):
        map_pixels(cube.chunk({"y": 3}), apply_model, outputs=outputs, model=gone).compute()


def test_the_graph_does_not_carry_the_model():
    import pickle

    cube = seasonal_cube(shape=(6, 6), seed=1, every_days=30)
    model = cube.koopman.fit(steps=10, hidden=(256, 128), latent=32, progress=False)
    lazy = cube.chunk({"y": 3}).koopman.forecast(model, steps=2)
    assert len(pickle.dumps(dict(lazy["mean"].__dask_graph__()))) < len(model.content) / 2


@pytest.mark.slow
def test_distributed_processes_give_the_same_numbers():
    from distributed import Client, LocalCluster

    cube = seasonal_cube(shape=(12, 12), seed=1)
    model = cube.koopman.fit(steps=20, hidden=(16,), latent=8, progress=False)
    lazy = cube.chunk({"y": 4, "x": 6, "time": 20}).koopman.forecast(model, steps=3)
    threads = lazy.compute(scheduler="threads")
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0") as cluster,
        Client(cluster),
    ):
        processes = lazy.compute()
    xr.testing.assert_allclose(threads, processes)


def test_a_device_that_is_there_is_found():
    """Whether there is a GPU or not, and an unknown one is told with what can be used."""
    from s2koop.engine.common import check_device, turn

    assert check_device("auto") == ("cuda" if torch.cuda.is_available() else "cpu")
    assert check_device("cpu") == "cpu"
    with pytest.raises(InputError, match=r"choose one of \['auto', 'cpu'"):
        check_device("warp")
    with turn("cuda"):  # the second block waits for the first on a GPU, and not on the processor
        assert turn("cuda").locked()
        with turn("cpu"), turn("cpu"):
            pass


def test_an_older_file_of_the_same_path_does_not_hide_the_one_that_was_sent(tmp_path, monkeypatch):
    """Of the two places that a worker looks in, the one counts whose content is right."""
    import hashlib

    from s2koop.engine.broadcast import model_path

    monkeypatch.setenv("S2KOOP_CACHE", str(tmp_path / "cache"))
    right, digest = b"right", hashlib.sha256(b"right").hexdigest()
    (tmp_path / "model.bin").write_bytes(b"older")
    reference = ModelReference(str(tmp_path / "model.bin"), digest, _read)
    with pytest.raises(ModelError, match="has changed"):
        reference.load()
    model_path(digest).parent.mkdir(parents=True)
    model_path(digest).write_bytes(right)
    assert reference.load().content == right


class _Held:
    def __init__(self, content):
        self.content = content

    def to(self, device):
        return self


def _read(path):
    return _Held(path.read_bytes())
