"""The dashboard of embeddings without a browser: who is like whom, where that lies, and how little is read."""

from __future__ import annotations

import dask.array
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from s2koop import _embedding_session
from s2koop._embedding_map import Ground
from s2koop._embedding_session import EmbeddingSession
from s2koop._frames import decode
from s2koop.errors import InputError, SlowReadWarning
from s2koop.live.embedding import EmbeddingDashboard
from s2koop.ssl.retrieval import search

PATCH = 8


@pytest.fixture
def images(rng: np.random.Generator) -> xr.DataArray:
    """Three dates of 3 by 4 patches of 8 pixels."""
    coords = {
        "time": pd.date_range("2020-06-01", periods=3),
        "y": 500.0 - 10 * np.arange(24),
        "x": 1000 + 10.0 * np.arange(32),
    }
    return xr.DataArray(rng.random((3, 24, 32)), dims=("time", "y", "x"), coords=coords)


@pytest.fixture
def embedding(images: xr.DataArray, rng: np.random.Generator) -> xr.DataArray:
    middles = images.coarsen(y=PATCH, x=PATCH).mean()
    values = rng.normal(size=(*middles.shape, 6)).astype("float32")
    values[1, 0, 2] = np.nan  # masked
    return xr.DataArray(
        values, dims=("time", "y", "x", "feature"), coords=middles.coords,
        attrs={"patch": PATCH, "stride": PATCH, "encoder": "drawn"},
    )  # fmt: skip


@pytest.fixture
def session(embedding: xr.DataArray, images: xr.DataArray) -> EmbeddingSession:
    return EmbeddingSession(embedding, images, k=5)


@pytest.fixture
def view(session: EmbeddingSession) -> EmbeddingDashboard:
    return EmbeddingDashboard(session)


@pytest.fixture
def series(rng: np.random.Generator) -> tuple[xr.DataArray, xr.DataArray]:
    """An embedding of pixel series, and the cube."""
    coords = {"y": 60.0 - 20 * np.arange(18), "x": 20.0 * np.arange(20)}
    vectors = rng.normal(size=(18, 20, 4)).astype("float32")
    found = xr.DataArray(vectors, dims=("y", "x", "feature"), coords=coords, attrs={"patch": 1, "stride": 1})
    cube = xr.DataArray(
        rng.random((5, 3, 18, 20)).astype("float32"), dims=("time", "band", "y", "x"),
        coords=coords | {"time": pd.date_range("2020-01-01", periods=5), "band": ["B02", "B03", "B04"]},
    )  # fmt: skip
    return found, cube


def settle(view: EmbeddingDashboard) -> None:
    assert view.wait(30)
    assert view.errors == []


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "dot"])
def test_similarities_and_neighbours_are_those_of_search(embedding, images, metric) -> None:
    session = EmbeddingSession(embedding, images, k=5, metric=metric, query=17)
    everything = search(embedding, 17, k=34, metric=metric)
    found = session.similarity()
    np.testing.assert_allclose(found[everything["position"][0]], everything["similarity"][0], rtol=2e-5, atol=1e-6)
    assert np.isnan(found[1 * 12 + 2])
    xr.testing.assert_identical(session.neighbours(), search(embedding, 17, k=5, metric=metric))
    assert session.positions() == everything["position"].values[0, :5].tolist()


def test_a_query_can_be_a_place_or_a_position(embedding, images) -> None:
    place = {"time": "2020-06-02", "y": float(embedding["y"][2]), "x": float(embedding["x"][3])}
    session = EmbeddingSession(embedding, images, query=place, k=3)
    assert session.query == 12 + 2 * 4 + 3
    assert session.frame == 1
    assert session.describe(session.query) == "time 2020-06-02, y 305, x 1275"
    with pytest.raises(InputError, match="one sample"):
        EmbeddingSession(embedding, images, query=[1, 2])


