"""Published encoders whose files users bring: what each takes, where it comes from, and how its file loads."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
from torch import Tensor, nn

from s2koop.errors import InputError, ModelError
from s2koop.ssl._presto import BANDS as PRESTO_BANDS
from s2koop.ssl._presto import Presto, presto
from s2koop.ssl._wvnet import BLOB_ID, CROP, wvnet
from s2koop.ssl.encoder import Encoder, EncoderSettings
from s2koop.ssl.resnet import load_torchvision, resnet18, resnet50
from s2koop.ssl.state_dicts import file_content, git_blob_id, read_state, some

#: Sentinel-2 as a level-1C product orders its bands: B8A stands before B09, not last.
S2_L1C = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
RGB = ("B04", "B03", "B02")
#: SeCo stretched 8-bit reflectance between these levels, red first, and standardised as ImageNet.
_SECO_LEVELS = ((0, 129), (2, 103), (3, 88))
_IMAGENET = ((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))
#: SSL4EO-S12 stretched backscatter (dB) to two of these standard deviations around these means: VV, VH.
_SSL4EO_S1 = ((-12.54847273, 5.25697717), (-20.19237134, 5.91150917))
#: Reflectance at which the true-colour image of a level-1C product is saturated.
_TCI = 0.3558
#: Name of the first convolution in each layout of names, by which a layout is known.
_FIRST = {
    "torchvision": "conv1.weight",
    "sequential": "0.weight",
    "transformers": "embedder.embedder.convolution.weight",
}
#: Children of a ResNet that was made an ``nn.Sequential``: only those that hold tensors.
_CHILDREN = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}


@dataclass(frozen=True, kw_only=True)
class Foreign:
    """A published encoder; what is not known of it is None.

    Attributes
    ----------
    name, title : str
    architecture : str
    bands : tuple of str
        In the order that the network takes them; empty for grey images.
    mean, std : tuple of float, optional
        What to subtract from each band, and then to divide it by, in `units`.
    units : str
        Of the values it takes: reflectance is that of a cube, 0..1.
    pixel : float
        Size of a pixel, m.
    patch : int, optional
        Side of an image, pixels; 1 for pixel series, None where it is free.
    sensor, level : str
    policy : str
        Method of its training.
    forgets : str
    licence, paper, source : str
    hashes : tuple of str
        Of known copies of the file: ``git:``, ``md5:`` or ``sha256:``, and as many first digits as are known.
    layouts : tuple of (str, str)
        Prefixes of names in its files, and how the names behind them are made up, in the order they are tried.
    loads : bool
    reason : str
        Why it does not load.
    note : str
    """

    name: str
    title: str
    architecture: str
    bands: tuple[str, ...]
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    units: str = "reflectance"
    pixel: float
    patch: int | None
    sensor: str
    level: str = ""
    policy: str
    forgets: str = ""
    licence: str | None
    paper: str
    source: str
    hashes: tuple[str, ...] = ()
    layouts: tuple[tuple[str, str], ...] = (("", "torchvision"),)
    loads: bool = True
    reason: str = ""
    note: str = ""


def _seco(size: int, rehosted: str, md5: str) -> Foreign:
    scale = [(low, high - low) for low, high in _SECO_LEVELS]
    return Foreign(
        name=f"seco-resnet{size}", title="Seasonal Contrast, 1 million images", architecture=f"resnet{size}", bands=RGB,
        mean=tuple((low + mean * width) / 255 for (low, width), (mean, _) in zip(scale, _IMAGENET, strict=True)),
        std=tuple(std * width / 255 for (_, width), (_, std) in zip(scale, _IMAGENET, strict=True)),
        pixel=10, patch=224, sensor="S2", level="BOA", policy="SeCo: MoCo with seasons as views",
        forgets="in part the season and colour", licence=None, paper="Mañas et al. (2021), arXiv:2103.16607",
        source="ServiceNow/seasonal-contrast (seco_resnet*_1m.ckpt); rehosted by torchgeo", hashes=(rehosted, md5),
        layouts=(("encoder_q.", "sequential"), ("", "torchvision")),
        note="levels of 0..0.506 (B04), 0.008..0.404 (B03) and 0.012..0.345 (B02) were clipped in training",
    )  # fmt: skip


def _ssl4eo_s2(name: str, architecture: str, method: str, *hashes: str) -> Foreign:
    return Foreign(
        name=name, title=f"SSL4EO-S12, {method}", architecture=architecture, bands=S2_L1C, mean=(0.0,) * 13,
        std=(1.0,) * 13, pixel=10, patch=224, sensor="S2", level="TOA", policy=method, licence="CC-BY-4.0",
        paper="Wang et al. (2023), arXiv:2211.07044", source="zhu-xlab/SSL4EO-S12; rehosted by torchgeo", hashes=hashes,
        layouts=(("", "torchvision"), ("module.encoder_q.", "torchvision"), ("encoder_q.", "torchvision"),
                 ("module.backbone.", "torchvision"), ("backbone.", "torchvision")),
        note="all 13 bands of level 1C; where a cube lacks B10, its authors gave 0",
    )  # fmt: skip


def _satlas(kind: str, title: str, sha256: str) -> Foreign:
    return Foreign(
        name=f"satlas-resnet50-{kind}", title=f"SatlasPretrain, {title}", architecture="resnet50",
        bands=(*RGB, "B05", "B06", "B07", "B08", "B11", "B12"), mean=(0.0,) * 9, std=(_TCI,) * 3 + (0.816,) * 6,
        pixel=10, patch=512, sensor="S2", level="TOA", policy="supervised on many kinds of labels",
        licence="Apache-2.0", paper="Bastani et al. (2023), arXiv:2211.15660",
        source="allenai/satlaspretrain_models; rehosted by torchgeo", hashes=(sha256,),
        layouts=(("", "torchvision"), ("backbone.backbone.resnet.", "torchvision"),
                 ("backbone.resnet.", "torchvision"), ("resnet.", "torchvision")),
        note="red, green and blue were those of the 8-bit true-colour image (saturated at 0.3558), the others were "
             "divided by 0.816; all clipped to 0..1",
    )  # fmt: skip


ENCODERS: tuple[Foreign, ...] = (
    Foreign(
        name="wvnet", title="WV-Net", architecture="resnet50", bands=(), units="grey levels 0..255 of a quicklook",
        pixel=41, patch=CROP, sensor="SAR", policy="SimCLR", forgets="absolute backscatter",
        licence="MIT by its metadata; no text of it in the repository", paper="Glaser et al. (2024), arXiv:2406.18765",
        source="hawaii-ai/WV-Net (wvnet_resnet50_weights.pt)", hashes=(f"git:{BLOB_ID}",),
        note="its preprocessing is s2koop.ssl.wvnet_preprocess",
    ),
    Foreign(
        name="oceansar-1", title="OceanSAR-1", architecture="resnet50", bands=(), units="not published", pixel=50,
        patch=256, sensor="SAR", policy="DINO", licence="Apache-2.0", paper="Kerdreux et al. (2025), arXiv:2504.06962",
        source="galeio-research/OceanSAR-1 (model.safetensors)",
        layouts=(("", "transformers"), ("resnet.", "transformers")),
        note="VV; its normalisation is not published: give mean and std of your images",
    ),
    _ssl4eo_s2("ssl4eo-s2-resnet50-moco", "resnet50", "MoCo",
               "sha256:df8b932e2a23a0773febedf3f650aa7d342b805f7876ca5ed6b139d7245d7c09"),
    _ssl4eo_s2("ssl4eo-s2-resnet50-dino", "resnet50", "DINO", "sha256:d6c330e9"),
    _ssl4eo_s2("ssl4eo-s2-resnet18-moco", "resnet18", "MoCo", "sha256:59bfdff9"),
    Foreign(
        name="ssl4eo-s1-resnet50-moco", title="SSL4EO-S12, MoCo", architecture="resnet50", bands=("VV", "VH"),
        mean=tuple(mean - 2 * std for mean, std in _SSL4EO_S1), std=tuple(4 * std for _, std in _SSL4EO_S1), units="dB",
        pixel=10, patch=224, sensor="SAR", policy="MoCo", licence="CC-BY-4.0",
        paper="Wang et al. (2023), arXiv:2211.07044", source="zhu-xlab/SSL4EO-S12; rehosted by torchgeo",
        hashes=("sha256:906e4356da0ff06ce0388cba50dd4f310ba6abbee706c5303c129d8aead98082",),
        layouts=(("", "torchvision"), ("module.encoder_q.", "torchvision"), ("encoder_q.", "torchvision")),
        note="backscatter stretched to 0..1 over four standard deviations as in the training data of 8 bits; torchgeo "
             "standardises with (-12.59, -20.26) and (5.26, 5.91) instead",
    ),
    _seco(18, "sha256:cefca942", "md5:53d5c41d0f479bdfd31d6746ad4126db"),
    _seco(50, "sha256:018bf397", "md5:7b09c54aed33c0c988b425c54f4ef948"),
    _satlas("si", "single images", "sha256:1f454cc6"),
    _satlas("mi", "several images", "sha256:da5413d2"),
    Foreign(
        name="presto", title="Presto", architecture="transformer of pixel series", bands=PRESTO_BANDS,
        units="dB, reflectance, K, m, degrees: as s2koop.ssl.presto_normalised takes them", pixel=10, patch=1,
        sensor="S1, S2, ERA5, SRTM", level="TOA", policy="masked autoencoding", licence="MIT",
        paper="Tseng et al. (2023), arXiv:2304.14065", source="nasaharvest/presto (data/default_model.pt)",
        hashes=("sha256:559c9d76",), layouts=(("encoder.", "presto"),), note="as s2koop.ssl.presto gives",
    ),
    Foreign(
        name="galileo-nano", title="Galileo, nano", architecture="vision transformer of series",
        bands=(*PRESTO_BANDS[:12], "NDVI"), units="its own statistics", pixel=10, patch=None,
        sensor="S1, S2 and others", policy="masked modelling",
        licence="MIT", paper="Tseng et al. (2025), arXiv:2502.09356", source="nasaharvest/galileo (data/models/nano)",
        hashes=("sha256:eab6acac",), loads=False, note="weather, terrain, land cover, lights and place beside these",
        reason="its transformer of many kinds of inputs is not part of s2koop; make embeddings with its own code and "
               "probe them here",
    ),
)  # fmt: skip


def encoders() -> pd.DataFrame:
    """Published encoders that are known here, a row for each.

    Returns
    -------
    DataFrame
        By name: what `Foreign` says of each. ``loads`` tells whether `load_foreign` reads the user's file; missing
        values are not known.

    Examples
    --------
    >>> table = encoders()
    >>> table.loc["ssl4eo-s2-resnet50-moco", ["architecture", "licence"]].tolist()
    ['resnet50', 'CC-BY-4.0']
    """
    rows = [{k: v for k, v in asdict(entry).items() if k != "layouts"} for entry in ENCODERS]
    first = ["title", "architecture", "sensor", "bands", "pixel", "patch", "loads", "licence"]
    table = pd.DataFrame(rows).set_index("name").astype({"patch": "Int64"})
    return table[first + [column for column in table if column not in first]]


def describe(name: str) -> Foreign:
    """What is known of a published encoder.

    Raises
    ------
    InputError
        If it is not known here.

    Examples
    --------
    >>> describe("ssl4eo-s2-resnet50-moco").bands[8:10]
    ('B8A', 'B09')
    """
    for entry in ENCODERS:
        if entry.name == name:
            return entry
    names = [entry.name for entry in ENCODERS]
    near = difflib.get_close_matches(str(name), names, n=1)
    raise InputError(f"name={name!r} is unknown; " + (f"did you mean {near[0]!r}?" if near else f"known: {names}"))


def load_foreign(
    name: str,
    weights: str | Path,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    verify: bool = True,
) -> Encoder | Presto:
    """A published encoder from the user's file.

    Parameters
    ----------
    name : str
        Of `encoders`.
    weights : str or Path
        The file, which s2koop does not distribute. Tensors alone are read from it; nothing is executed.
    mean, std : sequence of float, optional
        Normalisation of each band, in place of the published; needed where none is published.
    verify : bool
        Refuse a file whose hash is none of the known copies'. With False a file of your own making loads, if its
        tensors fit; but ``"wvnet"`` is always asked for its hash.

    Returns
    -------
    Encoder, or Presto for ``"presto"``

    Raises
    ------
    InputError
        If the name is unknown, or the normalisation is not.
    ModelError
        If the encoder does not load here, the file is another one, or its tensors are not those of the network.

    Examples
    --------
    >>> load_foreign("galileo-nano", "encoder.pt")
    Traceback (most recent call last):
    s2koop.errors.ModelError: Galileo, nano does not load here: ...
    """
    entry = describe(name)
    if not entry.loads:
        raise ModelError(f"{entry.title} does not load here: {entry.reason}")
    if entry.name in ("wvnet", "presto") and (mean is not None or std is not None):
        raise InputError(f"{entry.title} prepares values itself; leave out mean and std")
    if entry.name == "wvnet":
        return wvnet(weights)
    content = file_content(weights)
    if verify:
        _check_hash(entry, content, str(weights))
    if entry.name == "presto":
        return presto(content)
    settings = _settings(entry, mean, std)
    network = _network(entry, read_state(content, str(weights)))
    card = {"name": entry.name, "paper": entry.paper, "source": entry.source, "licence": entry.licence or "not stated",
            "units": entry.units, "note": entry.note}  # fmt: skip
    return Encoder(settings, network, card)


def _settings(entry: Foreign, mean: Sequence[float] | None, std: Sequence[float] | None) -> EncoderSettings:
    center, scale = entry.mean if mean is None else mean, entry.std if std is None else std
    if center is None or scale is None:
        count = max(len(entry.bands), 1)
        raise InputError(f"the normalisation of {entry.title} is not published; give mean and std of {count} band(s)")
    assert entry.patch is not None
    return EncoderSettings(
        backbone=entry.architecture, bands=entry.bands, mean=tuple(center), std=tuple(scale), patch=entry.patch,
        pixel=entry.pixel, sensor=entry.sensor, policy=entry.policy, forgets=entry.forgets,
    )  # fmt: skip


def _network(entry: Foreign, state: Mapping[str, Tensor]) -> nn.Module:
    """The entry's network with the tensors of a file in any of its layouts."""
    for prefix, layout in entry.layouts:
        if prefix + _FIRST[layout] in state:
            below = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
            make = {"resnet18": resnet18, "resnet50": resnet50}[entry.architecture]
            return load_torchvision(make(max(len(entry.bands), 1)), _renamed(below, layout))
    expected = " or ".join(prefix + _FIRST[layout] for prefix, layout in entry.layouts)
    raise ModelError(f"the file is not one of {entry.title}: it has no tensor {expected}, but {some(state)}")


