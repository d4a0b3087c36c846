"""Static plots: a session or results as HoloViews elements, still figures, and pages that hold them."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