def test_every_pixel_of_a_patch_is_that_patch(session) -> None:
    ground = session.ground
    for frame, row, col in ((0, 0, 0), (2, 7, 7), (1, 8, 31), (2, 23, 16)):
        position = ground.sample_at(frame, row, col)
        assert position == frame * 12 + (row // PATCH) * 4 + col // PATCH
        r0, c0, r1, c1 = ground.box_of(position)
        assert r0 <= row < r1
        assert c0 <= col < c1
        assert (r1 - r0, c1 - c0) == (PATCH, PATCH)
        assert ground.frame_of(position) == frame
        assert ground.sample_at(frame, *ground.pixel_of(position)) == position


@pytest.mark.parametrize(("patch", "stride"), [(8, 4), (5, 3), (4, 8), (7, 7)])
def test_overlapping_odd_and_sparse_patches_are_pictured_where_they_lie(images, patch, stride) -> None:
    counts = [(images.sizes[dim] - patch) // stride + 1 for dim in ("y", "x")]
    middles = [stride * np.arange(n) + (patch - 1) / 2 for n in counts]
    coords = {"y": 500.0 - 10 * middles[0], "x": 1000 + 10 * middles[1]}
    values = np.arange(np.prod(counts), dtype=float).reshape(*counts, 1)
    embedding = xr.DataArray(
        values, dims=("y", "x", "feature"), coords=coords, attrs={"patch": patch, "stride": stride}
    )  # fmt: skip
    ground = Ground.of(embedding, images)
    levels, step = ground.pictured(values.ravel(), 0.0, float(values.max()), 10**6)
    assert step == (patch if patch == stride else 1)
    shown = decode(levels[0], 0.0, float(values.max()))
    for row, col in ((0, 0), (13, 17), (22, 30)):
        cell = shown[row // step, col // step] if row // step < len(shown) and col // step < shown.shape[1] else np.nan
        near = [np.abs(m - at) for m, at in zip(middles, (row, col), strict=True)]
        if max(distance.min() for distance in near) > patch / 2:
            assert np.isnan(cell)
        else:
            nearest = values[near[0].argmin(), near[1].argmin(), 0]
            assert cell == pytest.approx(nearest, abs=values.max() / 250)


def test_images_without_coordinates_are_counted_in_pixels(rng) -> None:
    images = xr.DataArray(rng.random((2, 32, 48)), dims=("image", "y", "x"))
    found = images.coarsen(y=16, x=16).mean().expand_dims(feature=3, axis=-1) * xr.DataArray([1, 2, 3], dims="feature")
    ground = Ground.of(found.drop_vars(list(found.coords)).assign_attrs(patch=16, stride=16), images)
    assert ground.labels == ("image 0", "image 1")
    assert ground.box_of(6 + 5) == (16, 32, 32, 48)


def test_similarity_is_pictured_where_samples_lie(session) -> None:
    session.query = 20
    frames = session.similarity_frames()
    assert frames.levels.shape == (3, 3, 4)
    assert frames.stride == PATCH
    values = session.similarity().reshape(3, 3, 4)
    inside = values.clip(frames.low, frames.high)
    np.testing.assert_allclose(
        decode(frames.levels, frames.low, frames.high), inside, atol=(frames.high - frames.low) / 254
    )
    assert frames.levels[1, 0, 2] == 0


def test_outlines_are_of_the_frame_that_is_looked_at(session) -> None:
    everyone = [session.query, *session.positions()]
    for frame in range(3):
        session.frame = frame
        here = [position for position in everyone if position // 12 == frame]
        assert [tuple(o[:4]) for o in session.outlines()] == [session.ground.box_of(p) for p in here]
    session.frame = session.query // 12
    assert session.outlines()[0][4] == "query"


def test_a_masked_patch_is_no_query(session) -> None:
    session.frame = 1
    before = session.query
    assert not session.pick(3, 20)
    assert session.query == before
    assert session.pick(3, 2)
    assert session.query == 12


def test_pixel_series_share_one_map_on_all_dates(series) -> None:
    found, cube = series
    session = EmbeddingSession(found, cube, k=4, query={"y": 20.0, "x": 60.0})
    assert session.query == 2 * 20 + 3
    assert session.similarity_frames().levels.shape == (1, 18, 20)
    frames = session.image_frames()
    assert frames.levels.shape == (5, 18, 20, 3)
    assert frames.band == "B04, B03, B02"
    for date in (0, 4):
        session.frame = date
        assert len(session.outlines()) == 5
    assert session.outlines()[0] == [2, 3, 3, 4, "query"]


def test_whole_images_have_no_map(rng) -> None:
    coords = {"image": list("abcdefghi"), "y": np.arange(16.0), "x": np.arange(16.0)}
    images = xr.DataArray(rng.random((9, 16, 16)), dims=("image", "y", "x"), coords=coords)
    patches = xr.DataArray(
        rng.normal(size=(9, 1, 1, 4)), dims=("image", "y", "x", "feature"),
        coords={"image": images["image"], "y": [7.5], "x": [7.5]},
        attrs={"patch": 16, "stride": 16},
    )  # fmt: skip
    for found in (patches, patches.squeeze(["y", "x"], drop=True).drop_attrs()):
        view = found.ssl.dashboard(images, labels="image", k=3)
        assert view.picture is None
        assert len(view.gallery.items) == 4
        view.gallery._on_pick(5)
        settle(view)
        assert view.session.query == 5
        assert view.gallery.items[0]["place"] == "image f"
        assert view._repr_mimebundle_()["text/html"].count("<img") == 5


def test_labels_are_flattened_in_the_order_of_samples(embedding, images) -> None:
    of_date = xr.DataArray([1.5, 2.5, 3.5], dims="time", name="wind", coords={"time": images["time"]})
    by_place = xr.DataArray(
        np.arange(12).reshape(3, 4), dims=("y", "x"), coords={"y": embedding["y"], "x": embedding["x"]}
    )
    labels = {"wind": of_date.isel(time=[2, 0, 1]), "place": by_place, "plain": np.arange(36)}
    session = EmbeddingSession(embedding, images, labels=labels)
    assert session.colours == ("similarity", "wind", "place", "plain")
    np.testing.assert_array_equal(session.labels["wind"], np.repeat([1.5, 2.5, 3.5], 12))
    np.testing.assert_array_equal(session.labels["place"], np.tile(np.arange(12), 3))
    assert EmbeddingSession(embedding, images, labels="time").labels["time"].shape == (36,)
    data = xr.Dataset({"wind": of_date, "place": by_place})
    assert EmbeddingSession(embedding, images, labels=data).colours[1:] == ("wind", "place")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"labels": np.arange(5)}, "one for each of 36"),
        ({"labels": "nothing"}, "no coordinate 'nothing'"),
        ({"labels": {"similarity": np.arange(36)}}, "must not be called"),
        ({"labels": xr.DataArray(np.zeros(3), dims="tag")}, "expected some of"),
        ({"metric": "angle"}, "must be one of"),
        ({"method": "tsne"}, "'pca' or 'umap'"),
        ({"bands": ["B04"]}, "no dim 'band'"),
        ({"k": 0}, "k"),
        ({"query": 99}, "outside of 36"),
    ],
)
def test_what_does_not_fit_is_refused(embedding, images, wrong, message) -> None:
    with pytest.raises(InputError, match=message):
        EmbeddingSession(embedding, images, **wrong)