def _renamed(state: Mapping[str, Tensor], layout: str) -> dict[str, Tensor]:
    """A state dict of a ResNet in another layout under torchvision's names."""
    if layout == "sequential":
        return {_CHILDREN.get(k.split(".", 1)[0], k.split(".", 1)[0]) + k[k.index(".") :]: v for k, v in state.items()}
    if layout == "transformers":
        return {_from_transformers(key): value for key, value in state.items() if not key.startswith("classifier.")}
    return dict(state)


def _from_transformers(key: str) -> str:
    """A name of the ResNet of transformers as torchvision has it; one that is not of the network stays as it is."""
    match key.split("."):
        case ["embedder", "embedder", part, tensor]:
            return f"{'conv1' if part == 'convolution' else 'bn1'}.{tensor}"
        case ["encoder", "stages", stage, "layers", block, "shortcut", part, tensor]:
            return f"layer{int(stage) + 1}.{block}.downsample.{0 if part == 'convolution' else 1}.{tensor}"
        case ["encoder", "stages", stage, "layers", block, "layer", number, part, tensor]:
            kind = "conv" if part == "convolution" else "bn"
            return f"layer{int(stage) + 1}.{block}.{kind}{int(number) + 1}.{tensor}"
    return key


def _check_hash(entry: Foreign, content: bytes, path: str) -> None:
    """Refuse a file that is none of the known copies; where no hash is known, tensors alone decide."""
    found = {
        "git": git_blob_id(content),
        "md5": hashlib.md5(content, usedforsecurity=False).hexdigest(),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    known = [known.split(":") for known in entry.hashes]
    if known and not any(found[kind].startswith(digits) for kind, digits in known):
        raise ModelError(
            f"{path} is no known copy of {entry.title}: its SHA-256 is {found['sha256']}, expected one of "
            f"{', '.join(entry.hashes)}; download it from {entry.source}, or give verify=False for one you trust"
        )


__all__ = ["ENCODERS", "Foreign", "describe", "encoders", "git_blob_id", "load_foreign"]
