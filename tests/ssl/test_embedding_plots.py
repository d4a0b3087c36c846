"""Galleries, maps of samples and label curves: what is drawn is what was found, pictures are those of the places."""

from __future__ import annotations

import base64
import builtins
import io
import re

import dask.array
import holoviews as hv
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from bokeh.models import ColumnDataSource
from PIL import Image

from s2koop.errors import InputError, MissingDependencyError
from s2koop.plots._style import NO_DATA_COLOUR
from s2koop.plots._thumbnails import Thumbnails, data_uri
from s2koop.plots.embeddings import gallery, label_curve, scatter, still_gallery
from s2koop.ssl.probing import probe
from s2koop.ssl.retrieval import search

PATCH = 8


def decoded(uri: str) -> np.ndarray:
    """The pixels (y, x, channel) of a PNG that a data address holds."""
    with Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/png;base64,")))) as picture:
        assert picture.format == "PNG"
        pixels = np.array(picture)
    assert pixels.dtype == np.uint8
    return pixels.reshape(*pixels.shape[:2], -1)


@pytest.fixture
def images(rng: np.random.Generator) -> xr.DataArray:
    """Three images of 2 by 3 patches; each patch has a brightness of its own, known by its place."""
    number = np.arange(18).reshape(3, 2, 3)
    values = np.kron(number, np.ones((1, PATCH, PATCH))) + 0.2 * rng.random((3, 16, 24))
    coords = {
        "time": pd.date_range("2020-06-01", periods=3),
        "y": 500.0 - 10 * np.arange(16),
        "x": 10.0 * np.arange(24),
    }
    return xr.DataArray(values, dims=("time", "y", "x"), coords=coords)


@pytest.fixture
def embedding(images: xr.DataArray) -> xr.DataArray:
    patches = images.coarsen(y=PATCH, x=PATCH)
    stacked = xr.concat([patches.mean(), patches.std(), patches.max() ** 2], pd.Index(range(3), name="feature"))
    return stacked.transpose("time", "y", "x", "feature").assign_attrs(patch=PATCH, stride=PATCH)


def test_a_gallery_shows_the_patch_of_each_neighbour(images: xr.DataArray, embedding: xr.DataArray) -> None:
    found = search(embedding, [4, 11], k=3, metric="euclidean")
    drawn = list(gallery(images, found))
    assert [element.group for element in drawn] == ["Query", "Neighbour", "Neighbour", "Neighbour"] * 2
    shown = [element.dimension_values("R", flat=False) for element in drawn]
    assert all(picture.shape[:2] == (PATCH, PATCH) for picture in shown)
    levels = [float(picture.mean()) for picture in shown]
    positions = [4, *found["position"].values[0], 11, *found["position"].values[1]]
    assert np.corrcoef(levels, positions)[0, 1] > 0.98
    titles = [element.opts.get("plot").kwargs["title"] for element in drawn]
    assert titles[0] == "query\n2020-06-01"
    first = found.isel(query=0, rank=0)
    assert titles[1] == f"1: {float(first['similarity']):.3f}\n{str(first['time'].values)[:10]}"


def test_patches_of_images_without_coordinates_are_those_that_were_found(
    images: xr.DataArray, embedding: xr.DataArray
) -> None:
    bare, numbered = (values.drop_vars(["y", "x"]) for values in (images, embedding))
    with_places, without = (
        [element.dimension_values("R", flat=False) for element in gallery(*pair)]
        for pair in ((images, search(embedding, 4, k=5)), (bare, search(numbered, 4, k=5)))
    )
    np.testing.assert_array_equal(without, with_places)


def test_thumbnails_are_the_pixels_around_the_centre(images: xr.DataArray, embedding: xr.DataArray) -> None:
    cutter = Thumbnails(images, PATCH, None)
    place = {"time": images["time"].values[2], "y": float(embedding["y"][1]), "x": float(embedding["x"][2])}
    np.testing.assert_array_equal(cutter.cut([place])[0][..., 0], images[2, 8:16, 16:24])
    odd = Thumbnails(images, 5, None).cut([{**place, "y": 500.0 - 70, "x": 60.0}])[0]
    np.testing.assert_array_equal(odd[..., 0], images[2, 5:10, 4:9])


def test_only_patches_that_are_shown_are_read(images: xr.DataArray, embedding: xr.DataArray) -> None:
    reads: list[int] = []

    def read(block):
        reads.append(1)
        return block

    blocks = dask.array.from_array(images.values, chunks=(1, 8, 8)).map_blocks(
        read, dtype=float, meta=np.empty((0, 0, 0))
    )
    found = search(embedding, 0, k=2)
    still_gallery(images.copy(data=blocks), found)
    assert len(reads) == 3


