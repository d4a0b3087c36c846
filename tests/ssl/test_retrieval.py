"""Search by example: published neighbours, a brute-force twin, stable ties, masked samples, lazy as eager, faiss."""

from __future__ import annotations

import builtins

import dask.array
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from s2koop.errors import InputError, MissingDependencyError
from s2koop.ssl.retrieval import build_index, precision_at, search


@pytest.fixture
def cube(rng: np.random.Generator) -> xr.DataArray:
    """An embedding (time, y, x, feature) with one masked patch and one without direction."""
    values = rng.normal(size=(3, 6, 7, 8)).astype("float32")
    values[1, 2, 3] = np.nan
    values[2, 0, 0] = 0
    coords = {"time": pd.date_range("2020-01-01", periods=3, freq="30D"), "y": 1000.0 - 64 * np.arange(6),
              "x": 64.0 * np.arange(7), "orbit": ("time", ["a", "d", "a"])}  # fmt: skip
    return xr.DataArray(values, dims=("time", "y", "x", "feature"), coords=coords)


def brute(table: np.ndarray, query: np.ndarray, metric: str) -> np.ndarray:
    table, query = table.astype(float), query.astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        if metric == "cosine":
            return table @ query / np.linalg.norm(table, axis=1) / np.linalg.norm(query)
        return table @ query if metric == "dot" else -np.linalg.norm(table - query, axis=1)


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "dot"])
def test_neighbours_are_those_of_brute_force(cube: xr.DataArray, metric: str) -> None:
    table = cube.values.reshape(-1, 8)
    asked = [0, 17, 100]
    found = search(cube, asked, k=12, metric=metric)
    assert dict(found.sizes) == {"query": 3, "rank": 12}
    for row, position in enumerate(asked):
        likeness = brute(table, table[position], metric)
        likeness[position] = np.nan
        order = np.argsort(-np.where(np.isnan(likeness), -np.inf, likeness), kind="stable")[:12]
        np.testing.assert_array_equal(found["position"][row], order)
        np.testing.assert_allclose(found["similarity"][row], likeness[order], rtol=1e-6)


def test_neighbours_carry_their_coordinates(cube: xr.DataArray) -> None:
    found = search(cube, 40, k=5)
    for rank in range(5):
        one = found.isel(query=0, rank=rank)
        there = cube.sel(time=one["time"], y=one["y"], x=one["x"]).values
        assert float(one["similarity"]) == pytest.approx(
            brute(there[None], cube.values.reshape(-1, 8)[40], "cosine")[0]
        )
        assert str(one["orbit"].values) == str(cube["orbit"].sel(time=one["time"]).values)
    assert int(found["query_position"][0]) == 40
    assert found["query_time"].values[0] == cube["time"].values[0]
    assert (float(found["query_y"][0]), float(found["query_x"][0])) == (680.0, 320.0)


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "dot"])
@pytest.mark.parametrize("chunks", [(1, 6, 7, 8), (2, 4, 3, 3), (3, 1, 2, 8)])
def test_lazy_and_eager_find_the_same(cube: xr.DataArray, metric: str, chunks) -> None:
    lazy = cube.copy(data=dask.array.from_array(cube.values, chunks=chunks))
    asked = list(range(0, 120, 7))
    xr.testing.assert_identical(search(cube, asked, metric=metric), search(lazy, asked, metric=metric))


def test_each_block_is_read_once_and_not_kept(rng: np.random.Generator) -> None:
    reads: list[tuple[int, ...]] = []

    def read(block):
        reads.append(block.shape)
        return block

    values = rng.normal(size=(40, 4, 4, 3)).astype("f4")
    lazy = dask.array.from_array(values, chunks=(2, 4, 4, 3)).map_blocks(read, dtype="f4", meta=values[:0])
    query = xr.DataArray(rng.normal(size=(2, 3)), dims=("query", "feature"))
    search(xr.DataArray(lazy, dims=("image", "y", "x", "feature")), query, k=3)
    assert reads == [(2, 4, 4, 3)] * 20


