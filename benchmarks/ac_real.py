"""Atmospheric correction of real scenes: how steady a forest stays from date to date, and beside PROBA-V's own series.

Nothing here has a reference, so no row is an error. Two things can be asked all the same. A forest changes little from
one date to another some weeks later, while the sky does: what a correction leaves of that difference is a doubt about
it. Under a lower sun a canopy darkens in all bands alike, so what the bands from B06 on tell of that, where the air
hardly matters, is taken off in a column of its own. (Darkest pixels are steady by construction: forest is what is
darkest.) And what comes out, taken over to PROBA-V's bands and pixels, should look like what PROBA-V saw of such
forests in the same months. That cannot tell a small error: forests and years are others, few dates are clear, and
PROBA-V's own correction is no truth (in winter much of its blue is 0). It does show what is grossly wrong. Corrections
are those of a user who has nothing but the scenes: the sun by date and place, the view by the orbit. Dates of which
less than half is clear only have a row of their own: one has snow, one a rest of cloud.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import xarray as xr
from scipy.stats import ks_2samp, wasserstein_distance

import s2koop  # noqa: F401  registers .ac
from benchmarks import _slovenia as slovenia
from benchmarks._report import check, main, report
from benchmarks._slovenia import Record, ndvi

VISIBLE = ["B01", "B02", "B03", "B04"]
#: Bands that are looked at one by one, and whose negative values are counted: B09 is that of water vapour.
BANDS = [*VISIBLE, "B05", "B06", "B07", "B08", "B8A", "B11", "B12"]
#: Bands that say by how much a canopy darkened.
STEADY = ["B06", "B07", "B08", "B8A", "B11", "B12"]
#: Dates some weeks apart between which a forest changes little, by their places among clear ones.
SPELLS = {
    "30 Aug and 9 Sep 2015": (1, 2),
    "11 Jul, 30 Aug and 9 Sep 2015": (0, 1, 2),
    "12 Dec 2016 and 1 Jan 2017": (3, 4),
}
SEASONS = {"Jul to Sep": slovenia.SUMMER, "Dec to Feb": slovenia.WINTER}
#: What an atmosphere over 700 m in Slovenia may be at all, set wide and beforehand: AOT, and g/cm2 in each season.
USUAL_AOT = (0.02, 0.5)
USUAL_WATER = {"Jul to Sep": (1.0, 4.0), "Dec to Feb": (0.1, 1.5)}
#: The darkest-pixel correction: what part of the pixels counts as darkest, and what it is then said to reflect.
DARKEST, DARK = 0.01, 0.01
#: How much of a pixel of 100 m has to be forest.
FOREST = 0.8
#: Other views than that of the orbit: what is assumed where nobody knows it, and the edges of the swath.
VIEWS = ({"vza": 5.0, "raa": 90.0}, {"vza": 11.0, "raa": 130.0}, {"vza": 11.0, "raa": 50.0})
HYBRID, NOTHING, CLIMATE = "hybrid, neighbours known", "no correction", "table, climatology"
#: Emulators, and how far neighbours send light that they know of, m: real land has neighbours.
EMULATORS: dict[str, tuple[str, float | None]] = {
    HYBRID: ("hybrid", 1000.0),
    "hybrid": ("hybrid", None),
    "context, neighbours known": ("context", 1000.0),
    "context": ("context", None),
    "fcnn": ("fcnn", None),
}

Correction = Callable[[Record], xr.DataArray]


def run(quick: bool) -> dict[str, Any]:
    """All tables; `quick` leaves out the networks and the views."""
    if not slovenia.SCENES.is_file():
        return _skipped(f"no file {slovenia.SCENES}")
    whole = slovenia.scenes()
    clear = (slovenia.clear_share(whole.toa) > 0.5).values
    record = _dates(whole, clear)
    found = {name: method(record) for name, method in methods(quick).items()}
    rows: list[dict[str, Any]] = []
    steady = steadiness(found, record, rows)
    sane = sanity(found, record, rows)
    sky = skies(record, _dates(whole, ~clear), rows)
    if not quick:
        views(record, rows)
    alike = beside_probav(found, record, rows)
    data = "5 clear dates of a square kilometre of Slovenia (Sentinel-2 L1C, 2015 to 2017), and PROBA-V at 4 sites"
    return report(data=data, seed=0, rows=rows, checks=checks(steady, sane, sky, alike))


def _skipped(why: str) -> dict[str, Any]:
    row = {"case": "real scenes", "method": f"skipped: {why}; set S2KOOP_TEST_DATA"}
    return report(data="none", seed=0, rows=[row], checks=[])


def _dates(record: Record, which: Any) -> Record:
    angles = {name: value[which] if np.ndim(value) else value for name, value in record.angles.items()}
    return record._replace(toa=record.toa.isel(time=which), angles=angles)


def methods(quick: bool = False) -> dict[str, Correction]:
    """What a user may do: nothing, darkest pixels, a usual atmosphere, or an emulator."""
    out: dict[str, Correction] = {
        NOTHING: lambda record: record.toa.drop_sel(band="B10").assign_attrs(level="BOA"),
        "darkest pixels": darkest,
        CLIMATE: lambda record: record.toa.ac.invert(
            angles=record.angles, altitude=record.altitude, spread=False
        )["mean"],
    }  # fmt: skip
    networks = (HYBRID, "hybrid") if quick else tuple(EMULATORS)
    return out | {name: (lambda record, name=name: _emulated(record, name)["mean"]) for name in networks}


def _emulated(record: Record, name: str, **view: float) -> xr.Dataset:
    model, near = EMULATORS[name]
    return record.toa.ac.emulate(model, angles=record.angles | view, altitude=record.altitude, adjacency=near)


def darkest(record: Record) -> xr.DataArray:
    """What the darkest pixels of a date have more than 1 % is taken off the visible bands and B05 (Chavez 1988)."""
    toa = record.toa.drop_sel(band="B10").assign_attrs(level="BOA")
    haze = (toa.quantile(DARKEST, ("y", "x")) - DARK).clip(0)
    return toa - haze.where(haze["band"].isin([*VISIBLE, "B05"]), 0).drop_vars("quantile").astype(np.float32)


def steadiness(
    found: Mapping[str, xr.DataArray], record: Record, rows: list[dict[str, Any]]
) -> dict[tuple[str, str], dict[str, float]]:
    """How far a forest moves between dates of one spell: its median, with and without darkening, and single pixels."""
    moved = {}
    for spell, dates in SPELLS.items():
        for name, boa in found.items():
            forest = boa.isel(time=list(dates)).where(record.forest)
            forest = forest.where(forest.notnull().all("time"))
            medians = forest.median(("y", "x"))
            span = medians.max("time") - medians.min("time")
            darker = (medians / medians.isel(time=0)).sel(band=STEADY).median("band")
            beyond = abs(medians - darker * medians.isel(time=0)).max("time")
            scatter = (forest.std("time", ddof=1) ** 2).mean(("y", "x")) ** 0.5
            contrast = forest.mean("time").std(("y", "x"))
            moved[spell, name] = {
                "median_moves_visible": float(span.sel(band=VISIBLE).mean()),
                "beyond_darkening_visible": float(beyond.sel(band=VISIBLE).mean()),
                "pixels_scatter_visible": float(scatter.sel(band=VISIBLE).mean()),
                "scatter_over_contrast_visible": float((scatter / contrast).sel(band=VISIBLE).mean()),
                "darkening": float(darker.min()),
            }
            row: dict[str, Any] = {"case": f"forest, {spell}", "method": name} | moved[spell, name]
            rows.append(row | {f"moves_{band}": float(span.sel(band=band)) for band in BANDS})
    return moved


def sanity(
    found: Mapping[str, xr.DataArray], record: Record, rows: list[dict[str, Any]]
) -> dict[str, dict[str, float]]:
    """What should not be: reflectance below 0, B09 far from B8A; and the forest's NDVI and bands in each season."""
    out = {}
    for name, boa in found.items():
        seen = boa.sel(band=BANDS)
        share = (seen < 0).sum(("y", "x")) / seen.notnull().sum(("y", "x"))
        hidden = (boa.sel(band="B09") / boa.sel(band="B8A")).median(("y", "x"))
        out[name] = {
            "negative_share": float(share.mean()),
            "negative_share_worst": float(share.max()),
            "b09_over_b8a_low": float(hidden.min()),
            "b09_over_b8a_high": float(hidden.max()),
        }
        row: dict[str, Any] = {"case": "sanity", "method": name} | out[name]
        forest = boa.where(record.forest)
        for season, months in SEASONS.items():
            part = forest.sel(time=forest["time"].dt.month.isin(months))
            row[f"ndvi {season}"] = float(ndvi(part.sel(band="B04"), part.sel(band="B08")).median())
            row |= {f"{band} {season}": float(part.sel(band=band).median()) for band in ("B02", "B03", "B04", "B08")}
        rows.append(row)
    return out