def test_a_still_gallery_holds_its_pictures(images: xr.DataArray, embedding: xr.DataArray, tmp_path) -> None:
    found = search(embedding, [0, 9], k=4)
    still = still_gallery(images, found, queries=[1], stretch="each")
    uris = re.findall(r'src="(data:[^"]+)"', still._repr_html_())
    assert len(uris) == 5
    picture = decoded(uris[0])
    assert picture.shape == (PATCH, PATCH, 1)
    patch = images[1, 8:16, 0:8].values
    assert np.corrcoef(picture[..., 0].ravel(), patch.ravel())[0, 1] > 0.98
    page = still.save(tmp_path / "page.html", title="a < b").read_text("utf-8")
    assert "a &lt; b" in page
    assert "<script" not in page
    assert "http" not in page


def test_colours_and_missing_pixels_survive_as_png(rng: np.random.Generator) -> None:
    images = xr.DataArray(rng.random((4, 6, 6)), dims=("band", "y", "x"), coords={"band": ["B02", "B03", "B04", "B08"]})
    images[:, 0, 0] = np.nan
    cutter = Thumbnails(images, None, None)
    cut = cutter.cut([{}])[0]
    np.testing.assert_array_equal(cut[1, 2], images.sel(band=["B04", "B03", "B02"])[:, 1, 2])
    picture = cutter.stretched([cut], shared=True)[0]
    again = decoded(data_uri(picture))
    np.testing.assert_array_equal(again, picture)
    assert "#" + bytes(again[0, 0]).hex() == NO_DATA_COLOUR
    assert Thumbnails(images, None, ["B08"]).cut([{}])[0].shape == (6, 6, 1)


def test_constant_and_empty_patches_are_drawn() -> None:
    cutter = Thumbnails(xr.DataArray(np.zeros((4, 4)), dims=("y", "x")), None, None)
    flat, gone = cutter.stretched([np.full((4, 4, 1), 3.0), np.full((4, 4, 1), np.nan)], shared=False)
    assert len(np.unique(flat)) == 1
    assert "#" + bytes(gone[0, 0]).hex() == NO_DATA_COLOUR


def test_large_images_are_averaged_down() -> None:
    values = np.random.default_rng(0).random((400, 300, 1))
    small = Thumbnails(xr.DataArray(values[..., 0], dims=("y", "x")), None, None).stretched([values], shared=True)[0]
    assert small.shape == (133, 100, 3)


def test_scatter_is_the_principal_components_with_pictures_and_places(
    images: xr.DataArray, embedding: xr.DataArray
) -> None:
    drawn = scatter(embedding, images, color="time")
    table = embedding.values.reshape(-1, 3)
    middle = table - table.mean(0)
    _, strength, axes = np.linalg.svd(middle, full_matrices=False)
    np.testing.assert_allclose(np.abs(drawn.dimension_values("first")), np.abs(middle @ axes[0]), atol=1e-6)
    assert drawn.kdims[0].label == f"component 1 ({strength[0] ** 2 / (strength**2).sum():.0%})"
    pictures = drawn.dimension_values("thumbnail")
    assert decoded(pictures[7]).shape == (PATCH, PATCH, 1)
    assert drawn.dimension_values("at_time")[7] == "2020-06-02"
    hover = drawn.opts.get("plot").kwargs["tools"][0]
    assert "@{thumbnail}" in hover.tooltips
    assert "@{at_time}" in hover.tooltips
    figure = hv.render(drawn, backend="bokeh")
    source = figure.select({"type": ColumnDataSource})
    assert any("thumbnail" in one.data for one in source)


def test_scatter_is_coloured_by_numbers_or_by_kinds(embedding: xr.DataArray) -> None:
    height = xr.DataArray([1.5, 2.5, 4.0], dims="time", coords={"time": embedding["time"]}, name="height")
    by_number = scatter(embedding, color=height).opts.get("style").kwargs
    assert by_number["cmap"] == "cividis"
    kinds = np.array(["ice", "sea"])[np.arange(18) % 2]
    by_kind = scatter(embedding, color=kinds)
    assert set(by_kind.opts.get("style").kwargs["cmap"]) == {"ice", "sea"}
    assert by_kind.dimension_values("colour").tolist() == kinds.tolist()
    hv.render(by_kind, backend="bokeh")


