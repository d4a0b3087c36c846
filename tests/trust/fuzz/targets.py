"""What is fuzzed: every reader of what comes from outside, each given a good document that was spoiled."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
import zipfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from affine import Affine

from s2koop.catalog.providers import S2_BANDS
from tests.support import items as make
from tests.support import official
from tests.trust.fuzz import mutate
from tests.trust.fuzz.choices import Choices
from tests.trust.fuzz.harness import Target

_WRITERS = (
    make.planetary_computer,
    lambda product: make.earth_search_v1(product, applied=True),
    make.earth_search_c1,
    make.earth_search_v0,
    make.cdse,
    make.stactools,
)


@lru_cache(maxsize=1)
def _temporary() -> tempfile.TemporaryDirectory[str]:
    """A folder that lasts as long as the process, for readers that want a path."""
    return tempfile.TemporaryDirectory(prefix="s2koop-fuzz-")


def _folder() -> Path:
    return Path(_temporary().name)


def _file(name: str, content: bytes) -> Path:
    path = _folder() / name
    path.write_bytes(content)
    return path


@lru_cache(maxsize=1)
def good_items() -> tuple[dict[str, Any], ...]:
    """One item of each provider, as they are published; their files do not exist."""
    bands = ("B02", "B04", "B8A", "SCL")
    steps = {band: S2_BANDS.get(band, 20) for band in bands}
    product = make.Product(
        name="scene", time="2023-08-15T10:15:59.024Z", baseline="05.09", level="L2A", satellite="2B", epsg=32632,
        files={band: Path(f"/nowhere/{band}.tif") for band in bands},
        truth={band: np.broadcast_to(np.uint16(0), (480 // step,) * 2) for band, step in steps.items()},
        transforms={band: Affine(step, 0, make.ORIGIN[0], 0, -step, make.ORIGIN[1]) for band, step in steps.items()},
        carried=0,
    )  # fmt: skip
    return tuple(json.loads(json.dumps(write(product))) for write in _WRITERS)


def items(choices: Choices) -> None:
    """One item, read into what `load` plans with."""
    from s2koop.cube._items import plain_items
    from s2koop.cube.harmonise import harmonise

    item = mutate.document(choices.pick(good_items()), choices)
    for plain in plain_items([item]):
        harmonise(plain)


_LOAD = {
    "bands": ["B02", "B04"], "resolution": 20, "bbox": [7.65, 47.84, 7.66, 47.845], "crs": 32632, "chunks": "time",
    "mask": "scl", "offset": "auto", "level": "L2A", "groupby": "solar_day", "resampling": "nearest", "tries": 4,
    "gdal": {"GDAL_HTTP_TIMEOUT": 60}, "errors": "raise",
}  # fmt: skip


def load(choices: Choices) -> None:
    """Everything that `s2koop.load` does before a pixel is read, under strange arguments and of strange items."""
    import s2koop

    given = [choices.pick(good_items()) for _ in range(1 + choices.below(3))]
    spoiled = mutate.document(given, choices) if choices.once_in(2) else given
    s2koop.load(spoiled, **mutate.merged(_LOAD, choices))


def static(choices: Choices) -> None:
    """A file that shall be a static catalogue, a collection, an item or many, as bytes on a disk."""
    from s2koop.catalog._intake import Intake
    from s2koop.catalog._static import read_path

    item = choices.pick(good_items())
    whole = choices.pick((item, {"type": "FeatureCollection", "features": [item, item]}, _COLLECTION, _CATALOG))
    content = mutate.as_json(mutate.document(whole, choices))
    _file("item.json", json.dumps(item).encode())
    content = mutate.raw(content, choices) if choices.once_in(3) else content
    read_path(_file("tree.json", content), Intake(choices.pick(("raise", "mask"))))


_LINKS = [
    {"rel": "root", "href": "./tree.json"}, {"rel": "self", "href": "./tree.json"},
    {"rel": "item", "href": "./item.json"},
]  # fmt: skip
_CATALOG = {"type": "Catalog", "stac_version": "1.0.0", "id": "c", "description": "d", "links": _LINKS}
_COLLECTION = _CATALOG | {
    "type": "Collection", "license": "other",
    "extent": {"spatial": {"bbox": [[7, 47, 8, 48]]}, "temporal": {"interval": [["2023-01-01T00:00:00Z", None]]}},
}  # fmt: skip


def arguments(choices: Choices) -> None:
    """What users say of time, place, cloud and filters."""
    from s2koop._dates import asked_dates
    from s2koop.catalog import _checks
    from s2koop.cube.quality import usable_classes
    from s2koop.koopman._checks import regular_dates

    point = {"type": "Polygon", "coordinates": [[[7, 47], [8, 47], [8, 48], [7, 47]]]}
    dates = np.array(["2020-01-01", "2020-03-01"], "datetime64[ns]")
    check, good = choices.pick(
        (
            (_checks.check_datetime, choices.pick(("2020-06-01/2020-09-30", "2020", "2020-06-01T00:00:00Z/.."))),
            (_checks.check_datetime, ["2020-06-01", None]),
            (_checks.check_bbox, [7.0, 47.0, 8.0, 48.0]),
            (_checks.check_geometry, point),
            (_checks.check_geometry, {"type": "Feature", "properties": {}, "geometry": point}),
            (_checks.check_filter, _FILTER),
            (_checks.check_max_cloud, 20),
            (_checks.check_limit, 10),
            (_checks.check_level, "L2A"),
            (asked_dates, ["2020-06-01", "2020-06-06T02:00+02:00"]),
            (lambda freq: regular_dates(dates, freq), choices.pick(("5D", "MS", "2W"))),
            (usable_classes, ["vegetation", 11]),
        )
    )
    spoiled = mutate.document(good, choices)
    check(mutate.text(spoiled, choices) if isinstance(spoiled, str) else spoiled)


_FILTER = {
    "op": "and",
    "args": [
        {"op": "<=", "args": [{"property": "eo:cloud_cover"}, 10]},
        {"op": "=", "args": [{"property": "platform"}, "sentinel-2b"]},
    ],
}  # fmt: skip
_FILTER_TEXT = "eo:cloud_cover <= 10 AND platform = 'sentinel-2b'"
_SEARCH = {
    "bbox": [7.0, 47.0, 8.0, 48.0], "datetime": "2023", "level": "L2A", "max_cloud": 50, "limit": 3, "filter": _FILTER,
}  # fmt: skip


@lru_cache(maxsize=1)
def _client() -> Any:
    """A catalogue of the good items in memory, which every search but the first finds open."""
    from s2koop.catalog import open_client

    folder = _folder() / "catalogue"
    folder.mkdir()
    for number, item in enumerate(good_items()):
        text = json.dumps(item | {"id": f"scene-{number}", "stac_version": "1.0.0"})
        (folder / f"{number}.json").write_text(text)
    return open_client(folder)


def search(choices: Choices) -> None:
    """A search of a catalogue in memory: the arguments, their checks, the request and the filters behind it."""
    import s2koop

    good = _SEARCH | ({"filter": mutate.text(_FILTER_TEXT, choices)} if choices.once_in(3) else {})
    s2koop.search(_client(), **mutate.merged(good, choices))


@lru_cache(maxsize=1)
def good_models() -> Mapping[str, bytes]:
    """A small model of each kind, as the bytes of its file."""
    from s2koop import ac, ssl
    from s2koop.koopman import KoopmanEnsemble
    from s2koop.simulate import seasonal_cube

    cube = seasonal_cube(seed=0, every_days=30)
    one = cube.koopman.fit(steps=2, hidden=(4,), latent=4, progress=False)
    images = cube.isel(time=slice(0, 4), band=0, drop=True).fillna(0.2).interp(
        y=np.linspace(*cube["y"].values[[0, -1]], 32), x=np.linspace(*cube["x"].values[[0, -1]], 32)
    )  # fmt: skip
    encoder = images.ssl.pretrain("geometry", steps=1, batch=4, width=4, progress=False)
    smallest = min(ac.shipped(), key=lambda name: (ac.emulator.WEIGHTS / f"{name}.safetensors").stat().st_size)
    return {
        "koopman": one.content,
        "ensemble": KoopmanEnsemble((one, one), "independent", {}).content,
        "emulator": (ac.emulator.WEIGHTS / f"{smallest}.safetensors").read_bytes(),
        "encoder": ssl.load(encoder.save(_folder() / "encoder.safetensors")).content,
    }


def models(choices: Choices) -> None:
    """A file of a model whose header, tensors or bytes were spoiled."""
    from s2koop import ac, koopman, ssl

    loaders = {"koopman": koopman.load, "ensemble": koopman.load, "emulator": ac.load, "encoder": ssl.load}
    kind = choices.pick(tuple(loaders))
    content = good_models()[kind]
    loaders[kind](
        _file("model.safetensors", choices.pick((_other_card, _other_tensors, _other_bytes))(content, choices))
    )


def _parts(content: bytes) -> tuple[dict[str, Any], bytes]:
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def _joined(header: Any, rest: bytes) -> bytes:
    written = mutate.as_json(header)
    return len(written).to_bytes(8, "little") + written + rest


def _other_card(content: bytes, choices: Choices) -> bytes:
    header, rest = _parts(content)
    card = mutate.document(json.loads(header["__metadata__"]["s2koop"]), choices)
    return _joined(header | {"__metadata__": {"s2koop": mutate.as_json(card).decode()}}, rest)


def _other_tensors(content: bytes, choices: Choices) -> bytes:
    if choices.once_in(2):
        return _joined(mutate.document(_parts(content)[0], choices), _parts(content)[1])
    metadata = _parts(content)[0]["__metadata__"]
    return safetensors.torch.save(_spoiled_state(safetensors.torch.load(content), choices), metadata)


def _other_bytes(content: bytes, choices: Choices) -> bytes:
    return mutate.raw(content, choices, head=len(content) - len(_parts(content)[1]))


def _spoiled_state(state: Mapping[str, torch.Tensor], choices: Choices) -> dict[str, torch.Tensor]:
    """Tensors of which some have another name, shape, type or values, or are gone."""
    out = dict(state)
    for _ in range(1 + choices.below(3)):
        name = choices.pick(list(out) or ["nothing"])
        tensor = out.pop(name, torch.zeros(2))
        what = choices.below(8)
        if what == 7:
            continue
        new = mutate.text(name, choices) if what == 6 else name
        changed = (
            tensor, tensor[..., :-1] if tensor.ndim else tensor[None], tensor[None], torch.zeros(0), tensor.double(),
            torch.full_like(tensor.float(), choices.pick((float("nan"), float("inf"), 0.0, -1.0, 1e30))),
        )  # fmt: skip
        out[new.encode(errors="replace").decode()] = (changed[what] if what < 6 else tensor).contiguous()
    return out


@lru_cache(maxsize=1)
def good_checkpoints() -> Mapping[str, Any]:
    """Published checkpoints, by their family: a state dict and K, with narrow layers where the family lets them be."""
    narrow = {}
    official._chain(narrow, "encoder.encoder", (20, 8, 6, 4))
    official._chain(narrow, "decoder.decoder", (4, 6, 8, 20))
    found: dict[str, Any] = {"KAE": (narrow, torch.eye(4))}
    for family in ("IKAE", "AIKAE"):
        found[family] = (official.random_weights(family), official.random_operator(family).detach())
    return found


def checkpoints(choices: Choices) -> None:
    """Published files of torch: other tensors, other types in the place of tensors, other bytes."""
    from s2koop.koopman import checkpoints as published
    from s2koop.ssl.state_dicts import read_state

    weights, matrix = good_checkpoints()[choices.pick(("KAE", "KAE", "KAE", "IKAE", "AIKAE"))]
    content: Any = _spoiled_state(weights, choices) if choices.once_in(2) else dict(weights)
    if choices.once_in(4):
        content = {
            **content,
            choices.pick(list(content) or ["a"]): choices.pick((None, 1, "x", [], {"state_dict": {}})),
        }
    if choices.once_in(8):
        content = choices.pick(([content], {"state_dict": content}, {"model": content, "epoch": 3}, matrix, None))
    operator = _spoiled_state({"K": matrix}, choices) if choices.once_in(2) else {"K": matrix}
    files = [_saved(content, choices), _saved(next(iter(operator.values()), None), choices)]
    with contextlib.suppress(ValueError):  # our errors are ValueErrors: the other reader sees the same bytes
        read_state(files[0])
    published.import_official(_file("model.pt", files[0]), _file("k.pt", files[1]))


def _saved(content: Any, choices: Choices) -> bytes:
    """What torch.save writes, now and then with its bytes spoiled, in the archive or in its pickle."""
    file = io.BytesIO()
    torch.save(content, file)
    what = choices.below(8)
    if what == 7:
        return mutate.raw(file.getvalue(), choices, head=400)
    return _other_pickle(file.getvalue(), choices) if what == 6 else file.getvalue()


def _other_pickle(content: bytes, choices: Choices) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            new.writestr(name, mutate.raw(data, choices) if name.endswith("data.pkl") else data)
    return out.getvalue()


@lru_cache(maxsize=1)
def good_granule() -> bytes:
    """Metadata of a granule with three nodes a side."""
    from tests.ac.l1c import _write_granule

    path = _folder() / "good.xml"
    extra = {
        "view:sun_elevation": 60.0, "view:sun_azimuth": 150.0, "view:incidence_angle": 5.0, "view:azimuth": 286.0,
    }  # fmt: skip
    _write_granule(path, make.Product("g", "", "", "L1C", "2B", 32632, {}, {}, {}, 0, extra))
    return path.read_bytes()


def granule(choices: Choices) -> None:
    """The metadata of a granule, spoiled as text, and now and then as bytes."""
    from s2koop.ac import read_angles

    words = good_granule().decode()
    for _ in range(1 + choices.below(3)):
        at = choices.below(len(words))
        what = choices.below(6)
        start = max(words.rfind("<", 0, at), 0)
        end = words.find(">", at) + 1 or len(words)
        if what == 0:  # a value
            begin = words.rfind(">", 0, at) + 1
            words = words[:begin] + str(mutate.value(choices)) + words[words.find("<", begin) :]
        elif what == 1:  # a tag is gone
            words = words[:start] + words[end:]
        elif what == 2:  # a tag twice
            words = words[:end] + words[start:end] + words[end:]
        elif what == 3:  # all that lies between two places
            words = words[:start] + words[start + choices.below(4000) :]
        elif what == 4:
            words = '<!DOCTYPE a [<!ENTITY b "c">]>' + words
        else:
            words = words[:start] + mutate.text(words[start:end], choices) + words[end:]
    content = words.encode(errors="surrogatepass")
    read_angles(_file("MTD_TL.xml", mutate.raw(content, choices) if choices.once_in(4) else content))


@lru_cache(maxsize=1)
def good_smac() -> str:
    """A file of coefficients: 49 numbers in the order of the published ones."""
    return "\n".join(" ".join(f"{0.01 * (row + column):.6f}" for column in range(2)) for row in range(25))


def smac(choices: Choices) -> None:
    """Coefficients of SMAC, spoiled as text and as bytes."""
    from s2koop.ac import read_smac

    words = good_smac()
    for _ in range(choices.below(3)):
        at = choices.below(len(words) + 1)
        words = words[:at] + str(mutate.value(choices)) + words[at + choices.below(12) :]
    content = words.encode(errors="surrogatepass")
    read_smac(_file("S2A_B02.dat", mutate.raw(content, choices) if choices.once_in(2) else content))


#: Targets by name, with their share of the inputs of a run: what is quick gets more of them.
TARGETS: Mapping[str, tuple[Target, float]] = {
    "items": (items, 0.30),
    "arguments": (arguments, 0.28),
    "granule": (granule, 0.12),
    "static": (static, 0.08),
    "smac": (smac, 0.08),
    "models": (models, 0.06),
    "load": (load, 0.03),
    "checkpoints": (checkpoints, 0.03),
    "search": (search, 0.02),
}
