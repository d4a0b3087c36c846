"""Published Koopman networks that a user brings, made into models: KAE, IKAE, IKAE-zp and AIKAE.

The papers (Frion et al. 2023, 2024, 2025) give a network and its K, and no more. What an assimilation needs besides,
a background of latents and the errors of observations, is set broadly here, or estimated from a cube.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from s2koop._file_checks import as_model_error
from s2koop._numbers import real
from s2koop._time import YEAR_DAYS, to_days
from s2koop.errors import InputError
from s2koop.koopman._checks import check_cube, check_model
from s2koop.koopman._official import FAMILIES, network_of, read_model, read_operator, settings_of
from s2koop.koopman.assimilation import Background, Window
from s2koop.koopman.background import BACKGROUND_PIXELS, gaussian, refine, trained_days
from s2koop.koopman.model import KoopmanModel
from s2koop.koopman.network import KoopmanNetwork

if TYPE_CHECKING:
    import xarray as xr

#: Channels of the published cubes, in the order in which the networks take them.
CHANNELS = ("B02", "B03", "B04", "B08", "B05", "B06", "B07", "B8A", "B11", "B12")
#: The published cubes are scaled by 3 / max(training cube), which is nowhere said as a number. The published
#: autoencoders reproduce Sentinel-2 reflectance best when it is multiplied by some 1.5 to 2.
SCALING = 1.75
#: Errors in the published units: root mean squares of the last 100 dates after an assimilation, KAE, mean of five seeds
#: (Frion et al. 2024), on the site of the training and on another one.
TRAINED_ERROR, TRANSFER_ERROR = 0.00112**0.5, 0.00346**0.5
#: States that the broad background is the Gaussian of.
DRAWN_STATES = 4096


def import_official(
    model_file: str | Path,
    k_file: str | Path,
    *,
    bands: Sequence[str] | None = None,
    scaling: float = SCALING,
    step_days: float = 5.0,
    background_from: xr.DataArray | None = None,
) -> KoopmanModel:
    """A model from the two files of a published network: KAE, IKAE, IKAE-zp or AIKAE with NICE couplings.

    The family is read from the names of the weights, and with it whether K advances row vectors (KAE) or column
    vectors (the others). Nothing in the files is executed.

    Parameters
    ----------
    model_file : path
        State dict of the network, as `torch.save` wrote it.
    k_file : path
        K, a bare tensor: the published classes do not hold it in their state dict.
    bands : sequence of str, optional
        Bands in the order of the network's channels; those of the published cubes (`CHANNELS`) by default. A flow on
        more numbers than these bands and their differences is taken as IKAE-zp.
    scaling : float
        What reflectance in 0..1 is multiplied by for the network. The published cubes hold ``3 x / max(x)`` over the
        training site, whose maximum is not given: 1.75 is the middle of what suits the published networks. With the
        cube at hand, give ``3 / max``.
    step_days : float
        Days of one step of K.
    background_from : DataArray, optional
        Cube from whose pixels (at most 512) the background and the errors of observations are estimated. Without it
        the background is the Gaussian of broadly drawn states on no particular day of the year, and the errors are
        those that were published: good for a start, not calibrated for a site.

    Returns
    -------
    KoopmanModel
        Its card says the family, the scaling, and where background and errors come from. The state of the network
        holds reflectance and the backward difference ``x_t - x_(t-1)`` over one step.

    Raises
    ------
    ModelError
        If a file is not there, is no checkpoint, is not of a published layout, or K belongs to another family.
    InputError
        If `bands`, `scaling` or `step_days` are wrong, or the cube cannot be used.

    See Also
    --------
    states : states of a regular series, as the network was trained on
    official_window : the papers' cost of assimilation

    References
    ----------
    Frion et al. (2024) "Neural Koopman prior for data assimilation", IEEE TSP 72; Frion et al. (2025) "Augmented
    invertible Koopman autoencoder for long-term time series forecasting", TMLR.

    Examples
    --------
    >>> from s2koop.koopman.checkpoints import import_official
    >>> model = import_official("best_model_0.pt", "best_K_0.pt")  # doctest: +SKIP
    >>> analysis = cube.koopman.assimilate(model)  # doctest: +SKIP
    """
    names = _band_names(bands)
    for name, value in (("scaling", scaling), ("step_days", step_days)):
        if real(name, value, least=0) == 0:
            raise InputError(f"{name}=0 must be greater than 0")
    file, operator = read_model(model_file), read_operator(k_file)
    settings = settings_of(file, len(names), float(step_days))
    network = network_of(file, operator, k_file, bands=len(names), settings=settings)
    ones = torch.ones(len(names))
    with as_model_error(f"{model_file} gives no states that can be encoded", "take the weights of a trained network"):
        background = _broad_background(network, scaling)
    model = KoopmanModel(
        settings=settings,
        network=network,
        bands=names,
        center=torch.zeros(len(names)),
        scale=ones / scaling,
        slope_scale=ones.clone(),
        background=background,
        noise=TRAINED_ERROR * ones,
        window_error=TRAINED_ERROR * ones,
        forecast_error=TRANSFER_ERROR * ones,
        anchor_day=0.0,
        card={
            "imported": f"{FAMILIES[settings.architecture]} (Frion et al.)",
            "model_file": Path(model_file).name,
            "k_file": Path(k_file).name,
            "scaling": float(scaling),
            "state": "scaling * reflectance, then its backward difference over one step",
            "convention": "K as in the file" if settings.architecture == "mlp" else "K of the file, transposed",
            "background": "broad: Gaussian of drawn states, on no particular day",
            "errors": "published root mean squares, not those of a site",
        },
    )
    return model if background_from is None else _estimated(model, background_from)


def states(model: KoopmanModel, reflectance: Tensor) -> Tensor:
    """States of a gap-free series on dates that lie one step apart, as the published networks were trained on.

    Parameters
    ----------
    model : KoopmanModel
    reflectance : Tensor, shape (..., time, band)
        In 0..1, bands as in ``model.bands``.

    Returns
    -------
    Tensor, shape (..., time - 1, state)
        From the second date on: standardised reflectance, then its difference to the date before.
    """
    level = model.standardise(reflectance)
    return torch.cat([level[..., 1:, :], (level[..., 1:, :] - level[..., :-1, :]) / model.slope_scale], -1)


def official_window(model: KoopmanModel, reflectance: Tensor, days: Tensor, start: Tensor) -> Window:
    """The papers' assimilation: ``sum over observed dates of |dec(z0 K^t) - y_t|^2 / band``, without a background.

    ``solvers.minimise(window, solver="adam", learning_rate=1e-3, max_iterations=201, trace=True)`` is then their
    recipe, which stops early in the place of a background.

    Parameters
    ----------
    model : KoopmanModel
    reflectance : Tensor, shape (pixel, time, band)
        NaN where there is no observation.
    days : Tensor, shape (time,)
        Days since the date of `start`.
    start : Tensor, shape (pixel, latent)
        First guess of the latent; in the papers the encoded first state.

    Returns
    -------
    Window
        Its unknown is the latent itself.
    """
    nothing = Background(torch.zeros_like(start[0]), torch.eye(start.shape[1]).to(start))
    noise = torch.full_like(
        model.noise, (len(model.bands) / 2) ** 0.5
    )  # so that half the square is the mean over bands
    values = model.standardise(reflectance)
    return Window(model.network, values, days, nothing, noise, background_weight=0.0, start=start)


def _band_names(bands: Sequence[str] | None) -> tuple[str, ...]:
    if bands is None:
        return CHANNELS
    if isinstance(bands, str) or not all(isinstance(band, str) for band in bands) or not len(bands):
        raise InputError(f"bands={bands!r} must be a sequence of names, such as {CHANNELS[:2]}")
    if len(set(bands)) < len(bands):
        raise InputError(f"the bands {list(bands)} repeat; every band may stand once")
    return tuple(bands)


@torch.no_grad()
def _broad_background(network: KoopmanNetwork, scaling: float) -> Background:
    """The Gaussian of encoded states that hold more than any land does: all brightnesses, colours and slopes.

    Reflectance is uniform in 0..0.5 for all bands together, with a normal deviation of 0.1 for each; slopes are normal
    with 0.02 a step for all bands together, and as much again for each.
    """
    dice = torch.Generator().manual_seed(0)
    common = 0.5 * torch.rand(DRAWN_STATES, 1, generator=dice)
    level = (common + 0.1 * torch.randn(DRAWN_STATES, network.bands, generator=dice)).clamp(min=0)
    slope = 0.02 * torch.randn(DRAWN_STATES, 1, generator=dice)
    slope = slope + 0.02 * torch.randn(DRAWN_STATES, network.bands, generator=dice)
    return gaussian(network.encode(scaling * torch.cat([level, slope], -1)))


def _estimated(model: KoopmanModel, cube: xr.DataArray) -> KoopmanModel:
    """The model with the background and the errors of observations of a cube."""
    from s2koop.koopman.analysis import on_model_bands, training_pixels

    times = check_cube(cube)
    check_model(model, cube)
    values = model.standardise(
        torch.from_numpy(training_pixels(on_model_bands(cube, model), BACKGROUND_PIXELS, seed=0))
    )
    start = float(np.floor(to_days(times[0])))
    days = trained_days(torch.as_tensor(to_days(times) - start, dtype=torch.float32), model.settings)
    background, noise, error = refine(model.network, values, days, model.background, model.noise, model.settings.robust)
    observed = torch.isfinite(values).any(0).any(0)
    window_error = torch.where(observed, error, model.window_error)
    told: dict[str, Any] = {"background": f"estimated from {len(values)} pixels", "errors": "estimated from the same"}
    return replace(
        model,
        background=background,
        noise=torch.where(observed, noise, model.noise),
        window_error=window_error,
        forecast_error=torch.maximum(model.forecast_error, window_error),
        anchor_day=start % YEAR_DAYS,
        card=dict(model.card) | told,
    )
