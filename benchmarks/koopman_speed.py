"""How much faster the Koopman prior is than the papers' procedure: same weights, same input, one thread, CPU seconds.

``python -m benchmarks.koopman_speed [--quick] [--json]``. Both sides run in one process and take turns. The network has
the papers' size and is trained briefly, and the series are simulated (see `_landscape`): figures of error mean nothing
here, only ratios of time at equal results do.
"""

from __future__ import annotations

import copy
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

import s2koop.koopman  # noqa: F401  (registers the accessor)
from benchmarks import _yardstick
from benchmarks._landscape import PAPER, STEP_DAYS, new_network, scene, sparse_loss, states, trained_network
from benchmarks._report import check, main, report
from s2koop._time import YEAR_DAYS, to_days
from s2koop.koopman.assimilation import Background, Window
from s2koop.koopman.decode import decode_dates
from s2koop.koopman.model import KoopmanModel
from s2koop.koopman.network import KoopmanAutoencoder
from s2koop.koopman.solvers import minimise

SEED = 0
DATES, AHEAD, FEW = 242, 341, 60
OBSERVED = 0.31
BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
NOISE = torch.full((10,), 0.1)
#: What a model knows of each band; any number will do where only memory is measured.
ERRORS = ("center", "scale", "slope_scale", "noise", "window_error", "forecast_error")
#: The yardstick has no background; so little of one does not keep ours from its loss.
BACKGROUND = 0.001
SOLVED_BY: tuple[dict[str, Any], ...] = (
    {"solver": "lbfgs", "tolerance": 3e-3},
    {"solver": "levenberg-marquardt", "tolerance": 1e-2},
)


@dataclass(frozen=True)
class Size:
    """What a run measures, and how long it takes."""

    network_steps: int
    side: int  # of the scene that is assimilated by us
    yardstick_pixels: int
    yardstick_iterations: int
    rows: int  # of a hundred pixels, forecast
    rounds: int
    memory_sides: tuple[int, int]
    training_steps: int
    training_batch: int
    user_side: int  # of the scene that goes through the accessor
    member_steps: int  # of training, for one model and for eight members


QUICK = Size(150, 16, 64, 6, 8, 3, (20, 40), 40, 48, 10, 20)
FULL = Size(400, 100, 256, 201, 100, 3, (50, 100), 200, 128, 24, 200)
MEMBERS = 8


def run(quick: bool) -> dict[str, Any]:
    """All measurements."""
    torch.set_num_threads(1)
    size = QUICK if quick else FULL
    memory = _memory(size)  # first: a child's peak counts what its parent held when it was started
    network = trained_network(size.network_steps, seed=SEED)
    values, latents, assimilation = _assimilation(network, size)
    forecast_rows, forecast_checks = _forecasts(network, latents, size)
    user_rows = _through_the_accessor(network, size)
    training_rows, training_check = _training(size)
    ensemble_rows, ensemble_checks = _ensemble(size)
    return report(
        data=f"simulated fields, {len(values)} pixels x {DATES} dates x 10 bands, {OBSERVED:.0%} of dates observed; "
        f"network 20-512-256-32 after {size.network_steps} steps; {_awake(network, latents)}; one thread, CPU seconds",
        seed=SEED,
        rows=[*assimilation[0], *forecast_rows, *user_rows, *memory[0], *training_rows, *ensemble_rows],
        checks=[*assimilation[1], *memory[1], *forecast_checks, training_check, *ensemble_checks],
    )