def skies(record: Record, spoilt: Record, rows: list[dict[str, Any]]) -> dict[str, bool]:
    """The atmosphere that the hybrid finds on each date, and whether it may be."""
    usual = {"aot": True, "water_vapour": True}
    for part, case in ((record, "retrieved"), (spoilt, "retrieved, snow or cloud left")):
        found = _emulated(part, HYBRID)
        for at, time in enumerate(found["time"].dt.strftime("%Y-%m-%d").values):
            season = next(name for name, months in SEASONS.items() if int(time[5:7]) in months)
            here = found.isel(time=at)
            row: dict[str, Any] = {"case": f"{case}, {time}", "method": HYBRID, "sza": float(part.angles["sza"][at])}
            for name, (low, high) in (("aot", USUAL_AOT), ("water_vapour", USUAL_WATER[season])):
                value = float(here[name])
                row |= {
                    name: value,
                    f"{name}_spread": float(here[f"{name}_spread"]),
                    f"{name}_usual": f"{low} to {high}",
                }
                if part is record:
                    usual[name] &= low <= value <= high
            likely = here["aerosol_probability"]
            rows.append(row | {"aerosol": str(likely["aerosol"].values[int(likely.values.argmax())])})
    return usual


def views(record: Record, rows: list[dict[str, Any]]) -> None:
    """What a wrong view matters: how far it moves medians of the forest, and the aerosol, on the worst date."""
    for name in (HYBRID, "context, neighbours known"):
        known = _emulated(record, name)
        for view in VIEWS:
            other = _emulated(record, name, **view)
            row: dict[str, Any] = {
                "case": f"view taken as {view['vza']:g}, azimuth {view['raa']:g} degrees",
                "method": name,
            }
            row["moves_aot"] = float(abs(other["aot"] - known["aot"]).max())
            medians = [found["mean"].where(record.forest).median(("y", "x")) for found in (known, other)]
            most = abs(medians[1] - medians[0]).max("time")
            rows.append(row | {f"moves_{band}": float(most.sel(band=band)) for band in BANDS})


