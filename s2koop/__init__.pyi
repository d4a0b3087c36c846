from . import baselines as baselines
from . import cube as cube
from . import errors as errors
from . import scores as scores
from .cube._load import load as load
