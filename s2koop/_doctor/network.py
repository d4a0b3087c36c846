"""Whether the providers answer: all asked at once, each for a few seconds at most."""

from __future__ import annotations

import threading
import time

from s2koop._doctor.report import Finding

#: Seconds that all providers together have to answer in.
_PATIENCE = 5.0
_OFFLINE = "check the connection, HTTPS_PROXY and firewalls; s2koop.search('sample') needs no network"


def provider_findings(patience: float = _PATIENCE) -> list[Finding]:
    """Ask the root of each provider's API; addresses of proxies and credentials are never repeated."""
    from s2koop.catalog.providers import PROVIDERS

    answers: dict[str, Finding] = {}

    def ask(name: str, url: str) -> None:
        answers[name] = _ask(name, url, patience)

    # Daemons, because looking up a name knows no time limit: one that hangs keeps neither us nor Python's end waiting.
    threads = [threading.Thread(target=ask, args=(p.name, p.url), daemon=True) for p in PROVIDERS.values()]
    for thread in threads:
        thread.start()
    end = time.monotonic() + patience
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    late = {name: Finding(name, f"no answer in {patience:g} s", _OFFLINE) for name in PROVIDERS}
    notes = {name: f"; {p.note}" if p.note else "" for name, p in PROVIDERS.items()}
    return [_with_note(answers.get(name, late[name]), notes[name]) for name in PROVIDERS]


def _ask(name: str, url: str, seconds: float) -> Finding:
    import requests

    began = time.monotonic()
    try:
        with requests.get(url, timeout=seconds, stream=True) as answer:
            status = answer.status_code
    except requests.exceptions.SSLError:
        cure = "set REQUESTS_CA_BUNDLE to the certificates of your network"
        return Finding(name, "its certificate is not trusted here", cure)
    except requests.exceptions.ProxyError:
        return Finding(name, "the proxy does not let us through", "check HTTPS_PROXY and NO_PROXY")
    except requests.exceptions.Timeout:
        return Finding(name, f"no answer in {seconds:g} s", _OFFLINE)
    except Exception as error:  # whatever stands between us and a provider, a report says so and goes on
        return Finding(name, f"cannot be reached ({type(error).__name__})", _OFFLINE)
    if status >= 400:
        return Finding(name, f"answers with HTTP {status}", "try again later, or search another provider")
    return Finding(name, f"answers in {time.monotonic() - began:.1f} s")


def _with_note(finding: Finding, note: str) -> Finding:
    return finding if finding.remedy else Finding(finding.name, finding.found + note)
