"""Items as HTML for a notebook: a table of facts, and cloud cover over time as inline SVG; no script runs."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from s2koop.catalog import _facts as facts

if TYPE_CHECKING:
    from s2koop.catalog.items import Items

_WIDTH, _HEIGHT = 640, 44
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
    """One bar per item along the time axis, as high as its cloud cover."""
    known = [item for item in items.items if isinstance(item.properties.get("eo:cloud_cover"), int | float)]
    if len(known) < 2:
        return ""
    first, last = facts.instant(known[0]), facts.instant(known[-1])
    span = (last - first).total_seconds() or 1.0
    step = -(-len(known) // _MOST_BARS)
    bars = []
    for item in known[::step]:
        when, cloud = facts.instant(item), float(item.properties["eo:cloud_cover"])
        x = 1 + (when - first).total_seconds() / span * (_WIDTH - 4)
        height = 1 + min(max(cloud, 0.0), 100.0) / 100 * (_HEIGHT - 1)
        bars.append(
            f'<rect x="{x:.1f}" y="{_HEIGHT - height:.1f}" width="2" height="{height:.1f}">'
            f"<title>{escape(item.id)}: {when:%Y-%m-%d}, {cloud:.0f} % cloud</title></rect>"
        )
    return (
        f'<figure style="margin:.4em 0"><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" style="width:100%;max-width:{_WIDTH}px" '
        'role="img" aria-label="cloud cover over time" fill="currentColor" fill-opacity=".55">'
        f"{''.join(bars)}</svg>"
        f'<figcaption style="opacity:.65;font-size:.85em">cloud cover (0 to 100 %) of each item, {first:%Y-%m-%d} to '
        f"{last:%Y-%m-%d}</figcaption></figure>"
    )
