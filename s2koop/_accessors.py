"""Registers the accessors on xarray objects, importing nothing heavier than xarray."""

from s2koop.koopman import accessor as accessor
