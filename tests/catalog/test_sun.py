"""The sun of real products: scene means as two providers state them, at the centre of the tile."""

from datetime import UTC, datetime

import pytest

from s2koop.catalog._sun import sun_position


@pytest.mark.parametrize(
    ("when", "lon", "lat", "elevation", "azimuth"),
    [
        # S2A_32TMT_20200302_0_L2A, Earth Search; a mean over 110 km, so a third of a degree is left to it
        (datetime(2020, 3, 2, 10, 27, 44, tzinfo=UTC), 8.40, 47.36, 33.490, 158.814),
        # S2A_29RKH_20200219_0_L2A
        (datetime(2020, 2, 19, 11, 34, 25, tzinfo=UTC), -11.40, 24.80, 48.293, 147.671),
        # S2A T10SDG of 2018-12-31, the western hemisphere in winter
        (datetime(2018, 12, 31, 19, 4, 6, tzinfo=UTC), -123.50, 37.45, 27.099, 161.106),
    ],
)
def test_agrees_with_products(when, lon, lat, elevation, azimuth):
    found = sun_position(when, lon, lat)
    assert found == pytest.approx((elevation, azimuth), abs=0.35)


def test_equinox_at_the_equator_passes_the_zenith():
    elevation, _ = sun_position(datetime(2020, 3, 20, 12, 7, 30, tzinfo=UTC), 0.0, 0.0)
    assert elevation == pytest.approx(90, abs=0.15)


def test_noon_of_the_south_stands_in_the_north():
    _, azimuth = sun_position(datetime(2020, 6, 21, 12, 2, tzinfo=UTC), 0.0, -35.0)
    assert min(azimuth, 360 - azimuth) < 0.5


def test_morning_is_east_and_afternoon_west():
    assert 90 < sun_position(datetime(2020, 12, 21, 9, tzinfo=UTC), 0.0, 45.0)[1] < 180
    assert 180 < sun_position(datetime(2020, 12, 21, 15, tzinfo=UTC), 0.0, 45.0)[1] < 270
