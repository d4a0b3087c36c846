"""Which program shows this notebook, as far as Python can know, and what works there."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Host:
    """A program that shows what Python displays.

    Attributes
    ----------
    name : str
        For people.
    kernel : bool
        True if displayed objects reach a page.
    clears : bool
        True if a script that has run may be cleared from the output of its cell and goes on working.
    page_per_cell : bool
        True if each cell is a page of its own, which knows nothing of scripts that others loaded.
    advice : str
        What works there and what to do about the rest; empty where everything was seen to work.
    """

    name: str
    kernel: bool = True
    clears: bool = True
    page_per_cell: bool = False
    advice: str = ""


_STILL = "s2koop.plots.session_figure(view.session) draws a still figure"

SCRIPT = Host("Python without a notebook", kernel=False, clears=False)
TERMINAL = Host(
    "IPython in a terminal",
    kernel=False,
    clears=False,
    advice="a terminal shows no plots: s2koop.plots.save_html(plot, path='plot.html') writes a page; "
    "for dashboards start JupyterLab: python -m jupyterlab",
)
VOILA = Host("Voila", clears=False)
COLAB = Host(
    "Colab",
    clears=False,
    page_per_cell=True,
    advice="not tested here. Each cell is a page of its own: call s2koop.notebook() in every cell that shows a plot. "
    "Before a dashboard run: from google.colab import output; output.enable_custom_widget_manager(). "
    f"Messages of more than 10 MB may end the connection: cut the cube in space and time. {_STILL}",
)
VS_CODE = Host(
    "VS Code",
    clears=False,
    advice="not tested here. Plots and dashboards are expected to work; where one stays empty, open the notebook in "
    f"JupyterLab, or {_STILL}. The script of the plots (6 MB) stays in this cell's output: clear it before you save",
)
CLASSIC = Host(
    "classic Notebook",
    advice="plots and the picture of a dashboard work here, its chart does not (jupyter_bokeh has nothing for the "
    f"classic Notebook): open the notebook in JupyterLab or Notebook 7, or {_STILL}",
)

#: Name of the program that started the kernel -> host. One server may show a notebook in several ways, so this
#: tells what was started, not what is looked at.
_SERVERS = {
    "jupyter-lab": Host("JupyterLab"),
    "jupyterlab": Host("JupyterLab"),
    "jupyter-notebook": Host("Jupyter Notebook"),
    "notebook": Host("Jupyter Notebook"),
    "jupyter-nbclassic": CLASSIC,
    "nbclassic": CLASSIC,
    "voila": VOILA,
    "jupyterhub-singleuser": Host("JupyterHub"),
    "jupyter-nbconvert": Host("nbconvert"),
    "papermill": Host("papermill"),
}
_UNKNOWN = Host("a Jupyter kernel")


def host() -> Host:
    """Tell where this Python runs; never fails, and asks neither network nor page."""
    shell = _shell()
    if shell is None:
        return SCRIPT
    if "google.colab" in sys.modules:
        return COLAB
    if not hasattr(shell, "kernel"):
        return TERMINAL
    if os.environ.get("SERVER_SOFTWARE", "").lower().startswith("voila"):
        return VOILA
    if _in_vs_code(shell):
        return VS_CODE
    names = [Path(part).name.lower().removesuffix(".exe") for part in server_command()[:3]]
    found = next((_SERVERS[name] for name in names if name in _SERVERS), _UNKNOWN)
    return replace(found, name=f"{found.name} on Binder") if os.environ.get("S2KOOP_BINDER") else found


def page() -> str:
    """Name the page that asked for the running cell: another after a reload, "" where that is not known."""
    kernel = getattr(_shell(), "kernel", None)
    try:
        return kernel.get_parent()["header"]["session"] if kernel else ""
    except (AttributeError, KeyError, TypeError):
        return ""


@cache
def server_command() -> tuple[str, ...]:
    """Command line of the program that started this kernel; empty where the system does not tell."""
    try:
        import psutil  # comes with ipykernel

        return tuple(psutil.Process(os.getppid()).cmdline())
    except Exception:  # no psutil, no such process, no permission: whatever it is, nobody should stumble over it
        return ()


def _in_vs_code(shell: Any) -> bool:
    # The variables are also seen by a JupyterLab that was started in a terminal of VS Code; its kernels have a session.
    started_there = "VSCODE_PID" in os.environ or "VSCODE_CWD" in os.environ
    named_there = "__vsc_ipynb_file__" in getattr(shell, "user_ns", {})
    return named_there or (started_there and "JPY_SESSION_NAME" not in os.environ)


def _shell() -> Any:
    """IPython's shell; None in a plain interpreter or a script, where IPython is not even imported."""
    if "IPython" not in sys.modules:
        return None
    from IPython import get_ipython

    return get_ipython()
