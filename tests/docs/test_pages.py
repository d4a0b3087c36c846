"""What the pages promise without being built: every public name, every link, every number and every figure."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
from pathlib import Path
from types import ModuleType

import pytest
from _tools import figures, links, notebooks, quotes, reference, results

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


@pytest.fixture
def pages(tmp_path, monkeypatch) -> set[str]:
    """Names of the pages of the reference."""
    monkeypatch.setattr(reference, "FOLDER", tmp_path)
    reference.write()
    return {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.rst")}


def test_every_public_name_has_a_page(pages) -> None:
    packages = [
        ".".join(("s2koop", *p.parent.relative_to(ROOT / "s2koop").parts)) for p in ROOT.glob("s2koop/**/*.pyi")
    ]
    assert len(packages) >= 9
    for package in [*packages, "s2koop.baselines", "s2koop.zoo", "s2koop.scores", "s2koop.errors"]:
        assert f"{package}.rst" in pages, f"{package} is missing in the table of docs/_tools/reference.py"
        module = importlib.import_module(package)
        for name in module.__all__ if hasattr(module, "__all__") else []:
            value = getattr(module, name)
            page = f"{value.__name__}.rst" if isinstance(value, ModuleType) else f"names/{package}.{name}.rst"
            assert page in pages, f"{package}.{name} has no page"


def test_every_method_of_the_accessors_has_a_page(pages) -> None:
    import xarray as xr

    import s2koop

    cube = s2koop.simulate.seasonal_cube(seed=0, every_days=60)
    for place, value in {"DataArray": cube, "Dataset": xr.Dataset({"mean": cube})}.items():
        for name in ("koopman", "ac", "ssl") if place == "DataArray" else ("koopman", "ac"):
            methods = [m for m in dir(type(getattr(value, name))) if not m.startswith("_")]
            assert methods
            missing = [m for m in methods if f"names/{place}.{name}.{m}.rst" not in pages]
            assert not missing


@pytest.mark.parametrize(
    ("written", "public"),
    [
        ("s2koop.ac.emulator.train_emulator", "s2koop.ac.train_emulator"),
        ("KoopmanStateAccessor.update", "xarray.Dataset.koopman.update"),
        ("s2koop.ac.accessor.AtmosphereAccessor.to_sensor", "xarray.DataArray.ac.to_sensor"),
        ("s2koop.koopman.solvers.nothing", None),
    ],
)
def test_docstrings_may_refer_to_names_by_where_they_are_written(written, public) -> None:
    assert reference.public_name(written) == public


def test_every_public_name_says_what_it_is() -> None:
    for module in reference.MODULES:
        for entry in reference.entries(module):
            line = reference._summary(entry)
            assert line, f"{entry.full} has no docstring, or no comment #: where it is a constant"
            assert line != (type(entry.value).__doc__ or "").partition("\n")[0], f"{entry.full} shows that of its type"


def test_relative_links_of_all_pages_and_notebooks_resolve() -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "*.md", "*.ipynb"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if tracked.returncode:
        pytest.skip("the files of the repository are known to git only, which is not here")
    files = [ROOT / name for name in tracked.stdout.splitlines()]
    assert len(files) > 20
    broken = {}
    for path in [path for path in files if path.exists()]:
        page = path.relative_to(ROOT).as_posix()
        if gone := links.missing(page, notebooks.text(path)):
            broken[page] = gone
    assert not broken


@pytest.mark.parametrize(
    ("page", "text", "shown"),
    [
        ("koopman.md", "[a](../notebooks/02_koopman.ipynb)", "[a](notebooks/02_koopman.ipynb)"),
        ("koopman.md", "[a](results)", "[a](benchmarks.md)"),
        ("koopman.md", "[a](architecture.md#inside-ac)", "[a](architecture.md#inside-ac)"),
        ("how-to/gaps.md", "[a](../../s2koop/demo.py)", f"[a]({links.REPOSITORY}/s2koop/demo.py)"),
        ("notebooks/02_koopman.ipynb", "[a](../docs/koopman.md)", "[a](../koopman.md)"),
        ("notebooks/02_koopman.ipynb", "[a](00_start.ipynb)", "[a](00_start.ipynb)"),
        ("notebooks/workshop/README.md", "[a](../00_start.ipynb)", "[a](../00_start.ipynb)"),
        ("notebooks/workshop/README.md", "[a](../../README.md)", f"[a]({links.REPOSITORY}/README.md)"),
        ("koopman.md", "[a](https://example.org/a.md) [b](#speed)", "[a](https://example.org/a.md) [b](#speed)"),
        ("explanation.md", "[a](results/ssl.json)", f"[a]({links.REPOSITORY}/docs/results/ssl.json)"),
    ],
)
def test_links_follow_to_where_things_are_in_the_pages(page, text, shown) -> None:
    assert links.rewrite(page, text) == shown


def test_all_notebooks_are_copied_and_old_copies_go(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(notebooks, "COPIES", tmp_path)
    (tmp_path / "99_gone.ipynb").write_text("{}")
    notebooks.copy()
    copied = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    assert copied == {path.relative_to(ROOT / "notebooks") for path in notebooks.sources()}
    assert Path("00_start.ipynb") in copied


@pytest.mark.parametrize("page", quotes.PAGES, ids=lambda page: page.stem)
def test_numbers_in_the_text_are_those_of_the_results(page) -> None:
    text = page.read_text(encoding="utf-8")
    assert quotes.renew(text, page) == text, "the benchmarks say something else now: cd docs && python -m _tools.quotes"
    assert {found[1] for found in quotes.QUOTE.finditer(text)} == set(quotes.quoted(page)), "a number is not used"
    rest = re.sub(r"`[^`]*`", "", quotes.QUOTE.sub("", text))
    assert not re.findall(r"\d+\.\d+", rest), "a number was written by hand"


def test_what_the_page_says_of_its_numbers_is_so() -> None:
    """One line for each sentence of docs/which-method.md that compares."""
    n = quotes.method_values()
    # a harmonic is enough: the prior leads by some percent, and by next to nothing with two years of data
    assert 0 < n["year_romania"] < 10
    assert 0 < n["year_drome"] < 15
    assert -2 < n["year_slovenia"] < 2
    assert n["cost_over_harmonic"] > 5
    # a Gaussian process is the closest rival, and wins on NDVI for the first two weeks
    for place in ("romania", "drome", "slovenia"):
        for lead in ("0", "15"):
            assert n[f"{place}_{lead}_process"] < n[f"{place}_{lead}_harmonic"]
            if (place, lead) != ("slovenia", "0"):
                assert n[f"{place}_{lead}_ours"] < 1.005 * n[f"{place}_{lead}_process"]
    assert n["slovenia_0_process"] < n["slovenia_0_ours"]
    # Whittaker: better than straight lines, near a harmonic; worse than that in long gaps
    assert n["random_whittaker"] < n["random_linear"]
    assert n["random_whittaker"] == pytest.approx(n["random_harmonic"], rel=0.1)
    assert n["block_whittaker"] > n["block_harmonic"]
    # gaps: the order of the table, and what low-rank EM does better
    order = ["ours", "low_rank", "alone", "harmonic"]
    for kind in ("random", "block"):
        errors = [n[f"{kind}_{name}"] for name in order]
        assert errors == sorted(errors)
    assert abs(n["block_low_rank_coverage"] - 90) < abs(n["block_ours_coverage"] - 90)
    assert n["drome_low_rank_crps"] < n["drome_ours_crps"]
    # atmosphere: the order of the table; real pairs: better on one coast, no better on fields
    errors = [n[f"ac_{name}"] for name in ("none", "climatology", "fcnn", "hybrid", "smac_true", "oracle")]
    assert errors == sorted(errors, reverse=True)
    assert n["brazil_hybrid"] < 0.9 * n["brazil_climatology"]
    assert n["denmark_hybrid"] > 0.97 * n["denmark_climatology"]
    assert n["adjacency_right"] < 0.5 * n["adjacency_left"]
    assert n["adjacency_wrong"] > n["adjacency_right"]
    # embeddings: the encoder wins at sea, the raw series on land
    assert n["sea_encoder"] < n["sea_hand"] < n["sea_untrained"]
    assert n["cover_raw"] < n["cover_encoder"] < n["cover_latents"]


def test_a_number_that_is_no_longer_measured_is_an_error() -> None:
    with pytest.raises(LookupError, match="write the page anew"):
        results.mean("koopman_accuracy", "rmse", method="a method of yesterday")


def test_every_figure_is_drawn_and_names_its_benchmark(tmp_path) -> None:
    figures.write(tmp_path)
    page = (tmp_path / "figures.md").read_text(encoding="utf-8")
    for item in figures.DRAWINGS:
        picture = (tmp_path / f"{item.name}.svg").read_text(encoding="utf-8")
        assert picture.count("<use ") + picture.count("<path ") > 20, f"{item.name} is empty"
        assert f"{item.name}.svg" in page
        if item.benchmark != "all":
            assert (ROOT / "benchmarks" / f"{item.benchmark}.py").exists()
            assert f"(results/{item.benchmark}.md)" in page
    assert {item.benchmark for item in figures.DRAWINGS} <= {*results.names(), "all"}


def test_the_same_results_draw_the_same_picture(tmp_path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        with figures.mpl.rc_context(figures._STYLE):
            figures.speed().savefig(tmp_path / name / "speed.svg", metadata={"Date": None})
    assert (tmp_path / "a" / "speed.svg").read_bytes() == (tmp_path / "b" / "speed.svg").read_bytes()


def test_missed_targets_are_in_the_gallery() -> None:
    """What did not work is not left out."""
    checks = [
        check
        for name in results.names()
        for check in json.loads((DOCS / "results" / f"{name}.json").read_text())["checks"]
    ]
    bars = figures.targets().axes[0].patches
    assert sum(bar.get_width() for bar in bars) == len(checks)
    assert sum(bar.get_width() for bar in bars if bar.get_hatch()) == sum(not check["holds"] for check in checks) > 0