def beside_probav(
    found: Mapping[str, xr.DataArray], record: Record, rows: list[dict[str, Any]]
) -> dict[tuple[str, str], dict[str, Any]]:
    """Distributions in PROBA-V's bands and on its pixels, and how far each is from what PROBA-V saw elsewhere."""
    if not slovenia.PIXELS.is_file():
        rows.append({"case": "PROBA-V", "method": f"skipped: no file {slovenia.PIXELS}; set S2KOOP_TEST_DATA"})
        return {}
    out: dict[tuple[str, str], dict[str, Any]] = {}
    made = {name: _as_probav(boa, record) for name, boa in found.items()}
    for season, months in SEASONS.items():
        seen = _with_ndvi(slovenia.probav(months))
        for variable in map(str, seen["band"].values):
            each = seen.sel(band=variable)
            sites = each.median("sample")
            real = _values(each)
            case = f"{variable}, {season}"
            rows.append(
                {"case": f"beside PROBA-V: {case}", "method": "PROBA-V, 4 sites"}
                | _quantiles(real)
                | {"lowest_site": float(sites.min()), "highest_site": float(sites.max())}
                | {"zeros": float((real == 0).mean())}
            )  # fmt: skip
            for name, boa in made.items():
                values = _values(boa.sel(band=variable, time=boa["time"].dt.month.isin(months)))
                scored = {
                    "median_less_probav": float(np.median(values) - np.median(real)),
                    "wasserstein": float(wasserstein_distance(values, real)),
                    "ks": float(ks_2samp(values, real).statistic),
                    "among_sites": bool(sites.min() <= np.median(values) <= sites.max()),
                }
                out[case, name] = scored
                rows.append({"case": f"beside PROBA-V: {case}", "method": name} | _quantiles(values) | scored)
    return out


