"""Embeddings as pictures: a query beside its neighbours, samples on a map of two axes, scores by number of labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import holoviews as hv
import holoviews.plotting.bokeh  # registers the backend without writing into a notebook
import numpy as np
import numpy.typing as npt
import xarray as xr
from bokeh.models import HoverTool

from s2koop._frames import decode
from s2koop._numbers import whole
from s2koop.errors import InputError
from s2koop.plots._style import METHOD_COLOURS, NO_DATA_COLOUR, OBSERVED_COLOUR, palette
from s2koop.plots._thumbnails import Thumbnails, data_uri
from s2koop.plots.figures import _figure
from s2koop.ssl._axes import check_method, two_axes
from s2koop.ssl._samples import Samples, frame_of, gather
from s2koop.ssl.heads import metric_of
from s2koop.ssl.label_curve import MEAN

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from s2koop._embedding_session import EmbeddingSession
    from s2koop.ssl.probing import ProbeResult

Array = npt.NDArray[Any]

#: More hues of Okabe and Ito for more rows than a session has methods.
_COLOURS = (*METHOD_COLOURS, "#e69f00", "#56b4e9", OBSERVED_COLOUR)
#: Dotted is left to the row that knows labels only.
_DASHES = ("solid", "dashed", "dotdash", "dashdot")
_MARKERS = ("circle", "square", "triangle", "diamond", "inverted_triangle", "hex", "star")
_FONT_SIZES = {"title": "10pt", "labels": "10pt", "ticks": "9pt", "legend": "9pt"}
_QUIET = {"plot.toolbar.logo": None}
#: A query has a frame in both galleries.
_FRAMED = {"plot.outline_line_color": METHOD_COLOURS[0], "plot.outline_line_width": 4}
_CAPTION = "font-size:11px;line-height:1.3;margin-top:5px;overflow:hidden;text-overflow:ellipsis"
#: Side of a thumbnail on the screen.
_SIDE = 116
#: Pixels around a pixel whose series was embedded, along each side.
_SURROUNDINGS = 15
#: More kinds than this get no legend of their own.
_MOST_KINDS = len(_COLOURS)


def gallery(
    images: xr.DataArray,
    neighbours: xr.Dataset,
    *,
    patch: int | None = None,
    bands: Sequence[str] | None = None,
    queries: Sequence[int] | None = None,
    stretch: str = "shared",
) -> hv.Layout:
    """Draw queries and their neighbours as thumbnails, the similarity above each.

    Parameters
    ----------
    images : DataArray (..., [band], y, x)
        What was embedded; only the patches that are shown are read.
    neighbours : Dataset (query, rank)
        From `s2koop.ssl.retrieval.search`.
    patch : int, optional
        Side of a patch in pixels; by default that of the embedding. Without one, whole images are shown.
    bands : sequence of str, optional
        One, or three for red, green and blue; by default B04, B03 and B02 where there are, else the first.
    queries : sequence of int, optional
        Which queries to show, a row each; the first five by default.
    stretch : str
        ``"shared"``: one range of brightness, so that thumbnails compare; ``"each"``: every one has its own.

    Returns
    -------
    holoviews.Layout
        Elements of group ``Query`` and ``Neighbour``.

    Raises
    ------
    InputError
        If images lack a dim or coordinate of the neighbours, or a band or query is not there.
    """
    rows = _rows(images, neighbours, patch, bands, queries, stretch)
    elements = []
    for row in rows:
        for number, picture in enumerate(row):
            group = "Query" if picture.first else "Neighbour"
            height, width = picture.colours.shape[:2]
            bounds = (0, 0, width, height)
            element = hv.RGB(picture.colours, bounds=bounds, group=group, label=str(number)).opts(
                title=f"{picture.heading}\n{picture.place}", xaxis=None, yaxis=None, fontsize={"title": "8pt"},
                frame_width=_SIDE, frame_height=max(20, round(_SIDE * height / width)), toolbar=None, default_tools=[],
                backend_opts=_QUIET | {"plot.sizing_mode": None} | (_FRAMED if picture.first else {}), backend="bokeh",
            )  # fmt: skip
            elements.append(element)
    most = max(len(row) for row in rows)
    layout = hv.Layout(elements).cols(most)
    return layout.opts(toolbar=None, shared_axes=False, backend="bokeh")


@dataclass(frozen=True)
class StillGallery:
    """A gallery as HTML with its pictures inside: shows in a notebook, and is written to a page.

    Attributes
    ----------
    html : str
    """

    html: str

    def _repr_html_(self) -> str:
        return self.html

    def save(self, path: str | Path, *, title: str = "Neighbours") -> Path:
        """Write a page that needs neither network nor scripts.

        Parameters
        ----------
        path : str or Path
            The file to write; its folder must exist.
        title : str

        Returns
        -------
        Path
        """
        path = Path(path)
        path.write_text(
            f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title></head>'
            f'<body style="font-family:system-ui,sans-serif;margin:1.5rem"><h1 style="font-size:1.3rem">{escape(title)}'
            f"</h1>{self.html}</body></html>\n",
            "utf-8",
        )
        return path


def still_gallery(
    images: xr.DataArray,
    neighbours: xr.Dataset,
    *,
    patch: int | None = None,
    bands: Sequence[str] | None = None,
    queries: Sequence[int] | None = None,
    stretch: str = "shared",
) -> StillGallery:
    """The still twin of `gallery`: PNG thumbnails in one piece of HTML, for pages and notebooks without scripts.

    Parameters
    ----------
    images, neighbours, patch, bands, queries, stretch
        As in `gallery`.

    Returns
    -------
    StillGallery

    Raises
    ------
    InputError
        As `gallery`.

    Examples
    --------
    >>> from s2koop.ssl.retrieval import search
    >>> images = xr.DataArray(np.random.default_rng(0).random((4, 8, 8)), dims=("image", "y", "x"))
    >>> vectors = images.mean("y").rename(x="feature")
    >>> still_gallery(images, search(vectors, 0, k=2)).html.count("<img")
    3
    """
    return still_pictures(_rows(images, neighbours, patch, bands, queries, stretch))


def still_pictures(rows: Sequence[Sequence[Picture]]) -> StillGallery:
    """Rows of thumbnails as one piece of HTML."""
    parts = []
    for row in rows:
        cells = "".join(
            f'<figure style="margin:0 {14 if picture.first else 4}px 8px 0;width:{_SIDE}px">'
            f'<img alt="{escape(picture.heading)}, {escape(picture.place)}" src="{data_uri(picture.colours)}" '
            f'style="width:{_SIDE}px;display:block;image-rendering:pixelated;'
            f'outline:{f"3px solid {METHOD_COLOURS[0]}" if picture.first else "none"}">'
            f'<figcaption style="{_CAPTION}"><b>{escape(picture.heading)}</b><br>'
            f"{escape(picture.place)}</figcaption></figure>"
            for picture in row
        )
        parts.append(f'<div style="display:flex;flex-wrap:wrap;align-items:flex-start">{cells}</div>')
    return StillGallery("<div>" + "".join(parts) + "</div>")


def scatter(
    embedding: xr.DataArray,
    images: xr.DataArray | None = None,
    *,
    method: str = "pca",
    color: Any = None,
    patch: int | None = None,
    bands: Sequence[str] | None = None,
    most: int = 2000,
    seed: int = 0,
) -> hv.Points:
    """Draw the samples of an embedding on two axes; the pointer shows the patch of a sample and where it is from.

    Parameters
    ----------
    embedding : DataArray (..., feature)
        Samples with NaN are left out.
    images : DataArray (..., [band], y, x), optional
        What was embedded: its patches appear under the pointer, without a network or a running kernel.
    method : str
        ``"pca"``: the two directions of largest variance; ``"umap"``: neighbours stay neighbours, far distances mean
        little.
    color : str, DataArray or array, optional
        Name of a coordinate, or a number or word for each sample; a DataArray may lack dims along which it is the same.
    patch, bands
        As in `gallery`.
    most : int
        Most samples that are drawn, at random; the axes are those of the drawn ones.
    seed : int

    Returns
    -------
    holoviews.Points

    Raises
    ------
    InputError
        If fewer than three samples have values, or colours do not fit.
    MissingDependencyError
        If UMAP is asked for and not installed.
    """
    check_method(method)
    whole("most", most, least=3)
    samples, colours, name = _coloured(embedding, color)
    table = samples.rows["embedding"].astype(np.float64)
    there = np.flatnonzero(np.isfinite(table).all(axis=1))
    if there.size < 3:
        raise InputError(f"{there.size} of {samples.size} samples have values; a map needs at least three")
    shown = there
    if there.size > most:
        shown = np.sort(np.random.default_rng(seed).choice(there, most, replace=False))
    axes = two_axes(table[shown], method, seed)
    coordinates = {key: _texts(values[shown]) for key, values in samples.coordinates.items()}
    data: dict[str, Any] = {
        "first": axes.places[:, 0],
        "second": axes.places[:, 1],
        **{f"at_{k}": v for k, v in coordinates.items()},
    }
    if colours is not None:
        data["colour"] = colours[shown] if _is_scale(colours) else list(map(str, colours[shown]))
    if images is not None:
        data["thumbnail"] = _thumbnail_uris(images, embedding, samples, shown, patch, bands)
    dims = [hv.Dimension(name, label=label) for name, label in zip(("first", "second"), axes.names, strict=True)]
    points = hv.Points(data, dims, [key for key in data if key not in ("first", "second")], group="Samples")
    drawn = f"{shown.size} of {samples.size} samples" if shown.size < samples.size else f"{shown.size} samples"
    hover = _hover(coordinates, name if colours is not None else None, images is not None)
    return points.opts(
        title=f"{drawn}, {method.upper()}{f', by {name}' if colours is not None else ''}", tools=[hover], size=6,
        line_color="white", line_width=0.4, frame_width=520, frame_height=420, fontsize=_FONT_SIZES, show_grid=True,
        gridstyle={"grid_line_alpha": 0.35}, toolbar="above", default_tools=["pan", "wheel_zoom", "save", "reset"],
        padding=0.05, backend_opts=_QUIET | {"plot.sizing_mode": None}, backend="bokeh",
        **_colour_options(None if colours is None else colours[shown], name),
    )  # fmt: skip


def label_curve(result: ProbeResult, *, metric: str | None = None) -> hv.Overlay:
    """Draw a score against the number of labels: mean over draws, shaded by their standard deviation.

    Parameters
    ----------
    result : ProbeResult
    metric : str, optional
        The deciding one by default.

    Returns
    -------
    holoviews.Overlay
        Elements of group ``Spread`` and ``Score`` for each row; the row that knows labels only is dotted.

    Raises
    ------
    InputError
        If there is no such metric.
    """
    if metric is not None and metric not in result.metrics:
        raise InputError(f"there is no metric {metric!r}; choose one of {', '.join(result.metrics)}")
    name = metric or result.metrics[0]
    known = metric_of(name)
    curve = result.curve[name]
    middle, spread = curve.mean("draw"), curve.std("draw", ddof=1 if curve.sizes["draw"] > 1 else 0)
    labels = curve["labels"].values
    elements: list[hv.Element] = []
    for number, row in enumerate(map(str, curve["features"].values)):
        look = _row_look(number, row)
        score, width = middle.sel(features=row).values, spread.sel(features=row).values
        area = hv.Area((labels, score - width, score + width), "labels", ["low", "high"], group="Spread", label=row)
        line = hv.Curve((labels, score), "labels", "score", group="Score", label=row)
        points = hv.Scatter((labels, score), "labels", "score", group="Point", label=row)
        elements += [
            area.opts(color=look["color"], alpha=0.13, line_alpha=0, show_legend=False, backend="bokeh"),
            line.opts(color=look["color"], line_dash=look["dash"], line_width=2, backend="bokeh"),
            points.opts(color=look["color"], marker=look["marker"], size=7, tools=["hover"], backend="bokeh"),
        ]
    way = "more is better" if known.higher else "less is better"
    draws = f"shaded: 1 sd of {curve.sizes['draw']} draws"
    return hv.Overlay(elements).opts(
        title=f"{known.label}, {way}; {draws}", xlabel="labels", ylabel=known.label, logx=True, width=720, height=380,
        xlim=(labels[0] / 1.15, labels[-1] * 1.15),
        xticks=[int(label) for label in labels], legend_position="right", show_grid=True, fontsize=_FONT_SIZES,
        gridstyle={"grid_line_alpha": 0.35}, toolbar="above", default_tools=["pan", "wheel_zoom", "save", "reset"],
        backend_opts=_QUIET, backend="bokeh",
    )  # fmt: skip


def session_pictures(session: EmbeddingSession) -> list[Picture]:
    """The query of a session and its neighbours as thumbnails; single pixels with their surroundings."""
    images = session.images
    ground = session.ground
    if ground is not None and not ground.varies and ground.others:
        at = np.unravel_index(session.frame, list(ground.others.values()))
        images = images.isel({dim: int(index) for dim, index in zip(ground.others, at, strict=True)}, drop=True)
    pixels = ground is not None and ground.patch == 1
    side = min(_SURROUNDINGS, *(images.sizes[dim] for dim in ("y", "x"))) if pixels else None
    from s2koop._embedding_session import positions_of

    # Taken together: a hand may choose another query while these are read.
    query, near = session.answer()
    with session.waiting_for("Reading thumbnails", lazy=images.chunks is not None):
        (found,) = _rows(images, near, side, session.bands, None, "shared", inside=pixels)
    positions = [query, *positions_of(near)]
    return [
        replace(picture, place=session.describe(position), position=position)
        for picture, position in zip(found, positions, strict=True)
    ]


def samples(session: EmbeddingSession) -> hv.Overlay:
    """Draw the samples of a session on two axes, the query and its neighbours marked.

    Parameters
    ----------
    session : EmbeddingSession
        As it stands: query, neighbours, and what samples are coloured by.

    Returns
    -------
    holoviews.Overlay
        Elements of group ``Samples``, ``Neighbours`` and ``Query``.

    Examples
    --------
    >>> from s2koop._embedding_session import EmbeddingSession
    >>> images = xr.DataArray(np.random.default_rng(0).random((6, 32, 32)), dims=("image", "y", "x"))
    >>> session = EmbeddingSession(images.mean("y").rename(x="feature"), images, k=2)
    >>> [element.group for element in samples(session)]
    ['Samples', 'Neighbours', 'Query']
    """
    looks = {
        "Samples": {"color": "color", "size": 6, "line_color": "white", "line_width": 0.4, "tools": ["hover"]},
        "Neighbours": {"fill_alpha": 0, "line_color": OBSERVED_COLOUR, "line_width": 1.8, "size": 11, "tools": []},
        "Query": {
            "marker": "diamond", "fill_color": "#ffffff", "line_color": METHOD_COLOURS[1], "line_width": 3, "size": 15,
        },
    }  # fmt: skip
    looks["Samples"]["hover_tooltips"] = [("", "@words"), (session.colour, "@value")]
    elements = [e.opts(**looks[e.group], show_legend=False, backend="bokeh") for e in sample_elements(session)]
    first, second = session.axes.names
    return hv.Overlay(elements).opts(
        title=samples_title(session), xlabel=first, ylabel=second, width=560, height=420, fontsize=_FONT_SIZES,
        show_grid=True, gridstyle={"grid_line_alpha": 0.35}, padding=0.05, toolbar="above",
        default_tools=["pan", "wheel_zoom", "save", "reset"], active_tools=["pan"], backend_opts=_QUIET,
        backend="bokeh",
    )  # fmt: skip


def sample_elements(session: EmbeddingSession) -> list[hv.Element]:
    """Return the data of `samples` as elements without a look; the live chart sends just these."""
    values = session.values()[session.drawn]
    data = {
        "first": session.axes.places[:, 0], "second": session.axes.places[:, 1], "color": colours_of(values),
        "value": _texts(values), "words": session.words, "position": session.drawn,
    }  # fmt: skip
    elements = [hv.Points(data, ["first", "second"], ["color", "value", "words", "position"], group="Samples")]
    for group, positions in {"Neighbours": session.positions(), "Query": [session.query]}.items():
        places = session.place(positions)
        there = np.isfinite(places).all(axis=1)
        elements.append(hv.Points((places[there, 0], places[there, 1]), ["first", "second"], group=group))
    return elements


def samples_title(session: EmbeddingSession) -> str:
    """Say how many samples are drawn, and what their colour is."""
    drawn, size = session.drawn.size, session.samples.size
    some = f"{drawn} of {size} samples" if drawn < size else f"{drawn} samples"
    return f"{some}, {session.method.upper()}, by {session.colour}"


def colours_of(values: Array) -> list[str]:
    """A colour for each value: a palette for numbers on a scale, a hue for each of few kinds, grey where missing."""
    if not _is_scale(values):
        hues = _hues(values)
        return [hues[str(value)] for value in values]
    low, high = _ends(values)
    colours = palette("reflectance")
    steps = np.clip((np.nan_to_num(values.astype(float), nan=low) - low) / (high - low), 0, 1) * (len(colours) - 1)
    return [
        colours[round(float(step))] if np.isfinite(value) else NO_DATA_COLOUR
        for step, value in zip(steps, values, strict=True)
    ]


def colour_key(values: Array, name: str) -> str:
    """Return what colours mean as HTML: a bar with its ends, or the kinds."""
    swatch = '<span style="display:inline-block;width:12px;height:11px;border-radius:2px;background:{0}"></span>'
    if not _is_scale(values):
        kinds = list(_hues(values).items())
        shown = " ".join(f"{swatch.format(hue)} {escape(kind)}&nbsp;&nbsp;" for kind, hue in kinds[:_MOST_KINDS])
        return f"{escape(name)}: {shown}{'…' if len(kinds) > _MOST_KINDS else ''}"
    low, high = _ends(values)
    stops = ",".join(palette("reflectance")[::51])
    bar = (
        f'<span style="display:inline-block;width:110px;height:11px;background:linear-gradient(90deg,{stops})"></span>'
    )
    return f"{escape(name)}: {low:.3g} {bar} {high:.3g}"


def similarity_map(session: EmbeddingSession) -> hv.Overlay:
    """Draw the similarity of all samples to the query where they lie, with the query and its neighbours framed.

    Parameters
    ----------
    session : EmbeddingSession
        As it stands: query and frame of the images.

    Returns
    -------
    holoviews.Overlay
        An ``Image``, and ``Rectangles`` of group ``Outlines``; rows and columns of the images.

    Raises
    ------
    InputError
        If every image is one sample, so that there is no map.
    """
    if session.ground is None:
        raise InputError("every image is one sample of this embedding: there is no map")
    frames = session.similarity_frames()
    values = decode(frames.levels[min(session.frame, len(frames.levels) - 1)], frames.low, frames.high)
    rows, cols = session.ground.shape
    image = hv.Image(
        values, bounds=(0, rows - values.shape[0] * frames.stride, values.shape[1] * frames.stride, rows),
        kdims=["column", "row"], vdims=hv.Dimension("similarity", label=session.measure), group="Similarity",
    ).opts(cmap=palette("amplitude"), clim=(frames.low, frames.high), colorbar=True, tools=["hover"],
           clipping_colors={"NaN": NO_DATA_COLOUR}, backend="bokeh")  # fmt: skip
    boxes = [(c0, rows - r1, c1, rows - r0) for r0, c0, r1, c1, _ in session.outlines()]
    outlines = hv.Rectangles(boxes, group="Outlines").opts(
        fill_alpha=0, line_color=METHOD_COLOURS[1], line_width=2, backend="bokeh"
    )
    return (image * outlines).opts(
        title=f"similarity to sample {session.query}, {session.ground.labels[session.frame]}", fontsize=_FONT_SIZES,
        frame_width=360, frame_height=int(np.clip(360 * rows / cols, 80, 700)), xlim=(0, cols), ylim=(0, rows),
        xaxis=None, yaxis=None, toolbar="above", default_tools=["pan", "wheel_zoom", "save", "reset"],
        backend_opts=_QUIET | {"plot.sizing_mode": None}, backend="bokeh",
    )  # fmt: skip


def embedding_figure(session: EmbeddingSession) -> Figure:
    """Draw what a session shows by Matplotlib: the samples on two axes, and, where there is a map, the similarity.

    Parameters
    ----------
    session : EmbeddingSession
        As it stands.

    Returns
    -------
    matplotlib.figure.Figure
        11 inches wide.

    Raises
    ------
    MissingDependencyError
        If Matplotlib is not installed.
    """
    figure = _figure(11, 4.2)
    axes = figure.subplots(1, 1 if session.ground is None else 2, squeeze=False)[0]
    points, near, query = sample_elements(session)
    first, second = session.axes.names
    axes[0].scatter(points["first"], points["second"], c=list(points["color"]), s=14, linewidths=0)
    axes[0].scatter(near["first"], near["second"], s=60, facecolors="none", edgecolors=OBSERVED_COLOUR)
    axes[0].scatter(query["first"], query["second"], s=90, marker="D", facecolors="white", edgecolors=METHOD_COLOURS[1])
    axes[0].set(xlabel=first, ylabel=second)
    axes[0].set_title(samples_title(session), fontsize=10)
    if session.ground is not None:
        _still_similarity(figure, axes[1], session)
    return figure


def _still_similarity(figure: Figure, ax: Axes, session: EmbeddingSession) -> None:
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Rectangle

    assert session.ground is not None
    frames = session.similarity_frames()
    values = decode(frames.levels[min(session.frame, len(frames.levels) - 1)], frames.low, frames.high)
    colours = ListedColormap(palette("amplitude")).with_extremes(bad=NO_DATA_COLOUR)
    extent = (0, values.shape[1] * frames.stride, values.shape[0] * frames.stride, 0)
    shown = ax.imshow(values, cmap=colours, vmin=frames.low, vmax=frames.high, extent=extent, interpolation="nearest")
    figure.colorbar(shown, ax=ax, shrink=0.85, label=session.measure)
    for r0, c0, r1, c1, _ in session.outlines():
        ax.add_patch(Rectangle((c0, r0), c1 - c0, r1 - r0, fill=False, edgecolor=METHOD_COLOURS[1], linewidth=1.6))
    ax.set_title(f"similarity to sample {session.query}, {session.ground.labels[session.frame]}", fontsize=10)


def _hues(values: Array) -> dict[str, str]:
    kinds = sorted({str(value) for value in values})
    return {kind: _COLOURS[number % len(_COLOURS)] for number, kind in enumerate(kinds)}


def _ends(values: Array) -> tuple[float, float]:
    """The range that colours span: all but the outermost of a hundred values."""
    finite = values[np.isfinite(values)].astype(float)
    if not finite.size:
        return 0.0, 1.0
    low, high = (float(end) for end in np.quantile(finite, (0.02, 0.98)))
    return (low, high) if high > low else (low, low + 1.0)


@dataclass(frozen=True, eq=False)
class Picture:
    """A thumbnail and what is written beside it."""

    colours: Array
    heading: str
    place: str
    first: bool
    position: int = -1


def _rows(
    images: xr.DataArray, neighbours: xr.Dataset, patch: int | None, bands: Sequence[str] | None,
    queries: Sequence[int] | None, stretch: str, *, inside: bool = False,
) -> list[list[Picture]]:  # fmt: skip
    """Pictures of each query that is shown: itself where it is a sample, then its neighbours."""
    if not isinstance(neighbours, xr.Dataset) or not {"similarity", "position"} <= set(neighbours.data_vars):
        raise InputError("neighbours must be a Dataset that search returned")
    if stretch not in ("shared", "each"):
        raise InputError(f"stretch={stretch!r} must be 'shared' or 'each'")
    number = neighbours.sizes["query"]
    chosen = list(range(min(number, 5))) if queries is None else [int(query) for query in queries]
    if not chosen or not all(-number <= query < number for query in chosen):
        raise InputError(f"queries={queries} must be some of 0 to {number - 1}")
    names = [str(name) for name in neighbours.coords if "rank" in neighbours[name].dims and name != "rank"]
    shown = Thumbnails(images, neighbours.attrs.get("patch") if patch is None else patch, bands, inside=inside)
    rows: list[list[tuple[dict[str, Any], str, bool]]] = []
    for query in chosen:
        part = neighbours.isel(query=query)
        row: list[tuple[dict[str, Any], str, bool]] = []
        if int(part["query_position"]) >= 0:
            row.append(({name: part[f"query_{name}"].values[()] for name in names}, "query", True))
        for rank in range(part.sizes["rank"]):
            one = part.isel(rank=rank)
            if int(one["position"]) >= 0:
                heading = f"{rank + 1}: {float(one['similarity']):.3f}"
                row.append(({name: one[name].values[()] for name in names}, heading, False))
        rows.append(row)
    cuts = shown.cut([_in_pixels(at, images, neighbours.attrs) for row in rows for at, _, _ in row])
    colours = iter(shown.stretched(cuts, shared=stretch == "shared"))
    return [[Picture(next(colours), heading, _place(at, images), first) for at, heading, first in row] for row in rows]


def _in_pixels(at: dict[str, Any], images: xr.DataArray, attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Places by middles in pixels, where images have no coordinates and patches are but numbered."""
    patch = attrs.get("patch")
    if patch is None:
        return at
    stride = attrs.get("stride", patch)
    bare = [dim for dim in ("y", "x") if dim in at and dim not in images.coords]
    return at | {dim: float(at[dim]) * stride + (patch - 1) / 2 for dim in bare}


