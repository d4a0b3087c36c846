"""`.ac.compare`: known errors give the known numbers, lazily or not; plots and the page hold them."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from s2koop.errors import InputError
from s2koop.scores import sam, ssim
from tests.ac.scenes import SKY, surface

TWO = ["B04", "B8A"]


def test_the_numbers_are_those_of_numpy(rng):
    truth = surface(bands=TWO, dates=2, rows=30, columns=40).astype("float64")
    result = truth + rng.normal(0.003, 0.01, truth.shape)
    result[0, 0, 3, 4] = np.nan
    table = result.ac.compare(truth, minimum=0.05).table
    for at, band in enumerate(TWO):
        ours, theirs = result.values[:, at].ravel(), truth.values[:, at].ravel()
        there = np.isfinite(ours)
        ours, theirs = ours[there], theirs[there]
        error = ours - theirs
        ratio = (ours / theirs)[theirs > 0.05]
        row = table.loc[band]
        assert row["n"] == len(error)
        np.testing.assert_allclose(row["bias"], error.mean(), atol=1e-9)
        np.testing.assert_allclose(row["precision"], error.std(), rtol=1e-6)
        np.testing.assert_allclose(row["rmse"], np.sqrt((error**2).mean()), rtol=1e-6)
        np.testing.assert_allclose(row["mae"], np.abs(error).mean(), rtol=1e-9)
        np.testing.assert_allclose(row["in_spec"], (np.abs(error) <= 0.05 * theirs + 0.005).mean(), rtol=1e-9)
        found = row[["ratio_p5", "ratio_median", "ratio_p95"]].tolist()
        np.testing.assert_allclose(found, np.percentile(ratio, [5, 50, 95]), atol=2e-3)
        quarter = np.percentile(ratio, [25, 75])
        np.testing.assert_allclose(row["ratio_iqr"], quarter[1] - quarter[0], atol=2e-3)
    np.testing.assert_allclose(table.loc["all", "mae"], np.nanmean(np.abs(result - truth)), rtol=1e-9)
    assert 0 < table.loc["all", "sam"] < 10


def test_accuracy_precision_uncertainty_by_reflectance():
    truth = surface(bands=["B04"], rows=40, columns=40)
    result = truth + xr.where(truth < 0.25, 0.01, 0.03)
    apu = result.ac.compare(truth).apu.loc["B04"]
    dark, bright = apu[apu.index < 0.25], apu[apu.index > 0.25]
    np.testing.assert_allclose(dark["accuracy"], 0.01, atol=1e-6)
    np.testing.assert_allclose(bright["uncertainty"], 0.03, atol=1e-6)
    np.testing.assert_allclose(apu["precision"], 0, atol=2e-4)
    np.testing.assert_allclose(apu["specification"], 0.05 * apu.index + 0.005)
    assert apu["n"].sum() == truth.size
    assert apu["in_spec"].loc[apu.index > 0.25].sum() == 0


def test_the_same_result_is_perfect():
    truth = surface(bands=TWO, rows=16, columns=16)
    table = truth.ac.compare(truth).table
    np.testing.assert_allclose(table[["ratio_median", "ssim", "in_spec"]], 1, atol=5e-4)
    np.testing.assert_array_equal(table[["bias", "rmse", "mae"]], 0)
    assert table.loc["all", "sam"] < 1e-5


@pytest.mark.parametrize("chunks", [{"time": 1, "y": 7, "x": 9}, {"band": 1}])
def test_lazy_scenes_give_the_same_numbers(chunks, rng):
    truth = surface(bands=TWO, dates=2, rows=25, columns=30)
    result = truth * rng.normal(1.0, 0.02, truth.shape).astype("float32")
    eager = result.ac.compare(truth)
    lazy = result.chunk(chunks).ac.compare(truth)
    np.testing.assert_allclose(lazy.table.astype(float), eager.table.astype(float), rtol=1e-9)
    xr.testing.assert_equal(lazy.ratios, eager.ratios)
    xr.testing.assert_equal(lazy.density, eager.density)
    assert lazy.result.chunks is not None


def test_results_are_compared_with_results_on_what_they_share():
    boa = surface()
    result = boa.ac.simulate(**SKY).ac.invert(**SKY)
    found = result.ac.compare(result.sel(band=["B8A", "B04"]))
    assert found.table.index.tolist() == ["B8A", "B04", "all"]
    assert found.table.loc["all", "rmse"] == 0


def test_water_vapours_band_is_not_in_the_row_of_all():
    truth = surface(bands=["B08", "B09"])
    result = truth.copy()
    result[1] += 0.1
    table = result.ac.compare(truth).table
    np.testing.assert_allclose(table.loc["B09", "bias"], 0.1, atol=1e-6)
    assert table.loc["all", "bias"] == 0


def test_dark_references_give_no_ratio():
    truth = surface(bands=["B04"])
    truth[:] = 0.01
    table = (truth * 3).ac.compare(truth).table
    assert np.isnan(table.loc["B04", "ratio_median"])
    np.testing.assert_allclose(table.loc["B04", "bias"], 0.02, rtol=1e-5)


def test_structural_similarity_is_that_of_its_authors(rng):
    # by definition, at one window: Wang et al. (2004), equation 13, weights of a Gaussian of 1.5 pixels
    first, second = (rng.uniform(0, 1, (11, 11)) for _ in range(2))
    place = np.arange(-5, 6)
    weight = np.exp(-0.5 * (place / 1.5) ** 2)
    weight = np.outer(weight, weight) / weight.sum() ** 2
    means = [(weight * image).sum() for image in (first, second)]
    variances = [(weight * (image - mean) ** 2).sum() for image, mean in zip((first, second), means, strict=True)]
    shared = (weight * (first - means[0]) * (second - means[1])).sum()
    low, high = 0.01**2, 0.03**2
    expected = (2 * means[0] * means[1] + low) * (2 * shared + high)
    expected /= (means[0] ** 2 + means[1] ** 2 + low) * (sum(variances) + high)
    images = [xr.DataArray(image, dims=("y", "x")) for image in (first, second)]
    np.testing.assert_allclose(ssim(*images, data_range=1.0), expected, rtol=1e-9)


def test_similarity_leaves_out_windows_with_gaps_and_angles_incomplete_spectra():
    truth = surface(bands=TWO, rows=30, columns=30).astype("float64")
    result = truth.copy()
    result[0, 2, 2] = np.nan
    assert float(ssim(result, truth)) == 1.0
    assert float(sam(result, truth)) < 1e-5
    result[:] = np.nan
    assert np.isnan(ssim(result, truth))
    small = truth.isel(x=slice(0, 5))
    assert np.isnan(ssim(small, small))
    with pytest.raises(InputError, match="of images"):
        ssim(truth.isel(x=0), truth.isel(x=0))
    with pytest.raises(InputError, match="over bands"):
        sam(truth.isel(band=0), truth.isel(band=0))


def test_plots_have_three_columns_and_the_page_holds_everything(tmp_path):
    boa = surface(bands=TWO, rows=20, columns=20)
    sky = SKY | {"angles": SKY["angles"]}
    result = boa.ac.simulate(**sky).ac.invert(**sky | {"aot": 0.3})
    found = result.ac.compare(boa)
    plots = found.plot()
    assert [plot.label for plot in plots][:1] == ["B04"]
    assert len(plots) == 6
    assert len(found.plot(["B8A"])) == 3
    page = result.ac.report(boa, tmp_path / "page.html", title="Haze < clouds").read_text()
    assert "Haze &lt; clouds" in page
    assert "ratio_median" in page
    assert "lut" in page
    assert page.count('src="data:image/png;base64') == page.count("src=") == 2
    assert 'href="http' not in page


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (surface(bands=["B02"]), "none in common"),
        (surface(bands=TWO, rows=5), "another grid"),
        (surface(bands=TWO).assign_attrs(level="TOA"), "correct it first"),
        (surface(bands=TWO) * np.nan, "no pixel"),
        (surface(bands=TWO).isel(band=0, drop=True), "names of bands"),
        (3.0, "expected a DataArray"),
    ],
)
def test_refusals(reference, message):
    with pytest.raises(InputError, match=message):
        surface(bands=TWO).ac.compare(reference)


def test_plots_refuse_bands_and_dates_that_were_not_compared():
    truth = surface(bands=TWO)
    found = truth.ac.compare(truth)
    with pytest.raises(InputError, match="were not compared"):
        found.plot(["B02"])
    with pytest.raises(InputError, match="none of the 1"):
        found.plot(date=3)
