"""Model files for the workers of a cluster: sent once to each, to those too that come later."""

from __future__ import annotations

import sys
from pathlib import Path
from weakref import WeakKeyDictionary

from s2koop._cache import cache_dir, write_once

_sent: WeakKeyDictionary[object, set[str]] = WeakKeyDictionary()


def model_path(digest: str) -> Path:
    """Where this process looks for a model: in its own cache folder, under the name of its content."""
    return cache_dir() / "models" / f"{digest}.safetensors"


def broadcast(digest: str, content: bytes) -> None:
    """Let every worker of the client in use keep a model file in its own cache; does nothing without a client."""
    if "distributed" not in sys.modules:
        return
    from distributed import default_client

    try:
        client = default_client()
    except ValueError:
        return
    sent = _sent.setdefault(client, set())
    if digest in sent or client.asynchronous:
        return
    client.register_plugin(_plugin(digest, content))
    sent.add(digest)


def _plugin(digest: str, content: bytes) -> object:
    from distributed import WorkerPlugin

    class ModelFile(WorkerPlugin):
        """Writes a model file where its worker looks for it."""

        name = f"s2koop-model-{digest}"
        idempotent = True

        def setup(self, worker: object) -> None:
            write_once(model_path(digest), content)

    return ModelFile()
