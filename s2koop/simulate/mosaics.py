"""Spectral surfaces of whole scenes: endmembers of a biome, mixed by random fields."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from s2koop._numbers import real, whole
from s2koop.errors import InputError
from s2koop.simulate.fields import smooth_fields
from s2koop.simulate.spectra import KINDS, SPLITS, surface_spectra

Array = npt.NDArray[np.float32]

#: Endmembers of a scene by biome: kinds, how often each is drawn, and the level of its field (0 is usual).
BIOMES: dict[str, dict[str, tuple[int, float]]] = {
    "forest": {"forest": (3, 0.8), "grass": (1, 0.2), "litter": (1, -0.4), "soil": (1, -0.4), "water": (1, -0.6),
               "built": (1, -1.0)},
    "cropland": {"crop": (3, 0.4), "soil": (2, 0.2), "grass": (1, 0.0), "litter": (1, 0.0), "forest": (1, -0.2)},
    "dryland": {"soil": (4, 0.5), "litter": (2, 0.0), "grass": (1, -0.3), "forest": (1, -0.6)},
    "town": {"built": (4, 0.3), "grass": (1, 0.1), "forest": (1, 0.1), "soil": (1, -0.3), "water": (1, -0.5)},
    "coast": {"water": (3, 0.6), "grass": (1, 0.0), "crop": (1, 0.0), "forest": (1, 0.1), "soil": (1, 0.0),
              "built": (1, -0.4)},
    "mountain": {"snow": (2, 0.3), "soil": (2, 0.1), "forest": (2, 0.3), "grass": (1, 0.0), "litter": (1, -0.2)},
}  # fmt: skip
#: Endmembers of every scene.
SLOTS = 8


@dataclass(frozen=True, eq=False)
class Mosaics:
    """Surfaces of several scenes, as shares of endmembers whose spectra are known.

    Attributes
    ----------
    mixture : float32 array (scene, slot, y, x)
        Share of each endmember times the illumination of the pixel.
    spectra : float32 array (scene, slot, wavelength)
        Reflectance of the endmembers at `s2koop.simulate.spectra.WAVELENGTH`.
    kinds : int array (scene, slot)
        Index of each endmember's kind in `KINDS`.
    biome : array of str (scene,)
        Name in `BIOMES`.
    around : float32 array (scene, slot, y, x), optional
        The mixture as the light that air scatters sees it: of the neighbours of each pixel.
    """

    mixture: Array
    spectra: Array
    kinds: npt.NDArray[np.int64]
    biome: npt.NDArray[np.str_]
    around: Array | None = None

    def __len__(self) -> int:
        return len(self.mixture)

    def seen(self, weights: Array, gain: Array | None = None, *, around: bool = False) -> Array:
        """Light from the surfaces in bands, to first order.

        Parameters
        ----------
        weights : array (band, wavelength)
            Of each band, with the sum 1.
        gain : array (scene, wavelength), optional
            Transmittance of the atmosphere of each scene.
        around : bool
            From the neighbours of each pixel instead.

        Returns
        -------
        float32 (scene, band, y, x)
            Reflectance of the surface without `gain`; with it, what of that arrives, absorption lines and all, before
            light goes to and fro between ground and air.
        """
        spectra = self.spectra if gain is None else self.spectra * gain[:, None]
        bands = np.swapaxes(spectra @ np.asarray(weights, np.float32).T, 1, 2)
        mixture = self.around if around and self.around is not None else self.mixture
        count, _, rows, columns = mixture.shape
        return (bands @ mixture.reshape(count, SLOTS, -1)).reshape(count, -1, rows, columns)

    def cover(self) -> Array:
        """Share of each kind of surface, in the order of `KINDS`: (scene, kind, y, x), with the sum 1."""
        one = np.eye(len(KINDS), dtype=np.float32)[self.kinds]
        count, _, rows, columns = self.mixture.shape
        shares = (np.swapaxes(one, 1, 2) @ self.mixture.reshape(count, SLOTS, -1)).reshape(count, -1, rows, columns)
        return shares / shares.sum(axis=1, keepdims=True)

    def patches(self, rng: np.random.Generator, count: int, size: int) -> Mosaics:
        """Cut `count` square patches of `size` pixels at random places of random scenes, turned and flipped."""
        scene = rng.integers(len(self), size=count)
        room = np.array(self.mixture.shape[2:]) - size
        if room.min() < 0:
            raise InputError(f"size={size} is larger than the scenes, {self.mixture.shape[2:]}; give at most that")
        rows, columns = rng.integers(room[:, None] + 1, size=(2, count))
        places = list(zip(scene, rows, columns, rng.integers(8, size=count), strict=True))

        def cut(planes: Array) -> Array:
            out = np.empty((count, SLOTS, size, size), np.float32)
            for at, (number, row, column, turn) in enumerate(places):
                piece = np.rot90(planes[number, :, row : row + size, column : column + size], int(turn), axes=(1, 2))
                out[at] = piece[:, ::-1] if turn > 3 else piece
            return out

        around = None if self.around is None else cut(self.around)
        return Mosaics(cut(self.mixture), self.spectra[scene], self.kinds[scene], self.biome[scene], around)


def draw_mosaics(
    split: str = "train", *, scenes: int = 200, size: int = 64, first: int = 0, texture: float = 0.06, seed: int = 0
) -> Mosaics:
    """Draw the surfaces of scenes: biome by biome in turn, endmembers of one split, mixed by smooth random fields.

    Some scenes are mixed within pixels and others have sharp edges; patches are 2 to 16 pixels across. Illumination
    varies from pixel to pixel, as on rough ground, but no pixel reflects more than it receives.

    Parameters
    ----------
    split : str
        ``"train"``, ``"validation"`` or ``"test"``: they share no endmember.
    scenes, size : int
        Number of scenes, and their rows and columns.
    first : int
        Number of the first scene: scene 7 is the same in any set that holds it.
    texture : float
        Standard deviation of the illumination, relative.
    seed : int
        The same seed gives the same surfaces.

    Returns
    -------
    Mosaics

    Raises
    ------
    InputError
        If the split is unknown or a number is out of its range.

    Examples
    --------
    >>> scenes = draw_mosaics("test", scenes=6, size=16)
    >>> scenes.biome.tolist()
    ['forest', 'cropland', 'dryland', 'town', 'coast', 'mountain']
    >>> scenes.mixture.shape
    (6, 8, 16, 16)
    """
    if split not in SPLITS:
        raise InputError(f"split={split!r} is unknown; choose among {', '.join(SPLITS)}")
    count, pixels = whole("scenes", scenes, least=1), whole("size", size, least=1)
    start, key = whole("first", first, least=0), whole("seed", seed, least=0)
    if real("texture", texture, least=0) > 0.3:
        raise InputError(f"texture={texture} is relative to the mean; give 0 to 0.3")
    library = {kind: surface_spectra(kind, split) for kind in KINDS}
    mixture = np.empty((count, SLOTS, pixels, pixels), np.float32)
    spectra = np.empty((count, SLOTS, library[KINDS[0]].shape[1]), np.float32)
    kinds = np.empty((count, SLOTS), np.int64)
    names = list(BIOMES)
    for at in range(count):
        rng = np.random.default_rng([key, SPLITS.index(split), start + at, 0])
        biome = BIOMES[names[(start + at) % len(names)]]
        drawn = [kind for kind, (often, _) in biome.items() for _ in range(often)]
        kinds[at] = [KINDS.index(kind) for kind in drawn]
        spectra[at] = [library[kind][rng.integers(len(library[kind]))] for kind in drawn]
        shares = _shares(rng, np.array([biome[kind][1] for kind in drawn]), pixels)
        mixture[at] = shares * _illumination(rng, texture, pixels, spectra[at].max())
    biomes = np.array([names[(start + at) % len(names)] for at in range(count)])
    return Mosaics(mixture, spectra, kinds, biomes)


def _shares(rng: np.random.Generator, level: npt.NDArray[np.float64], size: int) -> Array:
    """Shares (slot, y, x) with the sum 1: the highest of smooth fields wins, more or less sharply."""
    length = np.exp(rng.uniform(np.log(2), np.log(16)))
    sharpness = np.exp(rng.uniform(np.log(1.5), np.log(12)))
    level = level + rng.normal(0, 0.7, len(level))
    fields = sharpness * (smooth_fields(rng, len(level), (size, size), length) + level[:, None, None])
    shares = np.exp(fields - fields.max(axis=0))
    return (shares / shares.sum(axis=0)).astype(np.float32)


def _illumination(rng: np.random.Generator, texture: float, size: int, brightest: float) -> Array:
    """Factors (y, x) around 1, half of their variance in patches; snow stays below 1."""
    fine, coarse = rng.standard_normal((size, size)), smooth_fields(rng, 1, (size, size), 3.0)[0]
    factor = 1 + texture * np.sqrt(0.5) * (fine + coarse)
    return np.clip(factor, 0.5, 0.995 / brightest).astype(np.float32)