def test_masked_samples_are_not_drawn_and_many_are_thinned(embedding: xr.DataArray) -> None:
    masked = embedding.where(embedding["time"] > embedding["time"][0])
    assert len(scatter(masked)) == 12
    few = scatter(embedding, most=5)
    assert len(few) == 5
    assert few.opts.get("plot").kwargs["title"].startswith("5 of 18 samples")
    with pytest.raises(InputError, match="0 of 18 samples"):
        scatter(embedding.where(False))


def test_umap_keeps_neighbours_or_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "umap":
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    values = xr.DataArray(np.eye(6), dims=("sample", "feature"))
    with pytest.raises(MissingDependencyError, match="pip install 's2koop\\[umap\\]'"):
        scatter(values, method="umap")


@pytest.mark.slow  # numba compiles on first use
@pytest.mark.filterwarnings("ignore")  # of numba and its kin
def test_umap_separates_what_is_apart(rng: np.random.Generator) -> None:
    pytest.importorskip("umap", reason="needs umap-learn")
    kind = np.arange(60) % 2
    values = rng.normal(size=(60, 10)) + 8 * kind[:, None] * np.array([1, -1] * 5)
    drawn = scatter(xr.DataArray(values, dims=("sample", "feature")), method="umap")
    places = np.stack([drawn.dimension_values("first"), drawn.dimension_values("second")], axis=1)
    apart = np.linalg.norm(places[kind == 0].mean(0) - places[kind == 1].mean(0))
    assert apart > 3 * max(places[kind == one].std(0).max() for one in (0, 1))


def test_a_label_curve_draws_means_and_spread_of_draws(rng: np.random.Generator) -> None:
    features = rng.normal(size=(120, 4))
    result = probe(
        {"mine": features, "raw": features[:, 1:]}, features[:, 0] + 0.3 * rng.normal(size=120), budgets=(8, 20)
    )
    drawn = label_curve(result)
    parts = {(element.group, element.label): element for element in drawn}
    assert {label for _, label in parts} == {"mine", "raw", "mean"}
    curve = result.curve["rmse"].sel(features="mine")
    np.testing.assert_allclose(parts["Score", "mine"]["score"], curve.mean("draw"))
    np.testing.assert_allclose(parts["Spread", "mine"]["high"], curve.mean("draw") + curve.std("draw", ddof=1))
    np.testing.assert_array_equal(parts["Score", "raw"]["labels"], [8, 20, 96])
    looks = [parts["Score", row].opts.get("style").kwargs for row in ("mine", "raw", "mean")]
    assert len({look["color"] for look in looks}) == len({look["line_dash"] for look in looks}) == 3
    assert "less is better" in drawn.opts.get("plot").kwargs["title"]
    assert "more is better" in result.plot("r2").opts.get("plot").kwargs["title"]
    hv.render(drawn, backend="bokeh")
    with pytest.raises(InputError, match="choose one of rmse, r2"):
        label_curve(result, metric="accuracy")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda i, e, f: gallery(i.isel(x=0), f), "DataArray with y and x"),
        (lambda i, e, f: gallery(i.isel(time=[1, 2]), f), "images have no time"),
        (lambda i, e, f: gallery(i.expand_dims("beam"), f), "have no 'beam'"),
        (lambda i, e, f: gallery(i, f, patch=17), "reaches beyond the images"),
        (lambda i, e, f: gallery(i, f, bands=["B04"]), "no dim 'band'"),
        (lambda i, e, f: gallery(i.expand_dims(band=["B04"]), f, bands=["B08"]), "one or three of B04"),
        (lambda i, e, f: gallery(i, f, queries=[1]), "some of 0 to 0"),
        (lambda i, e, f: gallery(i, f, stretch="none"), "'shared' or 'each'"),
        (lambda i, e, f: gallery(i, e), "that search returned"),
        (lambda i, e, f: scatter(e, method="tsne"), "must be 'pca' or 'umap'"),
        (lambda i, e, f: scatter(e, color="site"), "choose one of time"),
        (lambda i, e, f: scatter(e, color=np.zeros(3)), "one for each of 18"),
        (lambda i, e, f: scatter(e, color=e), "color has dims"),
    ],
)
def test_what_cannot_be_drawn_is_refused(images: xr.DataArray, embedding: xr.DataArray, call, words: str) -> None:
    with pytest.raises(InputError, match=words):
        call(images, embedding, search(embedding, 0, k=2))