def _cpu(function: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    result = function()
    return time.process_time() - start, result


@contextmanager
def _recording(network: KoopmanAutoencoder) -> Iterator[None]:
    """The network as published code holds it: gradients of its weights are recorded."""
    network.requires_grad_(True)
    try:
        yield
    finally:
        network.requires_grad_(False)


def _row(task: str, variant: str, seconds: float, base: float, **more: Any) -> dict[str, Any]:
    return {"task": task, "variant": variant, "cpu_s": round(seconds, 3), "ratio": round(base / seconds, 2)} | more


def _assimilation(network: KoopmanAutoencoder, size: Size) -> tuple[Tensor, Tensor, tuple[list[Any], list[Any]]]:
    """Ours until the data loss that 201 iterations of the yardstick reach; the yardstick's cost is per pixel."""
    data = states(scene(size.side, DATES + 1, SEED + 2))
    observed = torch.rand(DATES, generator=torch.Generator().manual_seed(SEED)) < OBSERVED
    values, first = data[..., :10], data[:, 0]
    few = slice(0, size.yardstick_pixels)
    with _recording(network):
        spent, (_, published) = _cpu(
            lambda: _yardstick.assimilate(
                network, first[few], values[few], observed, iterations=size.yardstick_iterations
            )
        )
    base = spent / size.yardstick_pixels / size.yardstick_iterations * 201
    with torch.no_grad():
        start, encoded = network.encode(first), network.encode(data[:, ::11].flatten(0, 1))
    seen = torch.where(observed[None, :, None], values, torch.nan)
    days = STEP_DAYS * torch.arange(DATES)
    plain = Background(torch.zeros(32), torch.eye(32))
    recipe = Window(network, seen[few], days, plain, torch.ones(10), background_weight=0.0, start=start[few])
    adam = minimise(recipe, solver="adam", trace=True)
    assert adam.trace is not None
    trace = adam.trace[: len(published)] * 2 / 10  # costs are halves of sums over bands
    parity = float((trace / torch.tensor(published) - 1).abs().max())
    wanted = float(recipe.residual(adam.u).square().sum()) / 10

    prior = _gaussian(encoded)

    def window_of(part: Tensor) -> Window:
        begin = _whitened(start[part], prior)  # where the yardstick begins, too
        return Window(network, seen[part], days, prior, NOISE, background_weight=BACKGROUND, start=begin)

    rows = [
        _row("assimilation", "yardstick: Adam, 201 iterations, per 1000 pixels", 1000 * base, 1000 * base, loss=wanted)
    ]
    ratios, latents = [], start
    for options in SOLVED_BY:
        parts = [
            _cpu(lambda part=part, options=options: minimise(window_of(part), **options))
            for part in torch.arange(len(values)).split(1024)
        ]
        u = torch.cat([found.u for _, found in parts])
        spent = sum(seconds for seconds, _ in parts) / len(values)
        loss = float(recipe.residual(_whitened(prior.latent(u[few]), plain)).square().sum()) / 10
        rows.append(
            _row("assimilation", f"s2koop: {options['solver']}, per 1000 pixels", 1000 * spent, 1000 * base, loss=loss)
        )
        if loss <= 1.001 * wanted:
            ratios.append(base / spent)
        latents = prior.latent(u)
    best = max(ratios, default=0.0)
    checks = [
        check("assimilation_cpu_ratio", round(best, 1), ">= 20 (reach for 40) at the yardstick's loss", best >= 20),
        check("adam_trace_parity", parity, "<= 1e-3 relative to the yardstick's losses", parity <= 1e-3),
    ]
    return values, latents, (rows, checks)


def _gaussian(latents: Tensor) -> Background:
    covariance = torch.cov(latents.T)
    floor = 1e-4 * covariance.diagonal().mean()
    return Background(latents.mean(0), torch.linalg.cholesky(covariance + floor * torch.eye(len(covariance))))


def _whitened(latents: Tensor, background: Background) -> Tensor:
    return torch.linalg.solve_triangular(background.factor, (latents - background.mean).T, upper=False).T


def _forecasts(network: KoopmanAutoencoder, latents: Tensor, size: Size) -> tuple[list[Any], list[Any]]:
    """All dates in float32 and bfloat16, and a few of them, from the same latents."""
    count = size.rows * 100
    latents = latents.repeat(-(-count // len(latents)), 1)[:count]
    draw = torch.Generator().manual_seed(SEED)  # a pixel that is repeated is made a little different
    latents = latents + 0.01 * latents.std(0) * torch.randn(latents.shape, generator=draw)
    days = STEP_DAYS * torch.arange(1.0, AHEAD + 1)
    few = torch.linspace(0, AHEAD - 1, FEW).round().long()

    def ours(asked: Tensor, precision: str) -> Tensor:
        powers = network.operator.powers(asked)
        return decode_dates(network, powers, torch.zeros(len(powers), 32), latents, precision=precision)

    variants: dict[str, Callable[[], Tensor]] = {
        "float32": lambda: ours(days, "float32"),
        "bfloat16": lambda: ours(days, "bfloat16"),
        "60 dates": lambda: ours(days[few], "float32"),
    }
    spent: dict[str, list[float]] = {name: [] for name in ("yardstick", *variants)}
    found: dict[str, Tensor] = {}
    for _ in range(size.rounds):
        with _recording(network):
            seconds, truth = _cpu(lambda: _yardstick.forecast(network, latents.view(size.rows, 100, -1), AHEAD))
        spent["yardstick"].append(seconds)
        for name, function in variants.items():
            seconds, found[name] = _cpu(function)
            spent[name].append(seconds)
    reference = truth.flatten(0, 1)[..., :10]
    error = {
        name: (result - (reference[:, few] if name == "60 dates" else reference)).abs()
        for name, result in found.items()
    }
    ratio = {name: median(a / b for a, b in zip(spent["yardstick"], spent[name], strict=True)) for name in variants}
    base = median(spent["yardstick"])
    rows = [_row("forecast", f"yardstick: {count} pixels x {AHEAD} dates", base, base)]
    rows += [
        _row("forecast", f"s2koop: {name}", median(spent[name]), base, max_error=float(error[name].max()))
        for name in variants
    ]
    exact, rough = float(error["float32"].max()), float(error["bfloat16"].square().mean().sqrt())
    kind = "AMX" if torch.cpu._is_amx_tile_supported() else "no AMX"
    checks = [
        check("forecast_exact_ratio", round(ratio["float32"], 2), ">= 5", ratio["float32"] >= 5),
        check("forecast_exact_max_error", exact, "<= 1e-5", exact <= 1e-5),
        check("forecast_bf16_ratio", round(ratio["bfloat16"], 2), f">= 15 ({kind} here)", ratio["bfloat16"] >= 15),
        check("forecast_bf16_rms_error", rough, "<= 2e-3 of a band's range", rough <= 2e-3),
        check("forecast_60_dates_ratio", round(ratio["60 dates"], 2), ">= 20", ratio["60 dates"] >= 20),
    ]  # fmt: skip
    return rows, checks


def _awake(network: KoopmanAutoencoder, latents: Tensor) -> str:
    """How many hidden units of the decoder fire at all, and in one state: what pruning lives on."""
    x = torch.einsum("pi,tij->ptj", latents[::7], network.operator.powers(STEP_DAYS * torch.arange(0.0, AHEAD, 7)))
    told = []
    for layer in list(network.decoder)[:-1]:
        x = layer(x)
        if isinstance(layer, torch.nn.ReLU):
            fires = (x > 0).flatten(0, 1)
            told.append(f"{int(fires.any(0).sum())} (a state: {fires.sum(1).float().mean():.0f}) of {x.shape[-1]}")
    return "decoder units that fire: " + ", ".join(told) + "; published networks: 165 (83) of 256, 275 (71) of 512"


def _memory(size: Size) -> tuple[list[Any], list[Any]]:
    """Peak memory of the public call in a process of its own, for a small and a large scene."""
    peaks = {}
    for side in size.memory_sides:
        code = f"from benchmarks import koopman_speed; koopman_speed.assimilate_scene({side})"
        peaks[side] = float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout)
    small, large = (peaks[side] for side in size.memory_sides)
    held = (size.memory_sides[1] ** 2 - size.memory_sides[0] ** 2) * DATES * 10 * 4 / 2**20  # the larger cube itself
    grown = large - small - held
    rows = [
        {"task": "memory", "variant": f"s2koop: {side}x{side} pixels x {DATES} dates", "peak_mb": peaks[side]}
        for side in peaks
    ]
    return rows, [
        check("assimilation_peak_mb", large, "<= 1000, cube and libraries included", large <= 1000),
        check("assimilation_peak_growth_mb", round(grown, 1), "<= 150 beyond the cube's own size", grown <= 150),
    ]  # fmt: skip


def assimilate_scene(side: int) -> None:
    """Print the peak memory in MB of assimilating a scene through the accessor."""
    torch.set_num_threads(1)
    times = np.datetime64("2018-01-01", "ns") + np.arange(DATES) * np.timedelta64(5, "D")
    # values do not matter to memory; one tile's worth is drawn and repeated
    tile = torch.rand(DATES, 10, 1, side, generator=torch.Generator().manual_seed(1)) * 0.3
    tile[torch.rand(DATES, generator=torch.Generator().manual_seed(2)) > OBSERVED] = torch.nan
    cube = xr.DataArray(
        np.repeat(tile.numpy(), side, axis=2), dims=("time", "band", "y", "x"),
        coords={"time": times, "band": list(BANDS), "y": np.arange(side), "x": np.arange(side)},
        attrs={"level": "BOA"},
    )  # fmt: skip
    model = _model(new_network(), times)
    options = {"constraint": "strong", "scene": False, "max_iterations": 2, "progress": False}
    cube.koopman.assimilate(model, times=times[-1:], **options)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1))


