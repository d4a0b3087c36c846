"""What a dashboard shows, to take along: picture, film, table, NetCDF, and the code that makes the view."""

from __future__ import annotations

import io
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from s2koop._version import __version__
from s2koop._views import Estimate, Points, Series
from s2koop.plots import report
from s2koop.plots._style import date_text, lookup_table
from s2koop.session import Session

if TYPE_CHECKING:
    import pandas as pd

#: Pixels of a film's longer side, at least: a small cube is magnified.
_FILM_SIDE = 360
_FILM_MS = 200
#: Bytes of its frames.
_FILM_BYTES = 4_000_000


def png(session: Session) -> bytes:
    """Return the static twin of the view, map and series, as PNG.

    Raises
    ------
    MissingDependencyError
        If Matplotlib is not installed.
    """
    from s2koop.plots.figures import session_figure

    return report.png(session_figure(session), dpi=150)


def gif(session: Session) -> bytes:
    """Return all dates of the map that is shown as a film of five dates a second, each with its date."""
    from PIL import Image, ImageDraw

    frames = session.frames(budget=_FILM_BYTES)
    quantity = "colour" if frames.levels.ndim == 4 else session.quantity()
    colours = np.frombuffer(lookup_table(quantity), np.uint8).reshape(256, 3)
    times = max(1, round(_FILM_SIDE / max(frames.levels.shape[1:3])))
    pictures = []
    for levels, date in zip(frames.levels, frames.dates, strict=True):
        rgb = colours[levels] if levels.ndim == 2 else np.where(levels.any(-1, keepdims=True), levels, colours[0])
        picture = Image.fromarray(rgb.astype(np.uint8)).resize(
            (levels.shape[1] * times, levels.shape[0] * times), Image.Resampling.NEAREST
        )
        pen = ImageDraw.Draw(picture)
        pen.text((6, 4), date_text(date), fill="white", stroke_width=2, stroke_fill="black")
        pictures.append(picture.quantize(128))
    held = io.BytesIO()
    pictures[0].save(held, "GIF", save_all=True, append_images=pictures[1:], duration=_FILM_MS, loop=0)
    return held.getvalue()


def table(session: Session) -> pd.DataFrame:
    """Return the series of the place as a table: one row for each value, with what it is.

    Returns
    -------
    pandas.DataFrame
        Columns ``time``, ``band``, ``what`` (``"observed"``, ``"withheld"``, ``"came later"``, or a method), ``value``,
        and for methods the ends ``low`` and ``high`` of the interval.
    """
    import pandas as pd

    found = session.series()
    parts = [_rows(found.observed, "observed"), _rows(found.withheld, "withheld")]
    if found.later is not None:
        parts.append(_rows(found.later, "came later"))
    for name, estimate in found.estimates.items():
        parts.append(_rows(found.again.get(name, estimate), name))
    some = [part for part in parts if len(part)] or [pd.DataFrame(columns=["time", "what", "value"])]
    whole = pd.concat(some, ignore_index=True)
    whole.insert(1, "band", found.band)
    return whole


def dataset(session: Session) -> xr.Dataset:
    """Return the series of the place with CF attributes: every source on dates of its own.

    Returns
    -------
    Dataset
        ``observed`` (observed_time), ``later``, ``withheld``, and ``<method>``, ``<method>_low``, ``<method>_high``
        (<method>_time).
    """
    found = session.series()
    held: dict[str, Any] = {}
    coords: dict[str, Any] = {}

    def put(name: str, time: np.ndarray, **values: np.ndarray) -> None:
        key = _variable(name)
        coords[f"{key}_time"] = time
        for suffix, value in values.items():
            attrs = {"long_name": f"{name}, {suffix} {found.band} {found.quantity}".replace(" value", ""), "units": "1"}
            held[key if suffix == "value" else f"{key}_{suffix}"] = (f"{key}_time", value.astype(np.float32), attrs)

    for name, points in (("observed", found.observed), ("withheld", found.withheld), ("later", found.later)):
        if points is not None and points.time.size:
            put(name, points.time, value=points.value)
    for name, given in found.estimates.items():
        estimate = found.again.get(name, given)
        put(name, estimate.time, value=estimate.mean, low=estimate.low, high=estimate.high)
    attrs = {
        "Conventions": "CF-1.11", "title": place(found), "band": found.band, "x": found.x, "y": found.y,
        "level": found.level, "source": f"s2koop {__version__}", "view": json.dumps(session.state()),
    }  # fmt: skip
    return xr.Dataset(held, coords, attrs)


def code(session: Session) -> str:
    """Return Python that opens the view as it stands, for a notebook in which cube and results are named so."""
    names = [_variable(name) for name in session.results]
    given = ["cube", *names]
    if session.later is not None:
        given.append("later=later")
    if session.model is not None:
        given.append("model=model" if not isinstance(session.model, str) else f"model={session.model!r}")
    if session.breaks is not None:
        given.append("breaks=breaks")
    if list(session.results) != names:
        given.append(f"names={list(session.results)!r}")
    if session.limits_given:
        given.append(f"limits={session.limits_given!r}")
    state = ",\n    ".join(f"{name!r}: {value!r}" for name, value in session.state().items())
    return (
        f"import s2koop\n\nstate = {{\n    {state},\n}}\n"
        f"view = s2koop.dashboard({', '.join(given)}, state=state)\nview\n\n"
        "# the same as still plots\n"
        "s2koop.plots.maps(view.session) + s2koop.plots.series(view.session)\n"
    )


def place(found: Series) -> str:
    """Say which place a series is of."""
    if found.region is not None:
        r0, c0, r1, c1 = found.region
        return f"Region, rows {r0} to {r1 - 1}, columns {c0} to {c1 - 1}"
    return f"Pixel row {found.pixel[0]}, column {found.pixel[1]} (x {found.x:.0f}, y {found.y:.0f})"


def netcdf(session: Session) -> bytes:
    """Return `dataset` as a NetCDF-4 file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "series.nc"
        dataset(session).to_netcdf(path, engine="h5netcdf")
        return path.read_bytes()


def _rows(points: Points | Estimate, what: str) -> pd.DataFrame:
    import pandas as pd

    if isinstance(points, Points):
        return pd.DataFrame({"time": points.time, "what": what, "value": points.value})
    return pd.DataFrame(
        {"time": points.time, "what": what, "value": points.mean, "low": points.low, "high": points.high}
    )


def _variable(name: str) -> str:
    """A name as a variable: what is no letter becomes an underscore."""
    plain = "".join(c if c.isalnum() and c.isascii() else "_" for c in name)
    return plain if plain and not plain[0].isdigit() else f"result_{plain}"
