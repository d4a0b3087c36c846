"""Where the sun stood, to a few hundredths of a degree: enough for a mean scene angle that a file does not carry."""

from __future__ import annotations

import math
from datetime import UTC, datetime

_J2000 = datetime(2000, 1, 1, 12, tzinfo=UTC)


def sun_position(when: datetime, longitude: float, latitude: float) -> tuple[float, float]:
    """Elevation and azimuth of the sun, after the low-precision formulas of Meeus.

    Parameters
    ----------
    when : datetime
        An instant with a time zone.
    longitude, latitude : float
        Degrees east and north.

    Returns
    -------
    elevation, azimuth : float
        Degrees above the horizon, without refraction, and degrees clockwise from north.

    References
    ----------
    J. Meeus, Astronomical Algorithms, 2nd edition, chapters 12, 13 and 25 (the method of the NOAA solar calculator).

    Examples
    --------
    >>> noon = datetime(2020, 6, 21, 12, tzinfo=UTC)
    >>> [round(a) for a in sun_position(noon, 0.0, 52.0)]
    [61, 179]
    """
    days = (when - _J2000).total_seconds() / 86400
    right_ascension, declination = _sun_on_the_sky(days / 36525)
    sidereal = math.radians((280.46061837 + 360.98564736629 * days) % 360)
    hour_angle = sidereal + math.radians(longitude) - right_ascension
    lat = math.radians(latitude)
    elevation = math.asin(
        math.sin(lat) * math.sin(declination) + math.cos(lat) * math.cos(declination) * math.cos(hour_angle)
    )
    from_south = math.atan2(
        math.sin(hour_angle), math.cos(hour_angle) * math.sin(lat) - math.tan(declination) * math.cos(lat)
    )
    return math.degrees(elevation), (math.degrees(from_south) + 180) % 360


def _sun_on_the_sky(century: float) -> tuple[float, float]:
    """Apparent right ascension and declination in radians, for Julian centuries since J2000."""
    mean_longitude = 280.46646 + century * (36000.76983 + century * 0.0003032)
    anomaly = math.radians(357.52911 + century * (35999.05029 - century * 0.0001537))
    centre = (
        (1.914602 - century * (0.004817 + 0.000014 * century)) * math.sin(anomaly)
        + (0.019993 - 0.000101 * century) * math.sin(2 * anomaly)
        + 0.000289 * math.sin(3 * anomaly)
    )
    node = math.radians(125.04 - 1934.136 * century)
    longitude = math.radians(mean_longitude + centre - 0.00569 - 0.00478 * math.sin(node))
    obliquity = math.radians(23.43929111 - century * 0.0130042 + 0.00256 * math.cos(node))
    right_ascension = math.atan2(math.cos(obliquity) * math.sin(longitude), math.cos(longitude))
    return right_ascension, math.asin(math.sin(obliquity) * math.sin(longitude))
