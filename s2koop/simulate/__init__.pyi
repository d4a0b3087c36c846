from .seasons import seasonal_cube as seasonal_cube
