"""Items as HTML for a notebook: a table of facts, and cloud cover over time as inline SVG; no script runs."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from s2koop.catalog import _facts as facts

if TYPE_CHECKING:
    import pystac

    from s2koop.catalog.items import Items

_WIDTH, _HEIGHT = 640, 44
_FOOT = 5  # below the axis: shows the items without cloud, whose bars have no height
_LABELS = 16
_MOST_BARS = 2000  # beyond, a notebook grows heavy and bars are thinner than a pixel anyway


def items_html(items: Items) -> str:
    """Write the summary of ``items``; every word that comes from a catalogue is escaped."""
    from s2koop.catalog.items import summary

    where = f" from <code>{escape(items.catalog)}</code>" if items.catalog else ""
    rows = "".join(
        f'<tr><td style="text-align:left;opacity:.65;padding-right:1em;vertical-align:top">{escape(name)}</td>'
        f'<td style="text-align:left">{escape(value)}</td></tr>'
        for name, value in summary(items).lines()
    )
    return (
        f'<div style="font-family:sans-serif"><b>{len(items)} item{"" if len(items) == 1 else "s"}</b>{where}'
        f'{_cloud_chart(items)}<table style="color:inherit">{rows}</table></div>'
    )


def _cloud_chart(items: Items) -> str:
    """One bar per item along the time axis, as high as its cloud cover; its foot below the axis marks the date."""
    shown = items.items[:: -(-len(items) // _MOST_BARS) or 1]
    if len(shown) < 2 or all(_cloud(item) is None for item in shown):
        return ""
    dates = [facts.instant(item) for item in shown]
    first, last = min(dates), max(dates)
    span = (last - first).total_seconds() or 1.0
    bars = [_bar(item, 1 + (facts.instant(item) - first).total_seconds() / span * (_WIDTH - 4)) for item in shown]
    bottom = _HEIGHT + _FOOT + _LABELS
    return (
        f'<figure style="margin:.4em 0"><svg viewBox="0 0 {_WIDTH} {bottom}" style="width:100%;max-width:{_WIDTH}px" '
        'role="img" aria-label="cloud cover over time" fill="currentColor" fill-opacity=".55" font-size="11">'
        f'{"".join(bars)}<path d="M0 {_HEIGHT}H{_WIDTH}" stroke="currentColor" stroke-opacity=".3"/>'
        f'<text x="0" y="{bottom - 5}">{first:%Y-%m-%d}</text>'
        f'<text x="{_WIDTH}" y="{bottom - 5}" text-anchor="end">{last:%Y-%m-%d}</text></svg>'
        '<figcaption style="opacity:.65;font-size:.85em">cloud cover of each item (height of its bar, 0 to 100 %); '
        "a foot below the line marks its date</figcaption></figure>"
    )


def _bar(item: pystac.Item, x: float) -> str:
    cloud = _cloud(item)
    height = min(max(cloud or 0.0, 0.0), 100.0) / 100 * _HEIGHT
    words = "cloud cover not known" if cloud is None else f"{cloud:.0f} % cloud"
    return (
        f'<rect x="{x:.1f}" y="{_HEIGHT - height:.1f}" width="2" height="{height + _FOOT:.1f}">'
        f"<title>{escape(item.id)}: {facts.instant(item):%Y-%m-%d}, {words}</title></rect>"
    )


def _cloud(item: pystac.Item) -> float | None:
    cloud = item.properties.get("eo:cloud_cover")
    return float(cloud) if isinstance(cloud, int | float) else None
