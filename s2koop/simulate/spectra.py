"""A library of reflectance spectra of surfaces, in disjoint sets for training, validation and test."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from s2koop.errors import InputError

#: Kinds of surface: four of vegetation, and what has no leaves.
KINDS = ("forest", "crop", "grass", "litter", "soil", "water", "snow", "built")
#: Sets that share no species, soil, water body or material.
SPLITS = ("train", "validation", "test")
#: Wavelengths of all spectra in nm.
WAVELENGTH: npt.NDArray[np.float64] = np.linspace(400.0, 2400.0, 801)
#: Principal components and scores of the spectra; scripts/make_spectra.py makes it.
LIBRARY = Path(__file__).with_name("spectra.safetensors")


def surface_spectra(kind: str, split: str = "train") -> npt.NDArray[np.float32]:
    """Simulated reflectance spectra of one kind of surface.

    PROSPECT-D with 4SAIL for vegetation (over the soils of the same split), PROSAIL's soils with absorption features
    and moisture, the water model of Gordon, the snow of Kokhanovsky and Zege, and smooth curves for built surfaces.
    They are stored as principal components; rms error 2e-4 in reflectance (the card in the file says more).

    Parameters
    ----------
    kind : str
        One of `KINDS`: ``"forest"``, ``"crop"``, ``"grass"``, ``"litter"`` (dry vegetation), ``"soil"``, ``"water"``,
        ``"snow"``, ``"built"``.
    split : str
        ``"train"``, ``"validation"`` or ``"test"``. A species, soil, water body or material is in one of them only.

    Returns
    -------
    float32 (spectrum, wavelength)
        Reflectance from 0 to 1 at `WAVELENGTH`: 400 to 2400 nm in steps of 2.5 nm.

    Raises
    ------
    InputError
        If the kind or the split is unknown.

    References
    ----------
    Féret et al. (2017), PROSPECT-D, Remote Sensing of Environment 193; Verhoef et al. (2007), 4SAIL, IEEE TGRS 45;
    Gordon et al. (1988), J. Geophys. Res. 93; Kokhanovsky and Zege (2004), Applied Optics 43.

    Examples
    --------
    >>> snow = surface_spectra("snow", "test")
    >>> snow.shape
    (168, 801)
    >>> red, swir = snow[:, WAVELENGTH == 665], snow[:, WAVELENGTH == 1600]
    >>> bool((red > 3 * swir).all())
    True
    """
    if kind not in KINDS:
        raise InputError(f"kind={kind!r} is unknown; choose among {', '.join(KINDS)}")
    if split not in SPLITS:
        raise InputError(f"split={split!r} is unknown; choose among {', '.join(SPLITS)}")
    tensors, card = _library()
    basis = tensors[f"{kind}.basis"].astype(np.float32)
    found = basis[0] + tensors[f"{kind}.scores"][_rows(card, split)].astype(np.float32) @ basis[1:]
    return np.clip(found, 0, 1)


def library_card() -> dict[str, Any]:
    """How the library was made: series and members of each split, ranges of traits, seed, and errors of storage.

    Examples
    --------
    >>> library_card()["series"]["test"]
    12
    """
    return dict(_library()[1])


def _rows(card: dict[str, Any], split: str) -> slice:
    """Rows of a split: the splits lie one after the other, each series in `members` rows."""
    counts = [card["members"] * card["series"][name] for name in SPLITS]
    at = SPLITS.index(split)
    return slice(sum(counts[:at]), sum(counts[: at + 1]))


@cache
def _library() -> tuple[dict[str, npt.NDArray[np.float16]], dict[str, Any]]:
    from safetensors.numpy import load

    content = LIBRARY.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return load(content), json.loads(header["__metadata__"]["s2koop"])
