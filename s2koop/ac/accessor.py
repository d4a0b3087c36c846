"""The ``.ac`` accessor: parses and delegates; the work is in `inversion`, `emulate`, `sensors` and `compare`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

if TYPE_CHECKING:
    from s2koop.ac.compare import Comparison
    from s2koop.ac.emulator import AcModel
    from s2koop.ac.lut import Table
    from s2koop.live.atmosphere import AtmosphereDashboard


@xr.register_dataset_accessor("ac")
@xr.register_dataarray_accessor("ac")
class AtmosphereAccessor:
    """Atmospheric correction of a scene ([time], band, y, x), or of the ``mean`` of a result.

    Every method is lazy on a dask-backed scene and computed at once on a NumPy-backed one, but `compare` and `report`,
    which give numbers.
    """

    def __init__(self, scene: xr.DataArray | xr.Dataset) -> None:
        self._scene = scene

    def __repr__(self) -> str:
        sizes = ", ".join(f"{dim} {size}" for dim, size in self._scene.sizes.items())
        return f"<ac accessor of a scene ({sizes}): invert, emulate, simulate, to_sensor, compare, dashboard, report>"

    def invert(
        self,
        *,
        method: str = "lut",
        aot: Any = None,
        water_vapour: Any = None,
        ozone: Any = None,
        altitude: Any = None,
        aerosol: str = "continental",
        angles: Any = None,
        sensor: Any = None,
        adjacency: float | None = None,
        smac_coefficients: Any = None,
        aot_error: Any = None,
        water_vapour_error: Any = None,
        noise: Any = 1.0,
        slope: Any = None,
        spread: bool = True,
        table: Table | None = None,
    ) -> xr.Dataset:
        """Correct reflectance at the top of the atmosphere to that of the surface, under a known atmosphere.

        Each quantity is a number, one number per date, or a DataArray over time, y and x in any combination: on the
        pixels of the scene (lazily, too), or on a coarser grid of the same coordinates, which is interpolated. Where
        quantities vary over the scene, the method is asked at few states only, between which pixels interpolate.

        Parameters
        ----------
        method : {"lut", "smac"}
            Our look-up table, computed with 6S, or the equations of SMAC.
        aot : optional
            Aerosol optical thickness at 550 nm; 0.13 by default, with a standard deviation as large.
        water_vapour : optional
            Column in g/cm² (kg/m² times 0.1); 1.6 by default, with a standard deviation of 1.
        ozone : optional
            Column in cm-atm (Dobson units divided by 1000); 0.32 by default.
        altitude : optional
            Of the surface in m; 0 by default. A terrain model, such as ``dem`` on the pixels of the scene, serves.
        aerosol : {"continental", "maritime", "urban", "desert"}
            Model of the aerosol.
        angles : mapping, Dataset or STAC item, optional
            Degrees: ``dict(sza=..., vza=..., raa=...)`` (``raa`` is 0 with the sun behind the sensor), or with
            azimuths ``saa`` and ``vaa`` instead of it; what `s2koop.ac.read_angles` gives; a STAC item. By default the
            coordinates of the scene, as `s2koop.load` writes them. Where the view is not known, 5 degrees are taken,
            with a warning and a flag.
        sensor : str or mapping, optional
            As for `s2koop.ac.Table.coefficients`; by default what the scene says, for each date.
        adjacency : float, optional
            Scale in m, such as 1000, over which neighbours send light that the air scatters into the view, weighted
            by ``exp(-distance / scale)``. The scene is then read twice, and needs coordinates in m. None: each pixel
            is taken as part of a uniform surface.
        smac_coefficients : path, SmacCoefficients or mapping of band to these, optional
            With ``method="smac"``; our fit to the table by default.
        aot_error, water_vapour_error : optional
            Standard deviations; by default ``0.03 + 0.1 aot`` and ``0.2 + 0.1 water_vapour``, as is required of
            Sentinel-2's products.
        noise : float or mapping
            Of the sensor: times what is specified (0 for none), or from band to a standard deviation of reflectance.
        slope : optional
            Of the terrain in degrees, for its flag.
        spread : bool
            False: leave the spread out, which takes most of the time.
        table : Table, optional
            Another table than the shipped one.

        Returns
        -------
        Dataset
            ``mean``, surface reflectance with the dims and dtype of the scene (half precision becomes single), but
            without B10, through which the surface is not seen; negative values are kept. ``spread``, its standard
            deviation. ``flags`` ([time], y, x), uint16: ``saturated`` (above 2 in a band), ``cirrus`` (B10 above
            0.012), ``negative_reflectance`` (in a band), ``outside_table`` (the state is taken at the limit),
            ``sun_low`` (zenith angle above 70 degrees), ``steep_terrain`` (slope above 8 degrees), ``view_assumed``.
            Attributes name method, table, aerosol model.

        Raises
        ------
        InputError
            If the scene is no reflectance at the top of the atmosphere, its sensor or the sun is not known, the sun is
            below the horizon, a number lies outside of the table, or an argument does not fit.

        See Also
        --------
        s2koop.ac.to_boa : the equation.

        References
        ----------
        Vermote et al. (1997), IEEE TGRS 35; Rahman and Dedieu (1994), Int. J. Remote Sensing 15.

        Examples
        --------
        >>> import numpy as np, xarray as xr
        >>> toa = xr.DataArray(
        ...     np.full((2, 1, 1), 0.2, "float32"), dims=("band", "y", "x"),
        ...     coords={"band": ["B02", "B04"]}, attrs={"level": "TOA"},
        ... )
        >>> boa = toa.ac.invert(aot=0.2, sensor="S2A", angles=dict(sza=35.0, vza=4.0, raa=110.0))
        >>> bool(boa["mean"].sel(band="B02") < boa["mean"].sel(band="B04"))
        True
        """
        from s2koop.ac import inversion

        air = inversion.Air(
            method=method, aot=aot, water_vapour=water_vapour, ozone=ozone, altitude=altitude, aerosol=aerosol,
            angles=angles, sensor=sensor, adjacency=adjacency, smac_coefficients=smac_coefficients, table=table,
        )  # fmt: skip
        return inversion.invert(
            self._values(), air, aot_error=aot_error, water_vapour_error=water_vapour_error, noise=noise, slope=slope,
            spread=spread,
        )  # fmt: skip

    def emulate(
        self,
        model: str | Path | AcModel = "hybrid",
        *,
        aerosol: str | None = None,
        angles: Any = None,
        altitude: Any = None,
        ozone: Any = None,
        water_vapour: Any = None,
        sensor: Any = None,
        adjacency: float | None = None,
        table: Table | None = None,
    ) -> xr.Dataset:
        """Correct reflectance at the top of the atmosphere to that of the surface, under an unknown atmosphere.

        Parameters
        ----------
        model : {"hybrid", "context", "fcnn", "unet"}, name, path or AcModel
            ``"hybrid"`` retrieves aerosol and water vapour from the scene, and inverts radiative transfer.
            ``"context"`` is a network that knows its scene, ``"fcnn"`` and ``"unet"`` are networks that see a
            neighbourhood only. The shipped model for the bands of the scene is taken: all twelve of Sentinel-2; B02,
            B04, B08 and B11; or PROBA-V's four.
        aerosol : {"continental", "maritime", "urban", "desert"}, optional
            The aerosol's model, if it is known; else the hybrid weighs those that it was trained with.
        angles, altitude, ozone, sensor, table
            As for `invert`; maps are averaged over each date.
        water_vapour : optional
            g/cm², for models that take it; by default what the hybrid retrieves.
        adjacency : float, optional
            As for `invert`, for hybrid and context models. Real scenes need it: without, a hybrid takes the light
            that bright land sends over dark water for aerosol.

        Returns
        -------
        Dataset
            ``mean`` and ``spread``; ``difference`` to the physical inversion (networks only); ``flags`` as of `invert`;
            for each date ``aot``, ``water_vapour``, their spreads, and ``aerosol_probability``. Clouds have to be
            masked before, and one atmosphere is taken for the whole scene of a date.

        Raises
        ------
        InputError
            If the scene is no reflectance at the top of the atmosphere, bands that the model needs are missing, the
            sun is not known or below the horizon, or an argument does not fit.
        ModelError
            If there is no such model.

        See Also
        --------
        s2koop.ac.emulator.train_emulator : a model of one's own.

        Examples
        --------
        >>> from s2koop.simulate import toa_scenes
        >>> toa = toa_scenes("test", scenes=1, size=32)["toa"].isel(scene=0, drop=True)
        >>> boa = toa.ac.emulate("context", angles=dict(sza=40.0, vza=5.0, raa=100.0))
        >>> bool((boa["mean"].sel(band="B02") < toa.sel(band="B02")).mean() > 0.9)
        True
        """
        from s2koop.ac.emulate import emulate

        return emulate(
            self._values(), model, aerosol=aerosol, angles=angles, altitude=altitude, ozone=ozone,
            water_vapour=water_vapour, sensor=sensor, adjacency=adjacency, table=table,
        )  # fmt: skip

    def simulate(
        self,
        *,
        method: str = "lut",
        aot: Any = None,
        water_vapour: Any = None,
        ozone: Any = None,
        altitude: Any = None,
        aerosol: str = "continental",
        angles: Any = None,
        sensor: Any = None,
        adjacency: float | None = None,
        smac_coefficients: Any = None,
        table: Table | None = None,
    ) -> xr.DataArray:
        """The scene as seen from space: the exact reverse of `invert` under the same atmosphere.

        Parameters
        ----------
        method, aot, water_vapour, ozone, altitude, aerosol, angles, sensor, adjacency, smac_coefficients, table
            As for `invert`.

        Returns
        -------
        DataArray
            Reflectance at the top of the atmosphere, without noise; dims, coordinates and dtype of the scene.

        Raises
        ------
        InputError
            If the scene is no surface reflectance, else as `invert`.

        Examples
        --------
        >>> import numpy as np, xarray as xr
        >>> dark = xr.DataArray(
        ...     np.zeros((1, 1, 1), "float32"), dims=("band", "y", "x"),
        ...     coords={"band": ["B02"]}, attrs={"level": "BOA"},
        ... )
        >>> bool(dark.ac.simulate(aot=0.2, sensor="S2A", angles=dict(sza=35.0, vza=4.0, raa=110.0)) > 0.05)
        True
        """
        from s2koop.ac import inversion

        air = inversion.Air(
            method=method, aot=aot, water_vapour=water_vapour, ozone=ozone, altitude=altitude, aerosol=aerosol,
            angles=angles, sensor=sensor, adjacency=adjacency, smac_coefficients=smac_coefficients, table=table,
        )  # fmt: skip
        return inversion.simulate(self._values(), air)

    def to_sensor(
        self, sensor: Any, *, resolution: float | None = None, source: Any = None, table: Table | None = None
    ) -> xr.Dataset:
        """Surface reflectance as another sensor would see it: in its bands, as sharply, on its pixels.

        Parameters
        ----------
        sensor : str or mapping
            As for `s2koop.ac.Table.coefficients`.
        resolution : float, optional
            Size of a pixel in m, a whole multiple of the scene's; by default 100 m for PROBA-V and PV-CC, and no change
            for others.
        source : str or mapping, optional
            The sensor of the scene, where it does not say.
        table : Table, optional
            Where responses are taken from; the shipped one by default.

        Returns
        -------
        Dataset
            ``mean`` and ``spread`` ([time], band, y, x): the spread holds what a linear combination of the bands cannot
            know, and that of the scene if it is a result.

        Raises
        ------
        InputError
            If the scene is no surface reflectance, a sensor is unknown, or pixels do not make up the resolution.

        Examples
        --------
        >>> import numpy as np, xarray as xr
        >>> boa = xr.DataArray(
        ...     np.full((4, 20, 20), 0.2, "float32"), dims=("band", "y", "x"),
        ...     coords={"band": ["B02", "B04", "B08", "B11"], "y": -20.0 * np.arange(20), "x": 20.0 * np.arange(20)},
        ...     attrs={"level": "BOA", "sensor": "S2A"},
        ... )
        >>> boa.ac.to_sensor("PROBAV")["mean"].sizes["x"]
        4
        """
        from s2koop.ac import sensors

        return sensors.to_sensor(self._scene, sensor, resolution=resolution, source=source, table=table)

    def compare(self, reference: xr.DataArray | xr.Dataset, *, minimum: float = 0.02) -> Comparison:
        """Judge surface reflectance against a reference: per band, on the pixels that both have.

        Parameters
        ----------
        reference : DataArray, or a result with ``mean``
            On the same grid, with at least the bands of this one (or share some: only these are compared).
        minimum : float
            Ratios are taken where the reference is above this: those of dark pixels say nothing.

        Returns
        -------
        Comparison
            ``table`` (ratio, bias, accuracy, precision, uncertainty, RMSE, MAE, share inside the specification, SSIM,
            and the spectral angle in its last row), ``apu`` by reflectance; ``.plot()`` draws them.

        Raises
        ------
        InputError
            If grids, dates or bands do not match, or there is no pair of values.

        Examples
        --------
        >>> import numpy as np, xarray as xr
        >>> truth = xr.DataArray(
        ...     np.random.default_rng(0).uniform(0.1, 0.4, (1, 16, 16)), dims=("band", "y", "x"),
        ...     coords={"band": ["B04"]},
        ... )
        >>> (1.02 * truth).ac.compare(truth).table.loc["B04", ["ratio_median"]].round(3).tolist()
        [1.02]
        """
        from s2koop.ac.compare import compare

        return compare(self._values(), _values(reference), minimum=minimum)

    def dashboard(
        self,
        *,
        toa: xr.DataArray | None = None,
        reference: xr.DataArray | xr.Dataset | None = None,
        others: Mapping[str, xr.Dataset | xr.DataArray] | None = None,
        **options: Any,
    ) -> AtmosphereDashboard:
        """Look at a result beside what was measured, other results and a reference, and move the air over it.

        Two maps are swiped or stand side by side with the map of the ratio; a click draws the spectrum of a pixel; a
        region has numbers of its own; and sliders of aerosol and water vapour invert the scene again while they move.

        Parameters
        ----------
        toa : DataArray, optional
            The scene that was corrected. Without it nothing can be inverted again.
        reference : DataArray, or a result with ``mean``, optional
            As for `compare`.
        others : mapping of str to result, optional
            Up to two more results by name.
        **options
            ``angles``, ``sensor``, ``ozone``, ``altitude``, ``aerosol`` and ``table`` as for `invert`, for the live
            inversion; ``aot`` and ``water_vapour``, where it begins; ``name``, ``band``, ``pixel``, ``date`` and
            ``level`` (coverage of intervals).

        Returns
        -------
        AtmosphereDashboard
            A widget for notebooks; where widgets cannot be shown, its still picture appears.

        Raises
        ------
        InputError
            If grids, dates, bands or names do not fit, or a choice does not exist.

        Examples
        --------
        >>> boa = toa.ac.emulate("hybrid")  # doctest: +SKIP
        >>> boa.ac.dashboard(toa=toa, reference=sen2cor)  # doctest: +SKIP
        """
        from s2koop.live.atmosphere import atmosphere_dashboard

        result = self._scene if isinstance(self._scene, xr.Dataset) else self._scene.to_dataset(name="mean")
        return atmosphere_dashboard(result, toa=toa, reference=reference, others=others, **options)

    def report(self, reference: xr.DataArray | xr.Dataset, path: str | Path, *, title: str | None = None) -> Path:
        """Write a comparison as one HTML page with all tables and figures inside.

        Parameters
        ----------
        reference : DataArray, or a result with ``mean``
            As for `compare`.
        path : str or Path
            The file to write; its folder must exist.
        title : str, optional
            Heading of the page.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        InputError
            As `compare`.

        Examples
        --------
        >>> boa.ac.report(reference, "validation.html")  # doctest: +SKIP
        """
        return self.compare(reference).report(path, title=title, attrs=self._scene.attrs)

    def _values(self) -> xr.DataArray:
        return _values(self._scene)


def _values(scene: Any) -> xr.DataArray:
    """A scene itself, or the mean of a result."""
    if isinstance(scene, xr.Dataset) and "mean" in scene:
        return scene["mean"]
    return scene
