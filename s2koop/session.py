"""The state of a dashboard: what is chosen and the numbers behind it, with no widget and no plot."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import NormalDist
from typing import Any, TypeVar

import numpy as np
import traitlets as tl
import xarray as xr

from s2koop._dates import asked_dates
from s2koop._frames import NO_DATA, encode, robust_range, sample, stride_for, time_blocks
from s2koop._kept import KEPT_BYTES, Kept
from s2koop._latest import Latest
from s2koop._session_input import (
    check_cube,
    check_grid,
    given_limits,
    known_level,
    named,
    products,
    row_and_column,
    sources,
)
from s2koop._views import Estimate, Frame, Frames, Points, Product, Quantity, Reading, Series
from s2koop.errors import InputError

__all__ = [
    "MAX_RESULTS",
    "MESSAGE_BYTES",
    "Estimate",
    "Frame",
    "Frames",
    "Points",
    "Reading",
    "Series",
    "Session",
]

#: Results that one view can tell apart (colours, markers and dashes that every eye separates).
MAX_RESULTS = 4

#: Largest stack of pictures handed out at once: proxies and hosted notebooks drop bigger messages.
MESSAGE_BYTES = 10_000_000

_QUANTITY_NAMES = {"BOA": "surface reflectance", "TOA": "top-of-atmosphere reflectance"}

_SIGNATURE = re.compile(r"(?<=\S)\?[^\s'\"]*=[^\s'\"]*")

T = TypeVar("T")


class Session(tl.HasTraits):
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

    Attributes
    ----------
    product : str
        ``"observed"``, ``"<name> mean"``, ``"<name> spread"`` or ``"later"``; one of `products`.
    band : str
        One of `bands`.
    time : int
        Index into ``dates()`` of the product. A change of product keeps the date, as near as it has one.
    pixel : (int, int)
        Row and column.
    level : float
        Coverage of the interval, between 0 and 1.
    status : str
        What is being read at the moment, empty when nothing is.
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
    level = tl.Float(0.9)
    status = tl.Unicode("")
    error = tl.Unicode("")

    def __init__(
        self,
        cube: xr.DataArray,
        *results: xr.Dataset,
        names: Sequence[str] | None = None,
        later: xr.DataArray | None = None,
        band: str | None = None,
        pixel: tuple[int, int] | None = None,
        limits: Mapping[str, tuple[float, float]] | None = None,
    ) -> None:
        check_cube(cube, "the cube")
        self.cube = cube
        self.later = later
        self.results = named(results, names)
        self._products = {p.name: p for p in products(cube, self.results, later)}
        for other in self._products.values():
            check_grid(cube, other)
        self._kept = Kept(sources(self._products.values()), budget=KEPT_BYTES)
        self._lazy = any(p.values.chunks is not None for p in self._products.values())
        self._limits = given_limits(limits)
        self._series: _Recent[Series] = _Recent(64)
        self._stacks: _Recent[Frames] = _Recent(3)
        self._wanted_date = cube["time"].values[-1]
        self._latest = Latest(on_error=self.fail)
        self.errors: list[Exception] = []
        super().__init__()
        self.band = self.bands[0] if band is None else self._known_band(band)
        self.pixel = (cube.sizes["y"] // 2, cube.sizes["x"] // 2) if pixel is None else self._known_pixel(pixel)
        self.time = cube.sizes["time"] - 1

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
        return tuple(self._products)

    @property
    def bands(self) -> tuple[str, ...]:
        """Bands of the cube, then bands that only a result knows."""
        every = [str(b) for p in self._products.values() for b in p.values["band"].values]
        return tuple(dict.fromkeys(every))

    def dates(self, product: str | None = None) -> np.ndarray:
        """Dates of a product (by default the current one), datetime64 (time,)."""
        return np.asarray(self._product(product).values["time"].values)

    def quantity(self, product: str | None = None) -> Quantity:
        """What the numbers of a product are: ``"reflectance"`` or ``"spread"``."""
        return self._product(product).quantity

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
        """What the values are, for axis labels: the reflectance at the level the cube states."""
        return _QUANTITY_NAMES.get(str(self.cube.attrs.get("level")), "reflectance")

    # Choosing only what exists

    @tl.validate("product")
    def _valid_product(self, proposal: Mapping[str, Any]) -> str:
        return self._product(proposal["value"]).name

    @tl.validate("band")
    def _valid_band(self, proposal: Mapping[str, Any]) -> str:
        return self._known_band(proposal["value"])

    @tl.validate("time")
    def _valid_time(self, proposal: Mapping[str, Any]) -> int:
        return self._known_time(proposal["value"], self.product)

    @tl.validate("pixel")
    def _valid_pixel(self, proposal: Mapping[str, Any]) -> tuple[int, int]:
        return self._known_pixel(proposal["value"])

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
        if name not in self._products:
            raise InputError(f"There is no product {name!r} to show; choose one of {', '.join(self.products)}.")
        return self._products[name]

    def _known_band(self, band: str) -> str:
        if band not in self.bands:
            raise InputError(
                f"Band {band!r} is in neither the cube nor a result; choose one of {', '.join(self.bands)}."
            )
        return band

    def _known_time(self, time: int, product: str | None) -> int:
        count = self._product(product).values.sizes["time"]
        if not 0 <= time < count:
            raise InputError(
                f"Date number {time} does not exist: {self._product(product).name!r} has {count} dates, "
                f"numbered 0 to {count - 1}. Use go_to(date) to choose by date."
            )
        return time

    def _known_pixel(self, pixel: tuple[int, int]) -> tuple[int, int]:
        rows, cols = self.shape
        row, col = row_and_column(pixel)
        if not (0 <= row < rows and 0 <= col < cols):
            raise InputError(
                f"Pixel (row {row}, column {col}) lies outside the cube; "
                f"rows run from 0 to {rows - 1} and columns from 0 to {cols - 1}."
            )
        return row, col

    # The numbers behind the view

    def limits(self, *, product: str | None = None, band: str | None = None) -> tuple[float, float]:
        """Return the value range of a band: one for everything that is reflectance, one for all spreads."""
        key = (self.quantity(product), self._known_band(self.band if band is None else band))
        if key not in self._limits:
            self._limits[key] = self._measured_limits(*key)
        return self._limits[key]

    def _measured_limits(self, quantity: Quantity, band: str) -> tuple[float, float]:
        shown = (p for p in self._products.values() if p.quantity == quantity)
        stacks = (s for s in (self._stack(p, band) for p in shown) if s is not None)
        ranges = (robust_range(sample(s), from_zero=quantity == "spread") for s in stacks)
        found = (r for r in ranges if r is not None)
        if quantity == "spread":
            return max(found, key=lambda r: r[1], default=(0.0, 0.01))
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
            time = self.time if chosen.name == self.product else self._time_near(chosen.name)
        time = self._known_time(time, chosen.name)
        low, high = self.limits(product=chosen.name, band=band)
        stack = self._stack(chosen, band)
        if stack is None:
            levels = np.full(self.shape, NO_DATA, np.uint8)
        else:
            levels = encode(stack.isel(time=time).values, low, high)
        return Frame(chosen.name, band, self.dates(chosen.name)[time], levels, low, high)

    def _time_near(self, product: str) -> int:
        return int(np.abs(self.dates(product) - self.date).argmin())

    def frames(self, *, product: str | None = None, band: str | None = None, budget: int = MESSAGE_BYTES) -> Frames:
        """Return all dates of one product and band as uint8, thinned in space to fit into `budget` bytes.

        Each chunk of lazy data is read once: all in one go and kept if they fit into 256 MB, else one after
        the other in time, and then never held whole as floats.

        Raises
        ------
        InputError
            If even one pixel per date does not fit into `budget`.
        """
        chosen, band = self._product(product), self._known_band(self.band if band is None else band)
        return self._stacks.get_or((chosen.name, band, budget), lambda: self._read_frames(chosen, band, budget))

    def _read_frames(self, product: Product, band: str, budget: int) -> Frames:
        dates = self.dates(product.name)
        stride = stride_for((dates.size, *self.shape), budget)
        rows, cols = (-(-n // stride) for n in self.shape)
        if dates.size * rows * cols > budget:
            raise InputError(
                f"{dates.size} dates do not fit into {budget} bytes even at one pixel each; "
                f"select fewer dates, such as cube.sel(time='2020')."
            )
        with self._waiting_for(f"{product.name}, {band}: {dates.size} dates"):
            # Before the range, whose dates are among these.
            stack = self._stack(product, band, all_dates=True)
            low, high = self.limits(product=product.name, band=band)
        levels = np.full((dates.size, rows, cols), NO_DATA, np.uint8)
        if stack is not None:
            thin = stack.isel(y=slice(None, None, stride), x=slice(None, None, stride))
            for block in time_blocks(thin):
                what = f"{product.name}, {band}: date {block.start + 1} of {dates.size}"
                with self._waiting_for(what, lazy=thin.chunks is not None):
                    levels[block] = encode(thin.isel(time=block).values, low, high)
        return Frames(product.name, band, dates, levels, low, high, stride)

    def series(
        self,
        pixel: tuple[int, int] | None = None,
        *,
        band: str | None = None,
        level: float | None = None,
    ) -> Series:
        """Return one band of one pixel over time; only the chunks that hold it are read, and kept for the next.

        Parameters
        ----------
        pixel : (int, int), optional
            Row and column; by default the current pixel.
        band : str, optional
            By default the current band.
        level : float, optional
            Coverage of the interval ``mean -/+ z * spread`` of a normal distribution; by default `level`.

        Returns
        -------
        Series
            Observations and later observations without their gaps, and an `Estimate` per result, empty where
            it does not know the band. Coordinates ``x`` and ``y`` in the cube's CRS.
        """
        pixel = self._known_pixel(self.pixel if pixel is None else pixel)
        band = self._known_band(self.band if band is None else band)
        level = known_level(self.level if level is None else level)
        return self._series.get_or((pixel, band, level), lambda: self._read_series(pixel, band, level))

    def _read_series(self, pixel: tuple[int, int], band: str, level: float) -> Series:
        with self._waiting_for(f"pixel row {pixel[0]}, column {pixel[1]}"):
            return self._load_series(pixel, band, level)

    def _load_series(self, pixel: tuple[int, int], band: str, level: float) -> Series:
        half_width = NormalDist().inv_cdf((1 + level) / 2)
        lines = {name: self._line(f"{name} mean", band, pixel) for name in self.results}
        return Series(
            band=band,
            pixel=pixel,
            x=float(self.cube["x"][pixel[1]]),
            y=float(self.cube["y"][pixel[0]]),
            level=level,
            quantity=self.value_name,
            observed=_points(self._line("observed", band, pixel)),
            estimates={name: _estimate(line, half_width) for name, line in lines.items()},
            later=None if self.later is None else _points(self._line("later", band, pixel)),
        )

    def _stack(self, product: Product, band: str, *, all_dates: bool = False) -> xr.DataArray | None:
        number = product.number(band)
        if number is None:
            return None
        return self._kept.stack(product.source, number, all_dates=all_dates)[product.variable]

    def _line(self, source: str, band: str, pixel: tuple[int, int]) -> xr.Dataset | None:
        number = self._products[source].number(band)
        return None if number is None else self._kept.line(source, number, *pixel)

    def reading(self, pixel: tuple[int, int] | None = None, *, date: np.datetime64 | None = None) -> Reading:
        """Return the values at a pixel on a date (by default those that are chosen), true and not levels."""
        series = self.series(pixel)
        date = self.date if date is None else date
        return Reading(
            band=series.band,
            pixel=series.pixel,
            x=series.x,
            y=series.y,
            date=date,
            level=series.level,
            observed=series.observed.on(date),
            estimates={name: e.on(date) for name, e in series.estimates.items()},
            later=None if series.later is None else series.later.on(date),
        )

    # Requests that must not make anybody wait

    def request(self, kind: str, work: Callable[[], object]) -> None:
        """Do `work` in the background; a newer request of the same kind replaces one that still waits."""
        self._latest.submit(kind, work)

    def wait(self, timeout: float = 60.0) -> bool:
        """Wait for the background requests; False if they took longer than `timeout` seconds."""
        return self._latest.wait(timeout)

    def fail(self, error: Exception) -> None:
        """Keep a failure of a callback, so that it is seen: in `errors`, and as text in `error`."""
        self.errors.append(error)
        text = str(error) or type(error).__name__
        # A reader's message may hold a signed address: the signature is nobody's business.
        self.error = _SIGNATURE.sub("", text)

    @contextmanager
    def _waiting_for(self, what: str, *, lazy: bool = True) -> Iterator[None]:
        if self._lazy and lazy:
            self.status = f"Reading {what}"
        try:
            yield
        finally:
            self.status = ""


class _Recent(dict[Any, T]):
    """The newest few values, so that looking back is free and memory stays bounded."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size
        self._lock = threading.Lock()

    def get_or(self, key: Any, make: Callable[[], T]) -> T:
        with self._lock:
            if key in self:
                self[key] = self.pop(key)
                return self[key]
        value = make()
        with self._lock:
            self[key] = value
            while len(self) > self._size:
                del self[next(iter(self))]
        return value


def _points(line: xr.Dataset | None) -> Points:
    if line is None:
        return Points(np.array([], "datetime64[ns]"), np.array([], np.float32))
    values = line["mean"].values
    seen = np.isfinite(values)
    return Points(line["time"].values[seen], values[seen])


def _estimate(line: xr.Dataset | None, half_width: float) -> Estimate:
    if line is None:
        return Estimate(np.array([], "datetime64[ns]"), *(np.array([], np.float32) for _ in range(3)))
    mean = line["mean"].values
    margin = half_width * line["spread"].values if "spread" in line else np.full_like(mean, np.nan)
    return Estimate(line["time"].values, mean, mean - margin, mean + margin)
