"""The dashboard of embeddings: a query on the map or among the samples, what is like it, and where that lies."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import ipywidgets
import traitlets as tl
import xarray as xr
from bokeh.models import TapTool

from s2koop._crs import crs_of, pixel_metres
from s2koop._embedding_session import EmbeddingSession
from s2koop._views import Frames
from s2koop.live.cube import CubeView
from s2koop.live.figure import LiveFigure
from s2koop.live.gallery import Gallery
from s2koop.live.parts import (
    NARROW,
    ROW,
    View,
    dropdown,
    failures,
    guarded,
    heading,
    kept,
    still_tag,
    text,
    waiting,
)
from s2koop.plots.embeddings import (
    colour_key,
    embedding_figure,
    sample_elements,
    samples,
    samples_title,
    session_pictures,
    still_pictures,
)

_COUNTS = (6, 12, 24, 48)
_MODES = {"grid": "Side by side", "swipe": "Divider", "one": "Image alone"}


def embedding_dashboard(
    embedding: xr.DataArray,
    images: xr.DataArray,
    labels: Any = None,
    *,
    query: Any = None,
    k: int = 12,
    metric: str = "cosine",
    method: str = "pca",
    bands: Sequence[str] | None = None,
    most: int = 2000,
    seed: int = 0,
) -> EmbeddingDashboard:
    """Look for what is alike: click a place on the map or a sample on the axes, and see what is near and where.

    Parameters
    ----------
    embedding, images, labels, query, k, metric, method, bands, most, seed
        As of `s2koop._embedding_session.EmbeddingSession`.

    Returns
    -------
    EmbeddingDashboard
        A widget; its ``session`` holds the state.

    Raises
    ------
    InputError
        If embedding, images and labels do not fit, or a choice does not exist.
    MissingDependencyError
        If UMAP is asked for and not installed.

    Examples
    --------
    >>> import numpy as np
    >>> images = xr.DataArray(np.random.default_rng(0).random((6, 32, 32)), dims=("image", "y", "x"))
    >>> view = embedding_dashboard(images.mean("y").rename(x="feature"), images, k=2)
    >>> view.session.query = 3
    >>> view.wait()
    True
    >>> [item["position"] for item in view.gallery.items][0]
    3
    """
    session = EmbeddingSession(
        embedding, images, labels=labels, query=query, k=k, metric=metric, method=method, bands=bands, most=most,
        seed=seed,
    )  # fmt: skip
    return EmbeddingDashboard(session)


class EmbeddingDashboard(View[EmbeddingSession]):
    """The widget that `embedding_dashboard` returns.

    Attributes
    ----------
    session : EmbeddingSession
        The state; set its traits and the view follows.
    picture : CubeView or None
        The images and the similarity map; None where every image is one sample.
    chart : LiveFigure
        The samples on two axes.
    gallery : Gallery
        The query and its neighbours.
    """

    def __init__(self, session: EmbeddingSession) -> None:
        self.session = session
        self.chart = LiveFigure(samples(session))
        self.gallery = Gallery(on_pick=lambda position: kept(session, lambda: self._go_to(position)))
        self.key = ipywidgets.HTML()
        self.note = ipywidgets.HTML()
        self.picture: CubeView | None = None
        if session.ground is not None:
            at = session.ground.pixel_of(session.query)
            self.picture = CubeView(pixel_size=pixel_metres(session.images), pixel=list(at), mode="grid", tools=[])
            self._draw_images()
            self._show_place()
        self._draw_query()
        super().__init__(self._parts())
        self.add_class("s2koop-dashboard")
        self._follow_session()
        self._follow_browser()

    def _parts(self) -> list[ipywidgets.Widget]:
        session = self.session
        chart = ipywidgets.VBox([self.chart, self.key], layout={"flex": "1 1 560px", "min_width": "0"})
        if self.picture is not None:
            self.picture.layout.flex = "1 1 420px"
            self.picture.layout.max_width = "600px"
        found = ipywidgets.VBox([self.note, self.gallery], layout={"flex": "1 1 480px", "min_width": "0"})
        beside = [chart, found] if self.picture is None else [self.picture, chart]
        below = [] if self.picture is None else [found]
        body = ipywidgets.HBox(
            beside, layout={"flex_flow": "row wrap", "grid_gap": "8px 24px", "align_items": "flex-start"}
        )
        return [text(_heading(session), "header"), self._choices(), body, *below, failures(session)]

    def _choices(self) -> ipywidgets.HBox:
        session = self.session
        query = ipywidgets.BoundedIntText(
            value=session.query, min=0, max=session.samples.size - 1, description="Sample", layout={"width": "150px"},
            style={"description_width": "auto"},
        )  # fmt: skip
        counts = sorted({n for n in (*_COUNTS, session.k) if n < session.samples.size})
        count = dropdown(session, "k", [(str(n), n) for n in counts], "Neighbours")
        colour = ipywidgets.Dropdown(
            options=session.colours, value=session.colour, description="Samples coloured by", **NARROW
        )
        for trait, control in {"query": query, "colour": colour}.items():
            tl.link((session, trait), (control, "value"))
        choices = [query, count, colour]
        if self.picture is not None:
            mode = ipywidgets.Dropdown(
                options=[(words, mode) for mode, words in _MODES.items()], value="grid", description="Maps", **NARROW
            )
            tl.link((self.picture, "mode"), (mode, "value"))
            choices.append(mode)
        return ipywidgets.HBox([*choices, waiting(session)], layout=ROW)

    def _follow_session(self) -> None:
        session = self.session
        reactions = {
            ("query",): self._query_changed,
            ("k",): lambda: session.request("query", self._draw_query),
            ("colour",): lambda: session.request("samples", self._draw_samples),
            ("frame",): self._frame_changed,
        }
        for traits, react in reactions.items():
            session.observe(guarded(session, react), list(traits))
        if self.picture is not None:
            tl.dlink((session, "status"), (self.picture, "status"))

    def _follow_browser(self) -> None:
        session = self.session
        renderer = self.chart.renderer("Samples", "")
        self.chart.figure.add_tools(TapTool(renderers=[renderer]))
        source = self.chart.source("Samples", "")

        def tapped(_name: str, _old: list[int], new: list[int]) -> None:
            if new:
                # Bokeh would dim all others for as long as one is selected.
                source.selected.indices = []
                kept(session, lambda: self._go_to(int(source.data["position"][new[0]])))

        source.selected.on_change("indices", tapped)
        if self.picture is not None:
            self.picture.observe(guarded(session, self._index_picked), "index")
            self.picture.observe(guarded(session, self._pixel_picked), "pixel")
            self.picture.observe(guarded(session, lambda: session.request("details", self._draw_details)), "view")

    def _go_to(self, position: int) -> None:
        """Make a sample the query, and look at the image that it lies on."""
        session = self.session
        if session.ground is not None and not session.ground.on(position, session.frame):
            session.frame = session.ground.frame_of(position) or 0
        session.query = position

    def _query_changed(self) -> None:
        if self.picture is not None:
            self._show_place()
        self.session.request("query", self._draw_query)

    def _frame_changed(self) -> None:
        assert self.picture is not None
        self.picture.index = self.session.frame
        self.session.request("outlines", self._draw_outlines)
        if self.picture.view:
            self.session.request("details", self._draw_details)
        if self.session.ground is not None and not self.session.ground.varies:
            self.session.request("gallery", self._draw_gallery)

    def _index_picked(self) -> None:
        assert self.picture is not None
        self.session.frame = self.picture.index

    def _pixel_picked(self) -> None:
        assert self.picture is not None
        row, col = self.picture.pixel
        found = self.session.pick(row, col)
        self.picture.note = "" if found else "no embedding here"

    def _show_place(self) -> None:
        """Put crosshair and image where the query lies, unless they are there already."""
        session, picture, ground = self.session, self.picture, self.session.ground
        assert picture is not None
        assert ground is not None
        if not ground.on(session.query, session.frame):
            session.frame = ground.frame_of(session.query) or 0
        picture.index = session.frame
        if ground.sample_at(session.frame, *picture.pixel) != session.query:
            picture.pixel = list(ground.pixel_of(session.query))

    def _draw_images(self) -> None:
        session = self.session
        frames = session.image_frames()
        assert session.ground is not None
        if not session.ground.varies:
            session.frame = frames.clearest()
        colour = frames.levels.ndim == 4
        label = str(session.images.attrs.get("long_name") or session.images.name or "value")
        self._fill(1, frames, "colour" if colour else "grey", label, f"Images{', ' * bool(frames.band)}{frames.band}")

    def _fill(self, slot: int, frames: Frames, quantity: Any, label: str, title: str) -> None:
        session = self.session
        assert session.ground is not None
        assert self.picture is not None
        # What all images share is called so, and stands still while they are leafed through.
        alike = len(frames.levels) == 1 < len(session.ground.labels)
        self.picture.show(
            frames,
            slot=slot,
            index=session.frame if slot == 1 else None,
            shape=session.ground.shape,
            quantity=quantity,
            label=label,
            title=title,
            labels=("all images",) if alike else session.ground.labels,
        )

    def _draw_query(self) -> None:
        """All that follows from the query: neighbours first, then the map, then the samples."""
        session = self.session
        self._draw_gallery()
        if self.picture is not None:
            self._draw_outlines()
            title = f"Similarity to sample {session.query}"
            self._fill(2, session.similarity_frames(), "amplitude", session.measure, title)
            if self.picture.view:
                self._draw_details()  # which another picture has dropped
        self._draw_samples()

    def _draw_gallery(self) -> None:
        session = self.session
        pictures = session_pictures(session)
        self.gallery.show(pictures)
        query = pictures[0]
        words = f"Sample {query.position} ({query.place}) and what is most like it, by {session.measure}"
        self.note.value = text(escape(words), "hint").value
        if self.picture is not None:
            nearest = session.neighbours()["similarity"].values[0]
            self.picture.readout = f"{query.place}\nnearest {nearest[0]:.3f}"

    def _draw_outlines(self) -> None:
        assert self.picture is not None
        self.picture.outlines = self.session.outlines()

    def _draw_details(self) -> None:
        """Send the pixels of a magnified part that were left out."""
        assert self.picture is not None
        box = self.picture.box
        found = [(self.session.image_detail(box), self.session.frame)] if box else []
        self.picture.show_details(found, box)

    def _draw_samples(self) -> None:
        self.chart.update(sample_elements(self.session))
        self.chart.frame(title=samples_title(self.session))
        self.key.value = text(colour_key(self.session.values(), self.session.colour), "hint").value

    def _still(self) -> str:
        session = self.session
        alt = f"{samples_title(session)}; sample {session.query}, {session.describe(session.query)}, is the query"
        return still_tag(lambda: embedding_figure(session), alt=alt) + still_pictures([session_pictures(session)]).html


def _heading(session: EmbeddingSession) -> str:
    attrs = session.embedding.attrs
    parts = [f"{session.samples.size:,} samples", f"{session.embedding.sizes['feature']} features"]
    patch = int(attrs.get("patch", 0))
    if patch:
        parts.append("pixel series" if patch == 1 else f"patches of {patch} pixels")
    if crs_of(session.images) is not None:
        parts.append(str(crs_of(session.images)))
    if attrs.get("forgets"):
        parts.append(f"forgets {attrs['forgets']}")
    return heading(attrs.get("encoder") or "Embedding", parts)
