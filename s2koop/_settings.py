"""Settings as plain mappings: what cards of models hold, read strictly."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, Self

from s2koop.errors import InputError


class Settings:
    """What every frozen dataclass of settings can do."""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Settings from a plain mapping, such as a model card; an unknown name is an error."""
        known = sorted(f.name for f in fields(cls))  # type: ignore[arg-type]
        for name in values:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"settings are {', '.join(known)}"
                raise InputError(f"unknown setting {name!r}; {hint}")
        return cls(**dict(values))

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        return asdict(self)  # type: ignore[call-overload]
