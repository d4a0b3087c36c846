"""JupyterLab on loopback and a Chromium that can reach nothing else, for tests of what people see."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHROMIUM = Path("/usr/bin/chromium")

_ARGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
    # The network is cut: no name resolves, only the loopback address is left.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]  # fmt: skip


@contextmanager
def jupyter_lab(folder: Path) -> Iterator[str]:
    """Serve `folder` by JupyterLab without token or news; yield its address."""
    port = _free_port()
    settings = folder / "config" / "lab" / "user-settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text('{"fetchNews": "false"}')
    environment = os.environ | {
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(folder / "config" / "lab" / "user-settings"),
        "OMP_NUM_THREADS": "1",
    }
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}",
        "--IdentityProvider.token=", "--ServerApp.password=", "--ServerApp.allow_root=True",
        f"--ServerApp.root_dir={folder}", "--ServerApp.disable_check_xsrf=True",
        "--LabApp.expose_app_in_browser=True",
    ]  # fmt: skip
    with (folder / "lab.log").open("w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT, cwd=folder)
        try:
            address = f"http://127.0.0.1:{port}"
            _wait_for(address + "/api/status", server)
            yield address
        finally:
            server.terminate()
            server.wait(20)


@contextmanager
def voila(folder: Path, name: str) -> Iterator[str]:
    """Serve one notebook of `folder` by Voila; yield its address."""
    port = _free_port()
    environment = os.environ | {
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "OMP_NUM_THREADS": "1",
    }
    command = [
        sys.executable,
        "-m",
        "voila",
        name,
        "--no-browser",
        f"--port={port}",
        "--Voila.ip=127.0.0.1",
        "--template=s2koop",
    ]
    with (folder / "voila.log").open("w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT, cwd=folder)
        try:
            address = f"http://127.0.0.1:{port}"
            _wait_for(address + "/nothing", server)  # the notebook itself would be run
            yield address
        finally:
            server.terminate()
            server.wait(20)


def write_notebook(path: Path, *cells: str) -> None:
    """Write code cells as a notebook for the kernel of this environment."""
    notebook = {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
        "cells": [
            {"cell_type": "code", "id": f"c{i}", "metadata": {}, "outputs": [], "execution_count": None, "source": cell}
            for i, cell in enumerate(cells)
        ],
    }
    path.write_text(json.dumps(notebook))


@dataclass
class Traffic:
    """What a page asked for and complained about, and the bytes that came through its sockets."""

    outside: list[str] = field(default_factory=list)
    received: int = 0
    failed: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def watch(self, page: Any) -> None:
        page.on("request", self._request)
        page.on("requestfailed", lambda request: self.failed.append(request.url))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("websocket", lambda socket: socket.on("framereceived", self._frame))
        page.on("console", lambda m: self.complaints.append(m.text) if m.type == "error" else None)

    def _frame(self, content: str | bytes) -> None:
        self.received += len(content)

    def _request(self, request: Any) -> None:
        if not request.url.startswith(("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:")):
            self.outside.append(request.url)


@contextmanager
def browser_page(folder: Path) -> Iterator[tuple[Any, Traffic]]:
    """Open a page in a fresh Chromium with the network cut, and list what it asks for."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            folder / "chromium", executable_path=CHROMIUM, headless=True, args=_ARGS,
            viewport={"width": 1400, "height": 1150},
        )  # fmt: skip
        try:
            page = context.new_page()
            traffic = Traffic()
            traffic.watch(page)
            yield page, traffic
        finally:
            context.close()


def run_notebook(page: Any, address: str, name: str) -> None:
    """Open a notebook in the page and start all of its cells, without waiting for their end."""
    page.goto(f"{address}/lab/tree/{name}", wait_until="domcontentloaded")
    page.locator(".jp-Notebook .jp-Cell").first.wait_for(timeout=120_000)
    # Cells that are run before the kernel has answered only raise a dialogue that asks for a kernel.
    page.get_by_text("| Idle").first.wait_for(timeout=60_000)
    page.evaluate("void window.jupyterapp.commands.execute('application:toggle-left-area')")
    page.evaluate("void window.jupyterapp.commands.execute('notebook:run-all-cells')")


def poll(condition: Any, *, seconds: float = 30.0) -> Any:
    """Return the first true answer of `condition`; the last answer if none came in time."""
    end = time.monotonic() + seconds
    while not (answer := condition()) and time.monotonic() < end:
        time.sleep(0.1)
    return answer


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_for(address: str, server: subprocess.Popen) -> None:
    for _ in range(300):
        if server.poll() is not None:
            raise RuntimeError("the server ended before it answered; see its log in its folder")
        try:
            urllib.request.urlopen(address, timeout=2).close()
            return
        except urllib.error.HTTPError:
            return  # an answer all the same
        except OSError:
            time.sleep(0.2)
    raise RuntimeError("the server did not answer within a minute")
