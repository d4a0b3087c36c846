"""Files of what is seen: written to a path, or offered to the browser, which needs none."""

from __future__ import annotations

import base64
from collections.abc import Callable
from html import escape
from pathlib import Path

import ipywidgets

from s2koop.errors import InputError
from s2koop.live.page import page
from s2koop.live.parts import ROW, size_text, text
from s2koop.plots.export import code, gif, netcdf, png, table
from s2koop.session import Session

#: What can be written, by the ending of the file: its name for people, and what makes its bytes.
KINDS: dict[str, tuple[str, Callable[[Session], bytes]]] = {
    ".png": ("Figure (PNG)", png),
    ".gif": ("Film (GIF)", gif),
    ".html": ("Page (HTML)", lambda session: page(session).encode()),
    ".csv": ("Series (CSV)", lambda session: table(session).to_csv(index=False).encode()),
    ".nc": ("Series (NetCDF)", netcdf),
    ".py": ("Code of this view", lambda session: code(session).encode()),
}

_TYPES = {
    ".png": "image/png", ".gif": "image/gif", ".html": "text/html", ".csv": "text/csv",
    ".nc": "application/x-netcdf", ".py": "text/x-python",
}  # fmt: skip


def save(session: Session, path: str | Path) -> Path:
    """Write what a session shows to a file, as `Dashboard.save` says."""
    path = Path(path)
    if path.suffix not in KINDS:
        raise InputError(f"{path.name!r} ends in {path.suffix!r}; expected one of {', '.join(KINDS)}.")
    if not path.parent.is_dir():
        raise InputError(f"There is no folder {str(path.parent)!r} for {path.name!r}; make it first.")
    path.write_bytes(KINDS[path.suffix][1](session))
    return path


class Export(ipywidgets.VBox):
    """Figure, film, page, series and code of a session, made when they are asked for.

    Parameters
    ----------
    session : Session
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.offer = ipywidgets.HTML()
        buttons = []
        for ending, (name, _) in KINDS.items():
            button = ipywidgets.Button(description=name, layout={"width": "auto"})
            button.on_click(lambda _button, ending=ending: session.request("export", lambda: self.make(ending)))
            buttons.append(button)
        super().__init__([ipywidgets.HBox(buttons, layout=ROW), self.offer])

    def make(self, ending: str) -> bytes:
        """Make one of the files, and offer it."""
        name, make = KINDS[ending]
        with self.session.waiting_for(f"Making: {name}"):
            content = make(self.session)
        link = f"data:{_TYPES[ending]};base64,{base64.b64encode(content).decode()}"
        shown = f"<pre>{escape(content.decode())}</pre>" if ending == ".py" else ""
        words = f"Save {escape(name)}, {size_text(len(content))}"
        self.offer.value = text(f'<a download="s2koop-view{ending}" href="{link}">{words}</a>{shown}', "hint").value
        return content
