"""One HTML page that holds everything: still figures, tables and words, with nothing to fetch."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STYLE = """
body{margin:0 auto;max-width:62rem;padding:2rem 1.25rem 3rem;color:#1a1a1a;background:#fff;
 font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
h1{font-size:1.7rem;line-height:1.25;margin:0 0 .6rem} h2{font-size:1.15rem;margin:2.2rem 0 .6rem}
figure{margin:1.2rem 0} figure img{width:100%;height:auto;display:block}
figcaption,footer{color:#555;font-size:.875rem} .wide{overflow-x:auto}
table{border-collapse:collapse;font-size:.875rem;font-variant-numeric:tabular-nums}
th,td{padding:.3rem .75rem;text-align:right;border:0;border-bottom:1px solid #ddd;white-space:nowrap}
thead th{border-bottom:2px solid #1a1a1a} tbody th{text-align:left;font-weight:600}
footer{margin-top:2.5rem;padding-top:.8rem;border-top:1px solid #ddd}
"""


def write_report(
    path: str | Path,
    *,
    title: str,
    text: Sequence[str] = (),
    figures: Mapping[str, Figure] | None = None,
    tables: Mapping[str, pd.DataFrame] | None = None,
    attribution: str = "",
    dpi: int = 130,
) -> Path:
    """Write one self-contained HTML page; every word that is given is escaped.

    Parameters
    ----------
    path : str or Path
        The file to write; its folder must exist.
    title : str
        Heading of the page.
    text : sequence of str
        Paragraphs below the heading.
    figures : mapping of str to matplotlib.figure.Figure, optional
        Caption to figure, embedded as PNG.
    tables : mapping of str to pandas.DataFrame, optional
        Heading to table; floats are shown with four decimals, missing values as a dash.
    attribution : str
        Source and licence of the data, at the foot of the page.
    dpi : int
        Dots per inch of the figures.

    Returns
    -------
    Path
        The file.

    Examples
    --------
    >>> import pandas as pd, tempfile, pathlib
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> scores = pd.DataFrame({"RMSE": [0.0213]})
    >>> page = write_report(folder / "page.html", title="B8A < B08", tables={"Scores": scores})
    >>> "B8A &lt; B08" in page.read_text()
    True
    """
    parts = [f"<h1>{escape(title)}</h1>", *(f"<p>{escape(paragraph)}</p>" for paragraph in text)]
    parts += [_figure(caption, figure, dpi) for caption, figure in (figures or {}).items()]
    parts += [_table(heading, table) for heading, table in (tables or {}).items()]
    if attribution:
        parts.append(f"<footer>{escape(attribution)}</footer>")
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )
    path = Path(path)
    path.write_text(page, encoding="utf-8")
    return path


def png(figure: Figure, *, dpi: int = 130) -> bytes:
    """Return a Matplotlib figure as PNG bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


def image_tag(figure: Figure, *, alt: str, dpi: int = 130) -> str:
    """Return a Matplotlib figure as an ``<img>`` with the picture inside."""
    data = base64.b64encode(png(figure, dpi=dpi)).decode()
    return f'<img alt="{escape(alt, quote=True)}" src="data:image/png;base64,{data}">'


def _figure(caption: str, figure: Figure, dpi: int) -> str:
    picture = image_tag(figure, alt=caption, dpi=dpi)
    return f"<figure>{picture}<figcaption>{escape(caption)}</figcaption></figure>"


def _table(heading: str, table: pd.DataFrame) -> str:
    cells = table.to_html(border=0, float_format="{:.4f}".format, na_rep="–", escape=True)
    return f'<h2>{escape(heading)}</h2><div class="wide">{cells}</div>'
