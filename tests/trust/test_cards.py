"""Files of models come from anywhere: what asks for more than it holds, or is not what it says, is refused at once."""

import copy
import io
import json
import pickle
import re
import resource
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

import s2koop
from s2koop import ac, koopman, ssl, zoo
from s2koop._checkpoint import Checkpoint
from s2koop._file_checks import MOST_HEADER, filled, strict_json
from s2koop._foreign_weights import read_torch
from s2koop._model_file import safetensors_header
from s2koop.ac.adaptation import adapter as adaptation
from s2koop.ac.adaptation.networks import make_translators
from s2koop.ac.adaptation.settings import AdaptationSettings
from s2koop.ac.adaptation.sides import Side
from s2koop.ac.emulator import WEIGHTS as EMULATORS
from s2koop.ac.lut import Table
from s2koop.errors import InputError, ModelError
from s2koop.koopman.checkpoints import import_official
from s2koop.koopman.ensemble import KoopmanEnsemble
from s2koop.ssl.encoder import WEIGHTS as ENCODERS
from s2koop.ssl.state_dicts import read_state
from tests.support import official


def _adapter() -> bytes:
    blank = torch.zeros(2)
    sides = (Side(("B04", "B08"), "S2A", "TOA"), Side(("RED", "NIR"), "PROBAV", "TOA"))
    settings = AdaptationSettings(width=4)
    return adaptation.Adapter(settings, make_translators(blank, blank, 4), *sides).content


def _ensemble() -> bytes:
    model = koopman.load("land")
    return KoopmanEnsemble((model, replace(model, card={"member": 2})), "independent").content


#: A small file of each kind, and what reads it.
KINDS = {
    "koopman": (lambda: zoo.path("land").read_bytes(), koopman.load),
    "ensemble": (_ensemble, koopman.load),
    "emulator": ((EMULATORS / "s2-pixel.safetensors").read_bytes, ac.load),
    "hybrid": ((EMULATORS / "four-hybrid.safetensors").read_bytes, ac.load),
    "encoder": ((ENCODERS / "wave-geometry.safetensors").read_bytes, ssl.load),
    "adapter": (_adapter, adaptation.load),
}


@pytest.fixture(params=KINDS)
def kind(request, tmp_path):
    """A file of a kind of model as (header, tensors), and a function that reads back what a test makes of them."""
    make, load = KINDS[request.param]
    content = make()
    header, tensors = json.loads(safetensors_header(content)), safetensors.torch.load(content)

    def read(header=header, tensors=tensors, text=None):
        text = json.dumps(header) if text is None else text
        path = tmp_path / "model.safetensors"
        path.write_bytes(safetensors.torch.save(tensors, {"s2koop": text}))
        return load(path)

    read.name, read.load, read.content, read.path = request.param, load, content, tmp_path / "model.safetensors"
    return header, tensors, read


