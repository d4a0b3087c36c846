"""What a user would otherwise pick, from the last value seen to a Gaussian process.

Each is ``name(cube, *, times, ...) -> Dataset(mean, spread)``: lazy on a dask-backed cube, eager on a
NumPy-backed one, and it uses nothing but what is in `cube` (cut the cube to keep a forecast honest).

========================  =====================  ==============================================================
name                      dates it answers       how
========================  =====================  ==============================================================
`persistence`             since the first value  the last usable value
`pixel_mean`              any                    the mean of the series
`same_day_last_year`      a year after the       the value a year ago
                          first value
`harmonic`                any                    sines and cosines of the year, robust ridge regression
`harmonic_residual`       any                    the same, and the nearest residuals, fading
`whittaker`               any; held outside      a smooth curve
`gaussian_process`        any                    season and memory of each series; covariance shared by a band
`dmd`                     any                    a few oscillations shared by the scene (extra ``baselines``)
`lstm`                    after the last date    a recurrent network trained on the scene
`low_rank`                the cube's own         a few patterns shared by the scene; fills gaps only
========================  =====================  ==============================================================

The last four learn from the scene before they predict its pixels: all pixels, or a random sample of a large scene.
"""

from s2koop.baselines._dmd import dmd
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
    "dmd",
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
