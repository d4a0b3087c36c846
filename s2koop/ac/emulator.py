"""Emulators of atmospheric correction: frozen settings, training on simulated scenes, and models that are one file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from s2koop._file_checks import as_model_error, expect, expect_names, filled
from s2koop._model_file import ModelFile, beside, load_content, to_content, under
from s2koop._numbers import real, whole
from s2koop._settings import Settings
from s2koop._version import __version__
from s2koop.ac.features import geometry_features, reference_features
from s2koop.ac.lut import AEROSOLS, ALIASES, LIMITS, Atmosphere, Table
from s2koop.ac.networks import LOCAL, RADIUS, Context, Retrieval, Sky, count_weights, local_network
from s2koop.ac.retrieval import DARKEST, Posterior, highest_aot, pooled
from s2koop.errors import InputError, ModelError

Array = npt.NDArray[np.float32]

FORMAT = "s2koop-ac-1"
#: What an emulator can be.
KINDS = ("hybrid", "context", *LOCAL)
#: Scenes that are looked at together: more would only grow the memory in use.
_SCENES = 16
#: Networks of an emulator: far more than are ever averaged.
_MOST_MEMBERS = 256
#: Shipped models.
WEIGHTS = Path(__file__).with_name("weights")


@dataclass(frozen=True, kw_only=True)
class EmulatorSettings(Settings):
    """What an emulator is and how it is trained; checked when made.

    Attributes
    ----------
    kind : {"hybrid", "context", "fcnn", "unet", "pixel", "linear"}
        ``"hybrid"``: an ensemble retrieves aerosol and water vapour from the scene, physics does the rest.
        ``"context"``: a network that corrects pixels and knows their scene. ``"fcnn"``, ``"unet"``: networks that see a
        neighbourhood. ``"pixel"``, ``"linear"``: baselines that see one pixel.
    sensor : str
        A sensor of the table, which training scenes are seen with.
    bands : tuple of str
        Bands in and out, by their names of that sensor; all through which the surface is seen, if left empty.
    water_vapour : bool
        Whether local networks are given the water vapour of the scene beside the bands.
    aerosol : mapping of str to float
        Models of the aerosol over training scenes, and their shares.
    width : int
        Of hidden layers.
    members : int
        Networks of other seeds whose mean is taken.
    steps, batch : int
        Steps of Adam, and scenes (or patches) in each, every one under a new atmosphere.
    pixels, patch : int
        Pixels in a sample of a scene; rows and columns of the patches of local networks.
    scenes : int
        Simulated surfaces to cut from.
    learning_rate : float
        The highest, of one cycle.
    specification, structure, angle, transfer : float
        Weights beside the L1 of `s2koop.ac.losses`; `structure` needs patches.
    gain_error : float
        Standard deviation of an error of calibration in training, relative.
    sun : tuple of float
        Least and most of the zenith angle of the sun in training, degrees.
    adjacency : bool
        Whether pixels of the training scenes get light from their neighbours.
    variety : float
        Standard deviation of smooth factors on the spectra of surfaces, drawn anew for every scene: a network is then
        less sure of what spectra of our library have in common.
    seed : int
        Of surfaces, atmospheres and weights.
    """

    kind: str = "hybrid"
    sensor: str = "S2A"
    bands: tuple[str, ...] = ()
    water_vapour: bool = False
    aerosol: Mapping[str, float] = field(default_factory=lambda: {"continental": 1.0})
    width: int = 48
    members: int = 1
    steps: int = 1500
    batch: int = 64
    pixels: int = 256
    patch: int = 20
    scenes: int = 1200
    learning_rate: float = 4e-3
    specification: float = 0.0
    structure: float = 0.0
    angle: float = 0.0
    transfer: float = 0.0
    gain_error: float = 0.0
    sun: tuple[float, float] = (18.0, 70.0)
    adjacency: bool = False
    variety: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"kind={self.kind!r} is unknown; choose one of {', '.join(KINDS)}")
        whole("members", self.members, least=1, most=_MOST_MEMBERS)
        for name in ("width", "steps", "batch", "pixels", "patch", "scenes"):
            whole(name, getattr(self, name), least=1)
        whole("seed", self.seed, least=0)
        for name in ("learning_rate", "specification", "structure", "angle", "transfer", "gain_error", "variety"):
            real(name, getattr(self, name), least=0)
        if self.variety > 0.5:
            raise InputError(f"variety={self.variety} is relative; give 0 to 0.5, such as 0.1")
        if self.adjacency and self.transfer:
            raise InputError("transfer knows no neighbours; leave it 0 with adjacency=True")
        unknown = [name for name in self.aerosol if name not in AEROSOLS]
        if unknown or not self.aerosol:
            raise InputError(f"aerosol={dict(self.aerosol)!r} needs shares of some of {', '.join(AEROSOLS)}")
        if self.water_vapour and self.kind not in LOCAL:
            raise InputError(f"water_vapour=True is for local networks; kind={self.kind!r} finds it itself")
        if self.structure and self.kind not in LOCAL:
            raise InputError(f"structure={self.structure} needs patches, and kind={self.kind!r} sees single pixels")
        if self.patch <= 2 * _radius(self.kind):
            raise InputError(f"patch={self.patch} is smaller than what {self.kind} sees; give at least "
                             f"{2 * _radius(self.kind) + 1}")  # fmt: skip
        if len(self.sun) != 2 or not 0 <= self.sun[0] < self.sun[1] <= LIMITS["sza"][1]:
            raise InputError(f"sun={self.sun!r} must be least and most of an angle, within 0 to {LIMITS['sza'][1]:g}")
        object.__setattr__(self, "bands", tuple(self.bands))
        object.__setattr__(self, "sun", tuple(self.sun))
        object.__setattr__(self, "aerosol", dict(self.aerosol))

    @property
    def models(self) -> tuple[str, ...]:
        """The aerosol models that it knows."""
        return tuple(self.aerosol)


def _radius(kind: str) -> int:
    return RADIUS.get(kind, 0)


def make_networks(settings: EmulatorSettings) -> nn.ModuleList:
    """Networks of the settings, one per member, with weights from its seed."""
    return nn.ModuleList(make_network(settings, member) for member in range(settings.members))


def make_network(settings: EmulatorSettings, member: int) -> nn.Module:
    """The network of one member."""
    bands, models = len(settings.bands), len(settings.models)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1000 * settings.seed + member)
        if settings.kind == "hybrid":
            return Retrieval(bands, settings.width, models)
        if settings.kind == "context":
            return Context(bands, settings.width, models)
        return local_network(settings.kind, bands, extra=int(settings.water_vapour), width=settings.width)


def _few_by_few(
    toa: Array, geometry: Atmosphere, valid: npt.NDArray[np.bool_]
) -> Iterator[tuple[Tensor, Atmosphere, Tensor]]:
    """Some scenes after the other as tensors; what is missing is 0."""
    for start in range(0, len(toa), _SCENES):
        part = slice(start, start + _SCENES)
        pixels = torch.from_numpy(np.nan_to_num(np.asarray(toa[part], np.float32)))
        state = Atmosphere(*(torch.as_tensor(np.asarray(value[part], np.float32)) for value in geometry))
        yield pixels, state, torch.from_numpy(valid[part])


def _darkest(pixels: Array) -> Array:
    """Reflectance (band,) of the darkest pixels (pixel, band) of a scene, band by band."""
    return np.asarray(np.quantile(pixels, DARKEST, axis=0) if len(pixels) else np.ones(pixels.shape[1]), np.float32)


def _context(network: nn.Module) -> Context:
    assert isinstance(network, Context)
    return network


@dataclass(frozen=True, eq=False)
class AcModel(ModelFile):
    """A trained emulator. It holds results and does not change.

    Attributes
    ----------
    settings : EmulatorSettings
    networks : ModuleList
        Its members, in evaluation mode.
    error : Tensor, shape (band, 2)
        What remains of the error on held-out scenes beside what the model knows of it: a constant, and a part
        relative to reflectance; standard deviations.
    factor : Tensor, shape (band,)
        By which the spread that the model knows of has to be multiplied, from the same scenes.
    card : mapping
        Data, scores and limits; JSON-ready.
    """

    settings: EmulatorSettings
    networks: nn.ModuleList
    error: Tensor
    factor: Tensor
    card: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.networks.eval().requires_grad_(False)

    @property
    def bands(self) -> tuple[str, ...]:
        """Bands in and out."""
        return self.settings.bands

    @property
    def radius(self) -> int:
        """Pixels on each side that a result depends on."""
        return _radius(self.settings.kind)

    @torch.no_grad()
    def posterior(self, toa: Array, geometry: Atmosphere, valid: npt.NDArray[np.bool_], *, table: Table,
                  sensor: Any = None, aerosol: str | npt.NDArray[np.str_] | None = None) -> Posterior:  # fmt: skip
        """The atmosphere over scenes, from samples of their pixels (hybrid and context models).

        Parameters
        ----------
        toa : float32 array (scene, pixel, band)
        geometry : Atmosphere of arrays (scene,)
            Angles and altitude.
        valid : bool array (scene, pixel)
            Which pixels count.
        table : Table
        sensor : str or mapping, optional
            Of the scenes; that of the training by default.
        aerosol : str or array of str (scene,), optional
            The aerosol's model, if it is known.
        """
        models = self.settings.models
        parts: list[list[Sky]] = [[] for _ in self.networks]
        for pixels, state, mask in _few_by_few(toa, geometry, valid):
            known = geometry_features(state)
            if self.settings.kind == "hybrid":
                sensor = sensor or self.settings.sensor
                pixels = reference_features(pixels, state, table=table, sensor=sensor, bands=self.bands)
            for part, network in zip(parts, self.networks, strict=True):
                retrieves = isinstance(network, Retrieval)
                part.append(
                    network(pixels, known, mask) if retrieves else _context(network).scene(pixels, known, mask)[1]
                )
        skies = [Sky(*(torch.cat(values) for values in zip(*part, strict=True))) for part in parts]
        found = pooled([
            Posterior(models, torch.softmax(sky.logits, -1).numpy(), *(value.numpy() for value in sky[1:]))
            for sky in skies
        ])  # fmt: skip
        if isinstance(aerosol, str):
            found = found.given(aerosol)
        elif aerosol is not None:
            found = found._replace(probability=np.equal.outer(aerosol, np.array(models)).astype(float))
        dark = np.stack([_darkest(scene[mask]) for scene, mask in zip(toa, valid, strict=True)])
        named = sensor or self.settings.sensor
        return found.below(highest_aot(dark, found, geometry, table=table, sensor=named, bands=self.bands))

    @torch.no_grad()
    def codes(self, toa: Array, geometry: Atmosphere, valid: npt.NDArray[np.bool_]) -> Array:
        """Codes (scene, member, width) of scenes for `correct`, arguments as `posterior` (context models)."""
        found = [
            torch.stack(
                [_context(network).scene(pixels, geometry_features(state), mask)[0] for network in self.networks], 1
            )
            for pixels, state, mask in _few_by_few(toa, geometry, valid)
        ]
        return torch.cat(found).numpy()

    @torch.no_grad()
    def correct(self, planes: Array, code: Array | None = None) -> tuple[Array, Array]:
        """Surface reflectance by the networks themselves, and the standard deviation of the members.

        Parameters
        ----------
        planes : float32 array (channel, y + 2 radius, x + 2 radius)
            Bands, then water vapour where the model takes it; without NaN.
        code : array (member, width), optional
            Of the scene, for context models.

        Returns
        -------
        float32 arrays (band, y, x)
        """
        values = torch.from_numpy(np.ascontiguousarray(planes, np.float32))
        if self.settings.kind == "context":
            assert code is not None
            pixels = values.flatten(1).T[None]
            found = [
                network(pixels, torch.from_numpy(code[member : member + 1]))[0].T.reshape(values.shape)
                for member, network in enumerate(self.networks)
            ]
        else:
            found = [network(values[None])[0] for network in self.networks]
        together = torch.stack(found)
        spread = together.std(0) if len(found) > 1 else torch.zeros_like(together[0])
        return together.mean(0).numpy(), spread.numpy()

    @cached_property
    def content(self) -> bytes:
        """The bytes of the model file."""
        tensors = {f"networks.{name}": value for name, value in self.networks.state_dict().items()}
        tensors |= {"error": self.error, "factor": self.factor}
        header = {"format": FORMAT, "s2koop": __version__, "settings": self.settings.to_dict(), "card": dict(self.card)}
        return to_content(tensors, header)

    @staticmethod
    def load(path: str | Path) -> AcModel:
        """As `s2koop.ac.load`."""
        return load(path)

    def to(self, device: str) -> AcModel:
        """The model itself: emulators are small enough for a processor."""
        return self

    def __repr__(self) -> str:
        s = self.settings
        size = count_weights(list(self.networks))
        lines = [f"<AcModel {s.kind} of {s.sensor}, {len(s.bands)} bands {' '.join(s.bands)}>"]
        lines += [f"    {s.members} member(s), {size:,} weights, aerosol {', '.join(s.models)}"]
        lines += [f"    {name}: {value}" for name, value in self.card.items() if isinstance(value, str | int | float)]
        return "\n".join(lines)


def shipped() -> tuple[str, ...]:
    """Names of the emulators that this version ships.

    Examples
    --------
    >>> "s2-hybrid" in shipped()
    True
    """
    return tuple(sorted(path.stem for path in WEIGHTS.glob("*.safetensors")))


def load(path: str | Path) -> AcModel:
    """Read an emulator: one of `shipped` by its name, or a file that `AcModel.save` wrote. Nothing in it is executed.

    Raises
    ------
    ModelError
        If there is no such model or file, or the file was not written by s2koop.

    Examples
    --------
    >>> load("s2-hybrid").settings.kind
    'hybrid'
    """
    if isinstance(path, str) and path in shipped():
        path = WEIGHTS / f"{path}.safetensors"
    if not Path(path).is_file():
        raise ModelError(
            f"there is no emulator {str(path)!r}; give the path of a file that model.save() wrote, or the name of a "
            f"shipped one: {', '.join(shipped()) or 'none in this version'}"
        )
    header, tensors = load_content(Path(path), formats=(FORMAT,))
    with as_model_error(f"{path} is damaged: its tensors do not fit its settings"):
        settings = EmulatorSettings.from_card(header["settings"])
        bands = len(expect_names(settings.bands, "its bands"))
        networks = filled(lambda: make_networks(settings), under("networks.", tensors))
        own = beside(tensors, "networks.")
        expect(own, {"error": (bands, 2), "factor": (bands,)})
        if float(own["error"].min()) < 0 or float(own["factor"].min()) <= 0:
            raise ValueError("its errors are negative")
        return AcModel(settings, networks, own["error"], own["factor"], header["card"])


def train_emulator(settings: EmulatorSettings, *, table: Table | None = None, progress: bool = True) -> AcModel:
    """Train an emulator on simulated scenes, every patch of every batch under an atmosphere of its own.

    Errors for the spread are then taken from scenes of the validation split, which share no surface with those of the
    training.

    Parameters
    ----------
    settings : EmulatorSettings
    table : Table, optional
        The atmosphere; the shipped table by default.
    progress : bool
        Show a bar.

    Returns
    -------
    AcModel

    Raises
    ------
    InputError
        If sensor or bands are unknown.

    Examples
    --------
    >>> settings = EmulatorSettings(kind="linear", bands=("B04", "B08"), steps=2, scenes=6, batch=4)
    >>> train_emulator(settings, progress=False).bands[:2]
    ('B04', 'B08')
    """
    from s2koop.ac.training import Scenes, trained_member

    known = Table.load() if table is None else table
    settings = with_bands(settings, known)
    scenes = Scenes(settings, known, "train", settings.scenes, settings.seed)
    return assembled(settings, [trained_member(scenes, at, progress) for at in range(settings.members)], known)


def assembled(settings: EmulatorSettings, networks: Sequence[nn.Module], table: Table) -> AcModel:
    """A model of trained networks, with the errors that it makes on the validation split."""
    from s2koop.ac.training import calibrated

    bands = len(settings.bands)
    card = {"data": "simulated scenes of s2koop.simulate, training split", "bands": " ".join(settings.bands)}
    model = AcModel(settings, nn.ModuleList(networks), torch.zeros(bands, 2), torch.ones(bands), card)
    return calibrated(model, table)


def with_bands(settings: EmulatorSettings, table: Table) -> EmulatorSettings:
    """Settings with all bands of their sensor that see the surface where none are named, and checked names."""
    names = [band for band in table.bands(ALIASES.get(settings.sensor, settings.sensor)) if band != "B10"]
    if not settings.bands:
        return replace(settings, bands=tuple(names))
    unknown = [band for band in settings.bands if band not in names]
    if unknown:
        raise InputError(f"bands {unknown} are unknown or do not see the surface; {settings.sensor} has {names}")
    return settings


__all__ = ["AcModel", "EmulatorSettings", "load", "make_networks", "shipped", "train_emulator"]
