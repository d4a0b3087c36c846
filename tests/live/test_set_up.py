"""What a notebook's first cell calls, and what `import s2koop` must not load."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
import threading
import time
import types
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import nbformat
import pytest
from nbclient import NotebookClient

import s2koop
from s2koop import _host, _memory, _notebook
from s2koop._doctor import front_end, libraries, machine, network
from s2koop._doctor.sample import sample_finding
from s2koop.catalog.providers import PROVIDERS, Provider
from tests.support.lab import CHROMIUM, browser_page, jupyter_lab, run_notebook, write_notebook


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


class Kernel:
    """A kernel that a page asks to run cells."""

    def __init__(self, session: str) -> None:
        self.session = session

    def get_parent(self) -> dict:
        return {"header": {"session": self.session}}


class Shell:
    """IPython's shell with a kernel, as `get_ipython()` gives it."""

    def __init__(self, session: str = "page-1") -> None:
        self.kernel = Kernel(session)
        self.user_ns: dict = {}


@pytest.fixture
def displayed(monkeypatch) -> list:
    """What `notebook()` writes into the page; no page has been written to before."""
    import holoviews as hv
    import IPython.display

    calls: list = []
    monkeypatch.setattr(_notebook, "_READY", set())
    monkeypatch.setattr(hv, "extension", lambda *args, **options: calls.append((args, options)))
    monkeypatch.setattr(IPython.display, "clear_output", lambda: calls.append("cleared"))
    for name in ("SERVER_SOFTWARE", "VSCODE_PID", "VSCODE_CWD", "JPY_SESSION_NAME"):
        monkeypatch.delenv(name, raising=False)
    return calls


def shown_by(monkeypatch, *command: str, shell: object | None = None) -> None:
    """Let Python believe that this command started its kernel."""
    monkeypatch.setattr(_host, "server_command", lambda: command)
    monkeypatch.setattr(_host, "_shell", lambda: shell or Shell())


LAB = ("/env/bin/python", "/env/bin/jupyter-lab", "--no-browser")
VOILA = ("/env/bin/python", "-m", "voila", "x.ipynb")


@pytest.mark.parametrize(("command", "cleared"), [(LAB, True), (VOILA, False), (("python", "-m", "pytest"), True)])
def test_the_script_is_cleared_from_the_notebook_but_not_under_voila(monkeypatch, displayed, command, cleared) -> None:
    shown_by(monkeypatch, *command)
    s2koop.notebook()
    assert displayed[0][0] == ("bokeh",)
    assert displayed[0][1]["inline"] is True, "without it HoloViews fetches its script from the network"
    assert ("cleared" in displayed) is cleared


def test_a_page_gets_the_script_once_and_a_reloaded_page_again(monkeypatch, displayed) -> None:
    shown_by(monkeypatch, *LAB, shell=Shell("page-1"))
    s2koop.notebook()
    s2koop.notebook()
    assert len(displayed) == 2  # the script, and its clearing
    shown_by(monkeypatch, *LAB, shell=Shell("page-2"))
    s2koop.notebook()
    assert len(displayed) == 4


def test_colab_gets_the_script_in_each_cell_that_asks(monkeypatch, displayed, capsys) -> None:
    shown_by(monkeypatch, "python", "/usr/local/bin/colab-kernel")
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    s2koop.notebook()
    s2koop.notebook()
    assert len(displayed) == 2
    assert "cleared" not in displayed
    assert "enable_custom_widget_manager" in capsys.readouterr().out


def test_vs_code_is_told_from_jupyterlab_in_its_terminal(monkeypatch, displayed, capsys) -> None:
    shown_by(monkeypatch, *LAB)
    monkeypatch.setenv("VSCODE_PID", "1")
    monkeypatch.setenv("JPY_SESSION_NAME", "look.ipynb")
    s2koop.notebook()
    assert capsys.readouterr().out == ""
    assert "cleared" in displayed

    monkeypatch.delenv("JPY_SESSION_NAME")
    monkeypatch.setattr(_notebook, "_READY", set())
    displayed.clear()
    s2koop.notebook()
    assert "clear it before you save" in capsys.readouterr().out
    assert "cleared" not in displayed


def test_the_classic_notebook_and_a_terminal_are_told_what_to_do(monkeypatch, displayed, capsys) -> None:
    shown_by(monkeypatch, "/env/bin/python", "/env/bin/jupyter-nbclassic")
    s2koop.notebook()
    assert "open the notebook in JupyterLab or Notebook 7" in capsys.readouterr().out
    assert "cleared" in displayed

    displayed.clear()
    shown_by(monkeypatch, "bash", shell=types.SimpleNamespace(user_ns={}))
    s2koop.notebook()
    assert "save_html" in capsys.readouterr().out
    assert displayed == []


