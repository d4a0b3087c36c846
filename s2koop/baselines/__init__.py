"""What a user would otherwise pick: persistence, pixel mean, same day last year, harmonic, Whittaker.

Each is ``name(cube, *, times, ...) -> Dataset(mean, spread)``: lazy on a dask-backed cube, eager on a
NumPy-backed one, and it uses nothing but what is in `cube` (cut the cube to keep a forecast honest).
"""

from s2koop.baselines._gaussian_process import gaussian_process
from s2koop.baselines._harmonic import harmonic
from s2koop.baselines._harmonic_residual import harmonic_residual
from s2koop.baselines._low_rank import low_rank
from s2koop.baselines._lstm import lstm
from s2koop.baselines._persistence import persistence
from s2koop.baselines._pixel_mean import pixel_mean
from s2koop.baselines._same_day_last_year import same_day_last_year
from s2koop.baselines._whittaker import whittaker

__all__ = [
    "gaussian_process",
    "harmonic",
    "harmonic_residual",
    "low_rank",
    "lstm",
    "persistence",
    "pixel_mean",
    "same_day_last_year",
    "whittaker",
]
