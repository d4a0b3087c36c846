from . import checkpoints as checkpoints
from .accessor import KoopmanAccessor as KoopmanAccessor
from .calibration import SpreadCalibration as SpreadCalibration
from .distil import distil as distil
from .ensemble import KoopmanEnsemble as KoopmanEnsemble
from .ensemble import load as load
from .model import KoopmanModel as KoopmanModel
from .settings import KoopmanSettings as KoopmanSettings
