"""Registers the accessors on xarray objects, importing nothing heavier than xarray."""

from s2koop.ac import accessor as ac_accessor
from s2koop.koopman import accessor as accessor

__all__ = ["ac_accessor", "accessor"]
