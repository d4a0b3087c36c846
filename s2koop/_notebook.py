"""One call that makes a notebook ready for plots: no network, nothing saved into the file.

The public name is ``s2koop.notebook``; the module has another name because importing a submodule called
``notebook`` would put the module in the place of the function.
"""

from __future__ import annotations

from s2koop import _host

#: Pages of this kernel that have the script: a second call sends no second copy, a reloaded page is another one.
_READY: set[str] = set()


def notebook() -> None:
    """Make HoloViews plots appear in this notebook, also without internet.

    BokehJS is written into the page from the installed library instead of being fetched, once for each page, and
    the output that carried it is cleared again where that is known to work, so that the saved notebook does not
    grow by megabytes. After a reload of the page run the cell once more; the dashboard itself needs this call
    neither before nor after.

    JupyterLab and Voila are tested, and Notebook 7 has the front end of JupyterLab. In Colab, VS Code, the classic
    Notebook and IPython in a terminal the call prints what works there and what to do about the rest; in a script it
    only sets the backend.

    See Also
    --------
    doctor : What this session runs on, and a remedy for what is missing.

    Examples
    --------
    >>> import s2koop
    >>> s2koop.notebook()
    """
    import holoviews as hv
    import holoviews.plotting.bokeh  # registers the backend without writing into the notebook

    hv.Store.set_current_backend("bokeh")
    host, page = _host.host(), _host.page()
    if page in _READY and not host.page_per_cell:
        return
    if host.kernel:
        _write_script(clear=host.clears)
    if host.advice:
        print(f"s2koop in {host.name}: {host.advice}.")
    if page:
        _READY.add(page)


def _write_script(*, clear: bool) -> None:
    import holoviews as hv
    from IPython.display import clear_output

    hv.extension("bokeh", inline=True, logo=False)
    if clear:
        clear_output()
