"""From STAC items to a cube: read, harmonise reflectance, mask, describe."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
