from .transfer import Coefficients as Coefficients
from .transfer import to_boa as to_boa
from .transfer import to_toa as to_toa
