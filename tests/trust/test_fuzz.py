"""A slice of the fuzzing with fixed seeds, what the harness must notice, and inputs that once broke a reader."""

from __future__ import annotations

import time

import numpy as np
import pytest

from s2koop import cube as cubes_of
from s2koop.ac import read_smac
from s2koop.catalog import _checks
from s2koop.cube._grid import parse_crs
from s2koop.errors import InputError, S2koopError
from tests.trust.fuzz import harness
from tests.trust.fuzz.choices import Choices
from tests.trust.fuzz.targets import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_what_comes_from_outside_is_read_or_refused(name):
    target, share = TARGETS[name]
    tally = harness.run(name, target, round(1500 * share), seed=7)
    assert not tally.failures, "\n".join(map(str, tally.failures.values()))
    assert 0 < tally.refused < tally.inputs  # spoiled documents are refused, and not all of them are spoiled


def test_an_error_that_is_none_of_ours_is_found_and_made_small():
    def target(choices: Choices) -> None:
        if choices.below(256) > 100:
            raise KeyError("spoiled")

    tally = harness.run("broken", target, 50)
    (failure,) = tally.failures.values()
    assert failure.error == "KeyError: 'spoiled'"
    assert len(failure.data) == 1
    assert tally.repeats > 10
    assert harness.attempt(target, failure.data)[0] is not None


def test_our_errors_are_counted_and_no_failure():
    def target(choices: Choices) -> None:
        if choices.once_in(2):
            raise InputError("refused")

    tally = harness.run("careful", target, 100)
    assert not tally.failures
    assert 20 < tally.refused < 80


def test_an_input_that_hangs_or_hoards_is_a_failure(monkeypatch):
    monkeypatch.setattr(harness, "SECONDS", 1.0)
    monkeypatch.setattr(harness, "MEGABYTES", 50)

    def hangs(_: Choices) -> None:
        end = time.process_time() + 30
        while time.process_time() < end:
            try:
                sum(range(1000))
            except Exception:
                raise AssertionError from None  # a hang is for nobody to catch

    def hoards(_: Choices) -> None:
        np.ones(100 * 2**20, np.uint8)

    def numbs(_: Choices) -> None:
        np.float32(1e30) * np.float32(1e30)

    for target, error in ((hangs, "Hang"), (hoards, "Hoard"), (numbs, "RuntimeWarning")):
        failure, _ = harness.attempt(target, b"")
        assert failure is not None
        assert failure.error.startswith(error)


def test_inputs_are_the_same_everywhere():
    assert harness.seeded("items", 0, 0)[:4].hex() == "9a5153f0"
    choices = Choices(b"\x05")
    assert (choices.below(4), choices.below(4), choices.pick("ab")) == (1, 0, "a")


@pytest.mark.parametrize("bbox", [[10**400, 0, 1, 1], ["a", 0, 1, 1], None, 7])
def test_a_box_of_no_numbers_is_refused(bbox):
    with pytest.raises(InputError, match="bbox"):
        _checks.check_bbox(bbox)


@pytest.mark.parametrize("value", [10**400, -(10**400), "1", True, None])
def test_a_number_that_no_float_holds_is_none(value):
    assert not _checks.is_number(value)


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2020-13-45T99:99:99Z"])
def test_a_date_beyond_the_calendar_is_refused(text):
    with pytest.raises(InputError, match="datetime"):
        _checks.check_datetime(text)


@pytest.mark.parametrize("mask", [[[4]], [{}], [None], ["no class"]])
def test_a_class_that_is_none_is_refused(mask):
    with pytest.raises(InputError, match="mask names"):
        cubes_of.quality.usable_classes(mask)


def test_a_coordinate_system_that_is_no_text_is_refused():
    with pytest.raises(InputError, match="crs="):
        parse_crs("\ud800")


def test_coefficients_that_are_no_text_or_not_there_are_refused(tmp_path):
    (tmp_path / "binary.dat").write_bytes(b"\xff\xfe\x00")
    for name in ("binary.dat", "absent.dat"):
        with pytest.raises(S2koopError, match="cannot be read"):
            read_smac(tmp_path / name)
