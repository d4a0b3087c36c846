"""Atmospheric correction: what the atmosphere adds to a scene and takes from it, and how to undo both."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
