from .elements import map as map
from .elements import series as series
from .figures import maps_figure as maps_figure
from .figures import series_figure as series_figure
from .figures import session_figure as session_figure
from .html import save_html as save_html
from .report import write_report as write_report
