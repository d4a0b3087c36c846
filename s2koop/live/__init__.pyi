from .app import Dashboard as Dashboard
from .app import dashboard as dashboard
from .atmosphere import AtmosphereDashboard as AtmosphereDashboard
from .atmosphere import atmosphere_dashboard as atmosphere_dashboard
from .chart import Chart as Chart
from .cube import CubeView as CubeView
from .figure import LiveFigure as LiveFigure
