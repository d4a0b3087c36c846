"""The state of a dashboard: what is chosen and the numbers behind it, with no widget and no plot."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from statistics import NormalDist
from typing import Any

import numpy as np
import traitlets as tl
import xarray as xr

from s2koop._again import Hidden, Method, methods_of, observations
from s2koop._dates import asked_dates
from s2koop._frames import NO_DATA, encode, robust_range, sample, stride_for, time_blocks
from s2koop._indices import INDICES
from s2koop._places import REGION_PIXELS, Place, lattice, pixel_place, place_text
from s2koop._requests import Recent, Requests
from s2koop._session_input import (
    MAX_RESULTS,
    check_breaks,
    check_cube,
    check_grid,
    given_limits,
    known_level,
    known_pixel,
    known_region,
    named,
)
from s2koop._sources import Product, Sources
from s2koop._summaries import estimate_of, of_band, points_of
from s2koop._views import NOTHING, Box, Estimate, Frame, Frames, Points, Quantity, Reading, Score, Series, nearest
from s2koop.cube.harmonise import without_fill
from s2koop.errors import InputError

__all__ = [
    "MAX_RESULTS",
    "MESSAGE_BYTES",
    "REGION_PIXELS",
    "Estimate",
    "Frame",
    "Frames",
    "Points",
    "Reading",
    "Score",
    "Series",
    "Session",
]

#: Largest stack of pictures handed out at once: proxies and hosted notebooks drop bigger messages.
MESSAGE_BYTES = 10_000_000

_QUANTITY_NAMES = {"BOA": "surface reflectance", "TOA": "top-of-atmosphere reflectance"}


class Session(Requests):
    """What a dashboard shows, and the arrays behind it.

    Of lazy data a picture or series reads the chunks it is made of, with all their dates, and they stay in
    memory, the newest up to 256 MB in all: another pixel, date or interval of the same chunks reads nothing.
    Where the chunks of one look are larger than that, each look reads them anew, which a warning says once.

    Parameters
    ----------
    cube : xarray.DataArray
        Observations, dims ``(time, band, y, x)``, reflectance 0..1, NaN = missing. Lazy or in memory.
    *results : xarray.Dataset
        Up to four results on the same grid: ``mean`` and, where known, ``spread`` (one standard deviation),
        dims ``(time, band, y, x)``, on dates of their own. Lazy or in memory.
    names : sequence of str, optional
        Names of the results; by default what their ``attrs`` call the method or model.
    later : xarray.DataArray, optional
        Observations that were held out ("what came later"), on the same grid.
    band : str, optional
        The band to begin with; by default the first.
    pixel : (int, int), optional
        Row and column to begin with; by default the centre.
    limits : mapping of str to (float, float), optional
        Fixed colour range per band; by default 2nd to 98th percentile of a few of the clearest dates.
    model : KoopmanModel, KoopmanEnsemble, path or name, optional
        The model of the Koopman results, to analyse a place again without the observations that are withheld.
    methods : mapping of str to callable, optional
        How a result is made again: from observations (time, band, y, x) and dates to a result. By default the
        model's analyses and those baselines that take each pixel by itself; other results stay as they are.
    breaks : xarray.Dataset, optional
        What ``cube.koopman.monitor`` found, on the same grid.

    Attributes
    ----------
    product : str
        ``"observed"``, ``"<name> mean"``, ``"<name> spread"``, ``"<name> residual"`` (observation minus mean) or
        ``"later"``; one of `products`.
    band : str
        One of `bands`: of the cube, of results, or an index such as ``"NDVI"``.
    time : int
        Index into ``dates()`` of the product. A change of product keeps the date, as near as it has one.
    pixel : (int, int)
        Row and column.
    region : (int, int, int, int) or None
        First row and column, and the row and column behind the last: series are means over it. None for the pixel.
    withheld : tuple of numpy.datetime64
        Dates of the cube whose observations the methods must do without.
    cut : numpy.datetime64 or None
        Methods see nothing after it: what they say from then on is a forecast.
    horizon : int
        Days after the cut up to which forecasts are shown and judged.
    colour : bool
        Show reflectance in true colour where red, green and blue are there.
    mode : {"one", "swipe", "grid"}
        One map; two with a divider between them; up to four side by side.
    beside : str
        The product right of the divider; one of `products`.
    level : float
        Coverage of the interval, between 0 and 1.
    status : str
        What is being read or analysed at the moment, empty when nothing is.
    progress : float
        How far that is, 0 to 1.
    error : str
        The last failure of a background request, empty when all is well; all of them are in `errors`.

    Raises
    ------
    InputError
        If a cube has other dims, a result lacks ``mean``, the grids differ, or there are too many results;
        also when a band, product, date or pixel is chosen that does not exist.

    Examples
    --------
    >>> import numpy as np, pandas as pd, xarray as xr
    >>> cube = xr.DataArray(
    ...     np.full((3, 1, 4, 5), 0.25, "float32"),
    ...     dims=("time", "band", "y", "x"),
    ...     coords={"time": pd.date_range("2020-01-01", periods=3), "band": ["B8A"],
    ...             "y": np.arange(4) * -20.0, "x": np.arange(5) * 20.0},
    ... )
    >>> session = Session(cube)
    >>> session.pixel, session.frame().levels.shape
    ((2, 2), (4, 5))
    >>> session.series().observed.value
    array([0.25, 0.25, 0.25], dtype=float32)
    """

    product = tl.Unicode("observed")
    band = tl.Unicode()
    time = tl.Int(0)
    pixel = tl.Tuple(tl.Int(), tl.Int())
    region = tl.Any(None)
    withheld: tl.Tuple = tl.Tuple()
    cut = tl.Any(None)
    horizon = tl.Int(365)
    colour = tl.Bool(False)
    mode = tl.Enum(("one", "swipe", "grid"), "one")
    beside = tl.Unicode("")
    level = tl.Float(0.9)

    def __init__(
        self,
        cube: xr.DataArray,
        *results: xr.Dataset,
        names: Sequence[str] | None = None,
        later: xr.DataArray | None = None,
        band: str | None = None,
        pixel: tuple[int, int] | None = None,
        limits: Mapping[str, tuple[float, float]] | None = None,
        model: Any | None = None,
        methods: Mapping[str, Method] | None = None,
        breaks: xr.Dataset | None = None,
    ) -> None:
        check_cube(cube, "the cube")
        self.cube = cube
        self.later = later
        self.results = {name: result.sortby("time") for name, result in named(results, names).items()}
        self.model = model
        for name, other in self._others():
            check_grid(cube, name, other)
        self.breaks = None if breaks is None else check_breaks(cube, breaks)
        self.methods = methods_of(self.results, model, methods)
        self._sources = Sources(cube, self.results, later)
        self._limits = given_limits(limits)
        self.limits_given = {band: pair for (_, band), pair in self._limits.items()}
        self._series: Recent[Series] = Recent(64)
        self._answers: Recent[dict[str, xr.Dataset]] = Recent(32)
        self._stacks: Recent[Frames] = Recent(8)
        self._wanted_date = cube["time"].values[-1]
        super().__init__()
        for _, known in self._limits:
            self._known_band(known)
        self.band = self.bands[0] if band is None else self._known_band(band)
        self.pixel = (cube.sizes["y"] // 2, cube.sizes["x"] // 2) if pixel is None else known_pixel(pixel, self.shape)
        self.time = cube.sizes["time"] - 1
        self.beside = next((p for p in self.products if p != "observed"), "")

    def _others(self) -> Iterator[tuple[str, xr.DataArray]]:
        for name, result in self.results.items():
            yield from (
                (f"{name} {variable}", result[variable]) for variable in ("mean", "spread") if variable in result
            )
        if self.later is not None:
            yield "later", self.later

    def __repr__(self) -> str:
        rows, cols = self.shape
        shown = ", ".join((*self.results, *(["later"] if self.later is not None else ())))
        return (
            f"<Session: {self.cube.sizes['time']} dates, {', '.join(self.bands)}, {rows} x {cols} pixels"
            f"{f'; {shown}' if shown else ''}; shows {self.product!r}, {self.band}, {str(self.date)[:10]}>"
        )

    # What can be chosen

    @property
    def products(self) -> tuple[str, ...]:
        """Names of all that can be shown as a map."""
        return tuple(self._sources.products)

    @property
    def bands(self) -> tuple[str, ...]:
        """Bands of the cube, then bands that only a result knows, then the indices that they allow."""
        return self._sources.bands

    def dates(self, product: str | None = None) -> np.ndarray:
        """Dates of a product (by default the current one), datetime64 (time,)."""
        return self._sources.dates(self._product(product))

    def quantity(self, product: str | None = None) -> Quantity:
        """What the numbers of a product are: ``"reflectance"``, ``"spread"`` or ``"difference"``."""
        return self._product(product).quantity

    def has_colour(self, product: str | None = None) -> bool:
        """Tell whether a product can be shown in true colour."""
        return self._sources.colours(self._product(product)) is not None

    def in_colour(self, product: str | None = None) -> bool:
        """Tell whether a product is shown in true colour."""
        return self.colour and self.has_colour(product)

    def shown(self, mode: str | None = None) -> tuple[str, ...]:
        """Names of the products that are seen, the chosen one first: one, two, or what a result is made of."""
        mode = self.mode if mode is None else mode
        if mode == "swipe" and self.beside:
            return self.product, self.beside
        if mode == "grid":
            result = self._product(None).result or next(iter(self.results), "")
            parts = ["observed", *(f"{result} {kind}" for kind in ("mean", "spread", "residual"))]
            return tuple(dict.fromkeys([self.product, *(p for p in parts if p in self.products)]))[:4]
        return (self.product,)

    @property
    def date(self) -> np.datetime64:
        """The date that is shown."""
        return self.dates()[self.time]

    def go_to(self, date: str | np.datetime64) -> None:
        """Choose the date of the current product that is nearest to `date`."""
        self._wanted_date = asked_dates(date, name="date")[0]
        self.time = self._nearest_time()

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the grid."""
        return self.cube.sizes["y"], self.cube.sizes["x"]

    @property
    def value_name(self) -> str:
        """What the values are, for axis labels: the reflectance at the level the cube states, or an index."""
        return self._value_name(self.band)

    def _value_name(self, band: str) -> str:
        if band in INDICES:
            return "index"
        return _QUANTITY_NAMES.get(str(self.cube.attrs.get("level")), "reflectance")

    # Withholding

    def withhold(self, dates: Iterable[Any], *, back: bool = False) -> None:
        """Take the observations of some dates from the methods, or give them `back`.

        Parameters
        ----------
        dates : iterable of datetime
            Of the cube; the nearest within half a day is meant.
        back : bool
            Give them back.

        Raises
        ------
        InputError
            If the cube has no date within half a day of one of them.
        """
        named = set(self._own_dates(dates))
        self.withheld = tuple(sorted(set(self.withheld) - named if back else set(self.withheld) | named))

    def toggle(self, dates: Iterable[Any]) -> None:
        """Withhold the observations of some dates; those that are withheld already are given back."""
        self.withheld = tuple(sorted(set(self.withheld) ^ set(self._own_dates(dates))))

    def hidden(self) -> np.ndarray:
        """Which dates of the cube the methods do not see, bool (time,)."""
        return self._hidden().of(self.cube["time"].values)

    # The choices as a small dict

    def state(self) -> dict[str, Any]:
        """Return the choices as plain values, to begin with them again: `restore`, or ``dashboard(..., state=)``."""
        return {
            "product": self.product,
            "beside": self.beside,
            "mode": self.mode,
            "band": self.band,
            "colour": self.colour,
            "date": str(self.date),
            "pixel": list(self.pixel),
            "region": None if self.region is None else list(self.region),
            "level": self.level,
            "withheld": [str(date) for date in self.withheld],
            "cut": None if self.cut is None else str(self.cut),
            "horizon": self.horizon,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Choose what `state` returned, or a part of it.

        Raises
        ------
        InputError
            If it names a choice that there is not.
        """
        unknown = [name for name in state if name not in self.state()]
        if unknown:
            raise InputError(f"state has {unknown}, which are no choices; expected some of {', '.join(self.state())}.")
        chosen = dict(state)
        date = chosen.pop("date", None)
        for name, value in chosen.items():
            setattr(self, name, tuple(value) if isinstance(value, list) else value)
        if date is not None:
            self.go_to(date)

    # Choosing only what exists

    @tl.validate("product")
    def _valid_product(self, proposal: Mapping[str, Any]) -> str:
        return self._product(proposal["value"]).name

    @tl.validate("band")
    def _valid_band(self, proposal: Mapping[str, Any]) -> str:
        return self._known_band(proposal["value"])

    @tl.validate("beside")
    def _valid_beside(self, proposal: Mapping[str, Any]) -> str:
        return self._product(proposal["value"]).name if proposal["value"] else ""

    @tl.validate("time")
    def _valid_time(self, proposal: Mapping[str, Any]) -> int:
        return self._known_time(proposal["value"], self.product)

    @tl.validate("pixel")
    def _valid_pixel(self, proposal: Mapping[str, Any]) -> tuple[int, int]:
        return known_pixel(proposal["value"], self.shape)

    @tl.validate("region")
    def _valid_region(self, proposal: Mapping[str, Any]) -> Box | None:
        value = proposal["value"]
        return None if value is None or len(value) == 0 else known_region(value, self.shape)

    @tl.validate("withheld")
    def _valid_withheld(self, proposal: Mapping[str, Any]) -> tuple[np.datetime64, ...]:
        return tuple(sorted(set(self._own_dates(proposal["value"]))))

    @tl.validate("cut")
    def _valid_cut(self, proposal: Mapping[str, Any]) -> np.datetime64 | None:
        if proposal["value"] is None:
            return None
        cut = asked_dates(proposal["value"], name="cut")[0]
        times = self.cube["time"].values
        if not times[0] <= cut <= times[-1]:
            raise InputError(
                f"cut={str(cut)[:10]} lies outside the dates of the cube, {str(times[0])[:10]} to "
                f"{str(times[-1])[:10]}; a forecast starts among them."
            )
        return cut

    @tl.validate("horizon")
    def _valid_horizon(self, proposal: Mapping[str, Any]) -> int:
        if proposal["value"] < 1:
            raise InputError(f"horizon={proposal['value']} is no number of days ahead; give 1 or more.")
        return int(proposal["value"])

    @tl.validate("level")
    def _valid_level(self, proposal: Mapping[str, Any]) -> float:
        return known_level(proposal["value"])

    @tl.observe("time")
    def _remember_date(self, change: Any) -> None:
        if change["new"] != self._nearest_time():
            self._wanted_date = self.date

    @tl.observe("product")
    def _keep_date(self, change: Any) -> None:
        self.time = self._nearest_time()

    def _nearest_time(self) -> int:
        return int(np.abs(self.dates() - self._wanted_date).argmin())

    def _product(self, name: str | None) -> Product:
        name = self.product if name is None else name
        if name not in self._sources.products:
            raise InputError(f"There is no product {name!r} to show; choose one of {', '.join(self.products)}.")
        return self._sources.products[name]

    def _known_band(self, band: str) -> str:
        if band not in self.bands:
            raise InputError(
                f"Band {band!r} is in neither the cube nor a result; choose one of {', '.join(self.bands)}."
            )
        return band

    def _known_time(self, time: int, product: str | None) -> int:
        count = self.dates(product).size
        if not 0 <= time < count:
            raise InputError(
                f"Date number {time} does not exist: {self._product(product).name!r} has {count} dates, "
                f"numbered 0 to {count - 1}. Use go_to(date) to choose by date."
            )
        return time

    def _own_dates(self, dates: Iterable[Any]) -> list[np.datetime64]:
        times, found = self.cube["time"].values, []
        asked = [dates] if isinstance(dates, (str, np.datetime64)) else list(dates)
        for date in asked_dates(asked, name="dates") if asked else ():
            if (at := nearest(times, date)) is None:
                raise InputError(
                    f"The cube has no observation within half a day of {str(date)[:10]}; choose among cube.time."
                )
            found.append(times[at])
        return found

    # The numbers behind the view

    def limits(self, *, product: str | None = None, band: str | None = None) -> tuple[float, float]:
        """Return the value range of a band: one for all that is reflectance, one for all spreads, one for residuals."""
        key = (self.quantity(product), self._known_band(self.band if band is None else band))
        if key not in self._limits:
            self._limits[key] = self._measured_limits(*key)
        return self._limits[key]

    def _measured_limits(self, quantity: Quantity, band: str) -> tuple[float, float]:
        shown = (p for p in self._sources.products.values() if p.quantity == quantity)
        stacks = (s for s in (self._sources.stack(p, band) for p in shown) if s is not None)
        ranges = (robust_range(sample(s), from_zero=quantity == "spread") for s in stacks)
        found = (r for r in ranges if r is not None)
        if quantity == "spread":
            return max(found, key=lambda r: r[1], default=(0.0, 0.01))
        if quantity == "difference":  # no difference is the middle of the palette
            most = max((max(abs(low), abs(high)) for low, high in found), default=0.01)
            return -most, most
        return next(found, (0.0, 1.0))

    def frame(self, time: int | None = None, *, product: str | None = None, band: str | None = None) -> Frame:
        """Return one date as uint8 levels; nothing else is read, unless one chunk holds all dates.

        Parameters
        ----------
        time : int, optional
            Index into ``dates(product)``; by default the current one.
        product, band : str, optional
            By default the current ones.

        Returns
        -------
        Frame
            ``levels`` uint8 (y, x): 0 = no data, 1..255 = ``low``..``high``. A band that the product does not
            have is all 0.
        """
        chosen, band = self._product(product), self._known_band(self.band if band is None else band)
        if time is None:
            time = self.time if chosen.name == self.product else self.time_of(chosen.name)
        time = self._known_time(time, chosen.name)
        low, high = self.limits(product=chosen.name, band=band)
        stack = self._sources.stack(chosen, band)
        if stack is None:
            levels = np.full(self.shape, NO_DATA, np.uint8)
        else:
            levels = encode(stack.isel(time=time).values, low, high)
        return Frame(chosen.name, band, self.dates(chosen.name)[time], levels, low, high)

    def field(self, product: str | None = None, *, band: str | None = None, time: int | None = None) -> np.ndarray:
        """Return one date as true values, float32 (y, x), NaN where there is none; parameters as for `frame`."""
        chosen, band = self._product(product), self._known_band(self.band if band is None else band)
        time = self.time_of(chosen.name) if time is None else self._known_time(time, chosen.name)
        stack = self._sources.stack(chosen, band)
        if stack is None:
            return np.full(self.shape, np.nan, np.float32)
        return without_fill(stack.isel(time=time).values).astype(np.float32, copy=False)

    def time_at(self, date: Any, product: str | None = None) -> int:
        """Return the number of the date of a product that is nearest to `date`."""
        return int(np.abs(self.dates(product) - asked_dates(date, name="date")[0]).argmin())

    def time_of(self, product: str) -> int:
        """Return the number of the date of a product that is nearest to the one that is shown."""
        return self.time if product == self.product else int(np.abs(self.dates(product) - self.date).argmin())

    def cost(self, product: str | None = None, band: str | None = None) -> int:
        """Return the bytes that `frames` would compute first: 0 for what is in memory or was looked at before."""
        chosen, band = self._product(product), self._known_band(self.band if band is None else band)
        bands = self._sources.colours(chosen) if self.in_colour(chosen.name) else None
        return sum(self._sources.bytes_of(chosen, b) for b in bands or (band,))

    def series_cost(self) -> int:
        """Return the bytes that `series` would compute first: 0 for what is in memory or was looked at before."""
        return self._sources.bytes_at(self.band, self._place())

    def frames(
        self,
        *,
        product: str | None = None,
        band: str | None = None,
        budget: int = MESSAGE_BYTES,
        box: Box | None = None,
        time: int | None = None,
    ) -> Frames:
        """Return all dates of one product and band as uint8, thinned in space to fit into `budget` bytes.

        Each chunk of lazy data is read once: all in one go and kept if they fit into 256 MB, else one after
        the other in time, and then never held whole as floats. Where `colour` is set and the product has the bands,
        the levels are (time, y, x, 3).

        Parameters
        ----------
        product, band : str, optional
            By default the current ones.
        budget : int
            Bytes.
        box : Box, optional
            Rows and columns, all by default.
        time : int, optional
            One date alone.

        Raises
        ------
        InputError
            If even one pixel per date does not fit into `budget`.
        """
        chosen, band = self._product(product), self._known_band(self.band if band is None else band)
        colours = self._sources.colours(chosen) if self.colour else None
        key = (chosen.name, colours or band, budget, box, time)
        return self._stacks.get_or(key, lambda: self._read_frames(chosen, colours or (band,), budget, box, time))

    def _read_frames(
        self, product: Product, bands: tuple[str, ...], budget: int, box: Box | None, time: int | None
    ) -> Frames:
        r0, c0, r1, c1 = box or (0, 0, *self.shape)
        dates = self.dates(product.name)
        dates = dates if time is None else dates[time : time + 1]
        layers = len(bands)
        stride = stride_for((dates.size * layers, r1 - r0, c1 - c0), budget)
        rows, cols = -(-(r1 - r0) // stride), -(-(c1 - c0) // stride)
        if dates.size * rows * cols * layers > budget:
            raise InputError(
                f"{dates.size} dates do not fit into {budget} bytes even at one pixel each; "
                f"select fewer dates, such as cube.sel(time='2020')."
            )
        levels = np.full((dates.size, rows, cols, layers), NO_DATA, np.uint8)
        limits = []
        for layer, band in enumerate(bands):
            with self._reading(f"{product.name}, {band}: {dates.size} dates"):
                # Before the range, whose dates are among these.
                stack = self._sources.stack(product, band, all_dates=time is None)
                limits.append(self.limits(product=product.name, band=band))
            if stack is None:
                continue
            thin = stack.isel(y=slice(r0, r1, stride), x=slice(c0, c1, stride))
            thin = thin if time is None else thin.isel(time=[time])
            low, high = limits[-1] if layers == 1 else self._colour_range(product, bands)
            for block in time_blocks(thin):
                what = f"{product.name}, {band}: date {block.start + 1} of {dates.size}"
                with self._reading(what, lazy=thin.chunks is not None):
                    levels[block, :, :, layer] = encode(thin.isel(time=block).values, low, high)
        if layers > 1:
            levels[(levels == NO_DATA).any(axis=3)] = NO_DATA
            return Frames(product.name, "true colour", dates, levels, *self._colour_range(product, bands), stride)
        return Frames(product.name, bands[0], dates, levels[..., 0], *limits[0], stride)

    def _colour_range(self, product: Product, bands: Sequence[str]) -> tuple[float, float]:
        """One range from black for all three, so that hues stay what they are."""
        return 0.0, max(self.limits(product=product.name, band=band)[1] for band in bands)

    def series(
        self,
        pixel: tuple[int, int] | None = None,
        *,
        band: str | None = None,
        level: float | None = None,
        again: bool = True,
    ) -> Series:
        """Return one band of a pixel, or of the region, over time; only its chunks are read, and kept for the next.

        Parameters
        ----------
        pixel : (int, int), optional
            Row and column; by default the region where there is one, else the current pixel.
        band : str, optional
            By default the current band.
        level : float, optional
            Coverage of the interval ``mean -/+ z * spread`` of a normal distribution; by default `level`.
        again : bool
            Ask the methods again where observations are withheld; False: leave ``again`` empty.

        Returns
        -------
        Series
            Observations without their gaps, and an `Estimate` per result, empty where it does not know the band.
            Of a region all are means over at most 36 of its pixels, spread evenly, and intervals those of a pixel,
            averaged; observations count on dates on which nine in ten of the pixels were seen.
        """
        region = self.region if pixel is None else None
        pixel = known_pixel(self.pixel if pixel is None else pixel, self.shape)
        band = self._known_band(self.band if band is None else band)
        level = known_level(self.level if level is None else level)
        hidden = self._hidden()
        again = again and bool(self.methods) and bool(hidden.of(self.cube["time"].values).any())
        key = (region or pixel, pixel, band, level, hidden, again)
        return self._series.get_or(key, lambda: self._read_series(pixel, region, band, level, hidden, again))

    def no_series(self) -> Series:
        """Return the place and band that are chosen with nothing read."""
        none = estimate_of(None, 1.0)
        row, col = self.pixel
        return Series(
            self.band, self.pixel, float(self.cube["x"][col]), float(self.cube["y"][row]), self.level, self.value_name,
            NOTHING, dict.fromkeys(self.results, none), None if self.later is None else NOTHING,
        )  # fmt: skip

    def _read_series(
        self, pixel: tuple[int, int], region: Box | None, band: str, level: float, hidden: Hidden, again: bool
    ) -> Series:
        place = pixel_place(pixel) if region is None else lattice(region)
        with self._reading(place_text(pixel, region)):
            lines = {name: self._sources.series(name, band, place) for name in ("observed", *self.results)}
            later = None if self.later is None else points_of(self._sources.series("later", band, place))
        half_width = NormalDist().inv_cdf((1 + level) / 2)
        seen = points_of(lines.pop("observed"))
        picked, after = hidden.picked(seen.time), hidden.after(seen.time)
        if hidden.end is not None:
            later = (later or NOTHING) + seen.only(after)
            later = later.only(hidden.after(later.time) & (later.time <= hidden.end))
        answers = self._ask_again(place, hidden, place_text(pixel, region)) if again else {}
        says = {name: estimate_of(of_band(answer, band), half_width) for name, answer in answers.items()}
        return Series(
            band=band,
            pixel=pixel,
            x=float(self.cube["x"][pixel[1]]),
            y=float(self.cube["y"][pixel[0]]),
            level=level,
            quantity=self._value_name(band),
            observed=seen.only(~picked & ~after),
            estimates={name: estimate_of(line, half_width) for name, line in lines.items()},
            later=later,
            withheld=seen.only(picked & ~after),
            again={name: e if hidden.end is None else e.until(hidden.end) for name, e in says.items()},
            region=region,
            pixels=place.rows.size,
            cut=hidden.cut,
            broken=self._broken(pixel) if region is None else None,
        )

    def _ask_again(self, place: Place, hidden: Hidden, where: str) -> dict[str, xr.Dataset]:
        """What every method that can be asked again says of a place without what is hidden: (time, band, point)."""
        return self._answers.get_or(_asked_of(place, hidden), lambda: self._asked_again(place, hidden, where))

    def has_answers(self) -> bool:
        """Tell whether the methods have been asked about the current place and what is withheld now."""
        return _asked_of(self._place(), self._hidden()) in self._answers

    def _hidden(self) -> Hidden:
        """What is hidden now: taken once for a look, since a hand may change it while something is read."""
        return Hidden(self.withheld, self.cut, self.horizon)

    def _place(self) -> Place:
        return pixel_place(self.pixel) if self.region is None else lattice(self.region)

    def _asked_again(self, place: Place, hidden: Hidden, where: str) -> dict[str, xr.Dataset]:
        with self._reading(where):
            spectra = self._sources.spectra("observed", place)
        part = observations(spectra, self.cube, hidden.of(self.cube["time"].values))
        if not part.sizes["time"]:
            return {}
        observed = [self.cube, *([] if self.later is None else [self.later])]
        answers = {}
        for name, method in self.methods.items():
            with self.waiting_for(f"Asking {name} again: {where}"):
                asked = np.unique(np.concatenate([v["time"].values for v in (*observed, self.results[name])]))
                found = method(part, asked)
                known = found[[v for v in ("mean", "spread") if v in found]].isel(x=0, drop=True)
                answers[name] = known.rename(y="point").reset_coords(drop=True).compute()
        return answers

    def _reading(self, what: str, *, lazy: bool = True) -> AbstractContextManager[None]:
        return self.waiting_for(f"Reading {what}", lazy=lazy and self._sources.lazy)

    def _broken(self, pixel: tuple[int, int]) -> np.datetime64 | None:
        if self.breaks is None:
            return None
        date = np.datetime64(self.breaks["break_date"].values[pixel], "ns")
        return None if np.isnat(date) else date

    def broken(self) -> list[tuple[int, int, np.datetime64]]:
        """Return row, column and date of all breaks that monitoring found."""
        if self.breaks is None:
            return []
        dates = self.breaks["break_date"].values
        rows, cols = np.nonzero(~np.isnat(dates))
        return [(int(r), int(c), dates[r, c]) for r, c in zip(rows, cols, strict=True)]

    def reading(
        self, pixel: tuple[int, int] | None = None, *, date: np.datetime64 | None = None, of: Series | None = None
    ) -> Reading:
        """Return the values of a place on a date (by default those that are chosen), true and not levels."""
        series = of or self.series(pixel, again=self.has_answers())
        date = self.date if date is None else date
        lead = None if series.cut is None or date <= series.cut else int((date - series.cut) / np.timedelta64(1, "D"))
        return Reading(
            band=series.band,
            pixel=series.pixel,
            x=series.x,
            y=series.y,
            date=date,
            level=series.level,
            observed=series.observed.on(date),
            estimates={name: series.again.get(name, e).on(date) for name, e in series.estimates.items()},
            later=None if series.later is None else series.later.on(date),
            withheld=series.withheld.on(date),
            lead=lead,
            region=series.region,
        )


def _asked_of(place: Place, hidden: Hidden) -> tuple[Any, ...]:
    return place.rows.tobytes(), place.cols.tobytes(), hidden.withheld, hidden.cut