def _place(at: Mapping[str, Any], images: xr.DataArray) -> str:
    """Where a sample is from, shortly: its coordinates but those of ground, which a reader of pictures needs not."""
    words = [_text(value) for name, value in at.items() if name in images.dims and name not in ("y", "x")]
    return ", ".join(words) or ", ".join(_text(at[name]) for name in ("y", "x") if name in at)


def _text(value: Any) -> str:
    if isinstance(value, np.datetime64):
        return str(value.astype("datetime64[D]"))
    if isinstance(value, float | np.floating):
        return f"{value:.6g}"
    text = str(value)
    return text if len(text) <= 22 else f"{text[:10]}…{text[-10:]}"


def _texts(values: Array) -> list[str]:
    return [_text(value) for value in values]


def _coloured(embedding: xr.DataArray, color: Any) -> tuple[Samples, Array | None, str]:
    """Samples, their colours and what these are called."""
    frame = frame_of(embedding)
    if color is None:
        return gather(embedding, {"embedding": embedding}, None), None, ""
    if isinstance(color, xr.DataArray):
        samples = gather(embedding, {"embedding": embedding}, color)
        labels = samples.labels
        if set(labels.dims) - set(frame.dims):
            raise InputError(f"color has dims {tuple(labels.dims)}; expected some of {tuple(frame.dims)}")
        flat = labels.variable.set_dims(dict(frame.sizes)).transpose(*frame.dims).values.ravel()
        return samples, flat, str(color.name or "color")
    samples = gather(embedding, {"embedding": embedding}, None)
    if isinstance(color, str):
        if color not in samples.coordinates:
            raise InputError(f"there is no coordinate {color!r}; choose one of {', '.join(samples.coordinates)}")
        return samples, samples.coordinates[color], color
    flat = np.asarray(color)
    if flat.shape != (samples.size,):
        raise InputError(f"color has shape {flat.shape}; expected one for each of {samples.size} samples")
    return samples, flat, "color"


