from . import baselines as baselines
from . import errors as errors
