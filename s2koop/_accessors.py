"""Registers the accessors on xarray objects, importing nothing heavier than xarray."""

from s2koop.ac import accessor as ac_accessor
from s2koop.koopman import accessor as accessor
from s2koop.ssl import accessor as ssl_accessor

__all__ = ["ac_accessor", "accessor", "ssl_accessor"]
