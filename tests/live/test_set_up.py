"""What a notebook's first cell calls, and what `import s2koop` must not load."""

from __future__ import annotations

import os
import subprocess
import sys
import types

import pytest

import s2koop
from s2koop import _doctor, _notebook


def test_the_session_and_the_package_load_no_widget_and_no_plot() -> None:
    code = (
        "import sys, s2koop, s2koop.session; s2koop.doctor(); "
        "heavy = {'bokeh', 'holoviews', 'ipywidgets', 'anywidget', 'matplotlib', 'torch', 'dask.array', 'rasterio'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_the_public_names_are_what_they_say() -> None:
    assert isinstance(s2koop.notebook, types.FunctionType)
    assert isinstance(s2koop.dashboard, types.FunctionType)
    assert isinstance(s2koop.doctor, types.FunctionType)
    assert isinstance(s2koop.plots, types.ModuleType)
    assert isinstance(s2koop.live, types.ModuleType)
    assert s2koop.Session.__name__ == "Session"


@pytest.mark.parametrize(("server", "cleared"), [("jupyter/lab", True), ("voila/0.5.13", False)])
def test_the_script_is_cleared_from_the_notebook_but_not_under_voila(monkeypatch, server, cleared) -> None:
    import holoviews as hv
    import IPython.display

    calls = []
    monkeypatch.setattr(_notebook, "_in_kernel", lambda: True)
    monkeypatch.setattr(hv, "extension", lambda *args, **options: calls.append((args, options)))
    monkeypatch.setattr(IPython.display, "clear_output", lambda: calls.append("cleared"))
    monkeypatch.setenv("SERVER_SOFTWARE", server)
    s2koop.notebook()
    assert calls[0][0] == ("bokeh",)
    assert calls[0][1]["inline"] is True, "without it HoloViews fetches its script from the network"
    assert ("cleared" in calls) is cleared


def test_outside_of_a_kernel_nothing_is_displayed(capsys) -> None:
    import holoviews as hv

    s2koop.notebook()
    assert hv.Store.current_backend == "bokeh"
    assert capsys.readouterr().out == ""


def test_doctor_reports_libraries_memory_and_sample(monkeypatch) -> None:
    report = s2koop.doctor()
    found = {f.name: f.found for f in report.findings}
    assert found["s2koop"] == s2koop.__version__
    assert "GiB" in found["memory"]
    assert "sample data" in found
    assert "torch" in repr(report)
    assert "<table>" in report._repr_html_()


def test_doctor_names_the_remedy_for_a_missing_library(monkeypatch) -> None:
    real = _doctor.metadata.version

    def version(name: str) -> str:
        if name in ("anywidget", "matplotlib"):
            raise _doctor.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(_doctor.metadata, "version", version)
    report = s2koop.doctor()
    remedies = {f.name: f.remedy for f in report.findings}
    assert remedies["anywidget"] == "python -m pip install 's2koop'"
    assert remedies["matplotlib"] == "", "an optional library is no fault"
    assert not report.ok
    assert "-> python -m pip install" in repr(report)


def test_doctor_sees_the_limits_of_a_hosted_notebook(monkeypatch) -> None:
    monkeypatch.setenv("MEM_LIMIT", str(500 * 2**20))
    monkeypatch.setenv("CPU_LIMIT", "0.5")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    findings = {f.name: f for f in s2koop.doctor().findings}
    assert findings["memory"].found.startswith("0.5 GiB allowed")
    assert "smaller area" in findings["memory"].remedy
    assert findings["cores"].remedy == "set OMP_NUM_THREADS=1 before Python starts"


def test_doctor_tells_whether_the_sample_is_built(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("S2KOOP_CACHE", str(tmp_path / "cache"))
    assert _doctor._sample_cache().found.startswith("not built yet")
    folder = tmp_path / "cache" / "sample-v1"
    folder.mkdir(parents=True)
    (folder / "data.tif").write_bytes(b"0" * 3_000_000)
    assert _doctor._sample_cache().found.startswith("not built yet")
    (folder / "complete.json").write_text("{}")
    assert _doctor._sample_cache().found.startswith("ready, 3 MB")


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/s2koop"])
def test_doctor_names_the_remedy_for_a_cache_that_cannot_be_written(monkeypatch, tmp_path, place) -> None:
    if place.startswith("/proc") and not os.path.isdir("/proc"):
        pytest.skip("this system has no folder that nobody can write to")
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("S2KOOP_CACHE", str(tmp_path / place))
    finding = _doctor._sample_cache()
    assert "cannot be written" in finding.found
    assert finding.remedy == "set S2KOOP_CACHE to a folder you can write to"


def test_doctor_leaves_nothing_behind(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("S2KOOP_CACHE", str(tmp_path))
    assert not _doctor._sample_cache().remedy
    assert not list(tmp_path.iterdir())


def test_doctor_shows_no_credentials(monkeypatch) -> None:
    monkeypatch.setenv("CDSE_SECRET_KEY", "hush-hush")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush-hush")
    report = s2koop.doctor()
    assert "hush-hush" not in repr(report) + report._repr_html_()