@pytest.fixture
def bounded():
    """No more than three gigabytes of addresses beyond what is in use: an allocation by the card fails the test."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + 3 * 2**30, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def settings_of(header):
    """The settings in a header, of the first member of an ensemble."""
    return header["models"][0]["settings"] if "models" in header else header["settings"]


def test_a_file_that_is_whole_loads_as_before(kind):
    *_, read = kind
    read.path.write_bytes(read.content)
    found = safetensors.torch.load(read.load(read.path).content)
    wanted = safetensors.torch.load(read.content)
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


SIZES = {
    "koopman": ["hidden", "latent", "heads", "padding", "couplings", "coupling_width"],
    "ensemble": ["hidden", "latent", "heads"],
    "emulator": ["members"],
    "hybrid": ["members", "width"],
    "encoder": ["width"],
    "adapter": ["width"],
}


@pytest.mark.parametrize("size", [10**5, 10**9, 2**62, 2**63, 10**30, -1, 0])
def test_a_card_that_asks_for_a_network_of_any_size_costs_nothing(kind, size, bounded):
    """hidden=10**9 would be four exabytes: neither MemoryError nor a wait, but our error."""
    header, _, read = kind
    for name in SIZES[read.name]:
        if read.name == "encoder" and size == 0:
            continue  # the usual width
        asked = copy.deepcopy(header)
        settings = settings_of(asked)
        settings[name] = [size, size] if name == "hidden" else size
        if name in ("couplings", "coupling_width", "padding"):
            settings |= {"architecture": "ikae-zp", "latent": None}
        with pytest.raises(ModelError):
            read(asked)


def test_a_card_with_millions_of_layers_is_refused_before_they_are_made(bounded):
    for settings in ({"hidden": [1] * 10**6}, {"architecture": "aikae", "latent": None, "augmentation": [2] * 10**6}):
        content = zoo.path("land").read_bytes()
        header, tensors = json.loads(safetensors_header(content)), safetensors.torch.load(content)
        header["settings"] |= settings
        with pytest.raises(ModelError):
            koopman.model.assemble(header, tensors, Path("model"))


@pytest.mark.parametrize(
    "wrong", ["x", True, None, 1.5, [], {}, [[1]], {"a": 1}, "1", -1, float("nan"), float("inf")], ids=repr
)
def test_every_setting_is_of_its_type(kind, wrong):
    """Whatever a setting is replaced by, it is refused, or it is a value that the setting may have."""
    header, _, read = kind
    names = list(settings_of(header))
    kept = []
    for name in names:
        changed = copy.deepcopy(header)
        before = settings_of(changed)[name]
        settings_of(changed)[name] = wrong
        try:
            read(changed)
        except ModelError:
            continue
        kept.append((name, before))
    optional = {"latent", "long_days", "robust"}
    loose = {str: str, bool: bool, type(None): type(None)}.get(type(wrong), (int, float, list, dict))
    assert all(isinstance(before, loose) or name in optional for name, before in kept), kept


@pytest.mark.parametrize(
    "change",
    [
        lambda header: header.pop("settings"),
        lambda header: header.update(settings=[]),
        lambda header: header.update(settings=None),
        lambda header: settings_of(header).update(nonsense=1),
        lambda header: header.update(card=None),
        lambda header: header.update(card=[1]),
        lambda header: header.pop("card"),
        lambda header: header.update(format=None),
        lambda header: header.update(format=["s2koop-koopman-2"]),
        lambda header: header.update(format={}),
    ],
)
def test_headers_that_lack_or_change_a_part_are_refused(kind, change):
    header, _, read = kind
    changed = copy.deepcopy(header)
    try:
        change(changed)
    except KeyError:
        pytest.skip("an ensemble has its settings in its members")
    if changed != header and not ("models" in header and "settings" in changed):
        with pytest.raises(ModelError):
            read(changed)


@pytest.mark.parametrize(
    "bands",
    [None, [], "B04", [1, 2], ["B04", "B04"], [""], [["B04"]], {"B04": 1}, ["B04"] * 10**5],
    ids=lambda b: repr(b)[:20],
)
def test_bands_are_names_once_each(bands, bounded):
    content = zoo.path("land").read_bytes()
    header, tensors = json.loads(safetensors_header(content)), safetensors.torch.load(content)
    for name, value in (("bands", bands), ("anchor_day", bands)):
        with pytest.raises(ModelError):
            koopman.model.assemble(header | {name: value}, tensors, Path("model"))


def test_tensors_are_those_that_the_settings_imply(kind):
    _, tensors, read = kind
    name, first = next((name, value) for name, value in tensors.items() if value.is_floating_point() and value.ndim)
    changes = {
        "one is missing": {key: value for key, value in tensors.items() if key != name},
        "one too many": tensors | {"more": torch.zeros(2)},
        "of another shape": tensors | {name: torch.zeros(*first.shape, 2)},
        "empty": tensors | {name: torch.zeros(0)},
        "of another type": tensors | {name: first.double()},
        "whole numbers": tensors | {name: torch.zeros(first.shape, dtype=torch.int32)},
        "none at all": {"x": torch.zeros(1)},
    }
    for changed in changes.values():
        with pytest.raises(ModelError):
            read(tensors=changed)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_are_finite(kind, value):
    _, tensors, read = kind
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and tensor.numel():
            spoilt = tensor.clone()
            spoilt.view(-1)[-1] = value
            with pytest.raises(ModelError, match="not finite"):
                read(tensors=tensors | {name: spoilt})
            break


@pytest.mark.parametrize("name", ["scale", "slope_scale", "noise"])
def test_what_is_divided_by_is_greater_than_zero(name):
    content = zoo.path("land").read_bytes()
    header, tensors = json.loads(safetensors_header(content)), safetensors.torch.load(content)
    for value in (0.0, -1.0):
        with pytest.raises(ModelError, match="not greater than 0"):
            koopman.model.assemble(header, tensors | {name: torch.full_like(tensors[name], value)}, Path("model"))


def test_headers_are_json_without_doubles_and_without_depth(kind):
    header, _, read = kind
    text = json.dumps(header)
    deep = text[:-1] + ', "deep": ' + "[" * 10**5 + "]" * 10**5 + "}"
    twice = text[:-1] + ', "format": "another"}'
    inner = text[:-1] + ', "more": {"a": 1, "a": 2}}'
    digits = text[:-1] + ', "number": ' + "9" * 10**5 + "}"
    for broken in (deep, twice, inner, digits, "", "null", "[]", "5", '"text"', text[:-1], "\x00", "{" * 50):
        with pytest.raises(ModelError):
            read(text=broken)


def test_depth_that_python_reads_is_refused_too():
    assert strict_json('{"a": [{"b": [1]}]}') == {"a": [{"b": [1]}]}
    for depth in (33, 200, 900, 10**5):
        with pytest.raises(ValueError, match="nested too deeply"):
            strict_json("[" * depth + "]" * depth)


def test_files_whose_length_lies_are_refused(kind, bounded):
    *_, read = kind
    content = read.content
    length = int.from_bytes(content[:8], "little")
    for size in (0, length - 1, length + 1, len(content), MOST_HEADER + 1, 2**31, 2**63, 2**64 - 1):
        read.path.write_bytes(size.to_bytes(8, "little") + content[8:])
        with pytest.raises(ModelError):
            read.load(read.path)
    for cut in (0, 1, 7, 8, 9, length, len(content) - 1):
        read.path.write_bytes(content[:cut])
        with pytest.raises(ModelError):
            read.load(read.path)


def test_tensors_that_claim_more_than_the_file_holds_are_refused(kind, bounded):
    *_, read = kind
    length = int.from_bytes(read.content[:8], "little")
    table = json.loads(read.content[8 : 8 + length])
    name = next(key for key in table if key != "__metadata__")
    for change in ({"shape": [2**40]}, {"shape": [2**62, 4]}, {"data_offsets": [0, 2**62]}, {"data_offsets": [-1, 3]},
                   {"dtype": "F64"}, {"dtype": "X"}, {"shape": [-1]}, {"shape": "x"}):  # fmt: skip
        text = json.dumps(table | {name: table[name] | change}).encode()
        read.path.write_bytes(len(text).to_bytes(8, "little") + text + read.content[8 + length :])
        with pytest.raises(ModelError):
            read.load(read.path)


def test_a_file_that_is_larger_than_any_model_is_not_read(tmp_path, bounded):
    path = tmp_path / "model.safetensors"
    with path.open("wb") as file:
        file.truncate(2**43)  # a hole of eight terabytes
    for load in (koopman.load, ac.load, ssl.load, adaptation.load, lambda p: Checkpoint(p, {}).load()):
        with pytest.raises(ModelError, match="GB"):
            load(path)
    for read in (lambda p: import_official(p, p), lambda p: ssl.load_foreign("presto", p), ssl.wvnet):
        with pytest.raises(ModelError, match="GB"):
            read(path)


def test_an_ensemble_holds_the_members_that_it_names(tmp_path):
    header, tensors = json.loads(safetensors_header(_ensemble())), safetensors.torch.load(_ensemble())
    contents = {
        "a kind that there is not": (header | {"kind": "other"}, tensors),
        "a shared trunk of two": (header | {"kind": "shared"}, tensors),
        "no models": (header | {"models": []}, {"x": torch.zeros(1)}),
        "models that are none": (header | {"models": [1, 2]}, tensors),
        "too few tensors": (header, {key: value for key, value in tensors.items() if key.startswith("0.")}),
        "a number below zero": (header, {f"-{key}": value for key, value in tensors.items()}),
        "a number that is none": (header, {f"x{key}": value for key, value in tensors.items()}),
    }
    file = tmp_path / "ensemble.safetensors"
    for head, parts in contents.values():
        file.write_bytes(safetensors.torch.save(parts, {"s2koop": json.dumps(head)}))
        with pytest.raises(ModelError):
            koopman.load(file)


def test_a_table_of_the_atmosphere_is_one(tmp_path):
    path = tmp_path / "table.safetensors"
    for content in (b"", b"x" * 100, safetensors.torch.save({"a": torch.zeros(1)}), zoo.path("land").read_bytes()):
        path.write_bytes(content)
        with pytest.raises(ModelError, match="no table"):
            Table.load(path)
        Table.load.cache_clear()
    with pytest.raises(ModelError, match="no table"):
        Table.load(tmp_path / "absent")


def test_a_calibration_is_what_was_saved():
    whole = {"bands": ["B04"], "leads": [], "seasons": False, "factors": [[[1.5]]], "level": 0.9, "method": "scale",
             "dates": 9}  # fmt: skip
    assert koopman.SpreadCalibration.from_dict(whole).to_dict() == whole
    changes = [
        {"more": 1}, {"factors": "x"}, {"factors": [[["a"]]]}, {"factors": [[[float("nan")]]]}, {"leads": ["x", "y"]},
        {"bands": None},
    ]  # fmt: skip
    for values in ({}, {"factors": 1}, *(whole | change for change in changes)):
        with pytest.raises(InputError):
            koopman.SpreadCalibration.from_dict(values)


def test_a_network_is_laid_out_before_memory_is_given_to_it():
    made = []

    def make():
        made.append(torch.get_default_device().type)
        return nn.Linear(2, 10**4 if made[-1] == "meta" else 2)

    with pytest.raises(ValueError, match="weight is torch.float32"):
        filled(make, {"weight": torch.zeros(3, 2), "bias": torch.zeros(3)})
    assert made == ["meta"]


class TestCheckpoints:
    IDENTITY = {"settings": {"steps": 3}, "data": "abc"}  # noqa: RUF012

    def path(self, folder, header, tensors):
        path = folder / "fit.safetensors"
        path.write_bytes(safetensors.torch.save(tensors, {"s2koop": json.dumps(header)}))
        return path

    @pytest.mark.parametrize(
        "tree",
        [None, 5, [], "x", {"tensor": "t9"}, {"items": 5}, {"items": [["a"]]}, {"items": [[["a"], 1]]}, {"other": 1},
         {"items": [["a", {"tensor": ["t0"]}]]}],
    )  # fmt: skip
    def test_a_tree_that_was_never_saved_is_refused(self, tmp_path, tree):
        header = {"format": "s2koop-training-1", "identity": self.IDENTITY, "tree": tree}
        with pytest.raises(ModelError):
            Checkpoint(self.path(tmp_path, header, {"t0": torch.zeros(1)}), self.IDENTITY).load()

    @pytest.mark.parametrize("gone", ["tree", "identity"])
    def test_a_part_that_is_missing_is_an_error_of_ours(self, tmp_path, gone):
        header = {"format": "s2koop-training-1", "identity": self.IDENTITY, "tree": {"items": []}}
        del header[gone]
        with pytest.raises(ModelError):
            Checkpoint(self.path(tmp_path, header, {"t0": torch.zeros(1)}), self.IDENTITY).load()

    def test_a_state_that_does_not_fit_the_training_names_the_file(self, tmp_path):
        checkpoint = Checkpoint(tmp_path / "fit.safetensors", self.IDENTITY)
        with pytest.raises(ModelError, match=r"fit.safetensors.*delete it"), checkpoint.going_on():
            nn.Linear(2, 2).load_state_dict({"weight": torch.zeros(9, 9)})


class Trap:
    """Leaves a file behind where it is unpickled by anything that executes."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (Path(self.path),))


