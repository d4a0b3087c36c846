from ._fit import fit as fit
from .adapter import Adapter as Adapter
from .adapter import load as load
from .distance import Distance as Distance
from .distance import distances as distances
from .settings import AdaptationSettings as AdaptationSettings
from .sides import Side as Side
