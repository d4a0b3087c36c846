from .encoder import Encoder as Encoder
from .encoder import EncoderSettings as EncoderSettings
from .encoder import load as load
from .encoder import shipped as shipped
from .pretraining import PretrainSettings as PretrainSettings
from .series_views import SeriesViews as SeriesViews
from .views import POLICIES as POLICIES
from .views import Views as Views