def _bytes(thing, **options):
    kept = io.BytesIO()
    torch.save(thing, kept, **options)
    return kept.getvalue()


def test_no_pickle_is_executed_by_any_reader(tmp_path):
    sprung = tmp_path / "sprung"
    traps = [
        _bytes({"state_dict": {"a": torch.zeros(1)}, "more": Trap(sprung)}),
        _bytes({"a": torch.zeros(1), "more": Trap(sprung)}, _use_new_zipfile_serialization=False),
        pickle.dumps(Trap(sprung)),
        pickle.dumps({"weight": Trap(sprung)}, protocol=0),
        b"cos\nsystem\n(S'touch " + str(sprung).encode() + b"'\ntR.",
    ]
    file = tmp_path / "trap.pt"
    readers = [
        lambda: read_state(file.read_bytes()),
        lambda: import_official(file, file),
        lambda: ssl.load_foreign("ssl4eo-s2-resnet50-moco", file, verify=False),
        lambda: ssl.presto(file),
        lambda: koopman.load(file),
        lambda: ac.load(file),
        lambda: ssl.load(file),
        lambda: Checkpoint(file, {}).load(),
    ]
    for trap in traps:
        file.write_bytes(trap)
        for read in readers:
            with pytest.raises(ModelError):
                read()
            assert not sprung.exists()
    Path.touch(sprung)  # the trap itself works
    sprung.unlink()
    pickle.loads(traps[2])
    assert sprung.exists()