def test_advice_names_calls_that_exist() -> None:
    hosts = [value for value in vars(_host).values() if isinstance(value, _host.Host)]
    advice = " ".join(host.advice for host in hosts)
    calls = set(re.findall(r"s2koop\.plots\.(\w+)", advice))
    assert calls == {"save_html", "session_figure"}
    assert all(hasattr(s2koop.plots, name) for name in calls)
    assert "path" in inspect.signature(s2koop.plots.save_html).parameters


def test_a_real_kernel_knows_its_page_and_its_host(tmp_path) -> None:
    """In a kernel of nbclient: the same page twice, one script, and nothing of it in the saved notebook."""
    code = "import s2koop; s2koop.notebook(); s2koop.notebook()\nfrom s2koop import _host, _memory, _notebook\n"
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(code), nbformat.v4.new_code_cell("print(len(_notebook._READY), _host.host())")]
    )
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert len(nbformat.writes(notebook)) < 10_000
    assert notebook.cells[1].outputs[0]["text"].startswith("1 Host(name='a Jupyter kernel'")


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
    real = libraries.metadata.version

    def version(name: str) -> str:
        if name in ("anywidget", "matplotlib"):
            raise libraries.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(libraries.metadata, "version", version)
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


@pytest.mark.parametrize(
    ("group", "files", "cores", "gibibytes"),
    [
        ("0::/", {"cpu.max": "50000 100000", "memory.max": str(2**30)}, 0.5, 1.0),
        ("0::/", {"cpu.max": "max 100000", "memory.max": "max"}, None, None),
        # a group under one that is bounded: the tighter of the two holds
        ("0::/jobs/mine", {"jobs/cpu.max": "75000 100000", "jobs/mine/memory.max": str(2**29)}, 0.75, 0.5),
        (
            "5:cpu,cpuacct:/\n7:memory:/",
            {
                "cpu/cpu.cfs_quota_us": "20000",
                "cpu/cpu.cfs_period_us": "100000",
                "memory/memory.limit_in_bytes": str(2**29),
            },
            0.2,
            0.5,
        ),
        ("5:cpu,cpuacct:/gone", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None, None),
    ],
)
def test_doctor_reads_control_groups_of_both_versions(monkeypatch, tmp_path, group, files, cores, gibibytes) -> None:
    for name in ("MEM_LIMIT", "CPU_LIMIT"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "own").write_text(group)
    for name, text in files.items():
        (tmp_path / "groups" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "groups" / name).write_text(text)
    monkeypatch.setattr(_memory, "_OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr(_memory, "_GROUPS", tmp_path / "groups")
    monkeypatch.setattr(_memory, "_physical_memory", lambda: 64.0 * 2**30)
    assert machine.core_finding().found.startswith(
        f"{cores:g} allowed of" if cores else str(len(os.sched_getaffinity(0)))
    )
    assert machine.memory_finding().found.startswith(f"{gibibytes or 64:.1f} GiB allowed")


@pytest.fixture
def extensions(monkeypatch, tmp_path):
    """Return a function that puts another version of anywidget's half before that of this environment."""
    from jupyter_core import paths

    def put(version: str) -> None:
        folder = tmp_path / "labextensions" / "anywidget"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text(json.dumps({"name": "anywidget", "version": version}))

    real = paths.jupyter_path("labextensions")
    monkeypatch.setattr(_host, "server_command", lambda: ())
    monkeypatch.setattr(paths, "jupyter_path", lambda *names: [str(tmp_path / "labextensions"), *real])
    return put


def test_doctor_compares_the_halves_of_the_widget_libraries(extensions) -> None:
    ours = libraries.metadata.version("anywidget")
    assert {f.name: f.remedy for f in front_end.front_end_findings()} == {
        "ipywidgets in the page": "",
        "anywidget in the page": "",
        "jupyter_bokeh in the page": "",
    }
    extensions("0.1.9")
    finding = {f.name: f for f in front_end.front_end_findings()}["anywidget in the page"]
    assert finding.found == f"0.1.9, where Python has the half of {ours}"
    assert f"pip install 'anywidget=={ours}'" in finding.remedy
    assert "labextensions/anywidget" in finding.remedy, "the old copy is named, so that it can be removed"


def test_doctor_looks_where_the_server_looks(monkeypatch, tmp_path) -> None:
    """A kernel of one environment under a server of another, which lacks all widgets: the usual cause of no widgets."""
    (tmp_path / "share" / "jupyter").mkdir(parents=True)
    monkeypatch.setattr(_host, "server_command", lambda: (str(tmp_path / "bin" / "python"), "jupyter-lab"))
    findings = front_end.front_end_findings()
    assert {f.found for f in findings} == {"not found where the server looks"}
    assert findings[1].remedy.startswith(f"{tmp_path}/bin/python -m pip install 'anywidget'")


@pytest.fixture
def answering():
    """Yield the address of a server on loopback that answers with the status its path names, or late."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            word = self.path.strip("/")
            if word == "late":
                time.sleep(3)
            self.send_response(200 if word == "late" else int(word))
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_doctor_asks_providers_at_once_and_ends_in_time(monkeypatch, answering) -> None:
    for name in list(PROVIDERS):
        monkeypatch.delitem(PROVIDERS, name)
    for word in ("200", "503", "late"):
        monkeypatch.setitem(PROVIDERS, word, Provider(word, f"{answering}/{word}", {}, word, note="Bring keys."))
    monkeypatch.setitem(PROVIDERS, "gone", Provider("gone", "http://user:hush-hush@127.0.0.1:9/", {}, "gone"))
    began = time.monotonic()
    findings = {f.name: f for f in network.provider_findings(patience=1.0)}
    assert time.monotonic() - began < 2.5
    assert findings["200"].found.startswith("answers in")
    assert findings["200"].found.endswith("; Bring keys.")
    assert not findings["200"].remedy
    assert findings["503"].found == "answers with HTTP 503"
    assert findings["late"].found == "no answer in 1 s"
    assert findings["gone"].found.startswith("cannot be reached")
    assert "sample" in findings["gone"].remedy
    assert "hush-hush" not in repr(findings)


def test_doctor_asks_nobody_unless_told_to(monkeypatch) -> None:
    import socket

    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "getaddrinfo", forbidden)
    monkeypatch.setattr(socket.socket, "connect", forbidden)
    assert s2koop.doctor().findings[-1].found.startswith("not asked")


def test_doctor_never_fails_where_the_system_tells_nothing(monkeypatch) -> None:
    """No process table, no Jupyter, no control groups: fewer lines, no error."""
    _host.server_command.cache_clear()
    for name in ("psutil", "jupyter_core", "jupyter_core.paths"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(_memory, "text_of", lambda path: None)
    try:
        report = s2koop.doctor()
    finally:
        _host.server_command.cache_clear()
    remedies = {f.name: f.remedy for f in report.findings if f.remedy}
    assert set(remedies) <= {f"{name} in the page" for name in ("ipywidgets", "anywidget", "jupyter_bokeh")}


def test_doctor_tells_whether_the_sample_is_built(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("S2KOOP_CACHE", str(tmp_path / "cache"))
    assert sample_finding().found.startswith("not built yet")
    folder = tmp_path / "cache" / "sample-v1"
    folder.mkdir(parents=True)
    (folder / "data.tif").write_bytes(b"0" * 3_000_000)
    assert sample_finding().found.startswith("not built yet")
    (folder / "complete.json").write_text("{}")
    assert sample_finding().found.startswith("ready, 3 MB")


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/s2koop"])
def test_doctor_names_the_remedy_for_a_cache_that_cannot_be_written(monkeypatch, tmp_path, place) -> None:
    if place.startswith("/proc") and not os.path.isdir("/proc"):
        pytest.skip("this system has no folder that nobody can write to")
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("S2KOOP_CACHE", str(tmp_path / place))
    finding = sample_finding()
    assert "cannot be written" in finding.found
    assert finding.remedy == "set S2KOOP_CACHE to a folder you can write to"


def test_doctor_leaves_nothing_behind(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("S2KOOP_CACHE", str(tmp_path))
    assert not sample_finding().remedy
    assert not list(tmp_path.iterdir())


def test_doctor_shows_no_credentials(monkeypatch) -> None:
    monkeypatch.setenv("CDSE_SECRET_KEY", "hush-hush")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush-hush")
    report = s2koop.doctor()
    assert "hush-hush" not in repr(report) + report._repr_html_()


@pytest.mark.browser
@pytest.mark.timeout(600)
@pytest.mark.skipif(not CHROMIUM.exists(), reason=f"needs the system's Chromium at {CHROMIUM}")
def test_plots_appear_before_and_after_a_reload_and_the_file_stays_small(tmp_path) -> None:
    """In JupyterLab with the network cut: two calls send one script, a reloaded page gets it again."""
    pytest.importorskip("playwright", reason="needs playwright")
    put = "import s2koop, holoviews as hv\ns2koop.notebook()\ns2koop.notebook()"
    write_notebook(tmp_path / "look.ipynb", put, "hv.Curve([1, 3, 2])", "print(len(s2koop._notebook._READY), 'pages')")
    with jupyter_lab(tmp_path) as address, browser_page(tmp_path) as (page, traffic):
        for pages in (1, 2):
            run_notebook(page, address, "look.ipynb")
            page.get_by_text(f"{pages} pages").wait_for(timeout=120_000)
            page.locator(".bk-Figure").first.wait_for(timeout=60_000)
            page.evaluate("window.jupyterapp.commands.execute('docmanager:save')")
        assert (tmp_path / "look.ipynb").stat().st_size < 200_000
        # Panel asks for style sheets of widgets that no plot here has; without them nothing is missing
        assert [url for url in traffic.outside if not url.partition("?")[0].endswith(".css")] == []