def _as_probav(boa: xr.DataArray, record: Record) -> xr.DataArray:
    """In PROBA-V's bands, point spread and pixels of 100 m; those of forest only."""
    adapted = boa.ac.to_sensor("PROBAV")["mean"]
    rows, columns = (adapted.sizes[dim] for dim in ("y", "x"))
    step = record.forest.sizes["y"] // rows
    forest = record.forest.values[: rows * step, : columns * step].reshape(rows, step, columns, step).mean((1, 3))
    return _with_ndvi(adapted.where(xr.DataArray(forest >= FOREST, dims=("y", "x"))))


def _with_ndvi(bands: xr.DataArray) -> xr.DataArray:
    index = ndvi(bands.sel(band="RED"), bands.sel(band="NIR")).assign_coords(band="NDVI").expand_dims("band")
    return xr.concat([bands, index], "band")


def _values(values: xr.DataArray) -> np.ndarray:
    return values.values[np.isfinite(values.values)].astype(float)


def _quantiles(values: np.ndarray) -> dict[str, float]:
    names = ("p5", "p25", "median", "p75", "p95")
    return {"samples": len(values)} | dict(zip(names, np.percentile(values, [5, 25, 50, 75, 95]).tolist(), strict=True))


def checks(
    steady: Mapping[tuple[str, str], Mapping[str, float]],
    sane: Mapping[str, Mapping[str, float]],
    sky: Mapping[str, bool],
    alike: Mapping[tuple[str, str], Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """What this part has to show."""
    out = []
    for spell in SPELLS:
        for measure in ("median_moves_visible", "beyond_darkening_visible"):
            ours, climate = (steady[spell, name][measure] for name in (HYBRID, CLIMATE))
            out.append(check(f"{measure}: {spell}", ours, f"<= {climate:.4f}", ours <= climate))
    share, worst = sane[HYBRID]["negative_share"], sane[HYBRID]["negative_share_worst"]
    out.append(check("negative_share", share, "<= 0.01", share <= 0.01))
    out.append(check("negative_share_worst_band_and_date", worst, "<= 0.05", worst <= 0.05))
    low, high = sane[HYBRID]["b09_over_b8a_low"], sane[HYBRID]["b09_over_b8a_high"]
    out.append(check("b09_over_b8a_lowest_date", low, ">= 0.85", low >= 0.85))
    out.append(check("b09_over_b8a_highest_date", high, "<= 1.15", high <= 1.15))
    out += [check(f"{name}_usual_on_every_clear_date", float(holds), "yes", holds) for name, holds in sky.items()]
    if alike:
        summer = [case for case, name in alike if name == HYBRID and case.endswith("Sep")]
        among = sum(alike[case, HYBRID]["among_sites"] for case in summer)
        out.append(check("summer_medians_among_probav_sites", float(among), f"{len(summer)}", among == len(summer)))
        ours, climate = (
            float(np.mean([alike[case, name]["wasserstein"] for case in summer if case.startswith(("BLUE", "RED"))]))
            for name in (HYBRID, CLIMATE)
        )
        out.append(check("summer_distance_to_probav_visible", ours, f"<= {climate:.4f}", ours <= climate))
    return out


if __name__ == "__main__":
    main(run, __doc__.splitlines()[0])
