"""Plots of a session of embeddings as data: samples, similarity map, and the still twin."""

from __future__ import annotations

import struct

import holoviews as hv
import numpy as np
import pytest
import xarray as xr

from s2koop import plots
from s2koop._embedding_session import EmbeddingSession
from s2koop.errors import InputError
from s2koop.plots._style import NO_DATA_COLOUR, palette
from s2koop.plots.embeddings import colour_key, colours_of, session_pictures
from s2koop.plots.report import png


@pytest.fixture
def session(rng: np.random.Generator) -> EmbeddingSession:
    images = xr.DataArray(rng.random((3, 24, 32)), dims=("image", "y", "x"))
    vectors = xr.DataArray(rng.normal(size=(3, 3, 4, 5)), dims=("image", "y", "x", "feature"))
    return EmbeddingSession(vectors.assign_attrs(patch=8, stride=8), images, k=4, query=17)


def test_samples_have_a_place_and_a_colour_and_the_query_is_marked(session) -> None:
    drawn = {element.group: element for element in plots.samples(session)}
    assert list(drawn) == ["Samples", "Neighbours", "Query"]
    assert len(drawn["Samples"]) == 36
    np.testing.assert_allclose(drawn["Samples"]["first"], session.axes.places[:, 0])
    assert list(drawn["Samples"]["color"]) == colours_of(session.similarity()[session.drawn])
    np.testing.assert_allclose(drawn["Query"].array([0, 1]), session.place([17]))
    np.testing.assert_allclose(drawn["Neighbours"].array([0, 1]), session.place(session.positions()))
    hv.renderer("bokeh").get_plot(plots.samples(session))


def test_numbers_run_over_the_palette_and_kinds_have_hues() -> None:
    scale = colours_of(np.array([0.0, 0.5, 1.0, np.nan, 100.0] + [0.2] * 200))
    assert scale[3] == NO_DATA_COLOUR
    assert scale[0] == palette("reflectance")[0]
    assert scale[4] == palette("reflectance")[-1]
    kinds = colours_of(np.array(["a", "b", "a"]))
    assert kinds[0] == kinds[2] != kinds[1]
    assert "<b>" not in colour_key(np.array(["<b>", "c"]), "<i>")
    assert colours_of(np.full(3, np.nan)) == [NO_DATA_COLOUR] * 3


def test_the_similarity_map_has_its_first_row_at_the_top_and_frames_where_samples_lie(session) -> None:
    session.frame = 1
    image, outlines = plots.similarity_map(session)
    values = session.similarity().reshape(3, 3, 4)[1]
    low, high = session.similarity_frames().low, session.similarity_frames().high
    assert float(image[4, 24 - 4]) == pytest.approx(values[0, 0].clip(low, high), abs=(high - low) / 250)
    assert float(image[28, 4]) == pytest.approx(values[2, 3].clip(low, high), abs=(high - low) / 250)
    boxes = [(c0, 24 - r1, c1, 24 - r0) for r0, c0, r1, c1, _ in session.outlines()]
    assert [tuple(box) for box in outlines.array([0, 1, 2, 3])] == boxes
    assert boxes[0] == (8, 8, 16, 16)  # sample 17: image 1, row 1, column 1
    hv.renderer("bokeh").get_plot(plots.similarity_map(session))


def test_without_a_map_that_is_said_and_samples_are_still_drawn(rng) -> None:
    images = xr.DataArray(rng.random((6, 16, 16)), dims=("image", "y", "x"))
    session = EmbeddingSession(images.mean("y").rename(x="feature"), images, k=2)
    with pytest.raises(InputError, match="no map"):
        plots.similarity_map(session)
    assert struct.unpack(">II", png(plots.embedding_figure(session), dpi=50)[16:24]) == (550, 210)


def test_pictures_are_the_patches_of_query_and_neighbours(session) -> None:
    found = session_pictures(session)
    assert [picture.first for picture in found] == [True] + [False] * 4
    levels = [float(picture.colours.mean()) for picture in found]
    means = []
    for position in [17, *session.positions()]:
        r0, c0, r1, c1 = session.ground.box_of(position)
        means.append(float(session.images[0, session.ground.frame_of(position), r0:r1, c0:c1].mean()))
    assert np.corrcoef(levels, means)[0, 1] > 0.99


def test_the_still_twin_is_a_picture(session) -> None:
    assert struct.unpack(">II", png(plots.embedding_figure(session), dpi=50)[16:24]) == (550, 210)
