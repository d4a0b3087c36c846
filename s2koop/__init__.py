"""s2koop: Koopman data assimilation, atmospheric correction and embeddings for Sentinel-2 cubes.

The public names load on first use (SPEC 1), so ``import s2koop`` costs little more than xarray; the
accessors (``cube.koopman``) are registered here and are as light.
"""

import lazy_loader as _lazy

from s2koop import _accessors as _accessors
from s2koop import _pickled as _pickled
from s2koop._version import __version__ as __version__

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
