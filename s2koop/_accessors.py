"""Registers the accessors on xarray objects, importing nothing heavier than xarray."""
