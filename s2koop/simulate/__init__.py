"""Scenes with known truth, for tests, benchmarks and lessons. Everything made here is simulated, and says so."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
