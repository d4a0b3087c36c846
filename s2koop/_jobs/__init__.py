"""Long computations into a Zarr store, region by region: what is written stays written, a stop loses nothing."""

from s2koop._jobs.run import run

__all__ = ["run"]
