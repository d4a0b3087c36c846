"""Learning to translate between two sensors: checks, patches, the adversarial game, and what is known of the result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from s2koop._checkpoint import check_path
from s2koop.ac.adaptation.adapter import Adapter, translate_block
from s2koop.ac.adaptation.distance import distances
from s2koop.ac.adaptation.game import train
from s2koop.ac.adaptation.networks import RADIUS
from s2koop.ac.adaptation.patches import cut_patches
from s2koop.ac.adaptation.settings import AdaptationSettings
from s2koop.ac.adaptation.sides import as_images, paired, select
from s2koop.engine import check_device

Array = npt.NDArray[np.float32]

#: Patches of each side whose values are compared for the card.
_COMPARED = 400


def fit(
    source: xr.DataArray,
    target: xr.DataArray,
    *,
    bands: Mapping[str, str] | None = None,
    settings: AdaptationSettings | None = None,
    device: str = "cpu",
    progress: bool = True,
    checkpoint: str | Path | None = None,
) -> Adapter:
    """Learn to translate between two sensors from images of different places.

    Populations should match, even if no place does: the same kinds of land and seasons in similar shares. What differs
    besides the sensors is translated too.

    Parameters
    ----------
    source, target : DataArray, dims ([time | scene], band, y, x)
        Reflectance of one level, in pixels of one size, with NaN where there is no usable observation. Patches without
        gaps are cut out; of lazy cubes only the chunks that hold them are read, some at a time.
    bands : mapping of str to str, optional
        Band of the source for each band of the target; by default they pair in the order in which they lie.
    settings : AdaptationSettings, optional
    device : str
        Where the training runs, such as ``"cpu"`` or ``"cuda"``. On a processor, the same seed gives the same adapter.
    progress : bool
        Show bars.
    checkpoint : str or Path, optional
        A safetensors file that the training keeps its state in. After an interruption the same call goes on from it,
        to the same numbers; at the end it is removed.

    Returns
    -------
    Adapter

    Raises
    ------
    InputError
        If the cubes do not pair, hold no reflectance, or have too few patches without gaps.
    ModelError
        If the training diverges, or the checkpoint is of another training.

    See Also
    --------
    s2koop.ac.accessor.AtmosphereAccessor.to_sensor : of surfaces, where the responses of both sensors are known.

    References
    ----------
    Mateo-García et al. (2020), Cross-sensor adversarial domain adaptation of Landsat-8 and Proba-V images for cloud
    detection, IEEE JSTARS 13; Zhu et al. (2017), Unpaired image-to-image translation using cycle-consistent adversarial
    networks, ICCV; Mescheder et al. (2018), Which training methods for GANs do actually converge?, ICML: the penalty.

    Examples
    --------
    >>> from s2koop.ac.adaptation import AdaptationSettings
    >>> from s2koop.simulate import toa_scenes
    >>> source = toa_scenes("train", scenes=8, size=32)["toa"].sel(band=["B02", "B04", "B08", "B11"])
    >>> target = toa_scenes("train", scenes=8, size=32, sensor="PROBAV", first=8)["toa"]
    >>> few = AdaptationSettings(steps=2, batch=2, patches=8)
    >>> adapter = fit(source, target, settings=few, progress=False)
    >>> adapter.to_source(target).attrs["sensor"]
    'S2A'
    """
    settings = settings or AdaptationSettings()
    device = check_device(device)
    path = None if checkpoint is None else check_path(checkpoint)
    sides = paired(source, target, bands)
    patches = []
    for cube, side, label in ((source, sides[0], "source"), (target, sides[1], "target")):
        images = select(as_images(cube, label)[0], side.bands, label)
        patches.append(cut_patches(
            images, count=settings.patches, size=settings.patch, least=min(settings.batch, settings.patches),
            seed=settings.seed, label=label, progress=progress,
        ))  # fmt: skip
    translators = train(patches[0], patches[1], settings, device=device, progress=progress, checkpoint=path)
    bare = Adapter(settings, translators, *sides)
    return replace(bare, card=_card(bare, patches[0].numpy(), patches[1].numpy()))


def _card(adapter: Adapter, source: Array, target: Array) -> dict[str, Any]:
    """Data, and how far patches lay apart before and after."""
    card: dict[str, Any] = {}
    for name, side, patches in (("source", adapter.source, source), ("target", adapter.target, target)):
        size = patches.shape[-1]
        card[name] = f"{side.sensor or name}, {len(patches)} patches of {size} x {size} pixels"
    source, target = (patches[:_COMPARED] for patches in (source, target))
    translated = translate_block(target, adapter=adapter, which=0, margin=RADIUS, device="cpu")
    pairs = {"distance_as_is": target, "distance_to_source": translated}
    for name, images in pairs.items():
        card[name] = round(float(distances(images, source).wasserstein.mean()), 5)
    return card
