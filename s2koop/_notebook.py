"""One call that makes a notebook ready for plots: no network, nothing saved into the file.

The public name is ``s2koop.notebook``; the module has another name because importing a submodule called
``notebook`` would put the module in the place of the function.
"""

from __future__ import annotations

import os
import sys


def notebook() -> None:
    """Make HoloViews plots appear in this notebook, also without internet.

    BokehJS is written into the page from the installed library instead of being fetched, and the output that
    carried it is cleared again, so that the saved notebook does not grow by megabytes. Under Voilà a cleared
    script never runs, so there it stays. After a reload of the page run the cell once more; the dashboard
    itself needs this call neither before nor after.

    Outside of IPython it only sets the backend.

    Examples
    --------
    >>> import s2koop
    >>> s2koop.notebook()
    """
    import holoviews as hv
    import holoviews.plotting.bokeh  # registers the backend without writing into the notebook

    hv.Store.set_current_backend("bokeh")
    if not _in_kernel():
        return
    from IPython.display import clear_output

    hv.extension("bokeh", inline=True, logo=False)
    if not _in_voila():
        clear_output()


def _in_voila() -> bool:
    return os.environ.get("SERVER_SOFTWARE", "").lower().startswith("voila")


def _in_kernel() -> bool:
    """Tell a notebook's kernel from a plain interpreter, a script or a terminal."""
    if "IPython" not in sys.modules:
        return False
    from IPython import get_ipython

    return hasattr(get_ipython(), "kernel")
