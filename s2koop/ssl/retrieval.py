"""Search by example: the samples of an embedding nearest to a query, exactly and block by block, or by faiss."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dask
import numpy as np
import numpy.typing as npt
import xarray as xr

from s2koop._numbers import whole
from s2koop.errors import InputError, MissingDependencyError
from s2koop.ssl._samples import frame_of, sample_dims

Array = npt.NDArray[Any]
#: Similarities and positions, each (query, rank), best first; position -1 where there is no neighbour.
_Found = tuple[Array, Array]

_METRICS = ("cosine", "euclidean", "dot")
#: Most similarities that are in memory at once for one block: queries times samples.
_AT_ONCE = 4 * 2**20
#: Squared distances below this part of the squared norms are rounding.
_ROUNDING = 1e-13
#: Links of a node of the graph, and candidates while it is built and searched: recall of 10 neighbours above 0.99.
_LINKS, _BUILDING, _SEARCHING = 32, 80, 512


@dataclass(frozen=True, eq=False)
class NearestIndex:
    """A graph for approximate search by faiss, built once for many searches.

    Attributes
    ----------
    metric : str
    positions : int array (member,)
        Positions of the members among the samples of the embedding; NaN samples are none.
    graph : faiss.IndexHNSWFlat
    """

    metric: str
    positions: Array
    graph: Any


def search(
    embedding: xr.DataArray,
    query: Any,
    k: int = 10,
    *,
    metric: str = "cosine",
    index: str | NearestIndex = "exact",
    exclude_self: bool = True,
) -> xr.Dataset:
    """Find the `k` samples nearest to each query.

    Parameters
    ----------
    embedding : DataArray (..., feature)
        Samples are all dims but ``feature``, in their order. A dask-backed one is read once, block by block; no more
        than a few blocks are in memory. Samples with NaN are never found.
    query : DataArray, mapping, int or sequence of int
        Vectors with dim ``feature``; coordinates of a sample (or lists of them), of which the nearest is taken where
        they are numbers or dates, such as ``dict(time="2020-06-01", y=5214900, x=412100)``; or positions of samples.
    k : int
        Number of neighbours.
    metric : str
        ``"cosine"``, ``"euclidean"`` or ``"dot"``.
    index : str or NearestIndex
        ``"exact"``, or ``"faiss"`` for an approximate search that pays from about a million samples up; or what
        `build_index` returned, for many searches in one embedding.
    exclude_self : bool
        Whether a query that is a sample is left out of its own neighbours.

    Returns
    -------
    Dataset (query, rank)
        ``similarity`` (float32, larger is nearer: cosine, inner product, or minus the distance), ``position`` of the
        neighbour among the samples, and its coordinates; along ``query`` the same with ``query_`` before the names,
        where the query is a sample (else ``query_position`` is -1). Equal similarities are in the order of positions.
        Where fewer than `k` samples have values, the rest has position -1. ``attrs``: the metric; encoder, patch and
        stride of the embedding.

    Raises
    ------
    InputError
        If query and embedding do not fit, or there are fewer than `k` samples.
    MissingDependencyError
        If faiss is asked for and not installed.

    Examples
    --------
    >>> vectors = [[1.0, 0.0], [0.0, 1.0], [0.8, 0.2]]
    >>> values = xr.DataArray(vectors, dims=("image", "feature"), coords={"image": [5, 6, 7]})
    >>> found = search(values, 0, k=2)
    >>> found.image.values.tolist(), found.similarity.values.round(2).tolist()
    ([[7, 6]], [[0.9700000286102295, 0.0]])
    """
    if metric not in _METRICS:
        raise InputError(f"metric={metric!r} must be one of {', '.join(_METRICS)}")
    whole("k", k, least=1)
    dims = sample_dims(embedding)
    values = embedding.transpose(*dims, "feature")
    frame = frame_of(embedding)
    if k > frame.size - bool(exclude_self):
        raise InputError(f"k={k} neighbours were asked for, but there are {frame.size} samples")
    vectors, own = _queries(values, frame, query)
    usable = np.isfinite(vectors).all(axis=1)
    if metric == "cosine":
        usable &= (vectors != 0).any(axis=1)
    if not usable.any():
        raise InputError("no query has values: all are NaN (masked patches?) or zero")
    left_out = np.where(usable & exclude_self, own, -1)
    if isinstance(index, str) and index == "exact":
        likeness, places = _exact(values, vectors, left_out, k, metric)
    elif isinstance(index, NearestIndex) or index == "faiss":
        graph = index if isinstance(index, NearestIndex) else build_index(embedding, metric=metric)
        likeness, places = _approximate(graph, vectors, left_out, k, metric)
    else:
        raise InputError(f"index={index!r} must be 'exact', 'faiss' or what build_index returned")
    places[~usable] = -1
    likeness[places < 0] = np.nan
    kept = {name: embedding.attrs[name] for name in ("encoder", "patch", "stride") if name in embedding.attrs}
    return _dataset(frame, likeness, places, own).assign_attrs(kept, metric=metric)


def build_index(embedding: xr.DataArray, *, metric: str = "cosine") -> NearestIndex:
    """Build a graph of an embedding for approximate search (hierarchical navigable small world).

    Parameters
    ----------
    embedding : DataArray (..., feature)
        Read block by block; the graph itself holds all vectors in memory.
    metric : str
        As in `search`.

    Returns
    -------
    NearestIndex

    Raises
    ------
    InputError
        If no sample has values, or the metric is unknown.
    MissingDependencyError
        If faiss is not installed.

    References
    ----------
    Malkov and Yashunin (2020), Efficient and robust approximate nearest neighbor search using hierarchical navigable
    small world graphs, IEEE Trans. PAMI 42(4), 824-836.
    """
    if metric not in _METRICS:
        raise InputError(f"metric={metric!r} must be one of {', '.join(_METRICS)}")
    try:
        import faiss
    except ImportError as error:
        raise MissingDependencyError(
            "index='faiss' needs the package faiss-cpu. Run: pip install 's2koop[faiss]'; or use index='exact'"
        ) from error
    dims = sample_dims(embedding)
    values = embedding.transpose(*dims, "feature")
    kind = faiss.METRIC_L2 if metric == "euclidean" else faiss.METRIC_INNER_PRODUCT
    graph = faiss.IndexHNSWFlat(values.sizes["feature"], _LINKS, kind)
    graph.hnsw.efConstruction, graph.hnsw.efSearch = _BUILDING, _SEARCHING
    members = []
    for block, positions in _blocks(values):
        table, _, there = _prepared(np.asarray(dask.compute(block)[0]), metric)
        graph.add(np.ascontiguousarray(table[there], np.float32))
        members.append(positions.ravel()[there])
    found = np.concatenate(members)
    if not found.size:
        raise InputError("no sample of the embedding has values")
    return NearestIndex(metric, found, graph)


def precision_at(neighbours: xr.Dataset, labels: Any, *, match: str = "same") -> xr.DataArray:
    """Share of neighbours that are like their query, among the first 1, 2, ... of them.

    Parameters
    ----------
    neighbours : Dataset (query, rank)
        From `search`; queries must be samples of the embedding.
    labels : str, or array (sample,) or (sample, tag)
        Name of a coordinate that query and neighbour should have in common, such as ``"image"``; or labels by position:
        a class, or tags of 0 and 1.
    match : str
        With tags: ``"same"`` asks for the same set of tags; ``"any"`` for one tag in common, and leaves out queries
        without tags.

    Returns
    -------
    DataArray (rank,)
        Mean over queries. ``attrs``: number of ``queries``; and, for labels by position, ``chance``: what samples drawn
        at random would give.

    Raises
    ------
    InputError
        If queries are not samples, or labels do not fit.

    Examples
    --------
    >>> values = xr.DataArray([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]], dims=("image", "feature"))
    >>> precision_at(search(values, [0, 1, 2], k=2), np.array([1, 1, 0])).values.round(3).tolist()
    [0.667, 0.333]
    """
    own, places = neighbours["query_position"].values, neighbours["position"].values
    asked = (own >= 0) & (places >= 0).any(axis=1)
    if not asked.any():
        raise InputError("no query is a sample of the embedding, so there is nothing to compare neighbours with")
    chance: dict[str, float] = {}
    if isinstance(labels, str):
        if labels not in neighbours.coords:
            raise InputError(
                f"neighbours have no coordinate {labels!r}; they have {', '.join(map(str, neighbours.coords))}"
            )
        alike = neighbours[labels].values == neighbours[f"query_{labels}"].values[:, None]
    else:
        table = _label_table(labels, max(own.max(), places.max()) + 1, match)
        if match == "any":
            asked &= table[own].any(axis=1)
            if not asked.any():
                raise InputError("no query has a tag")
        alike = _alike(table[own][:, None], table[places], match)
        others = [_alike(table[one], np.delete(table, one, axis=0), match).mean() for one in own[asked]]
        chance = {"chance": float(np.mean(others))}
    hits = np.cumsum(alike & (places >= 0), axis=1) / np.maximum(np.cumsum(places >= 0, axis=1), 1)
    return xr.DataArray(
        hits[asked].mean(axis=0), dims="rank", coords={"rank": neighbours["rank"]}, name="precision",
        attrs={"queries": int(asked.sum()), **chance},
    )  # fmt: skip


def _label_table(labels: Any, least: int, match: str) -> Array:
    """Labels (sample, column), checked."""
    if match not in ("same", "any"):
        raise InputError(f"match={match!r} must be 'same' or 'any'")
    table = np.asarray(labels)
    if table.ndim not in (1, 2) or len(table) < least:
        raise InputError(f"labels have shape {table.shape}; expected one row for each sample, at least {least}")
    if match == "any" and (table.ndim == 1 or not np.isin(table, (0, 1)).all()):
        raise InputError("match='any' needs tags (sample, tag) of 0 and 1")
    return table.reshape(len(table), -1)


def _alike(one: Array, many: Array, match: str) -> Array:
    if match == "same":
        return np.asarray((one == many).all(axis=-1))
    return np.asarray((one.astype(bool) & many.astype(bool)).any(axis=-1))


def _queries(values: xr.DataArray, frame: xr.DataArray, query: Any) -> tuple[Array, Array]:
    """Vectors (query, feature) as float64, and their positions among the samples, -1 where they are none."""
    if isinstance(query, xr.DataArray):
        return _given(values, frame, query)
    positions = _places(frame, query) if isinstance(query, Mapping) else _positions(frame, query)
    return _vectors(values, positions), positions


def _given(values: xr.DataArray, frame: xr.DataArray, query: xr.DataArray) -> tuple[Array, Array]:
    """Vectors with coordinates: those that are samples are found again by coordinates and values."""
    if "feature" not in query.dims or query.sizes["feature"] != values.sizes["feature"]:
        raise InputError(
            f"the query has dims {dict(query.sizes)}; expected 'feature' of size {values.sizes['feature']}: "
            "queries must come from the encoder of the embedding"
        )
    shape = frame_of(query)
    table = np.asarray(query.transpose(*shape.dims, "feature").values, np.float64).reshape(shape.size, -1)
    codes = []
    for dim in frame.dims:
        if dim not in query.coords or dim not in frame.indexes or not frame.indexes[dim].is_unique:
            return table, np.full(shape.size, -1)
        wanted = query[dim].variable.set_dims(shape.sizes).values.ravel()
        codes.append(frame.indexes[dim].get_indexer(wanted))
    if not codes:
        return table, np.full(shape.size, -1)
    own = np.where(np.min(codes, axis=0) >= 0, np.ravel_multi_index(np.maximum(codes, 0), frame.shape), -1)
    same = np.isclose(_vectors(values, np.maximum(own, 0)), table, rtol=1e-6, atol=0).all(axis=1)
    return table, np.where(same, own, -1)


def _positions(frame: xr.DataArray, query: Any) -> Array:
    found = np.atleast_1d(np.asarray(query))
    if found.ndim != 1 or found.dtype.kind not in "iu" or not found.size:
        raise InputError(
            f"query={query!r} must be vectors (a DataArray with 'feature'), coordinates such as dict(time=..., y=..., "
            "x=...), or whole numbers: positions of samples"
        )
    if found.min() < -frame.size or found.max() >= frame.size:
        raise InputError(f"query={query!r} is outside of {frame.size} samples")
    return found.astype(np.int64) % frame.size


def _places(frame: xr.DataArray, query: Mapping[Any, Any]) -> Array:
    """Positions of the samples at, or nearest to, given coordinates."""
    unknown = [name for name in query if name not in frame.dims]
    lacking = [dim for dim in frame.dims if dim not in query and frame.sizes[dim] > 1]
    if unknown or lacking:
        raise InputError(f"query gives {list(query)}; the samples need {list(frame.dims)}")
    wanted = {dim: np.atleast_1d(np.asarray(query[dim])) if dim in query else np.zeros(1, int) for dim in frame.dims}
    lengths = {values.size for values in wanted.values()} - {1}
    if len(lengths) > 1:
        raise InputError(f"query gives different numbers of values: { {d: v.size for d, v in wanted.items()} }")
    size = lengths.pop() if lengths else 1
    codes = [_along(frame, str(dim), np.broadcast_to(values, size), dim in query) for dim, values in wanted.items()]
    return np.asarray(np.ravel_multi_index(codes, frame.shape), np.int64)


def _along(frame: xr.DataArray, dim: str, wanted: Array, given: bool) -> Array:
    if not given or dim not in frame.indexes:
        if wanted.dtype.kind not in "iu" or wanted.min() < 0 or wanted.max() >= frame.sizes[dim]:
            raise InputError(f"{dim!r} has no coordinate; give its positions, 0 to {frame.sizes[dim] - 1}")
        return wanted
    known = frame[dim].values
    if known.dtype.kind in "mM":
        wanted = wanted.astype(known.dtype)
    if known.dtype.kind not in "fiumM":
        places = frame.indexes[dim].get_indexer(wanted) if frame.indexes[dim].is_unique else np.full(len(wanted), -1)
        if (places < 0).any():
            raise InputError(f"{dim}={wanted[places < 0].tolist()[0]!r} is not in the embedding")
        return places
    return np.asarray([np.abs(known - one).argmin() for one in wanted])


def _vectors(values: xr.DataArray, positions: Array) -> Array:
    """Vectors at positions, of a lazy embedding those alone."""
    shape = tuple(values.sizes[dim] for dim in values.dims[:-1])
    at = {
        dim: xr.DataArray(place, dims="query")
        for dim, place in zip(values.dims[:-1], np.unravel_index(positions, shape), strict=True)
    }
    return np.asarray(values.isel(at).transpose("query", "feature").values, np.float64)


def _blocks(values: xr.DataArray) -> Iterator[tuple[Any, Array]]:
    """Blocks (..., feature), delayed where the embedding is lazy, each with the positions of its samples."""
    shape = tuple(values.sizes[dim] for dim in values.dims[:-1])
    positions = np.arange(int(np.prod(shape))).reshape(shape)
    if values.chunks is None:
        rows = max(1, 2**24 // max(values[:1].size, 1)) if shape else 1
        for start in range(0, shape[0] if shape else 1, rows):
            yield (
                (values.values[start : start + rows], positions[start : start + rows])
                if shape
                else (values.values, positions)
            )
        return
    whole_vectors = values.variable.chunk({"feature": -1})  # of the values alone: coordinates may be chunked otherwise
    ends = [np.cumsum([0, *whole_vectors.chunksizes[dim]]) for dim in values.dims[:-1]]
    for block in np.ndindex(*(len(sizes) - 1 for sizes in ends)):
        part = tuple(slice(int(end[at]), int(end[at + 1])) for end, at in zip(ends, block, strict=True))
        yield whole_vectors.data.blocks[(*block, 0)].to_delayed().ravel()[0], positions[part]


def _exact(values: xr.DataArray, vectors: Array, left_out: Array, k: int, metric: str) -> _Found:
    """The best of every block, joined: no similarity of all pairs is ever held."""
    if values.chunks is None:
        best: _Found | None = None
        for block, positions in _blocks(values):
            part = _best_of_block(block, positions, vectors, left_out, k, metric)
            best = part if best is None else _joined([best, part], k)
        assert best is not None
        return best
    pick, join = dask.delayed(_best_of_block, pure=True), dask.delayed(_joined, pure=True)
    asked = dask.delayed(vectors)
    parts = [pick(block, positions, asked, left_out, k, metric) for block, positions in _blocks(values)]
    while len(parts) > 1:
        parts = [join(parts[start : start + 8], k) for start in range(0, len(parts), 8)]
    found: _Found = dask.compute(parts[0])[0]
    return found[0].copy(), found[1].copy()


def _best_of_block(
    block: Array, positions: Array, vectors: Array, left_out: Array, k: int, metric: str
) -> _Found:  # fmt: skip
    """The best of one block for every query, piece by piece."""
    table, power, there = _prepared(np.asarray(block), metric)
    places = positions.ravel()
    asked, asked_power, _ = _prepared(vectors, metric)
    step = max(1, _AT_ONCE // max(len(asked), 1))
    parts = []
    for start in range(0, len(table), step):
        part = slice(start, start + step)
        likeness = asked @ table[part].T
        if metric == "euclidean":
            norms = asked_power[:, None] + power[part]
            square = norms - 2 * likeness
            likeness = -np.sqrt(np.where(square > _ROUNDING * norms, square, 0.0))
        # In float32, equal vectors are equally near whatever block they are in.
        nearness = likeness.astype(np.float32)
        gone = ~there[part] | (places[part] == left_out[:, None]) | np.isnan(nearness)
        parts.append(_ranked(nearness, np.where(gone, -1, places[part]), k))
    return _joined(parts, k)


def _prepared(values: Array, metric: str) -> tuple[Array, Array, Array]:
    """Vectors (sample, feature) ready for a product, their squared norms, and which have values."""
    table = values.reshape(-1, values.shape[-1]).astype(np.float64)
    there = np.asarray(np.isfinite(table).all(axis=1))
    table[~there] = 0.0
    power = np.einsum("sf,sf->s", table, table)
    if metric == "cosine":
        there &= power > 0
        table /= np.sqrt(np.where(power > 0, power, 1.0))[:, None]
    return table, power, there


def _joined(parts: Sequence[_Found], k: int) -> _Found:
    likeness, places = (np.concatenate([part[which] for part in parts], axis=1) for which in (0, 1))
    return _ranked(likeness, places, k)


def _ranked(likeness: Array, places: Array, k: int) -> _Found:
    """The best `k` of each row, equal ones by position; short rows are filled with -1."""
    likeness = np.where(places < 0, -np.inf, likeness).astype(np.float32)
    wide = likeness.shape[1] > k
    edge = np.partition(likeness, -k, axis=1)[:, -k] if wide else np.full(len(likeness), -np.inf)
    nearest, where = np.full((len(likeness), k), -np.inf, np.float32), np.full((len(likeness), k), -1)
    for row, least in enumerate(edge):
        kept = np.flatnonzero(likeness[row] >= least)  # ties at the edge included
        order = kept[np.lexsort((places[row, kept], -likeness[row, kept]))][:k]
        nearest[row, : len(order)], where[row, : len(order)] = likeness[row, order], places[row, order]
    return nearest, where


def _approximate(index: NearestIndex, vectors: Array, left_out: Array, k: int, metric: str) -> _Found:
    if index.metric != metric:
        raise InputError(f"the index was built for metric={index.metric!r}, not {metric!r}; build another")
    if index.graph.d != vectors.shape[1]:
        raise InputError(f"the index has {index.graph.d} features, the query {vectors.shape[1]}; build another")
    asked, _, _ = _prepared(vectors, metric)
    number = min(k + 1, len(index.positions))
    index.graph.hnsw.efSearch = max(_SEARCHING, 4 * number)
    near, members = index.graph.search(np.ascontiguousarray(asked, np.float32), number)
    likeness = -np.sqrt(np.maximum(near, 0)) if metric == "euclidean" else near
    places = np.where(members >= 0, index.positions[members], -1)
    return _ranked(likeness, np.where(places == left_out[:, None], -1, places), k)


def _dataset(frame: xr.DataArray, likeness: Array, places: Array, own: Array) -> xr.Dataset:
    """Neighbours with their coordinates and those of the queries."""
    dims = ("query", "rank")
    coords: dict[str, Any] = {"rank": np.arange(1, places.shape[1] + 1), "query_position": ("query", own)}
    bare = {dim: np.arange(size) for dim, size in frame.sizes.items() if dim not in frame.coords}
    known = frame.assign_coords(bare)
    for name, coordinate in known.coords.items():
        coords[str(name)] = (dims, _taken(coordinate, known, places))
        if (own >= 0).any():
            coords[f"query_{name}"] = ("query", _taken(coordinate, known, own))
    variables: dict[str, Any] = {"similarity": (dims, likeness), "position": (dims, places)}
    return xr.Dataset(variables, coords=coords)


def _taken(coordinate: xr.DataArray, frame: xr.DataArray, places: Array) -> Array:
    """Values of a coordinate at positions; where there is none, what stands for missing in their kind."""
    codes = dict(zip(frame.dims, np.unravel_index(np.maximum(places, 0), frame.shape), strict=True))
    found = np.asarray(coordinate.values[tuple(codes[dim] for dim in coordinate.dims)])
    gone = places < 0
    if not gone.any():
        return found
    if found.dtype.kind in "mM":
        return np.where(gone, np.array("NaT", found.dtype), found)
    if found.dtype.kind in "iufb":
        return np.where(gone, np.nan, found)
    return np.where(gone, "", found)
