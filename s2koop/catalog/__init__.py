"""Finding items: providers, search, and the catalogue that travels with the package."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
