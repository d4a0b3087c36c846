"""From parcels and weather to the reflectance of the surface, without sky or noise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from s2koop.simulate.canopy import BANDS, canopy_reflectance, soil_reflectance
from s2koop.simulate.covers import COVERS, CROPS, LandCover
from s2koop.simulate.fields import Array, ornstein_uhlenbeck, smooth_fields
from s2koop.simulate.materials import built_reflectance, snow_reflectance, water_reflectance
from s2koop.simulate.parcels import ParcelMap
from s2koop.simulate.weather import DROUGHT_DECAY, GROWTH_DECAY, RAIN_DECAY, Weather

#: Samples (date times pixel) computed at once.
TILE = 200_000
#: How far a pixel's share of an anomaly counts beside the scene's; their squares sum to 1.
OWN, SHARED = 0.6, 0.8
_RANGES = tuple(f.name for f in fields(LandCover) if f.name not in ("name", "kind", "cuts", "buried"))
_LOGISTIC_LIMIT = np.float32(30.0)


@dataclass(frozen=True)
class Surface:
    """The truth of a scene: reflectance (time, band, y, x), leaf area index and snow share (time, y, x)."""

    reflectance: Array
    lai: Array
    snow: Array


@dataclass(frozen=True)
class _Traits:
    """What parcels drew: traits (parcel,), and anomalies, cuts and crops of every year (year, parcel, ...)."""

    values: dict[str, Array]
    start: Array
    end: Array
    vigour: Array
    cuts: Array
    crops: dict[str, tuple[npt.NDArray[np.bool_], dict[str, Array]]]


@dataclass(frozen=True)
class _Pixels:
    """Some pixels: their parcels (pixel,), what varies within a parcel (4, pixel), anomalies (time, pixel)."""

    parcel: npt.NDArray[np.int64]
    static: Array
    growth: Array
    drought: Array
    rain: Array
    cold: Array

    def of(self, chosen: npt.NDArray[np.int64]) -> _Pixels:
        return _Pixels(*(getattr(self, f.name)[..., chosen] for f in fields(self)))


def grow(rng: np.random.Generator, parcels: ParcelMap, weather: Weather, *, length: float) -> Surface:
    """The surface of a scene; what varies within parcels is smooth over `length` pixels."""
    traits = _draw_traits(rng, parcels, weather)
    pixels = _draw_pixels(rng, parcels, weather, length)
    shape = parcels.first.shape
    dates, count = len(weather.days), parcels.first.size
    reflectance = np.empty((dates, count, len(BANDS)), np.float32)
    lai, snow = (np.empty((dates, count), np.float32) for _ in range(2))
    share = parcels.share.reshape(-1)
    for chosen, parcel in _blocks(parcels, dates, parcels.first, np.ones_like(share)):
        part = _one_cover(traits, pixels.of(chosen), parcel, parcels, weather)
        reflectance[:, chosen], lai[:, chosen], snow[:, chosen] = part
    mixed = np.where(share > 0.02, share, 0)  # less cannot be seen
    for chosen, parcel in _blocks(parcels, dates, parcels.second, mixed):
        part = _one_cover(traits, pixels.of(chosen), parcel, parcels, weather)
        weight = mixed[chosen]
        reflectance[:, chosen] += weight[:, None] * (part[0] - reflectance[:, chosen])
        lai[:, chosen] += weight * (part[1] - lai[:, chosen])
        snow[:, chosen] += weight * (part[2] - snow[:, chosen])
    return Surface(
        np.moveaxis(reflectance, 2, 1).reshape(dates, len(BANDS), *shape),
        lai.reshape(dates, *shape),
        snow.reshape(dates, *shape),
    )


def _blocks(
    parcels: ParcelMap, dates: int, owner: npt.NDArray[np.int64], weight: Array
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Pixels of one land cover at a time, in blocks that fit: their numbers, and the parcels that count."""
    owners = owner.reshape(-1)
    size = max(1, TILE // dates)
    for cover in np.unique(parcels.cover):
        chosen = np.flatnonzero((parcels.cover[owners] == cover) & (weight > 0))
        for at in range(0, len(chosen), size):
            yield chosen[at : at + size], owners[chosen[at : at + size]]


def _one_cover(
    traits: _Traits, pixels: _Pixels, parcel: npt.NDArray[np.int64], parcels: ParcelMap, weather: Weather
) -> tuple[Array, Array, Array]:
    """Reflectance (time, pixel, band), leaf area and snow (time, pixel) of pixels of one land cover."""
    cover = list(COVERS.values())[parcels.cover[parcel[0]]]
    own = {name: values[parcel] for name, values in traits.values.items()}
    if cover.kind == "water":
        return _water(own, pixels, weather)
    state = (
        _crop(traits, parcel, weather)
        if cover.kind == "crop"
        else _perennial(cover, traits, own, parcel, pixels, weather)
    )
    return _land(cover, own, pixels, weather, *state)


def _land(
    cover: LandCover,
    own: dict[str, Array],
    pixels: _Pixels,
    weather: Weather,
    lai: Array,
    chlorophyll: Array,
    brown: Array,
) -> tuple[Array, Array, Array]:
    """Leaves of a known state over the ground of the day, with crown shadow, snow and built surfaces."""
    snow = logistic(10 * pixels.cold)
    lai = lai * np.exp(0.12 * pixels.growth + 0.08 * pixels.static[0]) * (1 - cover.buried * snow)
    moisture = np.clip(own["wet"] + 0.12 * weather.winter[:, None] + 0.18 * pixels.rain, 0, 1)
    ground = soil_reflectance(own["soil"] * np.exp(0.08 * pixels.static[2]), moisture)
    white = snow_reflectance(2e-4 + 3e-4 * logistic(pixels.drought))
    ground += snow[..., None] * (white - ground)
    leaves = {
        "lai": lai,
        "chlorophyll": chlorophyll * np.exp(0.08 * pixels.growth + 0.05 * pixels.static[1]),
        "brown": brown,
        "water": own["water"] * np.exp(0.12 * pixels.drought),
        "dry_matter": own["dry_matter"],
        "structure": own["structure"],
        "leaf_angle": own["leaf_angle"],
        "sun_zenith": weather.sun_zenith[:, None],
        "view_zenith": weather.view_zenith[:, None],
        "azimuth": weather.azimuth[:, None],
    }
    surface = canopy_reflectance(leaves, ground)
    slope = np.tan(np.radians(np.minimum(weather.sun_zenith, 65.0)))
    surface *= (1 - own["shade"] * np.minimum(0.5 + 0.5 * slope[:, None], 1.6))[..., None]
    if cover.kind == "built":
        roofs = built_reflectance(own["built"]) * np.exp(0.1 * pixels.static[3])[:, None]
        roofs = roofs + (0.7 * snow)[..., None] * (white - roofs)
        surface = roofs + own["green"][:, None] * (surface - roofs)
    return surface, lai, snow


def _perennial(
    cover: LandCover,
    traits: _Traits,
    own: dict[str, Array],
    parcel: npt.NDArray[np.int64],
    pixels: _Pixels,
    weather: Weather,
) -> tuple[Array, Array, Array]:
    """Leaf area, chlorophyll and brown pigment (time, pixel) of a double logistic season in every year.

    References
    ----------
    Beck et al. (2006), Remote Sensing of Environment 100: the double logistic. Leaves turn before they fall, and
    are out before they are fully green.
    """
    day = weather.days[:, None].astype(np.float32)
    leafy, green = (np.zeros((len(weather.days), len(parcel)), np.float32) for _ in range(2))
    height = np.zeros_like(leafy)
    for year, first in enumerate(weather.year_starts):
        start = first + own["start"] + weather.start[year] + traits.start[year, parcel] + 2.5 * pixels.static[3]
        end = first + own["end"] + weather.end[year] + traits.end[year, parcel]
        season = logistic((day - start) / own["rise"]) - logistic((day - end) / own["fall"])
        leafy += season
        height += season * np.exp(weather.vigour[year] + traits.vigour[year, parcel])
        green += logistic((day - start - 5) / own["rise"]) - logistic((day - end + 10) / own["fall"])
    lai = own["lai_low"] + (own["lai_high"] - own["lai_low"]) * height
    left = _after_cuts(traits.cuts[:, parcel], day) if cover.cuts[1] else np.float32(1)
    chlorophyll = own["chlorophyll_low"] + (own["chlorophyll_high"] - own["chlorophyll_low"]) * green
    brown = own["brown_high"] - (own["brown_high"] - own["brown_low"]) * green
    return lai * left, chlorophyll, brown + 0.4 * (1 - left)


def _after_cuts(cuts: Array, day: Array) -> Array:
    """What mowing leaves of the leaves (time, pixel): a fifth, growing back in a month. Cuts are (year, pixel, cut)."""
    left = np.ones((len(day), cuts.shape[1]), np.float32)
    for year in cuts:
        for number in range(year.shape[1]):
            since = day - year[:, number]
            with np.errstate(invalid="ignore"):  # no cut is NaN
                left *= 1 - np.where(since >= 0, 0.8 * np.exp(-np.maximum(since, 0) / 25), 0).astype(np.float32)
    return left


def _crop(traits: _Traits, parcel: npt.NDArray[np.int64], weather: Weather) -> tuple[Array, Array, Array]:
    """Leaf area, chlorophyll and brown pigment (time, pixel) of fields whose crop changes from year to year."""
    day = weather.days[:, None].astype(np.float32)
    lai = np.full((len(day), len(parcel)), 0.02, np.float32)
    chlorophyll, brown = 15 * lai, 0.5 * lai  # both weighted by leaf area, which divides them in the end
    for year, first in enumerate(weather.year_starts):
        for name, (grown, dates) in traits.crops.items():
            here = np.flatnonzero(grown[year, parcel])
            if not here.size:
                continue
            one = {trait: values[year, parcel[here]] for trait, values in dates.items()}
            late = weather.start[year] if name == "winter crop" else 0.7 * weather.end[year]
            vigour = np.exp(weather.vigour[year] + traits.vigour[year, parcel[here]])
            area, leaf, old = _one_crop(one, day - np.float32(first + late), vigour)
            lai[:, here] += area
            chlorophyll[:, here] += area * leaf
            brown[:, here] += area * old
    return lai, chlorophyll / lai, brown / lai


def _one_crop(one: dict[str, Array], day: Array, vigour: Array) -> tuple[Array, Array, Array]:
    """A season from the first leaves to the stubble, `day` counted in the year of the harvest."""
    young = one["juvenile"] * logistic((day - one["sown"]) / 6)
    main = logistic((day - one["growth"]) / one["speed"])
    turned = logistic((day - one["ripe"]) / 4)
    standing = (young + (one["peak"] * vigour - one["juvenile"]) * main) * (1 - 0.4 * turned)
    cut = day >= one["harvest"]
    stubble = 0.35 * np.exp(-np.maximum(day - one["harvest"], 0) / 40)
    area = np.where(cut, stubble, standing).astype(np.float32)
    return area, np.where(cut, 5, 28 + 24 * main - 42 * turned).astype(np.float32), np.where(cut, 1.1, 0.9 * turned)


def _water(own: dict[str, Array], pixels: _Pixels, weather: Weather) -> tuple[Array, Array, Array]:
    """Open water: sediment after rain, algae in summer, glint of the day."""
    sediment = np.clip(own["sediment"] * np.exp(0.5 * pixels.rain), 0, 1)
    algae = np.clip(own["algae"] * (0.5 - 0.5 * weather.winter[:, None]) * np.exp(0.4 * pixels.drought), 0, 1)
    glint = 0.006 * np.exp(0.5 * weather.rain - 0.5 * weather.winter)[:, None] + np.zeros_like(algae)
    none = np.zeros_like(algae)
    return water_reflectance(sediment, algae, glint), none, none.copy()


def _draw_traits(rng: np.random.Generator, parcels: ParcelMap, weather: Weather) -> _Traits:
    covers, count, years = list(COVERS.values()), len(parcels.cover), len(weather.year_starts)
    values = {}
    for name in _RANGES:
        low, high = np.array([getattr(cover, name) for cover in covers])[parcels.cover].T
        values[name] = rng.uniform(low, high).astype(np.float32)
    values["built"] = rng.dirichlet((2.0, 2.0, 2.0), count).astype(np.float32)
    values["green"] = rng.uniform(0.1, 0.45, count).astype(np.float32)
    values["sediment"] = (rng.uniform(0, 1, count) ** 3 * 0.8).astype(np.float32)
    values["algae"] = rng.uniform(0, 0.6, count).astype(np.float32)
    yearly = rng.standard_normal((3, years, count)).astype(np.float32)
    return _Traits(
        values, 4 * yearly[0], 5 * yearly[1], 0.08 * yearly[2], _draw_cuts(rng, parcels, weather),
        _draw_crops(rng, years, count),
    )  # fmt: skip


def _draw_cuts(rng: np.random.Generator, parcels: ParcelMap, weather: Weather) -> Array:
    """Days of mowing (year, parcel, cut), NaN where there is none: the same number every year, about evenly spread."""
    covers = list(COVERS.values())
    most = max(cover.cuts[1] for cover in covers)
    low, high = np.array([cover.cuts for cover in covers])[parcels.cover].T
    number = rng.integers(low, high + 1)
    at = np.arange(most)
    gap = 130 / np.maximum(number, 1)
    planned = 145 + gap[:, None] * at + rng.uniform(-12, 12, (len(weather.year_starts), len(number), most))
    planned = np.where(at < number[:, None], planned, np.nan)
    return (weather.year_starts[:, None, None] + planned).astype(np.float32)


def _draw_crops(
    rng: np.random.Generator, years: int, count: int
) -> dict[str, tuple[npt.NDArray[np.bool_], dict[str, Array]]]:
    """Which crop a parcel bears in each year, and its traits then: (year, parcel).

    A summer crop may follow a cover crop, and a winter crop needs its field in the autumn before.
    """
    main = rng.choice(3, (years, count), p=(0.5, 0.42, 0.08))  # winter, summer, fallow
    follows = np.roll(main, -1, axis=0)
    cover = (main == 0) & (follows == 1) & (rng.random((years, count)) < 0.6)
    late_harvest = (main == 1) & (follows == 0)
    grown = {"winter crop": main == 0, "summer crop": main == 1, "cover crop": cover}
    drawn = {}
    for crop in CROPS:
        traits = {}
        for trait in (f.name for f in fields(crop) if f.name != "name"):
            low, high = getattr(crop, trait)
            traits[trait] = rng.uniform(low, high, (years, count)).astype(np.float32)
        if crop.name == "summer crop":  # the field is sown again in October
            traits["harvest"] = np.where(late_harvest, np.minimum(traits["harvest"], 280), traits["harvest"])
        drawn[crop.name] = (grown[crop.name], traits)
    return drawn


def _draw_pixels(rng: np.random.Generator, parcels: ParcelMap, weather: Weather, length: float) -> _Pixels:
    """Anomalies of every pixel: the scene's, and its own that is smooth in space."""
    shape = parcels.first.shape

    def anomaly(shared: Array, decay: float) -> Array:
        own = ornstein_uhlenbeck(weather.days, decay, lambda: smooth_fields(rng, 1, shape, length)[0])
        return (SHARED * shared[:, None, None] + OWN * own).reshape(len(weather.days), -1)

    static = smooth_fields(rng, 4, shape, length).reshape(4, -1)
    height = smooth_fields(rng, 1, shape, 4 * length).reshape(-1)
    return _Pixels(
        parcel=parcels.first.reshape(-1),
        static=static,
        growth=anomaly(weather.growth, GROWTH_DECAY),
        drought=anomaly(weather.drought, DROUGHT_DECAY),
        rain=anomaly(weather.rain, RAIN_DECAY),
        cold=weather.cold[:, None] + 0.12 * height,
    )


def logistic(values: npt.ArrayLike) -> Array:
    """1 / (1 + exp(-x)), without overflow."""
    bounded = np.clip(np.asarray(values, np.float32), -_LOGISTIC_LIMIT, _LOGISTIC_LIMIT)
    return (1 / (1 + np.exp(-bounded))).astype(np.float32, copy=False)