def _model(network: KoopmanAutoencoder, times: np.ndarray) -> KoopmanModel:
    """A network as a model whose errors are made up: only the cost of using it counts."""
    per_band = {name: torch.full((10,), 0.1 * k) for k, name in enumerate(ERRORS, 1)}
    return KoopmanModel(
        settings=PAPER,
        network=network,
        bands=BANDS,
        background=Background(torch.zeros(32), torch.eye(32)),
        anchor_day=float(to_days(times[:1])[0]) % YEAR_DAYS,
        **per_band,
    )


def _user_cube(side: int, dates: int) -> xr.DataArray:
    """A simulated scene as a user has it: reflectance, a third of the dates."""
    values = 0.2 + 0.05 * scene(side, dates, SEED + 4).numpy()
    seen = torch.rand(dates, generator=torch.Generator().manual_seed(SEED)).numpy() < OBSERVED
    times = np.datetime64("2018-01-01", "ns") + np.arange(dates) * np.timedelta64(5, "D")
    return xr.DataArray(
        values.reshape(side, side, dates, 10).transpose(2, 3, 0, 1)[seen], dims=("time", "band", "y", "x"),
        coords={"time": times[seen], "band": list(BANDS), "y": np.arange(side), "x": np.arange(side)},
        attrs={"level": "BOA"},
    )  # fmt: skip


