"""The ``.koopman`` accessor: parses and delegates; the work is in `s2koop.koopman.analysis`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from s2koop.zoo import LAND

if TYPE_CHECKING:
    from s2koop.koopman.ensemble import KoopmanEnsemble
    from s2koop.koopman.model import KoopmanModel
    from s2koop.koopman.plotting import KoopmanPlot
    from s2koop.koopman.settings import KoopmanSettings


@xr.register_dataarray_accessor("koopman")
class KoopmanAccessor:
    """Koopman forecasting, gap filling and denoising of a cube (time, band, y, x).

    Every method but `fit` is lazy on a dask-backed cube and computed at once on a NumPy-backed one.
    """

    def __init__(self, cube: xr.DataArray) -> None:
        self._cube = cube

    def __repr__(self) -> str:
        sizes = ", ".join(f"{dim} {size}" for dim, size in self._cube.sizes.items())
        methods = "fit, assimilate, forecast, interpolate, spectrum, state, update, monitor, plot, dashboard"
        return f"<koopman accessor of a cube ({sizes}): {methods}>"

    def fit(
        self,
        *,
        settings: KoopmanSettings | None = None,
        max_pixels: int = 10_000,
        device: str = "cpu",
        progress: bool = True,
        checkpoint: str | Path | None = None,
        members: int = 1,
        ensemble: str | None = None,
        diversity: float | None = None,
        **options: Any,
    ) -> KoopmanModel | KoopmanEnsemble:
        """Train a Koopman autoencoder on the cube, without labels.

        Dates may be irregular; gaps are NaN, per pixel, date and band. Only the chunks that hold the drawn pixels
        are read, one pass.

        Parameters
        ----------
        settings : KoopmanSettings, optional
            Or its fields as keyword arguments, such as ``operator="dense"`` or ``steps=500``.
        max_pixels : int
            Pixels drawn at random for training.
        device : str
            ``"cpu"`` or a torch device.
        progress : bool
            Show a progress bar with the losses.
        checkpoint : path, optional
            A ``.safetensors`` file in which the training keeps its state, every 50 steps and when it is interrupted.
            The same call on the same cube goes on from it, to the same model as without an interruption; a
            checkpoint of other settings or data is refused. It is removed once the model is there.
        members : int
            More than one: fit an ensemble of so many members.
        ensemble : {"independent", "variance", "crps", "shared"}, optional
            ``"independent"`` (the default): one model after the other, with seeds that follow each other.
            ``"variance"``: together, with a loss that promotes the variance between members. ``"crps"``: together, with
            the almost fair CRPS. ``"shared"``: one network with a last layer for each member, which costs little more
            than a single model, with the same score (or the loss of ``"variance"``, where `diversity` is given).
        diversity : float, optional
            Weight of the variance between members in the loss of ``"variance"`` (0.5 by default), 0 to 1.

        Returns
        -------
        KoopmanModel, or KoopmanEnsemble where there are several members
            Immutable; ``model.save(path)`` writes it, `s2koop.koopman.load` reads it.

        Raises
        ------
        InputError
            If the cube is no reflectance cube, has too few usable dates, or a setting is wrong.
        ModelError
            If the training diverges, or the checkpoint is of another training.

        References
        ----------
        Frion et al. (2023) "Learning Sentinel-2 reflectance dynamics for data-driven assimilation and
        forecasting", EUSIPCO; Frion et al. (2024) "Neural Koopman prior for data assimilation", IEEE TSP 72.

        Examples
        --------
        >>> from s2koop.simulate import seasonal_cube
        >>> model = seasonal_cube(seed=0, every_days=30).koopman.fit(steps=20, hidden=(16,), latent=8, progress=False)
        >>> model.bands
        ('B04', 'B08')
        """
        from s2koop.koopman import analysis

        return analysis.fit(
            self._cube,
            settings=settings,
            max_pixels=max_pixels,
            device=device,
            progress=progress,
            checkpoint=checkpoint,
            members=members,
            ensemble=ensemble,
            diversity=diversity,
            **options,
        )

    def assimilate(
        self,
        model: KoopmanModel | KoopmanEnsemble | str | Path = LAND,
        *,
        times: Any = None,
        constraint: str = "weak",
        scene: bool = True,
        window: Any = None,
        shift: Any = None,
        forget: float = 0.2,
        as_observed: bool = False,
        spatial: str | None = None,
        solver: str = "levenberg-marquardt",
        max_iterations: int | None = None,
        tolerance: float = 1e-4,
        precision: str = "float32",
        device: str = "cpu",
        progress: bool = True,
        members: bool = False,
        quantiles: Any = None,
        spread: bool = True,
    ) -> xr.Dataset:
        """Analysis: the trajectory of each pixel that fits its observations and the model.

        Variational assimilation of the latent at the start of the window, with a Gaussian background, masks per
        pixel, date and band, and the posterior spread from the Gauss-Newton Hessian. Around the trajectory of the
        latent each pixel may depart for days to months (weak constraint), and each date may have an effect that the
        whole scene shares, such as haze. Bands of the model that the cube lacks are returned all the same.

        Parameters
        ----------
        model : KoopmanModel, KoopmanEnsemble, path or name
            The shipped prior for land (`s2koop.zoo`) by default.
        times : datetimes, optional
            Dates of the result, sorted and without repeats in it; the cube's own dates by default.
        constraint : {"weak", "strong"}
            ``"strong"`` lets no pixel depart from its trajectory, as in the papers; quicker, and too sure of itself.
        scene : bool
            Estimate the effect of each date from pixels all over the scene. What lasts of it belongs to the surface
            and to forecasts; what passes, such as haze, is taken off. A dask-backed cube is read twice for it.
        window : timedelta, optional
            Length of windows that slide over the cube, such as ``"730D"``; by default one window holds all of it. For
            long cubes in which land use changes: each window begins with what the dates before it say, partly
            forgotten, and a date is answered by the latest window that has begun. ``cost``, ``misfit`` and
            ``iterations`` are those of the last window.
        shift : timedelta, optional
            From the start of one window to the next, at most `window`, which it is by default.
        forget : float
            Share of the precision of the past that a window keeps, 0 (nothing) to 1 (all of it: a robust loss then
            takes land that changed for haze).
        as_observed : bool
            Return what a sensor would see instead of the surface: with the effect of a date that was observed, and
            with the average of the sky on others. For comparing with observations, and for seamless gap filling.
        spatial : {"tikhonov", "tv"}, optional
            With ``as_observed=True``: fill each date from the neighbours that were seen on it, by a smooth field
            (Tikhonov) or one with edges (total variation) of what the analysis without that date leaves. For gap
            filling where clouds hide a part of the scene.
        solver : {"levenberg-marquardt", "lbfgs", "adam"}
            Levenberg-Marquardt takes fewest iterations; L-BFGS needs gradients only, which is faster where latents or
            bands are many; Adam repeats the papers' recipe.
        max_iterations : int, optional
            Most iterations of a pixel; 30, 100 and 201 for the three solvers.
        tolerance : float
            A pixel stops when a step lowers its cost by less than this fraction.
        precision : {"float32", "bfloat16"}
            Of the decoder on the asked dates: bfloat16 is faster where the processor has it, and errs by about a
            thousandth of a band's range.
        device : str
            ``"cpu"`` or a torch device.
        progress : bool
            Show a progress bar; NumPy-backed cubes only (`dask.diagnostics.ProgressBar` shows the others).
        members : bool
            For an ensemble: keep the means of its members, as ``members`` (member, time, band, y, x).
        quantiles : sequence of float, optional
            Probabilities; adds ``quantiles`` (quantile, time, band, y, x) of an observation.
        spread : bool
            False: leave the spreads out. The same mean is found without derivatives on the asked dates, in a fraction
            of the time where these are many.

        Returns
        -------
        Dataset
            ``mean``, ``spread`` (of an observation: nine in ten lie within 1.645 of it; by season and lead time),
            ``spread_state`` (of the surface: what latents and anomalies leave open; with the strong constraint the
            anomalies are not in it, so it is too narrow for the truth), all (time, band, y, x) float32, and per pixel
            ``cost``, ``misfit``, ``iterations``. Pixels without any observation are NaN.

        Raises
        ------
        InputError, ModelError
            If the cube is no reflectance cube, or the model does not know its bands.

        References
        ----------
        Frion et al. (2024), section V; Tremolet (2006) for the weak constraint.

        Examples
        --------
        >>> from s2koop.simulate import seasonal_cube
        >>> cube = seasonal_cube(seed=0, every_days=30)
        >>> model = cube.koopman.fit(steps=20, hidden=(16,), latent=8, progress=False)
        >>> cube.koopman.assimilate(model, times=["2020-06-01"])["mean"].sizes["time"]
        1
        """
        from s2koop.koopman import analysis

        options = analysis.SolverOptions(
            constraint=constraint,
            scene=scene,
            window=window,
            shift=shift,
            forget=forget,
            as_observed=as_observed,
            spatial=spatial,
            solver=solver,
            max_iterations=max_iterations,
            tolerance=tolerance,
            precision=precision,
            device=device,
            progress=progress,
            spread=spread,
        )
        return analysis.assimilate(
            self._cube, model, times=times, options=options, members=members, quantiles=quantiles
        )

    def forecast(
        self,
        model: KoopmanModel | KoopmanEnsemble | str | Path = LAND,
        *,
        times: Any = None,
        steps: int | None = None,
        constraint: str = "weak",
        scene: bool = True,
        window: Any = None,
        shift: Any = None,
        forget: float = 0.2,
        as_observed: bool = False,
        solver: str = "levenberg-marquardt",
        max_iterations: int | None = None,
        tolerance: float = 1e-4,
        precision: str = "float32",
        device: str = "cpu",
        progress: bool = True,
        members: bool = False,
        quantiles: Any = None,
        spread: bool = True,
    ) -> xr.Dataset:
        """Forecast beyond the cube: assimilate all its dates, then advance.

        Parameters
        ----------
        model : KoopmanModel, KoopmanEnsemble, path or name
            As for `assimilate`.
        times : datetimes
            Dates after the last one of the cube, or
        steps : int
            so many steps (``model.settings.step_days``) after it.
        constraint, scene, as_observed, solver, max_iterations, tolerance, precision, device, progress
            As for `assimilate`.
        window, shift, forget, members, quantiles, spread
            As for `assimilate`.

        Returns
        -------
        Dataset
            As from `assimilate`; the spread holds the error of forecasts of the held-out period of the training.

        Raises
        ------
        InputError, ModelError
            If a date is not after the cube, or as for `assimilate`.

        Examples
        --------
        >>> from s2koop.simulate import seasonal_cube
        >>> cube = seasonal_cube(seed=0, every_days=30)
        >>> model = cube.koopman.fit(steps=20, hidden=(16,), latent=8, progress=False)
        >>> cube.koopman.forecast(model, steps=3)["mean"].sizes["time"]
        3
        """
        from s2koop.koopman import analysis

        options = analysis.SolverOptions(
            constraint=constraint,
            scene=scene,
            window=window,
            shift=shift,
            forget=forget,
            as_observed=as_observed,
            solver=solver,
            max_iterations=max_iterations,
            tolerance=tolerance,
            precision=precision,
            device=device,
            progress=progress,
            spread=spread,
        )
        return analysis.forecast(
            self._cube, model, times=times, steps=steps, options=options, members=members, quantiles=quantiles
        )

    def interpolate(
        self,
        model: KoopmanModel | KoopmanEnsemble | str | Path = LAND,
        *,
        freq: str | None = None,
        times: Any = None,
        constraint: str = "weak",
        scene: bool = True,
        window: Any = None,
        shift: Any = None,
        forget: float = 0.2,
        as_observed: bool = False,
        spatial: str | None = None,
        solver: str = "levenberg-marquardt",
        max_iterations: int | None = None,
        tolerance: float = 1e-4,
        precision: str = "float32",
        device: str = "cpu",
        progress: bool = True,
        members: bool = False,
        quantiles: Any = None,
        spread: bool = True,
    ) -> xr.Dataset:
        """Gap-free cube between the first and the last date.

        Parameters
        ----------
        model : KoopmanModel, KoopmanEnsemble, path or name
            As for `assimilate`.
        freq : str
            pandas frequency of the dates, such as ``"5D"``, or
        times : datetimes
            the dates themselves.
        constraint, scene, as_observed, spatial, solver, max_iterations, tolerance, precision, device, progress
            As for `assimilate`.
        window, shift, forget, members, quantiles, spread
            As for `assimilate`.

        Returns
        -------
        Dataset
            As from `assimilate`.

        Raises
        ------
        InputError, ModelError
            If a date is outside the cube, or as for `assimilate`.

        Examples
        --------
        >>> from s2koop.simulate import seasonal_cube
        >>> cube = seasonal_cube(seed=0, every_days=30)
        >>> model = cube.koopman.fit(steps=20, hidden=(16,), latent=8, progress=False)
        >>> bool(cube.koopman.interpolate(model, freq="30D")["mean"].notnull().all())
        True
        """
        from s2koop.koopman import analysis

        options = analysis.SolverOptions(
            constraint=constraint,
            scene=scene,
            window=window,
            shift=shift,
            forget=forget,
            as_observed=as_observed,
            spatial=spatial,
            solver=solver,
            max_iterations=max_iterations,
            tolerance=tolerance,
            precision=precision,
            device=device,
            progress=progress,
            spread=spread,
        )
        return analysis.interpolate(
            self._cube, model, freq=freq, times=times, options=options, members=members, quantiles=quantiles
        )

    def spectrum(
        self, model: KoopmanModel | str | Path = LAND, *, device: str = "cpu", progress: bool = True
    ) -> xr.Dataset:
        """Modes of the model, and how strong each is in every pixel.

        Parameters
        ----------
        model : KoopmanModel, path or name
            As for `assimilate`.
        device, progress
            As for `assimilate`.

        Returns
        -------
        Dataset
            ``amplitude`` (mode, y, x) in latent units, with the coordinates ``eigenvalue_real``,
            ``eigenvalue_imag``, ``period`` and ``decay`` (days) on ``mode``.

        Raises
        ------
        InputError, ModelError
            As for `assimilate`.

        Examples
        --------
        >>> from s2koop.simulate import seasonal_cube
        >>> cube = seasonal_cube(seed=0, every_days=30)
        >>> model = cube.koopman.fit(steps=20, hidden=(16,), latent=8, progress=False)
        >>> cube.koopman.spectrum(model)["amplitude"].dims
        ('mode', 'y', 'x')
        """
        from s2koop.koopman import analysis

        return analysis.spectrum(self._cube, model, device=device, progress=progress)

    def state(
        self,
        model: KoopmanModel | str | Path = LAND,
        *,
        scene: bool = True,
        solver: str = "levenberg-marquardt",
        max_iterations: int | None = None,
        tolerance: float = 1e-4,
        device: str = "cpu",
        progress: bool = True,
    ) -> xr.Dataset:
        """State on the last date of the cube: all that forecasts and later dates need of the past.

        The joint Gaussian posterior of each pixel's latent and of its anomalies on the last date, and that of the
        anomalies that the scene shares. Keep it (``to_netcdf``, ``to_zarr``), and let each new scene move it forward
        with ``state.koopman.update(new_scene, model)``: no old date is read again. About
        ``2 * (latent + processes) ** 2`` bytes a pixel.

        Parameters
        ----------
        model : KoopmanModel, path or name
            As for `assimilate`; one model, not an ensemble.
        scene, solver, max_iterations, tolerance, device, progress
            As for `assimilate`. With ``scene=False`` the state shares nothing, then and later.

        Returns
        -------
        Dataset
            ``latent`` (component, y, x), ``anomaly`` (process, y, x), both in standard deviations of the prior,
            ``covariance`` (pair, y, x): rows of the lower triangle of their covariance; ``last`` (y, x): days from
            the start of the window to the last observation; ``departure``, ``departure_covariance`` and
            ``departure_size`` of land that does what no training pixel did; ``scene_anomaly``, ``scene_covariance``
            and ``scene_departure_size``. All float32; a pixel that was never seen has the prior, and NaN in ``last``.

        Raises
        ------
        InputError, ModelError
            As for `assimilate`; or if the model holds no errors with a memory (an imported one).

        See Also
        --------
        KoopmanStateAccessor.update, KoopmanStateAccessor.forecast

        References
        ----------
        Sarkka and Svensson (2023), Bayesian Filtering and Smoothing, chapter 7, for what moves it forward.

        Examples
        --------
        >>> from s2koop.simulate import seasonal_cube
        >>> cube = seasonal_cube(seed=0, every_days=30)
        >>> model = cube.koopman.fit(steps=20, hidden=(16,), latent=8, progress=False)
        >>> state = cube[:-1].koopman.state(model, progress=False)
        >>> state = state.koopman.update(cube[-1:], model, progress=False)
        >>> state.koopman.forecast(model, times=["2021-02-01"])["mean"].dims
        ('time', 'band', 'y', 'x')
        """
        from s2koop.koopman import analysis
        from s2koop.koopman.state import state

        options = analysis.SolverOptions(
            scene=scene,
            solver=solver,
            max_iterations=max_iterations,
            tolerance=tolerance,
            device=device,
            progress=progress,
        )
        return state(self._cube, model, options=options)

    def update(
        self,
        state: xr.Dataset,
        model: KoopmanModel | str | Path = LAND,
        *,
        device: str = "cpu",
        progress: bool = True,
    ) -> xr.Dataset:
        """State after the dates of this cube: ``state.koopman.update(cube, model)``, which see."""
        return state.koopman.update(self._cube, model, device=device, progress=progress)

    def monitor(
        self,
        model: KoopmanModel | str | Path = LAND,
        *,
        start: Any,
        level: float = 0.99,
        confirm: int = 3,
        scene: bool = True,
        solver: str = "levenberg-marquardt",
        max_iterations: int | None = None,
        tolerance: float = 1e-4,
        device: str = "cpu",
        progress: bool = True,
    ) -> xr.Dataset:
        """Watch the dates from `start` on for what their pixels' past does not explain, as if each came in today.

        The dates before `start` give the state of each pixel; each later date is then forecast from the ones before
        it, flagged where its bands together lie outside the predicted spread, and absorbed into the state where not.
        Several flagged clear dates in a row that depart in one direction are a break: its pixel then goes on from the
        level that they show, as unsure of its season as the model's background.

        Parameters
        ----------
        model : KoopmanModel, path or name
            As for `assimilate`; one model, not an ensemble.
        start : datetime
            The first date that may be flagged; give it a year or more of dates before.
        level : float
            Probability that a usual date is not flagged, 0.5 to 1.
        confirm : int
            Flagged clear dates in a row that make a break; a date without a clear band does not count.
        scene : bool
            Take off what all pixels of a date share, such as haze or a drought. Give False where a break may strike
            most of the cube at once.
        solver, max_iterations, tolerance, device, progress
            As for `assimilate`, for the dates before `start`.

        Returns
        -------
        Dataset
            ``flag`` (time, y, x) int8: 1 unusual, 0 usual, -1 unobserved; ``score`` (time, y, x): Mahalanobis distance
            of the observed bands from their forecast; ``break_date`` (y, x) datetime64: the first of the flagged
            dates that confirmed the first break, NaT for none; ``magnitude`` (band, y, x): the median departure from
            the forecast over those dates, in reflectance, NaN for none; ``consecutive`` (y, x) int16: flagged dates
            in a row at the end that have confirmed no break yet.

        Raises
        ------
        InputError, ModelError
            If no date is before `start` or none after it, `level` or `confirm` is out of bounds, or as for `state`.

        References
        ----------
        Verbesselt et al. (2012), Remote Sensing of Environment 123, for monitoring against a stable history; Zhu and
        Woodcock (2014), Remote Sensing of Environment 144, for consecutive departures; Zhu et al. (2020), Remote
        Sensing of Environment 238, for departures that agree.

        Examples
        --------
        >>> from s2koop.simulate import seasonal_cube
        >>> cube = seasonal_cube(seed=0, every_days=30)
        >>> model = cube.koopman.fit(steps=20, hidden=(16,), latent=8, progress=False)
        >>> found = cube.koopman.monitor(model, start="2020-07-01", progress=False)
        >>> found["break_date"].dims
        ('y', 'x')
        """
        from s2koop.koopman import analysis
        from s2koop.koopman.monitor import monitor

        options = analysis.SolverOptions(
            scene=scene,
            solver=solver,
            max_iterations=max_iterations,
            tolerance=tolerance,
            device=device,
            progress=progress,
        )
        return monitor(self._cube, model, start=start, level=level, confirm=confirm, options=options)

    @property
    def plot(self) -> KoopmanPlot:
        """Still plots of this cube, results and modes: ``.plot.series``, ``.map``, ``.maps``, ``.spectrum``."""
        from s2koop.koopman.plotting import KoopmanPlot

        return KoopmanPlot(self._cube)

    def dashboard(self, *results: xr.Dataset, model: Any = None, **options: Any) -> Any:
        """Look at this cube and its results: `s2koop.dashboard`, which also names the options.

        Parameters
        ----------
        *results : Dataset
            Up to four, such as those of `assimilate` and `forecast`.
        model : KoopmanModel, KoopmanEnsemble, path or name, optional
            Of the Koopman results: their pixels can then be analysed again without what is withheld, and its modes
            looked at. The shipped prior for land (`s2koop.zoo`) where a Koopman result was made with it.
        **options
            Those of `s2koop.dashboard`: ``names``, ``later``, ``band``, ``pixel``, ``date``, ``level``, ...

        Returns
        -------
        Dashboard
        """
        from s2koop.live import dashboard

        model = _shipped_model_of(results) if model is None else model
        return dashboard(self._cube, *results, model=model, **options)


@xr.register_dataset_accessor("koopman")
class KoopmanStateAccessor:
    """What can be done with the state that ``cube.koopman.state(model)`` returns."""

    def __init__(self, state: xr.Dataset) -> None:
        self._state = state

    def __repr__(self) -> str:
        return f"<koopman accessor of a state on {self._state.attrs.get('last_date', 'no date')}: update, forecast>"

    def update(
        self,
        cube: xr.DataArray,
        model: KoopmanModel | str | Path = LAND,
        *,
        device: str = "cpu",
        progress: bool = True,
    ) -> xr.Dataset:
        """State after some new dates, without the old ones.

        For each date in turn: anomalies decay, the effect that all pixels share is estimated from what they did not
        expect, and the rest moves latent and anomalies of each pixel by one step of an extended Kalman filter.
        With a linear decoder, without robust loss and scene, this is what assimilating all dates at once says;
        otherwise it is close, as long as the window before determines the latent well.

        Parameters
        ----------
        cube : DataArray, dims (time, band, y, x)
            New dates only, on the grid of the state; bands may be missing.
        model : KoopmanModel, path or name
            The one that made the state.
        device, progress
            As for `KoopmanAccessor.assimilate`.

        Returns
        -------
        Dataset
            As from `KoopmanAccessor.state`; lazy where the state or the cube is.

        Raises
        ------
        InputError
            If a date is not after the state, the grid is another one, or this is no state.
        ModelError
            If the state is of another model.

        References
        ----------
        Sarkka and Svensson (2023), Bayesian Filtering and Smoothing, algorithm 7.4.

        Examples
        --------
        >>> from s2koop.simulate import seasonal_cube
        >>> cube = seasonal_cube(seed=0, every_days=30)
        >>> model = cube.koopman.fit(steps=20, hidden=(16,), latent=8, progress=False)
        >>> state = cube[:-2].koopman.state(model, progress=False)
        >>> state.koopman.update(cube[-2:], model, progress=False).attrs["last_date"][:10]
        '2020-12-21'
        """
        from s2koop.koopman.state import update

        return update(self._state, cube, model, device=device, progress=progress)

    def forecast(
        self,
        model: KoopmanModel | str | Path = LAND,
        *,
        times: Any,
        device: str = "cpu",
        progress: bool = True,
    ) -> xr.Dataset:
        """Forecast from a state: as `KoopmanAccessor.forecast` of all its dates, without reading them.

        Parameters
        ----------
        model : KoopmanModel, path or name
            The one that made the state.
        times : datetimes
            Not before the date of the state.
        device, progress
            As for `KoopmanAccessor.assimilate`.

        Returns
        -------
        Dataset
            ``mean``, ``spread`` (of an observation) and ``spread_state`` (of the surface), (time, band, y, x)
            float32, in reflectance. Pixels that were never seen are NaN.

        Raises
        ------
        InputError
            If a date is before the state, or this is no state.
        ModelError
            If the state is of another model.

        Examples
        --------
        >>> from s2koop.simulate import seasonal_cube
        >>> cube = seasonal_cube(seed=0, every_days=30)
        >>> model = cube.koopman.fit(steps=20, hidden=(16,), latent=8, progress=False)
        >>> state = cube.koopman.state(model, progress=False)
        >>> state.koopman.forecast(model, times=["2021-02-01", "2021-03-01"])["spread"].sizes["time"]
        2
        """
        from s2koop.koopman.state import forecast_state

        return forecast_state(self._state, model, times=times, device=device, progress=progress)


def _shipped_model_of(results: tuple[xr.Dataset, ...]) -> str | None:
    """The name of the shipped prior, where a result says that it was made with it."""
    if not any(result.attrs.get("method") == "koopman" for result in results if isinstance(result, xr.Dataset)):
        return None
    from s2koop.koopman import load

    digest = load(LAND).digest[:12]
    return LAND if any(digest in str(result.attrs.get("source", "")) for result in results) else None
