"""What a look at a session found: lines with a remedy, shown as a table or as text."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape


@dataclass(frozen=True)
class Finding:
    """One line of a report: what was looked at, what was found, and the remedy where one is needed."""

    name: str
    found: str
    remedy: str = ""


@dataclass(frozen=True)
class Report:
    """All findings; a notebook shows them as a table, a terminal as lines.

    Attributes
    ----------
    findings : tuple of Finding
        In the order in which they are shown.
    """

    findings: tuple[Finding, ...] = field(default_factory=tuple)

    @property
    def ok(self) -> bool:
        """True if nothing needs a remedy."""
        return not any(f.remedy for f in self.findings)

    def __repr__(self) -> str:
        width = max((len(f.name) for f in self.findings), default=0)
        lines = []
        for finding in self.findings:
            lines.append(f"{finding.name:<{width}}  {finding.found}")
            if finding.remedy:
                lines.append(f"{'':<{width}}  -> {finding.remedy}")
        return "\n".join([*lines, "", self._verdict()])

    def _repr_html_(self) -> str:
        left = 'style="text-align:left"'
        rows = "".join(
            f'<tr><th scope="row" {left}>{escape(f.name)}</th>'
            f"<td {left}>{escape(f.found)}</td><td {left}>{escape(f.remedy)}</td></tr>"
            for f in self.findings
        )
        return f"<table>{rows}</table><p><strong>{escape(self._verdict())}</strong></p>"

    def _verdict(self) -> str:
        wrong = sum(bool(f.remedy) for f in self.findings)
        return "All is well." if self.ok else f"{wrong} finding(s) with a remedy."
