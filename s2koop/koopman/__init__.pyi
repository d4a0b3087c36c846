from .accessor import KoopmanAccessor as KoopmanAccessor
from .model import KoopmanModel as KoopmanModel
from .model import load as load
from .settings import KoopmanSettings as KoopmanSettings
