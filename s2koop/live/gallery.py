"""A row of thumbnails in the page, each of which becomes the query when it is pressed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import anywidget
import traitlets as tl

from s2koop.plots._thumbnails import data_uri
from s2koop.plots.embeddings import Picture

_HERE = Path(__file__).parent


class Gallery(anywidget.AnyWidget):
    """Thumbnails as buttons, complete from the keyboard.

    Parameters
    ----------
    on_pick : callable
        Called with the position of the sample that was pressed.

    Attributes
    ----------
    items : list of dict
        ``uri``, ``heading``, ``place``, ``position`` and ``first`` (the query) of each.
    name : str
        For screen readers.
    """

    _esm = _HERE / "gallery.js"
    _css = _HERE / "gallery.css"

    items: tl.List = tl.List().tag(sync=True)
    name = tl.Unicode("Query and neighbours").tag(sync=True)

    def __init__(self, on_pick: Callable[[int], object]) -> None:
        super().__init__()
        self._on_pick = on_pick
        self.on_msg(self._receive)

    def show(self, pictures: Iterable[Picture]) -> None:
        """Show pictures of samples."""
        self.items = [
            {
                "uri": data_uri(picture.colours), "heading": picture.heading, "place": picture.place,
                "position": picture.position, "first": picture.first,
            }
            for picture in pictures
        ]  # fmt: skip

    def _receive(self, _widget: Any, content: dict[str, Any], _buffers: Any) -> None:
        if content.get("kind") == "pick":
            self._on_pick(int(content["position"]))
