"""What a search found: a `pystac.ItemCollection` that knows what was asked and shows what it holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

import pystac

from s2koop.catalog import _facts as facts
from s2koop.catalog._intake import summary_of
from s2koop.catalog.providers import PROVIDERS

if TYPE_CHECKING:
    import pandas as pd

_CATALOG, _ASKED, _ATTRIBUTION = "s2koop:catalog", "s2koop:asked", "s2koop:attribution"
_SKIPPED = "s2koop:skipped"


class Items(pystac.ItemCollection):
    """STAC items in order of time, with a summary that a notebook shows.

    Everything a ``pystac.ItemCollection`` can do works; a slice is an ``Items`` again. What was asked travels in
    ``extra_fields`` and so survives saving and loading.

    Parameters
    ----------
    items : iterable of pystac.Item or dict
        The items.
    extra_fields : dict, optional
        Further members of the GeoJSON; s2koop keeps what was asked under names that start with ``s2koop:``.
    clone_items : bool
        Whether to copy items, as in pystac.

    Attributes
    ----------
    catalog : str or None
        Where the items were searched: a provider's name, an address, a path.
    asked : dict
        The filters of the search.
    attribution : str or None
        Whom to name when showing the data.
    skipped : list of dict
        ``id`` and ``reason`` of what ``search(..., errors="mask")`` left out.

    Examples
    --------
    >>> import s2koop
    >>> items = s2koop.search("sample", datetime="2020-06/2020-07", max_cloud=20)
    >>> len(items), items.catalog, items.asked["max_cloud"]
    (4, 'sample', 20.0)
    >>> items[:2].to_dataframe()["platform"].tolist()
    ['sentinel-2a', 'sentinel-2b']
    """

    def __init__(
        self,
        items: Iterable[pystac.Item | dict[str, Any]],
        extra_fields: dict[str, Any] | None = None,
        clone_items: bool = False,
    ) -> None:
        super().__init__(items, extra_fields, clone_items=clone_items)

    @classmethod
    def found(
        cls,
        items: Iterable[pystac.Item],
        *,
        catalog: str,
        asked: Mapping[str, Any],
        attribution: str | None,
        skipped: Iterable[Mapping[str, str]] = (),
    ) -> Items:
        """Collect what a search found, oldest first."""
        ordered = sorted(items, key=lambda item: (facts.instant(item), item.id))
        fields = {
            _CATALOG: catalog, _ASKED: dict(asked), _ATTRIBUTION: attribution, _SKIPPED: [dict(s) for s in skipped],
        }  # fmt: skip
        return cls(ordered, {name: value for name, value in fields.items() if value})

    @property
    def catalog(self) -> str | None:
        return self.extra_fields.get(_CATALOG)

    @property
    def asked(self) -> dict[str, Any]:
        return dict(self.extra_fields.get(_ASKED, {}))

    @property
    def attribution(self) -> str | None:
        return self.extra_fields.get(_ATTRIBUTION)

    @property
    def skipped(self) -> list[dict[str, str]]:
        return list(self.extra_fields.get(_SKIPPED, []))

    @overload
    def __getitem__(self, idx: int) -> pystac.Item: ...
    @overload
    def __getitem__(self, idx: slice) -> Items: ...
    def __getitem__(self, idx: int | slice) -> pystac.Item | Items:
        if isinstance(idx, slice):
            return type(self)(self.items[idx], dict(self.extra_fields))
        return self.items[idx]

    def to_dataframe(self) -> pd.DataFrame:
        """One row per item.

        Returns
        -------
        pandas.DataFrame
            Columns ``id``, ``time`` (UTC), ``platform``, ``cloud_cover`` (%), ``tile``, ``crs``, ``baseline``,
            ``sun_elevation`` (degrees), ``bands`` (ESA names), ``bytes`` (of reflectance and SCL in whole
            scenes), ``collection``.
        """
        import pandas as pd

        rows = [facts.row(item) for item in self.items]
        frame = pd.DataFrame(rows, columns=list(facts.COLUMNS))
        frame["time"] = pd.to_datetime(frame["time"], utc=True)
        return frame

    def __repr__(self) -> str:
        return "\n".join([_headline(self), *(f"  {name}: {value}" for name, value in summary(self).lines())])

    def _repr_html_(self) -> str:
        from s2koop.catalog._items_html import items_html

        return items_html(self)


@dataclass(frozen=True)
class Summary:
    """What a collection of items holds, as words for people; a line that is None is not known."""

    dates: str | None
    platforms: str | None
    cloud: str | None
    tiles: str | None
    crs: str | None
    bands: str | None
    size: str | None
    attribution: str | None
    license: str | None
    access: str | None
    asked: str | None
    skipped: str | None

    def lines(self) -> Iterator[tuple[str, str]]:
        """Name and words of each line that is known."""
        names = {"crs": "CRS", "license": "licence"}
        for name, value in vars(self).items():
            if value:
                yield names.get(name, name), value


def _headline(items: Items) -> str:
    where = f" from {items.catalog}" if items.catalog else ""
    return f"<s2koop.Items: {_several(len(items), 'item')}{where}>"


def summary(items: Items) -> Summary:
    """Say in words what ``items`` hold, from their metadata alone."""
    rows = [facts.row(item) for item in items.items]
    days = sorted({row["time"].date().isoformat() for row in rows})
    clouds = [row["cloud_cover"] for row in rows if row["cloud_cover"] is not None]
    return Summary(
        dates=f"{days[0]} to {days[-1]}, {_several(len(days), 'day')}" if days else None,
        platforms=_counted(row["platform"] for row in rows),
        cloud=f"{min(clouds):.0f} to {max(clouds):.0f} %, median {_median(clouds):.0f} %" if clouds else None,
        tiles=_counted(row["tile"] for row in rows),
        crs=_counted(row["crs"] for row in rows),
        bands=" ".join(dict.fromkeys(band for row in rows for band in row["bands"])) or None,
        size=_size(items, rows),
        attribution=items.attribution,
        license=_counted((item.properties.get("license") for item in items.items), numbers=False),
        access=_access(items.catalog),
        asked=", ".join(f"{name}={value}" for name, value in items.asked.items()) or None,
        skipped=summary_of(items.skipped) if items.skipped else None,
    )


def _access(catalog: str | None) -> str | None:
    """Where the pixels lie and what reading them takes, for a provider of the table."""
    provider = PROVIDERS.get(catalog or "")
    return ". ".join(part for part in (provider.title, provider.note) if part) if provider else None


def _several(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _median(values: list[float]) -> float:
    import statistics

    return statistics.median(values)


def _counted(values: Iterable[str | None], *, numbers: bool = True, most: int = 8) -> str | None:
    """List values with how often each occurs, the most frequent first, and say how many more there are."""
    count = Counter(value for value in values if value)
    shown = [f"{value} ({n})" if numbers and len(count) > 1 else str(value) for value, n in count.most_common(most)]
    if len(count) > most:
        shown.append(f"and {len(count) - most} more")
    return ", ".join(shown) or None


def _size(items: Items, rows: list[dict[str, Any]]) -> str | None:
    """Bytes of pixels before compression, whole and in the area that was asked for."""
    known = [row["bytes"] for row in rows if row["bytes"]]
    if not known:
        return None
    whole = sum(known)
    text = f"{_bytes(whole)} of pixels in whole scenes"
    if len(known) < len(rows):
        text += f" (sizes of {len(rows) - len(known)} items unknown)"
    if (box := facts.asked_box(items.asked)) is not None:
        part = sum((row["bytes"] or 0) * facts.share(item, box) for item, row in zip(items.items, rows, strict=True))
        if part < 0.95 * whole:
            text += f", about {_bytes(part)} in the area asked for"
    return text


def _bytes(number: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if number < 999.5:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} TB"
