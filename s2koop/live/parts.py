"""Parts that every dashboard has: its heading, its one place for failures, the line of what is read, plain HTML."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import ipywidgets
import traitlets as tl
import xarray as xr

from s2koop._crs import crs_of, pixel_metres
from s2koop._requests import Requests
from s2koop.errors import MissingDependencyError
from s2koop.plots.report import image_tag

if TYPE_CHECKING:
    from matplotlib.figure import Figure

State = TypeVar("State", bound=Requests)

#: For controls whose name stands before them.
NARROW: dict[str, Any] = {"layout": {"width": "auto"}, "style": {"description_width": "auto"}}

#: Controls in a row that breaks where the page is narrow.
ROW: dict[str, Any] = {"flex_flow": "row wrap", "align_items": "center", "grid_gap": "4px 14px"}


def guarded(state: Requests, react: Callable[[], object]) -> Callable[..., None]:
    """Make an observer whose failure is kept and shown: a widget would lose it."""

    def observer(_change: Any = None) -> None:
        kept(state, react)

    return observer


def kept(state: Requests, work: Callable[[], object]) -> None:
    """Do something whose failure is kept and shown."""
    try:
        work()
    except Exception as error:
        state.fail(error)


class View(ipywidgets.VBox, Generic[State]):
    """What every dashboard is: a widget on a state, with failures that are seen and a still picture.

    Attributes
    ----------
    session : Requests
        The state; set its traits and the view follows.
    """

    session: State

    @property
    def errors(self) -> list[Exception]:
        """Everything that failed in a callback; the newest is also shown below the view."""
        return self.session.errors

    def wait(self, timeout: float = 60.0) -> bool:
        """Wait until the view has caught up; False if it took longer than `timeout` seconds."""
        return self.session.wait(timeout)

    def _still(self) -> str:
        """The static twin as HTML."""
        raise NotImplementedError

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        """Add the still picture to what a notebook keeps: it is shown where widgets are not."""
        return super()._repr_mimebundle_(**options) | {"text/html": self._still()}


def still_tag(draw: Callable[[], Figure], *, alt: str) -> str:
    """Return a figure as an ``<img>``, or a sentence where Matplotlib is not installed."""
    try:
        figure = draw()
    except MissingDependencyError as error:
        return f"<p>{escape(str(error))}</p>"
    return image_tag(figure, alt=alt, dpi=80)


def heading(name: Any, parts: Sequence[str]) -> str:
    """Say what is looked at, as HTML: a name, and facts about it."""
    return f"<strong>{escape(str(name))}</strong> {escape(' · '.join(parts))}"


def grid_text(cube: xr.DataArray, shape: tuple[int, int]) -> str:
    """Say how many pixels of which size there are, and where."""
    metres = pixel_metres(cube)
    size = "" if metres is None else f" of {metres:g} m, {crs_of(cube)}"
    return f"{shape[0]} × {shape[1]} pixels{size}"


def text(html: str, kind: str) -> ipywidgets.HTML:
    """Return a piece of HTML of one of the kinds that the style sheet knows."""
    return ipywidgets.HTML(f'<div class="s2koop-{kind} s2koop-side">{html}</div>')


def dropdown(state: Requests, trait: str, options: Sequence[tuple[str, Any]], description: str) -> ipywidgets.Dropdown:
    """Choose a trait of the state from a list; what a program sets beside the list joins it."""
    choice = ipywidgets.Dropdown(description=description, **NARROW)

    def follow(_change: Any = None) -> None:
        value = getattr(state, trait)
        if value not in [value for _, value in choice.options]:
            more = [*options, (f"{value:.0%}" if isinstance(value, float) else str(value) or "none", value)]
            choice.options = more if isinstance(value, str) else sorted(more, key=lambda o: o[1])
        choice.value = value

    choice.options = list(options)
    follow()
    state.observe(follow, trait)
    choice.observe(guarded(state, lambda: setattr(state, trait, choice.value)), "value")
    return choice


def failures(state: Requests) -> ipywidgets.HBox:
    """Show the newest failure until it is dismissed."""
    message = ipywidgets.HTML()
    dismiss = ipywidgets.Button(description="Dismiss", layout={"width": "auto"})
    box = ipywidgets.HBox([message, dismiss], layout={"display": "none", "align_items": "center", "grid_gap": "12px"})

    def show(_change: Any) -> None:
        message.value = f'<div role="alert" class="s2koop-alert">{escape(state.error)}</div>'
        box.layout.display = "flex" if state.error else "none"

    state.observe(show, "error")
    dismiss.on_click(lambda _button: state.set_trait("error", ""))
    return box


def waiting(state: Requests) -> ipywidgets.HBox:
    """Show how far a read is, with a button that stops it; nothing while nothing is read."""
    share = ipywidgets.FloatProgress(min=0, max=1, layout={"width": "160px"})
    stop = ipywidgets.Button(description="Stop", layout={"width": "auto"})
    box = ipywidgets.HBox([share, stop], layout={"visibility": "hidden", "align_items": "center", "grid_gap": "10px"})
    tl.dlink((state, "progress"), (share, "value"))
    tl.dlink((state, "progress"), (box.layout, "visibility"), lambda done: "visible" if done > 0 else "hidden")
    stop.on_click(lambda _button: state.cancel())
    return box


def table(caption: str, columns: Sequence[str], rows: Mapping[str, Sequence[str]]) -> str:
    """Return a small table as HTML, the first column as the heading of its row."""
    head = "".join(f'<th scope="col">{escape(c)}</th>' for c in ("", *columns))
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th>{"".join(f"<td>{escape(v)}</td>" for v in values)}</tr>'
        for name, values in rows.items()
    )
    return (
        f'<table class="s2koop-scores"><caption>{escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def size_text(count: int) -> str:
    """Return bytes as a person says them.

    >>> size_text(1_500), size_text(3_200_000), size_text(1_500_000_000)
    ('2 kB', '3 MB', '1.5 GB')
    """
    if count >= 1e9:
        return f"{count / 1e9:.1f} GB"
    return f"{count / 1e6:.0f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"
