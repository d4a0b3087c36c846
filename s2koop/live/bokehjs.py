"""Puts BokehJS into the page from the installed library: a chart needs no network and no set-up cell."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import anywidget


class BokehJS(anywidget.AnyWidget):
    """An invisible widget that loads BokehJS where the page lacks it and then calls `on_ready`.

    A chart drawn before ``window.Bokeh`` exists is a red box for good, and a reloaded page has lost it. So
    the page is asked each time this widget is drawn, and the chart is placed after it has answered.
    """

    _esm = Path(__file__).parent / "bokehjs.js"

    def __init__(self, on_ready: Callable[[], None]) -> None:
        super().__init__()
        self._on_ready = on_ready
        self.on_msg(self._answer)

    def _answer(self, _widget: Any, content: dict[str, Any], _buffers: Any) -> None:
        if content.get("kind") == "missing":
            self.send({"kind": "source", "source": _source()})
        elif content.get("kind") == "ready":
            self._on_ready()


@cache
def _source() -> str:
    from bokeh.resources import Resources

    return "\n".join(Resources(mode="inline", components=["bokeh"]).js_raw)
