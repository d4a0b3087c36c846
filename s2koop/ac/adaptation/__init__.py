"""Adaptation without pairs: images of one sensor made to look like those of another, from images of different places.

A network that was trained on a source sensor, such as Sentinel-2, meets values in the images of a target sensor, such
as PROBA-V, that it has never seen. Translators learn both ways from images of both alone, without a label or a common
place, and what is translated to the source can be corrected with the source's networks.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