def _colour_options(colours: Array | None, name: str) -> dict[str, Any]:
    """How samples are coloured: numbers by a palette with a bar, few words by hues with a legend."""
    if colours is None:
        return {"color": METHOD_COLOURS[0], "alpha": 0.8}
    if _is_scale(colours):
        bar = {"colorbar": True, "clabel": name, "clipping_colors": {"NaN": NO_DATA_COLOUR}}
        return {"color": "colour", "cmap": "cividis", "clim": _ends(colours), **bar}
    hues = _hues(colours)
    legend = {"show_legend": len(hues) <= _MOST_KINDS, "legend_position": "right"}
    return {"color": "colour", "cmap": hues, **legend}


def _is_scale(colours: Array) -> bool:
    """Whether colours are numbers on a scale, not kinds: any fraction, or many whole numbers."""
    if colours.dtype.kind == "f":
        return True
    return colours.dtype.kind in "iu" and len(np.unique(colours)) > _MOST_KINDS


def _hover(coordinates: Mapping[str, Any], name: str | None, pictures: bool) -> HoverTool:
    """What the pointer shows; pictures travel inside the plot, so that no server is asked for them."""
    rows = "".join(f"<div>{escape(key)}: <b>@{{at_{key}}}</b></div>" for key in coordinates)
    if name is not None:
        rows += f"<div>{escape(name)}: <b>@{{colour}}</b></div>"
    picture = '<img src="@{thumbnail}" width="128" style="image-rendering:pixelated;display:block">' if pictures else ""
    return HoverTool(tooltips=f'<div style="font-size:11px">{picture}{rows}</div>')


def _thumbnail_uris(
    images: xr.DataArray, embedding: xr.DataArray, samples: Samples, shown: Array, patch: int | None,
    bands: Sequence[str] | None,
) -> list[str]:  # fmt: skip
    cutter = Thumbnails(images, embedding.attrs.get("patch") if patch is None else patch, bands)
    known = samples.coordinates
    cuts = cutter.cut([{name: values[position] for name, values in known.items()} for position in shown])
    return [data_uri(picture) for picture in cutter.stretched(cuts, shared=True, most=64)]


def _row_look(number: int, row: str) -> dict[str, str]:
    """Colour, dash and marker of a row; the mean is grey and dotted in every figure."""
    if row == MEAN:
        return {"color": "#777777", "dash": "dotted", "marker": "x"}
    return {
        "color": _COLOURS[number % len(_COLOURS)], "dash": _DASHES[number % len(_DASHES)],
        "marker": _MARKERS[number % len(_MARKERS)],
    }  # fmt: skip