def test_other_images_are_refused(embedding, images) -> None:
    with pytest.raises(InputError, match="give the images that were embedded"):
        EmbeddingSession(embedding, images.isel(time=[0, 1]))
    with pytest.raises(InputError, match="not the images"):
        EmbeddingSession(embedding, images.isel(y=slice(0, 16)))
    with pytest.raises(InputError, match="4 samples|at least four"):
        EmbeddingSession(embedding.isel(time=[0], y=[0], x=[0, 1, 3]), images.isel(time=[0]))


def test_choices_that_do_not_exist_are_refused(session) -> None:
    for trait, value in {"query": 36, "k": 36, "colour": "nothing", "frame": 3}.items():
        with pytest.raises(InputError):
            setattr(session, trait, value)


def counting(values: np.ndarray, chunks: tuple[int, ...]) -> tuple[dask.array.Array, list[int]]:
    reads = [0]

    def read(block: np.ndarray) -> np.ndarray:
        reads[0] += 1
        return block

    return dask.array.from_array(values, chunks=chunks).map_blocks(read, meta=np.empty((0,) * values.ndim)), reads


def test_a_lazy_embedding_is_computed_once(embedding, images) -> None:
    data, reads = counting(embedding.values, (1, 3, 4, 6))
    view = EmbeddingDashboard(EmbeddingSession(embedding.copy(data=data), images, k=5))
    for query in (3, 20, 30):
        view.session.query = query
        settle(view)
    assert reads == [3]


