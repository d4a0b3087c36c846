"""Run a target on inputs, within limits of time and memory, and keep what it must not do."""

from __future__ import annotations

import contextlib
import random
import resource
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from s2koop.errors import S2koopError, S2koopWarning
from tests.trust.fuzz.choices import Choices

Target = Callable[[Choices], Any]

#: Of processor time for one input: what takes longer hangs, for whoever waits.
SECONDS = 10.0
#: What one input may add to the peak of the process.
MEGABYTES = 400
#: Bytes of an input: more decisions than any target takes.
LENGTH = 192


class Hang(BaseException):
    """An input took too long; no `Exception`, so that nothing on the way takes it for its own."""


class Hoard(Exception):
    """An input took too much memory."""


@dataclass(frozen=True)
class Failure:
    """What a target must not do: the input in hexadecimal, the error, and the innermost place in the package."""

    data: bytes
    error: str
    place: str

    def __str__(self) -> str:
        return f"{self.error}\n    at {self.place}\n    replay: {self.data.hex()}"


@dataclass
class Tally:
    """What became of the inputs of one target."""

    inputs: int = 0
    refused: int = 0
    failures: dict[tuple[str, str], Failure] = field(default_factory=dict)
    repeats: int = 0

    def add(self, failure: Failure) -> None:
        key = (failure.error.split(":")[0], failure.place)
        self.repeats += key in self.failures
        self.failures.setdefault(key, failure)


def seeded(name: str, seed: int, number: int) -> bytes:
    """The bytes of one input: the same on every machine."""
    return random.Random(f"{name} {seed} {number}").randbytes(LENGTH)


def run(name: str, target: Target, inputs: int, *, seed: int = 0, start: int = 0) -> Tally:
    """Run a target on so many inputs; each kind of failure is kept once, made small."""
    tally = Tally()
    for number in range(start, start + inputs):
        data = seeded(name, seed, number)
        failure, refused = attempt(target, data)
        tally.inputs += 1
        tally.refused += refused
        if failure is not None:
            known = (failure.error.split(":")[0], failure.place) in tally.failures
            tally.add(failure if known else minimised(target, failure))
    return tally


def attempt(target: Target, data: bytes) -> tuple[Failure | None, bool]:
    """Run one input; the failure if there is one, and whether the input was refused as it should."""
    with contextlib.suppress(OSError):  # Linux forgets the peak of inputs before
        Path("/proc/self/clear_refs").write_text("5")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        with _within(SECONDS), _only_our_warnings():
            target(Choices(data))
        taken = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        if taken > MEGABYTES:
            raise Hoard(f"{taken:.0f} MB for one input")
    except S2koopError:
        return None, True
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        return Failure(data, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}", _place(error)), False
    return None, False


def minimised(target: Target, failure: Failure) -> Failure:
    """The same failure from an input that decides for as little as possible: cut off, then set to zero."""
    same = (failure.error.split(":")[0], failure.place)
    best = failure

    def try_with(data: bytes) -> bool:
        nonlocal best
        found, _ = attempt(target, data)
        if found is None or (found.error.split(":")[0], found.place) != same:
            return False
        best = found
        return True

    if failure.error.startswith("Hang"):
        return best  # each try would take as long again
    size = len(best.data)
    while size := size // 2:
        while len(best.data) > size and try_with(best.data[:-size]):
            pass
    for at in range(len(best.data)):
        if best.data[at]:
            try_with(best.data[:at] + b"\0" + best.data[at + 1 :])
    return best


def _place(error: BaseException) -> str:
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "/s2koop/" in f.filename]
    if not frames:
        frames = traceback.extract_tb(error.__traceback__)
    last = frames[-1]
    return f"{last.filename.split('/s2koop/')[-1]}:{last.name}: {last.line}"


@contextlib.contextmanager
def _within(seconds: float) -> Iterator[None]:
    """Raise `Hang` after so much processor time: the clock of a busy machine says nothing of the code."""

    def stop(*_: Any) -> None:
        raise Hang(f"more than {seconds:g} s of processor time")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@contextlib.contextmanager
def _only_our_warnings() -> Iterator[None]:
    """Ours may be shown; one of NumPy says that numbers went where nobody looked."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", RuntimeWarning)
        warnings.simplefilter("ignore", S2koopWarning)
        yield


def guided(target: Target, seconds: int, *, seed: int = 0, folder: str = ".") -> None:
    """Let atheris look for inputs that reach new code; the first failure ends the process, and is shown."""
    import atheris

    with atheris.instrument_imports(include=["s2koop"]):
        attempt(target, b"")  # imports what it reads with

    def one(data: bytes) -> None:
        failure, _ = attempt(target, data)
        if failure is not None:
            raise AssertionError(str(failure))

    limits = [f"-max_total_time={seconds}", f"-seed={seed or 1}", f"-max_len={LENGTH}", f"-artifact_prefix={folder}/"]
    atheris.Setup([sys.argv[0], *limits], one)
    atheris.Fuzz()
