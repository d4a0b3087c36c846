"""``cube.koopman.plot``: the still views of a cube, its results and a model, as HoloViews objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import xarray as xr

if TYPE_CHECKING:
    import holoviews as hv


class KoopmanPlot:
    """Plots of a cube (time, band, y, x) and its results; each returns a HoloViews object to change and to save.

    Parameters
    ----------
    cube : DataArray
        Observations.

    Examples
    --------
    >>> import s2koop
    >>> from s2koop.simulate import seasonal_cube
    >>> cube = seasonal_cube(seed=0, every_days=30)
    >>> filled = s2koop.baselines.harmonic(cube, times=cube.time)
    >>> plot = cube.koopman.plot.series(filled, band="B08", pixel=(0, 0))
    >>> sorted({element.group for element in plot})
    ['Interval', 'Mean', 'Observed']
    """

    def __init__(self, cube: xr.DataArray) -> None:
        self._cube = cube

    def __call__(self, *results: xr.Dataset, **options: Any) -> hv.Overlay:
        """The same as `series`."""
        return self.series(*results, **options)

    def series(self, *results: xr.Dataset, **options: Any) -> hv.Overlay:
        """Draw one pixel over time, with results: `s2koop.plots.series`, which also names the options."""
        from s2koop import plots

        return plots.series(self._cube, *results, **options)

    def map(self, *results: xr.Dataset, **options: Any) -> hv.Image:
        """Draw one product on one date: `s2koop.plots.map`, which also names the options."""
        from s2koop import plots

        return plots.map(self._cube, *results, **options)

    def maps(self, *results: xr.Dataset, **options: Any) -> hv.Layout:
        """Draw observation, mean, spread and residual on one date: `s2koop.plots.maps`."""
        from s2koop import plots

        return plots.maps(self._cube, *results, **options)

    def spectrum(self, modes: xr.Dataset, *, mode: int | None = None) -> hv.Layout:
        """Draw the eigenvalues of a model on the unit circle, periods and memory, and where a mode is strong.

        Parameters
        ----------
        modes : Dataset
            What ``cube.koopman.spectrum(model)`` returns.
        mode : int, optional
            Stress this mode and draw its map; one mode is computed where the modes are lazy.

        Returns
        -------
        holoviews.Layout
        """
        from s2koop import plots

        parts = plots.eigenvalues(modes, chosen=mode) + plots.periods(modes, chosen=mode)
        whole = parts if mode is None else parts + plots.mode_map(modes, mode)
        return whole.opts(shared_axes=False).cols(2)