def test_one_that_is_too_large_is_read_block_by_block_with_a_warning(embedding, images, monkeypatch) -> None:
    eager = EmbeddingSession(embedding, images, k=5, query=20)
    monkeypatch.setattr(_embedding_session, "KEPT_BYTES", 100)
    with pytest.warns(SlowReadWarning, match="every query reads"):
        lazy = EmbeddingSession(embedding.chunk(time=1, feature=3), images, k=5, query=20)
    assert lazy.embedding.chunks is not None
    np.testing.assert_allclose(lazy.similarity(), eager.similarity(), rtol=1e-5)
    assert lazy.positions() == eager.positions()
    assert set(lazy.drawn) == set(eager.drawn)


def test_lazy_images_are_read_for_what_is_shown(embedding, images) -> None:
    data, reads = counting(images.values, (1, 24, 32))
    view = EmbeddingDashboard(EmbeddingSession(embedding, images.copy(data=data), k=2, query=0))
    first = reads[0]
    assert first <= 3 + 3  # pictures, thumbnails
    view.session.query = 1
    settle(view)
    assert reads[0] - first <= 3


def test_a_chunk_of_all_dates_is_read_once_for_all_pictures(embedding, images) -> None:
    data, reads = counting(images.values, (3, 24, 32))
    session = EmbeddingSession(embedding, images.copy(data=data))
    expected = EmbeddingSession(embedding, images).image_frames()
    np.testing.assert_array_equal(session.image_frames().levels, expected.levels)
    assert reads == [1]


def test_details_are_the_pixels_that_pictures_leave_out(series) -> None:
    session = EmbeddingSession(*series, k=3)
    session.frame = 2
    whole = session.image_frames().levels
    np.testing.assert_array_equal(session.image_detail((2, 3, 9, 12)).levels[0], whole[2, 2:9, 3:12])
    thin = session.image_detail((2, 3, 9, 12), budget=3 * 20)
    assert (thin.stride, thin.levels.shape) == (2, (1, 4, 5, 3))


# The widget


def test_it_opens_with_map_samples_and_gallery(view, session) -> None:
    picture = view.picture
    assert picture.mode == "grid"
    assert picture.panel(1)["labels"] == ["2020-06-01", "2020-06-02", "2020-06-03"]
    assert picture.panel(1)["size"] == [3, 24, 32]
    assert picture.panel(2)["size"] == [3, 3, 4]
    assert picture.panel(2)["label"] == "cosine similarity"
    assert picture.pixel == list(session.ground.pixel_of(session.query))
    assert [item["position"] for item in view.gallery.items] == [session.query, *session.positions()]
    assert [item["first"] for item in view.gallery.items] == [True] + [False] * 5
    assert all(item["uri"].startswith("data:image/png") for item in view.gallery.items)


def test_a_click_on_the_map_searches_there(view, session) -> None:
    view.picture.index = 2
    view.picture.pixel = [20, 5]
    settle(view)
    assert session.query == 24 + 8
    assert view.picture.pixel == [20, 5], "the crosshair stays where the hand put it"
    expected = search(session.embedding, 32, k=5)
    assert [item["position"] for item in view.gallery.items] == [32, *expected["position"].values[0]]
    headings = [item["heading"] for item in view.gallery.items[1:]]
    assert headings[0] == f"1: {float(expected['similarity'][0, 0]):.3f}"
    assert view.picture.outlines == session.outlines()


def test_what_is_masked_is_said(view, session) -> None:
    before = session.query
    view.picture.index = 1
    view.picture.pixel = [3, 20]
    settle(view)
    assert view.picture.note == "no embedding here"
    assert session.query == before
    view.picture.pixel = [3, 2]
    settle(view)
    assert view.picture.note == ""


def test_another_image_is_looked_at_without_another_question(view, session) -> None:
    before, items = session.query, view.gallery.items
    view.picture.index = 2
    settle(view)
    assert session.query == before
    assert view.gallery.items == items
    assert view.picture.outlines == session.outlines()