def _through_the_accessor(network: KoopmanAutoencoder, size: Size) -> list[Any]:
    """A user's forecast of all dates, analysis included, with its spread and without."""
    cube = _user_cube(size.user_side, DATES)
    model = _model(network, cube["time"].values)
    times = cube["time"].values[-1] + np.arange(1, AHEAD + 1) * np.timedelta64(5, "D")
    options = {"constraint": "strong", "scene": False, "solver": "lbfgs", "progress": False}
    cube.koopman.forecast(model, times=times[:1], **options)  # the first call of a process makes kernels
    seconds = {
        spread: _cpu(lambda spread=spread: cube.koopman.forecast(model, times=times, spread=spread, **options))[0]
        for spread in (True, False)
    }
    what = f"cube.koopman.forecast, {size.user_side}x{size.user_side} pixels x {AHEAD} dates"
    return [
        _row("user's forecast", f"{what}, analysis, mean and spread", seconds[True], seconds[True]),
        _row("user's forecast", f"{what}, analysis, mean alone (spread=False)", seconds[False], seconds[True]),
    ]


def _ensemble(size: Size) -> tuple[list[Any], list[Any]]:
    """Eight members on one trunk beside one model, under the default settings: training, then analysis."""
    cube = _user_cube(size.user_side, DATES // 2)
    asked = {"times": cube["time"].values[::2], "progress": False}
    training, analysis = {}, {}
    for count, kind in ((1, None), (MEMBERS, "shared")):
        fit = lambda count=count, kind=kind: cube.koopman.fit(  # noqa: E731
            members=count, ensemble=kind, steps=size.member_steps, progress=False
        )
        training[count], model = _cpu(fit)
        analysis[count], _ = _cpu(lambda model=model: cube.koopman.assimilate(model, **asked))
    whole = {count: training[count] + analysis[count] for count in training}
    ratio = whole[MEMBERS] / whole[1]
    rows = [
        _row("ensemble", f"{task}, {name}", spent[count], spent[1])
        for task, spent in (("training", training), ("analysis", analysis))
        for count, name in ((1, "one model"), (MEMBERS, f"{MEMBERS} members on one trunk"))
    ]
    return rows, [check("shared_8_members_ratio", round(ratio, 2), "<= 2 of one model, fit and analysis", ratio <= 2)]


def _training(size: Size) -> tuple[list[Any], dict[str, Any]]:
    """CPU seconds until the validation error that the published schedule has after some steps, from the same start."""
    data = states(scene(40, DATES + 1, SEED + 3))
    data, held = data[:-200], data[-200:]
    draw = torch.Generator().manual_seed(SEED)
    plain = new_network(SEED)
    ours = copy.deepcopy(plain)

    def error(network: KoopmanAutoencoder) -> float:
        """Squared error of reflectance from the first date to all later ones."""
        with torch.no_grad():
            z = network.encode(held[:, 0])
            found = decode_dates(
                network, network.operator.powers(STEP_DAYS * torch.arange(1.0, DATES)), torch.zeros(DATES - 1, 32), z
            )
        return float((found - held[:, 1:, :10]).square().mean())

    matrix = _yardstick.step_matrix(plain)
    layers = [parameter for name, parameter in plain.named_parameters() if not name.startswith("operator")]
    optimiser = torch.optim.Adam([*layers, matrix], lr=1e-3)
    base = 0.0
    for _ in range(size.training_steps):
        chosen = torch.randint(len(data), (size.training_batch,), generator=draw)
        origin = int(torch.randint(140, (), generator=draw))
        windows = data[chosen, origin : origin + _yardstick.WINDOW]
        base += _cpu(
            lambda windows=windows: _step(optimiser, lambda: _yardstick.training_loss(plain, matrix, windows))
        )[0]
    plain.operator.load_state_dict({"matrix": matrix.detach()})
    wanted = error(plain)

    optimiser = torch.optim.Adam(ours.parameters(), lr=2e-3)
    spent, reached, step = 0.0, float("inf"), 0
    while reached > wanted and spent < base:
        chosen = torch.randint(len(data), (size.training_batch,), generator=draw)
        origin, ahead = int(torch.randint(140, (), generator=draw)), 1 + torch.randperm(100, generator=draw)[:8]

        def loss(chosen: Tensor = chosen, origin: int = origin, ahead: Tensor = ahead) -> Tensor:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return sparse_loss(ours, data[chosen], origin, ahead)

        spent += _cpu(lambda loss=loss: _step(optimiser, loss))[0]
        step += 1
        reached = error(ours)
    ratio = base / spent if reached <= wanted else 0.0
    batch = size.training_batch
    rows = [
        _row("training", f"yardstick: {size.training_steps} steps of {batch} x 101 dates", base, base, loss=wanted),
        _row("training", f"s2koop: {step} steps of {batch} x 8 random dates, bfloat16", spent, base, loss=reached),
    ]
    return rows, check("training_cpu_ratio", round(ratio, 1), ">= 10 to the yardstick's validation error", ratio >= 10)


def _step(optimiser: torch.optim.Optimizer, loss: Callable[[], Tensor]) -> None:
    optimiser.zero_grad()
    loss().backward()
    optimiser.step()


if __name__ == "__main__":
    main(run, __doc__.splitlines()[0])
