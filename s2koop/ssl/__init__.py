"""Embeddings without labels: contrastive training, embedding, probing and retrieval. See ``images.ssl``."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
