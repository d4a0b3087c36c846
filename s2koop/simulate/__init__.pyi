from .canopy import canopy_reflectance as canopy_reflectance
from .land import LAND_COVERS as LAND_COVERS
from .land import land_cube as land_cube
from .land import land_series as land_series
from .seasons import seasonal_cube as seasonal_cube
from .spectra import surface_spectra as surface_spectra