def test_a_thumbnail_that_is_pressed_becomes_the_query_and_its_image_is_shown(view, session) -> None:
    wanted = next(p for p in session.positions() if p // 12 != session.query // 12)
    view.gallery._receive(view.gallery, {"kind": "pick", "position": wanted}, [])
    settle(view)
    assert session.query == wanted
    assert view.picture.index == wanted // 12
    assert view.gallery.items[0]["position"] == wanted


def test_a_sample_that_is_tapped_becomes_the_query(view, session) -> None:
    source = view.chart.source("Samples", "")
    source.selected.indices = [20]
    settle(view)
    assert session.query == int(session.drawn[20])
    assert source.selected.indices == []


def test_samples_keep_a_colour_each_whatever_they_are_coloured_by(embedding, images) -> None:
    view = embedding.ssl.dashboard(images, {"kind": np.array(["a", "b"] * 18), "number": np.arange(36.0)})
    for colour in ("kind", "number", "similarity"):
        view.session.colour = colour
        settle(view)
        columns = view.chart.columns("Samples", "")
        glyph = view.chart.renderer("Samples", "").glyph
        assert glyph.fill_color.field in columns
        assert len(set(columns["color"])) > 1
        assert all(value.startswith("#") for value in columns["color"])
        assert f"by {colour}" in view.chart.figure.title.text
        assert colour in view.key.value


def test_queries_and_neighbours_are_marked_among_the_samples(view, session) -> None:
    session.query = 25
    settle(view)
    at = view.chart.columns("Query", "")
    place = session.place([25])[0]
    assert (at["first"][0], at["second"][0]) == pytest.approx(tuple(place))
    drawn = {int(p): place for p, place in zip(session.drawn, session.axes.places, strict=True)}
    np.testing.assert_allclose(drawn[25], place, atol=1e-5)
    assert len(view.chart.columns("Neighbours", "")["first"]) == 5


def test_a_magnified_part_gets_its_pixels(view) -> None:
    view.picture.view = [0, 0, 12, 10]
    settle(view)
    assert view.picture.details[0]["size"] == [1, 12, 10]
    view.picture.index = 2
    settle(view)
    assert view.picture.details[0]["index"] == 2
    view.session.query = 30
    settle(view)
    assert len(view.picture.details) == 1
    view.picture.view = []
    settle(view)
    assert view.picture.details == []


def test_the_number_of_neighbours_can_be_chosen(view) -> None:
    view.session.k = 12
    settle(view)
    assert len(view.gallery.items) == 13


def test_it_opens_on_the_clearest_of_dates_that_share_all_samples(series) -> None:
    found, cube = series
    cloudy = cube.where((cube["time"] == cube["time"][3]) | (cube["x"] < 100))
    view = found.ssl.dashboard(cloudy, k=4)
    assert (view.session.frame, view.picture.index) == (3, 3)
    assert view.picture.panel(2)["labels"] == ["all images"]
    assert view.session.query == 0
    view.session.query = 7
    settle(view)
    assert view.picture.index == 3


def test_places_in_metres_are_written_out(series) -> None:
    found, cube = series
    shift = {"y": found["y"] + 2_532_580.0, "x": found["x"] + 0.25}
    session = EmbeddingSession(found.assign_coords(shift), cube.assign_coords(shift), k=4)
    assert session.describe(1) == "y 2532640, x 20.25"


def test_thumbnails_of_pixels_show_what_is_around_them_also_at_the_edge(series) -> None:
    found, cube = series
    view = found.ssl.dashboard(cube, k=4, query={"y": 60.0, "x": 0.0})
    assert view.session.query == 0
    assert len(view.gallery.items) == 5
    before, date = view.gallery.items, view.session.frame
    view.picture.index = (date + 1) % 5
    settle(view)
    assert [i["uri"] for i in view.gallery.items] != [i["uri"] for i in before], "thumbnails are of the date shown"


def test_a_failure_is_seen_and_can_be_dismissed(view, monkeypatch) -> None:
    def broken(*_args, **_options):
        raise OSError("the disk is <gone>")

    monkeypatch.setattr(EmbeddingSession, "neighbours", broken)
    view.session.query = 9
    assert view.wait(10)
    box = view.children[-1]
    assert str(view.errors[0]) == "the disk is <gone>"
    assert "the disk is &lt;gone&gt;" in box.children[0].value
    box.children[1].click()
    assert box.layout.display == "none"


def test_the_still_twin_is_there_for_places_without_widgets(view) -> None:
    page = view._repr_mimebundle_()["text/html"]
    assert page.startswith("<img alt=")
    assert page.count("<figure") == 6