def test_equal_vectors_stand_in_the_order_of_positions_whatever_the_blocks(rng: np.random.Generator) -> None:
    few = rng.normal(size=(3, 33)).astype("float32")
    kind = rng.integers(0, 3, 500)
    values = xr.DataArray(few[kind], dims=("sample", "feature"))
    for metric in ("cosine", "euclidean", "dot"):
        for chunk in (None, 7, 64, 333):
            part = values if chunk is None else values.chunk(sample=chunk)
            found = search(part, 250, k=60, metric=metric)["position"].values[0]
            expected = [at for at in np.flatnonzero(kind == kind[250]) if at != 250][:60]
            if metric == "dot" and (few @ few[kind[250]]).argmax() != kind[250]:
                continue
            assert found.tolist() == expected, (metric, chunk)
    assert (search(values, 250, k=60, metric="euclidean")["similarity"].values == 0).all()


def test_masked_samples_are_never_found_and_the_rest_is_marked(cube: xr.DataArray) -> None:
    few = cube.where(cube["time"] == cube["time"][2])
    found = search(few, 90, k=60)
    assert (found["position"].values[0, :40] >= 84).all()
    assert (found["position"].values[0, 40:] == -1).all()  # 42 samples, without the query and the zero vector
    assert found["similarity"][0, 40:].isnull().all()
    assert found["time"][0, 40:].isnull().all()
    assert found["orbit"].values[0, -1] == ""
    assert 1 * 42 + 2 * 7 + 3 not in search(cube, 0, k=120)["position"].values


def test_a_masked_query_has_no_neighbours(cube: xr.DataArray) -> None:
    found = search(cube, [59, 0], k=3)
    assert (found["position"].values[0] == -1).all()
    assert (found["position"].values[1] >= 0).all()
    with pytest.raises(InputError, match="no query has values"):
        search(cube, 59, k=3)


def test_a_query_is_left_out_of_its_neighbours_unless_asked_for(cube: xr.DataArray) -> None:
    assert 40 not in search(cube, 40, k=100)["position"].values
    found = search(cube, 40, k=3, exclude_self=False)
    assert int(found["position"][0, 0]) == 40
    assert float(found["similarity"][0, 0]) == pytest.approx(1)


def test_queries_by_coordinates_position_and_vector_agree(cube: xr.DataArray) -> None:
    by_position = search(cube, 1 * 42 + 3 * 7 + 5, k=4)
    by_place = search(cube, {"time": "2020-02-03", "y": 800.0, "x": 333.0}, k=4)
    xr.testing.assert_identical(by_place, by_position)
    by_vector = search(cube, cube[1, 3, 5], k=4)
    xr.testing.assert_identical(by_vector, by_position)
    several = search(cube, {"time": "2020-02-03", "y": [800.0, 1000.0], "x": [333.0, 0.0]}, k=4)
    assert several["query_position"].values.tolist() == [68, 42]
    assert search(cube, -1, k=4)["query_position"].values.tolist() == [125]


def test_a_vector_from_elsewhere_is_no_sample_even_at_the_same_coordinates(cube: xr.DataArray) -> None:
    other = cube[1, 3, 5] + 0.5
    found = search(cube, other, k=125, exclude_self=True)
    assert found["query_position"].values.tolist() == [-1]
    assert 68 in found["position"].values


def test_words_are_found_exactly(rng: np.random.Generator) -> None:
    values = xr.DataArray(rng.normal(size=(4, 3)), dims=("image", "feature"), coords={"image": list("abcd")})
    assert search(values, {"image": "c"}, k=2)["query_position"].values.tolist() == [2]
    with pytest.raises(InputError, match="image='e' is not in the embedding"):
        search(values, {"image": "e"}, k=2)


def test_the_published_neighbours_are_found(shared_data) -> None:
    values = xr.DataArray(np.load(shared_data("wv_quicklooks/valid_embs.npy")), dims=("image", "feature"))
    found = search(values, np.arange(15), k=14)
    assert found["position"].values[:, 0].tolist() == [2, 11, 11, 5, 9, 3, 10, 11, 2, 4, 4, 2, 0, 3, 11]
    assert float(found["similarity"].min()) == pytest.approx(0.171, abs=6e-4)
    assert float(found["similarity"].max()) == pytest.approx(0.500, abs=6e-4)
    assert float(found["similarity"].mean()) == pytest.approx(0.316, abs=6e-4)
    tags = pd.read_csv(shared_data("wv_quicklooks/sample_data.csv")).drop(columns=["filename", "UN"]).to_numpy()
    shared = precision_at(found, tags, match="any")
    assert 0 < shared.attrs["chance"] < 1
    assert shared.sizes["rank"] == 14


