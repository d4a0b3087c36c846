from .app import Dashboard as Dashboard
from .app import dashboard as dashboard
from .chart import Chart as Chart
from .cube import CubeView as CubeView
