from . import harmonise as harmonise
from . import quality as quality
from . import sensors as sensors
from ._load import load as load
from .quality import SCL_CLASSES as SCL_CLASSES
from .quality import check_reflectance as check_reflectance
from .quality import flag_haze as flag_haze
from .sensors import SENSORS as SENSORS
