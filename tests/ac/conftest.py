"""What the tests of the correction share."""

from __future__ import annotations

import pytest

from s2koop.ac import training


@pytest.fixture(scope="package", autouse=True)
def few_judges():
    """Judge barely trained emulators on some scenes, not 150: no test here asks how honest their spread is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "JUDGED", 12)
        yield