def test_there_is_one_reader_of_pickles_and_it_takes_tensors_alone():
    folder = Path(s2koop.__file__).parent
    calls = [
        (path.name, line.strip())
        for path in folder.rglob("*.py")
        for line in path.read_text().splitlines()
        if re.search(r"(?<!safetensors\.)torch\.load\(|np\.load\(|pickle\.loads?\(|Unpickler\(|\bjoblib\b", line)
    ]
    assert [name for name, _ in calls] == ["_foreign_weights.py"]
    assert "weights_only=True" in calls[0][1]


def test_foreign_tensors_hold_what_they_show(bounded):
    """A few bytes can be a view of any size, or no numbers at all."""
    wide = torch.zeros(1).expand(10**6, 10**6)
    others = [
        wide, torch.empty(10**6, 10**6, device="meta"), torch.eye(3).to_sparse(), torch.tensor([float("nan")]),
        torch.sparse_coo_tensor(
            torch.zeros(2, 1, dtype=torch.long), torch.ones(1), (10**9, 10**9), check_invariants=True
        ),
    ]  # fmt: skip
    for tensor in others:
        with pytest.raises(ModelError):
            read_state(_bytes({"weight": tensor}))


def test_an_archive_that_unpacks_to_more_than_itself_is_refused(bounded):
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}." + b"\x00" * 10**8)
    with pytest.raises(ModelError, match="parts are larger than the whole"):
        read_torch(bomb.getvalue(), "bomb.pt")


def test_published_layouts_with_absurd_numbers_are_refused(tmp_path, bounded):
    weights = dict(official.random_weights("IKAE"))
    empty = {f"encoder.encoder_{n}.weight": torch.zeros(10**9, 0) for n in (1, 2)}
    far = weights | {"invertible_encoder.bijectors.999999999.net.0.weight": torch.zeros(1, 1)}
    many = weights | {"invertible_encoder.bijectors.9999.net.0.weight": torch.zeros(1, 1)}
    digits = weights | {f"invertible_encoder.bijectors.{'9' * 5000}.net.0.weight": torch.zeros(1, 1)}
    torch.save(torch.eye(20), tmp_path / "k.pt")
    for state in (empty | {"decoder.decoder_1.weight": torch.zeros(0, 5)}, far, many, digits):
        torch.save(state, tmp_path / "model.pt")
        with pytest.raises(ModelError):
            import_official(tmp_path / "model.pt", tmp_path / "k.pt")
