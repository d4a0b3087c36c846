"""The dashboard of corrections without a browser: what is compared, what the moved air does, how little is read."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import xarray as xr

from s2koop._atmosphere_session import AtmosphereSession
from s2koop._frames import decode, encode
from s2koop.errors import InputError, SlowReadWarning
from s2koop.live.atmosphere import AtmosphereDashboard
from tests.live.corrected import Corrected, corrected
from tests.support.counted import counted

LIVE, EMULATED = "inverted live", "emulated (hybrid)"


@pytest.fixture(scope="module")
def made() -> Corrected:
    return corrected()


@pytest.fixture
def session(made: Corrected) -> AtmosphereSession:
    return AtmosphereSession(
        made.result, toa=made.toa, reference=made.truth, others={"climatology": made.other}, **made.told
    )


@pytest.fixture
def view(session: AtmosphereSession) -> AtmosphereDashboard:
    return AtmosphereDashboard(session)


def settle(view: AtmosphereDashboard) -> None:
    assert view.wait(30)
    assert view.errors == []


def asked(made: Corrected, session: AtmosphereSession, aot: float, water_vapour: float, date: int = 0) -> xr.Dataset:
    """What the accessor itself says under an air that is moved on one date."""
    air = {name: begin.values.copy() for name, begin in session.begin.items()}
    air["aot"][date], air["water_vapour"][date] = aot, water_vapour
    return made.toa.ac.invert(**air, aerosol=session.aerosol, **made.told)


def test_it_offers_all_that_was_given_and_begins_where_the_result_retrieved(made, session) -> None:
    assert session.products == ("TOA", EMULATED, "climatology", LIVE, "reference")
    assert session.bands == tuple(made.result["band"].values)
    assert session.labels == ("2024-05-01", "2024-05-06")
    for date in (0, 1):
        session.time = date
        assert session.aot == pytest.approx(float(made.result["aot"][date]))
        assert session.water_vapour == pytest.approx(float(made.result["water_vapour"][date]))
    likeliest = made.result["aerosol_probability"].mean("time").idxmax().item()
    assert session.aerosol == likeliest


def test_it_says_where_the_air_it_begins_with_is_from(made) -> None:
    result = made.result.copy(deep=True)
    result["aot"][1] = np.nan  # a date of nothing but cloud
    session = AtmosphereSession(result, toa=made.toa, water_vapour=2.5, **made.told)
    spread = float(result["aot_spread"][0])
    assert session.begin["aot"].text(0, 3) == f"{float(result['aot'][0]):.3f} ± {spread:.3f} (retrieved)"
    assert session.begin["aot"].text(1, 3) == "0.130 (climatology)"
    assert session.begin["water_vapour"].text(1, 2) == "2.50 (given)"


def test_what_a_scene_was_simulated_with_is_not_taken_for_what_was_retrieved(made) -> None:
    scene = made.toa.isel(time=0).assign_coords(aot=0.61, water_vapour=5.0)
    told = {"angles": {name: float(values[0]) for name, values in made.told["angles"].items()}}
    session = AtmosphereSession(scene.ac.invert(**told), toa=scene, **told)
    assert (session.aot, session.water_vapour) == (0.13, 1.6)
    assert session.labels == ("2024-05-01",)


def test_the_spectrum_has_the_true_values_of_every_layer(made, session) -> None:
    session.time = 1
    found = session.spectrum((3, 5))
    assert list(found.bands[6:9]) == ["B07", "B08", "B8A"]
    assert found.wavelengths.tolist() == sorted(found.wavelengths)
    at = {"time": 1, "y": 3, "x": 5}
    for name, values in {"TOA": made.toa, "reference": made.truth, EMULATED: made.result["mean"]}.items():
        expected = values.isel(at).sel(band=list(found.bands))
        np.testing.assert_allclose(found.lines[name].mean, expected, rtol=1e-6)
    spread = made.result["spread"].isel(at).sel(band=list(found.bands))
    line = found.lines[EMULATED]
    np.testing.assert_allclose(line.high - line.mean, 1.6448536 * spread, rtol=1e-4)
    assert np.isnan(found.lines["TOA"].low).all()


def test_moved_air_gives_what_invert_gives(made, session) -> None:
    session.aot, session.water_vapour, session.band = 0.42, 3.1, "B02"
    expected = asked(made, session, 0.42, 3.1)
    line = session.spectrum((7, 9)).lines[LIVE]
    here = expected.isel(time=0, y=7, x=9).sel(band=list(session.spectrum().bands))
    np.testing.assert_allclose(line.mean, here["mean"], atol=2e-6)
    np.testing.assert_allclose(line.high - line.mean, 1.6448536 * here["spread"], rtol=1e-3, atol=1e-6)
    session.colour = False
    frames = session.frames(LIVE)
    low, high = session.limits("B02")
    shown = expected["mean"].sel(band="B02").values
    assert np.abs(frames.levels.astype(int) - encode(shown, low, high).astype(int)).max() <= 1
    session.reset()
    assert session.aot == pytest.approx(float(made.result["aot"][0]))
    assert session.frames(LIVE) is not frames


def test_each_date_keeps_the_air_that_it_was_given(made, session) -> None:
    session.aot = 0.5
    session.time = 1
    assert session.aot == pytest.approx(float(made.result["aot"][1]))
    session.water_vapour = 4.0
    session.time = 0
    assert session.aot == 0.5
    assert session.water_vapour == pytest.approx(float(made.result["water_vapour"][0]))
    expected = made.toa.ac.invert(
        aot=[0.5, float(made.result["aot"][1])], water_vapour=[session.water_vapour, 4.0], aerosol=session.aerosol,
        spread=False, **made.told,
    )["mean"].sel(band="B04")  # fmt: skip
    session.colour = False
    frames = session.frames(LIVE)
    inside = decode(frames.levels, frames.low, frames.high)
    clipped = expected.values.clip(frames.low, frames.high)
    np.testing.assert_allclose(inside, clipped, atol=(frames.high - frames.low) / 254)


def test_a_picture_that_began_under_another_air_is_not_taken_for_the_new_one(session, monkeypatch) -> None:
    begun, go_on = threading.Event(), threading.Event()
    maps = type(session._sources).maps

    def slow(*args):
        begun.set()
        assert go_on.wait(20)
        return maps(*args)

    with monkeypatch.context() as patch:
        patch.setattr(type(session._sources), "maps", slow)
        held = []
        worker = threading.Thread(target=lambda: held.append(session.frames(LIVE)))
        worker.start()
        assert begun.wait(20)
        old, session.aot = session.aot, 0.6
        go_on.set()
        worker.join(20)
    assert (session.frames(LIVE).levels != held[0].levels).any()
    session.aot = old
    assert session.frames(LIVE) is held[0]


def test_statistics_are_those_of_compare_for_scene_and_region(made, session) -> None:
    session.right, session.time, session.region = "climatology", 1, (2, 3, 14, 20)
    found = session.statistics()
    assert (found.name, found.date, found.step) == ("climatology", "2024-05-06", 1)
    whole = made.other.isel(time=1).ac.compare(made.truth.isel(time=1)).table
    part = {"time": 1, "y": slice(2, 14), "x": slice(3, 20)}
    window = made.other.isel(part).ac.compare(made.truth.isel(part)).table
    for table, expected in ((found.scene, whole), (found.region, window)):
        columns = ["n", "ratio_median", "bias", "rmse", "in_spec"]
        np.testing.assert_allclose(table[columns], expected.loc[table.index, columns], rtol=1e-6)
    session.region = ()
    assert session.statistics().region is None
    session.left = session.right = "TOA"
    assert session.statistics() is None


def test_live_statistics_follow_the_air_and_are_thinned_where_much_is_compared(made, session, monkeypatch) -> None:
    session.right, session.aot = LIVE, 0.4
    expected = asked(made, session, 0.4, session.water_vapour)["mean"].isel(time=0)
    table = expected.ac.compare(made.truth.isel(time=0)).table
    np.testing.assert_allclose(session.statistics().scene["rmse"], table["rmse"], rtol=1e-3)
    monkeypatch.setattr("s2koop._atmosphere_session.COMPARED", 2000)
    session.aot = 0.41
    found = session.statistics()
    assert found.step == 2
    assert int(found.scene.loc["B04", "n"]) == 12 * 12
    session.region = (2, 3, 6, 7)
    assert int(session.statistics().region.loc["B04", "n"]) == 4 * 4, "a small region is compared in full"


def test_the_ratio_is_taken_over_bright_pixels_only(made, session) -> None:
    session.band = "B02"
    frames = session.ratio_frames()
    ours, theirs = (values.sel(band="B02").values for values in (made.result["mean"], made.truth))
    ratio = np.where(theirs > 0.02, ours / theirs, np.nan)
    np.testing.assert_array_equal(frames.levels, encode(ratio, 0.8, 1.2))
    assert AtmosphereSession(made.result, toa=made.toa, **made.told).ratio_frames() is None


def test_colours_have_no_data_where_any_band_has_none(made) -> None:
    holed = made.result.copy(deep=True)
    holed["mean"].loc[{"band": "B03"}][0, 4, 5] = np.nan
    session = AtmosphereSession(holed)
    assert session.colour
    frames = session.frames(EMULATED)
    assert frames.levels.shape == (2, 24, 24, 3)
    assert (frames.levels[0, 4, 5] == 0).all()
    assert (frames.levels != 0).all(axis=-1).sum() == 2 * 24 * 24 - 1


def test_a_product_that_lacks_a_band_or_a_date_is_empty_there(made) -> None:
    reference = made.truth.sel(band=["B04"]).isel(time=[1])
    session = AtmosphereSession(made.result, reference=reference)
    session.band, session.colour = "B04", False
    assert not session.frames("reference").levels[0].any()
    assert session.frames("reference").levels[1].all()
    assert session.statistics().scene is None
    session.time = 1
    assert session.statistics().scene.index.tolist() == ["B04", "all"]
    session.band = "B8A"
    assert not session.frames("reference").levels.any()


def test_four_bands_without_green_are_shown_in_false_colours(made) -> None:
    few = made.other.sel(band=["B02", "B04", "B08", "B11"])
    session = AtmosphereSession(few)
    assert session.colours == ("B11", "B08", "B04")
    assert "false colour" in session.shown
    single = AtmosphereSession(few.sel(band=["B04"]))
    assert not single.colour
    with pytest.raises(InputError, match="no picture in colours"):
        single.colour = True


def test_a_scene_whose_bright_pixel_is_saturated_can_be_inverted_there(made) -> None:
    toa = made.toa.copy(deep=True)
    toa[0, :, 2, 2] = 2.4
    session = AtmosphereSession(made.result, toa=toa, **made.told)
    assert session.spectrum((2, 2)).lines[LIVE].mean.max() > 2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"toa": "no scene"}, "toa is a str"),
        ({"reference": 3}, "'reference' is a int"),
        ({"others": dict.fromkeys("abc")}, "at most 2"),
        ({"name": LIVE}, "name of its own"),
        ({"band": "B99"}, "no band 'B99'"),
        ({"pixel": (24, 0)}, "rows run from 0 to 23"),
        ({"aot": 3.0}, "outside of the table"),
        ({"aot": [0.1, 0.2, 0.3]}, "one for each of 2 dates"),
        ({"aerosol": "soot"}, "'soot' is unknown"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_was_expected(made, wrong, message) -> None:
    options = {"toa": made.toa, **made.told} | wrong
    with pytest.raises(InputError, match=message):
        AtmosphereSession(made.result, **options)


def test_other_grids_levels_and_dates_are_refused(made) -> None:
    with pytest.raises(InputError, match="no common grid"):
        AtmosphereSession(made.result, reference=made.truth.isel(y=slice(0, 12)))
    with pytest.raises(InputError, match="level 'TOA'"):
        AtmosphereSession(made.result, reference=made.toa)
    with pytest.raises(InputError, match="toa has no 2024-05-06"):
        AtmosphereSession(made.result, toa=made.toa.isel(time=[0]), angles={"sza": 30.0, "vza": 5.0, "raa": 0.0})
    with pytest.raises(InputError, match="no date in common"):
        AtmosphereSession(
            made.result, reference=made.truth.assign_coords(time=made.truth.time + np.timedelta64(9, "D"))
        )


def test_choices_that_do_not_exist_are_refused(session) -> None:
    for trait, value in {"left": "nothing", "time": 2, "region": (0, 0, 30, 5), "aot": -0.1, "level": 1.5}.items():
        with pytest.raises(InputError):
            setattr(session, trait, value)


def test_lazy_data_are_read_once_whatever_is_looked_at(made) -> None:
    toa, measured = counted(made.toa)
    mean, computed = counted(made.result["mean"])
    view = AtmosphereDashboard(
        AtmosphereSession(made.result[["mean"]].assign(mean=mean), toa=toa, reference=made.truth, **made.told)
    )
    session = view.session
    assert view.chart.columns("Points", "TOA")["reflectance"].size == 0, "it is seen before anything is read"
    assert "<img" not in view._repr_mimebundle_()["text/html"]
    settle(view)
    assert view.chart.columns("Points", "TOA")["reflectance"].size == 12
    session.right = LIVE
    for aot in (0.1, 0.3, 0.5):
        session.aot = aot
        settle(view)
    for pixel in ((0, 0), (20, 20)):
        session.pixel = pixel
        settle(view)
    session.band, session.time = "B11", 1
    settle(view)
    for reads in (measured, computed):
        assert set(reads.values()) == {1}
        assert len(reads) == 24


def test_it_says_what_is_read_and_how_much(made) -> None:
    toa, _ = counted(made.toa)
    session = AtmosphereSession(made.result, toa=toa, **made.told)
    said = []
    session.observe(lambda change: said.append(change["new"]), "status")
    session.colour, session.band = False, "B12"
    session.frames("TOA")
    assert "Reading TOA, B12: 0.0 MB" in said
    assert said[-1] == ""


@pytest.mark.parametrize("product", [EMULATED, LIVE, "ratio"])
def test_details_are_the_pixels_that_pictures_leave_out(made, session, product) -> None:
    session.colour, session.band, session.time = False, "B8A", 1
    session.right = EMULATED
    box = (3, 4, 19, 22)
    whole = session.ratio_frames() if product == "ratio" else session.frames(product)
    detail = session.detail(product, box)
    np.testing.assert_array_equal(detail.levels[0], whole.levels[1, 3:19, 4:22])
    assert session.detail(product, box, budget=8 * 9).levels.shape == (1, 8, 9)
    session.colour = True
    channels = () if product == "ratio" else (3,)
    assert session.detail(product, box).levels.shape == (1, 16, 18, *channels)


def test_more_than_is_kept_is_read_as_often_as_it_is_looked_at(made, monkeypatch) -> None:
    monkeypatch.setattr("s2koop._atmosphere_sources.KEPT_BYTES", 0)
    toa, reads = counted(made.toa)
    session = AtmosphereSession(made.other, toa=toa, **made.told)
    with pytest.warns(SlowReadWarning, match=r"\.load\(\)"):
        lazy = session.spectrum((3, 3))
    expected = AtmosphereSession(made.other, toa=made.toa, **made.told).spectrum((3, 3))
    np.testing.assert_allclose(lazy.lines[LIVE].mean, expected.lines[LIVE].mean)
    session.frames(LIVE)
    once = reads.total()
    session.aot = 0.5
    session.frames(LIVE)
    assert reads.total() == once, "a moved hand reads nothing of what it saw before"


# The widget


def test_it_opens_with_two_maps_a_ratio_a_spectrum_and_numbers(view) -> None:
    picture = view.picture
    assert picture.mode == "swipe"
    assert [picture.panel(slot)["title"] for slot in (1, 2, 3)] == [
        "TOA, true colour", f"{EMULATED}, true colour", f"{EMULATED} / reference, B04",
    ]  # fmt: skip
    assert picture.panel(1)["channels"] == 3
    assert picture.panel(1)["labels"] == ["2024-05-01", "2024-05-06"]
    assert picture.panel(3)["range"] == [0.8, 1.2]
    assert "Row 12, column 12" in picture.readout
    assert "<table" in view.numbers.value
    assert view.session.labels[0] in view.chart.figure.title.text


def test_hand_and_program_move_the_same_things(view) -> None:
    view.picture.index, view.picture.pixel, view.picture.region = 1, [3, 4], [0, 0, 9, 9]
    settle(view)
    session = view.session
    assert (session.time, session.pixel, session.region) == (1, (3, 4), (0, 0, 9, 9))
    assert "row 3, column 4, 2024-05-06" in view.chart.figure.title.text
    assert "region (" in view.numbers.value
    session.time, session.pixel, session.region = 0, (5, 6), ()
    settle(view)
    assert (view.picture.index, view.picture.pixel, view.picture.region) == (0, [5, 6], [])
    assert "region (" not in view.numbers.value


def test_the_chart_shows_the_spectrum_of_the_session(view) -> None:
    view.session.pixel = (1, 20)
    settle(view)
    found = view.session.spectrum()
    for name, line in found.lines.items():
        drawn = view.chart.columns("Points", name)
        np.testing.assert_allclose(drawn["reflectance"], line.mean[np.isfinite(line.mean)])
    low, high = view.chart.figure.y_range.start, view.chart.figure.y_range.end
    assert low < found.lines["TOA"].mean.min()
    assert high > found.lines[LIVE].mean.max()


def test_moved_air_changes_pixel_picture_and_numbers_in_this_order(view) -> None:
    session, order = view.session, []
    session.right = LIVE
    settle(view)
    before = view.picture.panel(2)["levels"]
    view.picture.observe(lambda _c: order.append("picture"), "panel_2")
    view.numbers.observe(lambda _c: order.append("numbers"), "value")
    view.picture.observe(lambda _c: order.append("pixel"), "readout")
    session.aot = 0.55
    settle(view)
    assert order == ["pixel", "picture", "numbers"], "a picture that is small is sent once"
    assert view.picture.panel(2)["levels"] != before


def test_while_a_hand_moves_little_is_sent_and_all_when_it_rests(view, monkeypatch) -> None:
    monkeypatch.setattr("s2koop.live.atmosphere.LIVE_BYTES", 2 * 3 * 12 * 12)
    view.session.right = LIVE
    settle(view)
    strides = []
    view.picture.observe(lambda change: strides.append(change["new"]["stride"]), "panel_2")
    left = view.picture.panel(1)
    view.session.aot = 0.5
    settle(view)
    assert strides == [2, 1]
    assert view.picture.panel(1) == left, "what does not depend on the air is not sent again"
    assert "1 pixel of" not in view.picture.panel(2)["title"]


def test_a_hand_that_goes_on_waits_for_no_large_picture(view, monkeypatch) -> None:
    monkeypatch.setattr("s2koop.live.atmosphere.LIVE_BYTES", 2 * 3 * 12 * 12)
    monkeypatch.setattr("s2koop.live.atmosphere._REST", 60.0)
    view.session.right = LIVE
    settle(view)
    strides, moved = [], threading.Event()
    view.picture.observe(lambda change: strides.append(change["new"]["stride"]) or moved.set(), "panel_2")
    for aot in (0.3, 0.4, 0.5):
        moved.clear()
        view.session.aot = aot
        assert moved.wait(30), "a picture waited until the hand had rested"
    monkeypatch.setattr("s2koop.live.atmosphere._REST", 0.0)
    view.session.aot = 0.6
    settle(view)
    assert strides == [2, 2, 2, 2, 1]


def test_a_magnified_part_gets_its_pixels_and_they_follow(view, monkeypatch) -> None:
    view.picture.view = [0, 0, 6, 6]
    settle(view)
    assert [d["size"] for d in view.picture.details] == [[1, 6, 6]] * 3
    assert view.picture.details[0]["index"] == 0
    view.picture.index = 1
    settle(view)
    assert view.picture.details[0]["index"] == 1
    view.session.right = LIVE
    settle(view)
    before = view.picture.details[1]["levels"]
    view.session.aot = 0.6
    settle(view)
    assert view.picture.details[1]["levels"] != before
    view.picture.view = []
    settle(view)
    assert view.picture.details == []


def test_air_is_not_sent_as_a_picture_where_it_is_not_seen(view) -> None:
    sent = []
    view.picture.observe(sent.append, ["panel_1", "panel_2", "panel_3"])
    view.session.aot = 0.5
    settle(view)
    assert sent == []


def test_sliders_are_marked_where_they_began_and_go_back_there(view) -> None:
    controls = view.children[2].children[1].children[0]
    aot, water, rest = controls.children
    back = rest.children[0]
    began = float(view.session.begin["aot"].values[0])
    assert aot.marks == [began]
    assert (aot.low, aot.high) == (0.0, 0.9)
    assert back.disabled
    aot.value, water.value = 0.3, 2.5
    settle(view)
    assert (view.session.aot, view.session.water_vapour) == (0.3, 2.5)
    assert not back.disabled
    back.click()
    settle(view)
    assert aot.value == pytest.approx(began)
    assert back.disabled
    view.session.time = 1
    assert aot.marks == [float(view.session.begin["aot"].values[1])]


def test_without_toa_there_is_nothing_to_move(made) -> None:
    view = made.result.ac.dashboard(reference=made.truth)
    assert not view.session.live
    assert len(view.children[2].children[1].children) == 2


def test_the_accessor_opens_it_on_results_and_on_reflectance(made) -> None:
    view = made.result.ac.dashboard(toa=made.toa, date="2024-05-07", level=0.68, band="B8A", **made.told)
    assert (view.session.time, view.session.level, view.session.band) == (1, 0.68, "B8A")
    assert not view.session.colour
    assert made.truth.ac.dashboard(reference=made.result).session.products == ("result", "reference")


def test_a_failure_is_seen_and_can_be_dismissed(view, monkeypatch) -> None:
    def broken(*_args, **_options):
        raise OSError("the disk is <gone>")

    monkeypatch.setattr(AtmosphereSession, "spectrum", broken)
    view.picture.pixel = [0, 0]
    assert view.wait(10)
    box = view.children[-1]
    assert next(str(e) for e in view.errors) == "the disk is <gone>"
    assert "the disk is &lt;gone&gt;" in box.children[0].value
    box.children[1].click()
    assert box.layout.display == "none"


def test_the_still_twin_is_there_for_places_without_widgets(view) -> None:
    page = view._repr_mimebundle_()["text/html"]
    assert page.startswith("<img alt=")
    assert "<table" in page
    assert len(page) < 400_000
