"""What to distrust of a corrected pixel: a mask of bits as CF describes it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

#: Bit of each flag.
FLAGS: Mapping[str, int] = MappingProxyType(
    {
        "saturated": 1,
        "cirrus": 2,
        "negative_reflectance": 4,
        "outside_table": 8,
        "sun_low": 16,
        "steep_terrain": 32,
        "view_assumed": 64,
    }
)
#: Reflectance at the top of the atmosphere that no surface or cloud has: saturated, or defective.
SATURATED = 2.0
#: Reflectance in B10 above which thin cirrus is likely: light of B10 does not reach the ground.
CIRRUS = 0.012
#: Zenith angle of the sun in degrees beyond which a flat atmosphere becomes a poor model.
SUN_LOW = 70.0
#: Slope in degrees beyond which a flat surface does.
STEEP = 8.0


def flag_attrs(not_tested: list[str]) -> dict[str, Any]:
    """The CF attributes of a mask; `not_tested` are flags that the scene gave no means to set."""
    attrs: dict[str, Any] = {
        "long_name": "quality flags",
        "flag_masks": np.array(list(FLAGS.values()), np.uint16),
        "flag_meanings": " ".join(FLAGS),
    }
    return attrs | ({"not_tested": " ".join(not_tested)} if not_tested else {})
