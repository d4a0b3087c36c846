"""One tree of exceptions and warnings: every message says what was found, what was expected, and the cure."""

from __future__ import annotations


class S2koopError(Exception):
    """Anything s2koop raises on purpose."""


class InputError(S2koopError, ValueError):
    """An argument or a cube that a call cannot work with."""


class CatalogError(S2koopError):
    """A catalogue that is unknown, cannot be reached, or answers with something that is not STAC."""


class NoItemsError(S2koopError, ValueError):
    """There is no item to load, or none touches the area that was asked for."""


class ReflectanceError(S2koopError, ValueError):
    """The scale or offset of an item cannot be decided, so its reflectance would be a guess."""


class AssetError(S2koopError, OSError):
    """An asset is gone, forbidden or unreadable after all retries; ``why`` holds the cause in few words."""

    why: str = "unreadable"


class CacheError(S2koopError, OSError):
    """The cache folder cannot be written, or what it holds is not what was put there."""


class StoreError(S2koopError, OSError):
    """A store that cannot be written: no space or right, another writer, or a place that cannot be reached."""


class ModelError(S2koopError, ValueError):
    """A model file that cannot be trusted, or a model that does not fit the cube."""


class MissingDependencyError(S2koopError, ImportError):
    """An optional library is needed; the message names the command that installs it."""


class S2koopWarning(UserWarning):
    """Base of all s2koop warnings."""


class EmptySearchWarning(S2koopWarning):
    """A search found nothing."""


class ReflectanceWarning(S2koopWarning):
    """Reflectance that looks wrong, such as many negative values over land."""


class SparseCubeWarning(S2koopWarning):
    """Most of a cube lies outside of its items, which lie far apart."""


class MaskedItemsWarning(S2koopWarning):
    """Items that could not be read were left out because ``errors="mask"`` was asked for."""


class SlowReadWarning(S2koopWarning):
    """Lazy data so large that every look at them computes them anew."""


class UnscoredDatesWarning(S2koopWarning):
    """Most observations have no result on their date, so scores rest on the few others."""
