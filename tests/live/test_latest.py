"""Requests that overtake each other: only the newest of a kind is done, and a failure stops nobody."""

from __future__ import annotations

import threading

from s2koop._latest import Latest


def test_of_many_requests_that_wait_only_the_newest_is_done() -> None:
    latest, gate, done = Latest(on_error=_unexpected), threading.Event(), []
    began = threading.Event()

    def first() -> None:
        began.set()
        gate.wait(10)
        done.append("first")

    latest.submit("series", first)
    assert began.wait(10)
    for number in range(50):
        latest.submit("series", lambda n=number: done.append(n))
    latest.submit("picture", lambda: done.append("picture"))
    gate.set()
    assert latest.wait(10)
    assert done == ["first", 49, "picture"]


def test_a_failure_is_reported_and_the_next_request_is_done() -> None:
    errors, done = [], []
    latest = Latest(on_error=errors.append)
    latest.submit("series", lambda: 1 / 0)
    latest.submit("picture", lambda: done.append(1))
    assert latest.wait(10)
    assert [type(e) for e in errors] == [ZeroDivisionError]
    assert done == [1]


def test_waiting_gives_up_and_no_thread_is_left_behind() -> None:
    latest, gate = Latest(on_error=_unexpected), threading.Event()
    latest.submit("series", lambda: gate.wait(10))
    assert not latest.wait(0.01)
    gate.set()
    assert latest.wait(10)
    names = [t.name for t in threading.enumerate() if t.name == "s2koop-latest" and t.is_alive()]
    assert len(names) <= 1  # the thread that has just said it is done


def _unexpected(error: Exception) -> None:
    raise AssertionError("no request of this test fails") from error