def test_precision_counts_neighbours_like_their_query() -> None:
    line = xr.DataArray(
        [[1.0, 0.0], [1.0, 0.1], [1.0, 0.3], [1.0, 0.6]], dims=("image", "feature"), coords={"image": [7, 7, 8, 8]}
    )
    found = search(line, [0, 1, 2, 3], k=3)  # neighbours 1 2 3, 0 2 3, 1 0 3 or 1 3 0, 2 1 0
    same = precision_at(found, np.array([0, 0, 1, 1]))
    by_name = precision_at(found, "image")
    np.testing.assert_array_equal(same, by_name)
    assert same.values[0] == 0.75
    assert same.values[-1] == pytest.approx(1 / 3)
    assert same.attrs == {"queries": 4, "chance": pytest.approx(1 / 3)}
    tags = np.array([[1, 0], [1, 1], [0, 1], [0, 0]])
    assert precision_at(found, tags).values[-1] == 0  # no two sets are the same
    shared = precision_at(found, tags, match="any")
    assert shared.attrs["queries"] == 3  # the last has no tag
    assert shared.values[-1] == pytest.approx((1 + 2 + 1) / 9)


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "dot"])
def test_faiss_finds_nearly_all_that_exact_search_finds(metric: str) -> None:
    pytest.importorskip("faiss", reason="needs faiss-cpu")
    rng = np.random.default_rng(4)
    middle = rng.normal(size=(40, 48))
    values = (middle[rng.integers(0, 40, 4000)] + 0.7 * rng.normal(size=(4000, 48))).astype("float32")
    values[5::100] = np.nan
    lazy = xr.DataArray(values, dims=("sample", "feature")).chunk(sample=900)
    asked = [at for at in range(0, 4000, 20) if at % 100 != 5]
    exact = search(lazy, asked, metric=metric)
    graph = build_index(lazy, metric=metric)
    near = search(lazy, asked, metric=metric, index=graph)
    pairs = zip(exact["position"].values, near["position"].values, strict=True)
    assert np.mean([len(set(a) & set(b)) / 10 for a, b in pairs]) >= 0.99
    same = exact["position"].values == near["position"].values
    np.testing.assert_allclose(near["similarity"].values[same], exact["similarity"].values[same], rtol=1e-4, atol=1e-5)
    assert not set(near["position"].values.ravel()) & set(range(5, 4000, 100))
    assert all(own not in row for own, row in zip(asked, near["position"].values, strict=True))
    with pytest.raises(InputError, match="build another"):
        search(lazy, 0, metric="dot" if metric != "dot" else "cosine", index=graph)


def test_without_faiss_the_message_says_how_to_get_it(cube: xr.DataArray, monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "faiss":
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingDependencyError, match="pip install 's2koop\\[faiss\\]'"):
        search(cube, 0, index="faiss")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda e: search(e, 0, metric="angle"), "must be one of cosine"),
        (lambda e: search(e, 0, index="annoy"), "must be 'exact'"),
        (lambda e: search(e, 0, k=0), "k=0 must be"),
        (lambda e: search(e, 0, k=126), "there are 126 samples"),
        (lambda e: search(e, 126), "outside of 126 samples"),
        (lambda e: search(e, 1.5), "positions of samples"),
        (lambda e: search(e, []), "positions of samples"),
        (lambda e: search(e, {"time": "2020-01-01"}), "the samples need"),
        (lambda e: search(e, {"time": "2020-01-01", "y": [1, 2], "x": [1, 2, 3]}), "different numbers of values"),
        (lambda e: search(e, e[0, 0, 0, :5]), "'feature' of size 8"),
        (lambda e: search(e.isel(feature=0), 0), "without 'feature'"),
        (lambda e: search(e.values, 0), "expected a DataArray"),
        (lambda e: precision_at(search(e, e[0, 0, 0] + 1), np.zeros(126)), "no query is a sample"),
        (lambda e: precision_at(search(e, 0), np.zeros(3)), "one row for each sample"),
        (lambda e: precision_at(search(e, 0), "image"), "no coordinate 'image'"),
        (lambda e: precision_at(search(e, 0), np.zeros(126), match="any"), "needs tags"),
    ],
)
def test_what_cannot_be_searched_is_refused(cube: xr.DataArray, call, words: str) -> None:
    with pytest.raises(InputError, match=words):
        call(cube)
