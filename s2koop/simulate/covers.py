"""The land covers that can be simulated: for each, the range of every trait that a parcel draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

Range = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class LandCover:
    """Traits of a land cover; a parcel draws each uniformly from its range.

    Attributes
    ----------
    name : str
    kind : {"perennial", "crop", "water", "built"}
        Which model of growth it follows.
    lai_low, lai_high : range
        Leaf area index out of season and at its height.
    start, end : range
        Days of the year on which half of the leaves are out, and half are lost.
    rise, fall : range
        Days over which that happens (scale of a logistic).
    chlorophyll_low, chlorophyll_high : range
        µg/cm².
    brown_low, brown_high : range
        Brown pigment in season and out of it.
    water, dry_matter, structure, leaf_angle : range
        Of the leaves; see `s2koop.simulate.canopy.PARAMETERS`.
    shade : range
        Part of the ground that crowns darken when the sun stands at 45 degrees.
    soil : range
        Brightness of the ground, in that of PROSAIL's soils.
    wet : range
        Mean moisture of the ground, 0 to 1.
    cuts : (int, int)
        Mowings a year.
    buried : float
        Part of the leaves that snow covers.
    """

    name: str
    kind: str = "perennial"
    lai_low: Range = (0.0, 0.0)
    lai_high: Range = (0.0, 0.0)
    start: Range = (110.0, 130.0)
    end: Range = (270.0, 300.0)
    rise: Range = (6.0, 10.0)
    fall: Range = (8.0, 15.0)
    chlorophyll_low: Range = (10.0, 20.0)
    chlorophyll_high: Range = (35.0, 55.0)
    brown_low: Range = (0.0, 0.1)
    brown_high: Range = (0.5, 1.0)
    water: Range = (0.009, 0.016)
    dry_matter: Range = (0.004, 0.008)
    structure: Range = (1.4, 1.8)
    leaf_angle: Range = (45.0, 60.0)
    shade: Range = (0.0, 0.0)
    soil: Range = (0.4, 0.7)
    wet: Range = (0.4, 0.6)
    cuts: tuple[int, int] = (0, 0)
    buried: float = 0.9


@dataclass(frozen=True, kw_only=True)
class Crop:
    """One season of a crop; days of the year of the harvest, those before it negative.

    Attributes
    ----------
    sown : range
        Day on which the first leaves stand.
    juvenile : range
        Leaf area index until the main growth.
    growth, speed : range
        Day of half of the main growth, and its logistic scale in days.
    peak : range
        Leaf area index at its height.
    ripe, harvest : range
        Day on which half of the leaves have turned, and that on which they are cut.
    """

    name: str
    sown: Range
    juvenile: Range
    growth: Range
    speed: Range
    peak: Range
    ripe: Range
    harvest: Range


#: What follows on a field, drawn each year.
CROPS: tuple[Crop, ...] = (
    Crop(
        name="winter crop", sown=(-75.0, -40.0), juvenile=(0.3, 1.0), growth=(92.0, 112.0), speed=(7.0, 12.0),
        peak=(3.5, 6.0), ripe=(168.0, 182.0), harvest=(190.0, 212.0),
    ),
    Crop(
        name="summer crop", sown=(125.0, 145.0), juvenile=(0.05, 0.2), growth=(160.0, 180.0), speed=(6.0, 10.0),
        peak=(2.5, 5.0), ripe=(245.0, 265.0), harvest=(265.0, 295.0),
    ),
    Crop(
        name="cover crop", sown=(225.0, 240.0), juvenile=(0.1, 0.3), growth=(250.0, 265.0), speed=(7.0, 10.0),
        peak=(1.0, 2.5), ripe=(345.0, 364.0), harvest=(340.0, 364.0),
    ),
)  # fmt: skip

_ALL = (
    LandCover(
        name="deciduous forest", lai_low=(0.4, 0.8), lai_high=(4.0, 6.0), start=(114.0, 130.0), end=(284.0, 300.0),
        rise=(4.0, 7.0), fall=(7.0, 12.0), brown_high=(0.8, 1.3), chlorophyll_low=(4.0, 8.0),
        chlorophyll_high=(36.0, 54.0), shade=(0.12, 0.22),
        soil=(0.45, 0.65), wet=(0.3, 0.5), leaf_angle=(40.0, 55.0), water=(0.009, 0.014), buried=0.1,
    ),
    LandCover(
        name="evergreen forest", lai_low=(1.9, 3.0), lai_high=(2.3, 3.8), start=(120.0, 145.0), end=(270.0, 300.0),
        rise=(15.0, 25.0), fall=(20.0, 35.0), chlorophyll_low=(26.0, 38.0), chlorophyll_high=(32.0, 46.0),
        brown_low=(0.1, 0.25), brown_high=(0.15, 0.35), water=(0.012, 0.018), dry_matter=(0.009, 0.014),
        shade=(0.28, 0.42), soil=(0.4, 0.55), wet=(0.4, 0.6), leaf_angle=(50.0, 65.0), buried=0.15,
    ),
    LandCover(
        name="grass", wet=(0.3, 0.5), lai_low=(0.3, 0.7), lai_high=(1.3, 3.8), start=(98.0, 125.0), end=(285.0, 315.0),
        rise=(8.0, 14.0), fall=(14.0, 25.0), chlorophyll_low=(6.0, 16.0), chlorophyll_high=(22.0, 42.0),
        brown_low=(0.0, 0.2), brown_high=(0.3, 0.7), leaf_angle=(45.0, 62.0), soil=(0.6, 0.9), cuts=(0, 4),
    ),
    LandCover(name="crop", kind="crop", soil=(0.55, 0.95), wet=(0.3, 0.5), water=(0.013, 0.022)),
    LandCover(
        name="shrub", lai_low=(0.5, 1.0), lai_high=(1.2, 2.4), start=(105.0, 130.0), end=(275.0, 310.0),
        chlorophyll_low=(10.0, 20.0), chlorophyll_high=(25.0, 45.0),
        rise=(10.0, 18.0), fall=(15.0, 30.0), brown_low=(0.1, 0.35), brown_high=(0.4, 0.8), shade=(0.08, 0.18),
        soil=(0.5, 0.8), wet=(0.3, 0.45), buried=0.5,
    ),
    LandCover(
        name="bare soil", lai_low=(0.0, 0.05), lai_high=(0.02, 0.3), brown_low=(0.3, 0.8), soil=(0.5, 1.0),
        wet=(0.2, 0.4),
    ),
    LandCover(name="water", kind="water", buried=0.0),
    LandCover(name="built-up", kind="built", lai_low=(0.3, 0.6), lai_high=(1.2, 2.5), soil=(0.4, 0.6)),
)  # fmt: skip

#: Land covers by name, in the order of their codes (1, 2, ...).
COVERS: Mapping[str, LandCover] = MappingProxyType({cover.name: cover for cover in _ALL})
#: Usual shares of a scene in the temperate zone.
SHARES: Mapping[str, float] = MappingProxyType(
    {
        "deciduous forest": 0.24, "evergreen forest": 0.16, "grass": 0.2, "crop": 0.24, "shrub": 0.06,
        "bare soil": 0.03, "water": 0.03, "built-up": 0.04,
    }
)  # fmt: skip
