"""What a session runs on, and what to do about what is missing: versions of both sides, limits, sample, network."""

from __future__ import annotations

import platform

from s2koop import _host
from s2koop._doctor.front_end import front_end_findings
from s2koop._doctor.libraries import library_findings
from s2koop._doctor.machine import core_finding, memory_finding
from s2koop._doctor.network import provider_findings
from s2koop._doctor.report import Finding, Report
from s2koop._doctor.sample import sample_finding

__all__ = ["Finding", "Report", "doctor"]


def doctor(*, network: bool = False) -> Report:
    """Report versions, host, memory, cores and the state of the sample data, with a remedy for each finding.

    Of the widget libraries both halves are looked at, the one in Python and the one that the page loads. Limits of
    containers count (``MEM_LIMIT``, ``CPU_LIMIT``, control groups of both versions). No library is imported to be
    looked at, nothing is downloaded or left behind on disk, and neither credentials nor environment variables are
    shown.

    Parameters
    ----------
    network : bool, default False
        Also ask each provider whether it answers, all at once and for five seconds at most. Without it nothing is
        asked, so that a machine without network waits for nothing.

    Returns
    -------
    Report
        Printed or displayed as a table; ``report.ok`` tells whether anything needs a remedy.

    Examples
    --------
    >>> import s2koop
    >>> report = s2koop.doctor()
    >>> report.findings[0].name
    's2koop'
    """
    from s2koop._version import __version__

    system = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    where = _host.host()
    findings = [Finding("s2koop", __version__), Finding("system", system), Finding("host", where.name, where.advice)]
    findings += [*library_findings(), *front_end_findings(), core_finding(), memory_finding(), sample_finding()]
    findings += (
        provider_findings() if network else [Finding("network", "not asked; doctor(network=True) asks the providers")]
    )
    return Report(tuple(findings))
