"""`s2koop.dashboard`: a cube and what methods made of it, beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import xarray as xr

from s2koop._again import Method
from s2koop._session_input import known_level
from s2koop.live.assimilation import ASK_BYTES, Dashboard
from s2koop.session import Session


def dashboard(
    cube: xr.DataArray,
    *results: xr.Dataset,
    names: Sequence[str] | None = None,
    later: xr.DataArray | None = None,
    band: str | None = None,
    pixel: tuple[int, int] | None = None,
    product: str = "observed",
    date: str | None = None,
    level: float = 0.9,
    limits: Mapping[str, tuple[float, float]] | None = None,
    model: Any | None = None,
    methods: Mapping[str, Method] | None = None,
    breaks: xr.Dataset | None = None,
    state: Mapping[str, Any] | None = None,
) -> Dashboard:
    """Look at a cube and at what methods made of it: maps by date, and the series of any pixel.

    Slide or play the date, choose what the maps show, click a pixel, draw a region, or walk there with the arrow
    keys: the chart shows its observations, each result's mean and interval, and what came later. Frame observations
    in the chart to withhold them, or start a forecast on any date: the methods are asked again, and judged on what
    they had to do without.

    Parameters
    ----------
    cube : xarray.DataArray
        Observations, dims ``(time, band, y, x)``, reflectance 0..1, NaN = missing. Lazy chunks are read once
        and kept, up to 256 MB together with the results'; beyond that each click reads anew, and a warning
        says so: call ``.load()`` first if it fits into memory.
    *results : xarray.Dataset
        Up to four, with ``mean`` and ``spread`` on the same grid; their dates may differ from the cube's.
    names : sequence of str, optional
        Names of the results; by default what their attributes call the method.
    later : xarray.DataArray, optional
        Observations held out, drawn as "came later".
    band, pixel, product, date, level
        Where to begin: a band name, (row, column), one of the session's products, the nearest date, and the
        coverage of the interval. By default the first band, the centre, the observations, the latest of the
        clearest dates, and 0.9.
    limits : mapping of str to (float, float), optional
        Fixed colour range per band.
    model : KoopmanModel, KoopmanEnsemble, path or name, optional
        The model of the Koopman results: their places can then be analysed again without what is withheld, and its
        modes can be looked at.
    methods : mapping of str to callable, optional
        How a result is made again, by its name: from observations (time, band, y, x) and dates to a result. By
        default the model's analyses (each pixel by itself), and baselines that take each pixel by itself.
    breaks : xarray.Dataset, optional
        What ``cube.koopman.monitor`` found: marked on the maps from the day of the break on.
    state : mapping, optional
        What `Session.state` returned: begin where another dashboard of the same data stood.

    Returns
    -------
    Dashboard
        A widget; `Dashboard.session` holds its state. Where widgets cannot be shown (a built page) the still
        picture appears.

    Raises
    ------
    InputError
        If a cube or result has another shape than described, the grids differ, or a choice does not exist.

    Examples
    --------
    >>> import numpy as np, pandas as pd, xarray as xr
    >>> cube = xr.DataArray(
    ...     np.full((3, 1, 4, 5), 0.25, "float32"),
    ...     dims=("time", "band", "y", "x"),
    ...     coords={"time": pd.date_range("2020-01-01", periods=3), "band": ["B8A"],
    ...             "y": np.arange(4) * -20.0, "x": np.arange(5) * 20.0},
    ... )
    >>> view = dashboard(cube, pixel=(1, 2))
    >>> view.session.time = 1
    >>> view.wait()
    True
    """
    session = Session(
        cube, *results, names=names, later=later, band=band, pixel=pixel, limits=limits,
        model=model, methods=methods, breaks=breaks,
    )  # fmt: skip
    session.level = known_level(level)
    session.product = product
    if date is None and session.cost() <= ASK_BYTES:
        session.time = session.frames().clearest()
    elif date is None:
        session.time = session.dates().size - 1
    else:
        session.go_to(date)
    session.restore(state or {})
    return Dashboard(session)
