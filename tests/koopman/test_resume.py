"""A training that was interrupted goes on as if it had not been, and never from what belongs to another one."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch

from s2koop import _checkpoint as resume
from s2koop._checkpoint import Checkpoint
from s2koop.errors import InputError, ModelError
from s2koop.koopman import training
from s2koop.simulate import seasonal_cube

pytestmark = pytest.mark.usefixtures("few_origins")

QUICK = {
    "steps": 24,
    "hidden": (8,),
    "latent": 4,
    "linear_path": False,
    "validate_every": 6,
    "max_pixels": 12,
    "progress": False,
}
CUBE = seasonal_cube(seed=5, every_days=20)


@pytest.fixture(scope="module")
def whole(few_origins):
    return CUBE.koopman.fit(**QUICK)


@pytest.fixture(scope="module")
def uninterrupted(whole):
    return whole.digest


def stop_at(monkeypatch, step, stop):
    """Let `stop` happen in the given step of a fit, counted over both of its trainings."""
    taken = []
    plain = training._Trainer._descend

    def descend(*given):
        taken.append(1)
        losses = plain(*given)
        if len(taken) == step:
            stop()
        return losses

    monkeypatch.setattr(training._Trainer, "_descend", descend)
    return taken


@pytest.fixture(autouse=True)
def usual_interrupts():
    """A process in the background of a shell ignores Ctrl-C; here it shall not."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


def fail():
    raise RuntimeError("the machine is gone")


@pytest.mark.parametrize("step", [1, 17, 24, 25, 40])
def test_an_interrupted_fit_goes_on_to_the_same_model_bit_for_bit(monkeypatch, tmp_path, uninterrupted, step):
    path = tmp_path / "fit.safetensors"
    taken = stop_at(monkeypatch, step, interrupt)
    with pytest.raises(KeyboardInterrupt, match="the same call goes on"):
        CUBE.koopman.fit(checkpoint=path, **QUICK)
    assert len(taken) == step
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    torch.manual_seed(99)  # the state of the process is not what a fit depends on
    model = CUBE.koopman.fit(checkpoint=path, **QUICK)
    assert model.digest == uninterrupted
    assert len(taken) == len(range(24)) + model.card["steps"]  # no step twice
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("step", [9, 31])
def test_a_fit_that_died_goes_on_from_the_last_regular_checkpoint(monkeypatch, tmp_path, uninterrupted, step):
    monkeypatch.setattr(resume, "EVERY", 7)
    path = tmp_path / "fit.safetensors"
    stop_at(monkeypatch, step, fail)
    with pytest.raises(RuntimeError, match="gone"):
        CUBE.koopman.fit(checkpoint=path, **QUICK)
    assert path.is_file()
    assert CUBE.koopman.fit(checkpoint=path, **QUICK).digest == uninterrupted


def test_a_checkpoint_changes_nothing_and_its_signal_handler_leaves(tmp_path, uninterrupted):
    before = signal.getsignal(signal.SIGINT)
    assert CUBE.koopman.fit(checkpoint=tmp_path / "fit.safetensors", **QUICK).digest == uninterrupted
    assert signal.getsignal(signal.SIGINT) is before
    assert not list(tmp_path.iterdir())


def test_a_second_interrupt_does_not_wait(tmp_path):
    keep = Checkpoint(tmp_path / "fit.safetensors", {})
    with keep.holding_interrupts():
        interrupt()
        assert keep.due(1)
        with pytest.raises(KeyboardInterrupt):
            interrupt()


@pytest.fixture
def stopped(monkeypatch, tmp_path) -> Path:
    path = tmp_path / "fit.safetensors"
    with monkeypatch.context() as patch:
        stop_at(patch, 3, interrupt)
        with pytest.raises(KeyboardInterrupt):
            CUBE.koopman.fit(checkpoint=path, **QUICK)
    return path


@pytest.mark.parametrize(
    ("cube", "change", "message"),
    [
        (CUBE, {"learning_rate": 0.1}, "learning_rate=0.002 there and 0.1 here"),
        (CUBE, {"seed": 1}, "seed=0 there and 1 here; other data|other data; seed=0"),
        (CUBE + 0.01, {}, "other data"),
        (CUBE.isel(time=slice(3, None)), {}, "other data"),
        (CUBE.assign_coords(band=["B04", "B8A"]), {}, "bands="),
    ],
)
def test_a_checkpoint_of_another_training_is_refused_and_kept(stopped, cube, change, message):
    content = stopped.read_bytes()
    with pytest.raises(ModelError, match=message):
        cube.koopman.fit(checkpoint=stopped, **QUICK | change)
    assert stopped.read_bytes() == content


def test_files_that_are_no_checkpoint_are_refused(tmp_path, whole):
    path = tmp_path / "fit.safetensors"
    path.write_bytes(b"something else")
    with pytest.raises(ModelError, match="is no checkpoint .*delete it, or give another path"):
        CUBE.koopman.fit(checkpoint=path, **QUICK)
    whole.save(path)
    with pytest.raises(ModelError, match="it is no checkpoint of a training"):
        CUBE.koopman.fit(checkpoint=path, **QUICK)


@pytest.mark.parametrize(
    ("path", "message"), [("fit.pt", "end in '.safetensors'"), ("nowhere/fit.safetensors", "does not exist")]
)
def test_paths_are_checked_before_any_pixel_is_read(tmp_path, path, message):
    lazy = CUBE.chunk().map_blocks(fail, template=CUBE.chunk())
    with pytest.raises(InputError, match=message):
        lazy.koopman.fit(checkpoint=tmp_path / path, **QUICK)


def test_a_checkpoint_is_written_in_one_step(monkeypatch, tmp_path):
    keep = Checkpoint(tmp_path / "fit.safetensors", {"a": 1})
    tree = {"numbers": {0: torch.arange(3.0), "inf": float("inf")}, "list": [1, None, torch.tensor(2)]}
    keep.save(tree)
    monkeypatch.setattr(Path, "replace", lambda *given: fail())
    with pytest.raises(RuntimeError):
        keep.save({"numbers": {}})
    found = keep.load()
    assert found["numbers"]["inf"] == float("inf")
    torch.testing.assert_close(found["numbers"][0], torch.arange(3.0))
    assert found["list"][:2] == [1, None]
