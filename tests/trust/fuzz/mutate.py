"""Spoil documents: JSON trees where a reader expects something, texts and bytes anywhere."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from tests.trust.fuzz.choices import Choices


def _deep(levels: int) -> list[Any]:
    inner: list[Any] = []
    for _ in range(levels):
        inner = [inner]
    return inner


#: What readers stumble over: nothing, other types, numbers that no format or machine holds, words that nearly fit.
STRANGE: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2**31, 2**63, 10**30, 10**400, 0.5, -0.0, 1e-320, 1e308, math.nan, math.inf, -math.inf,
    "", " ", "nan", "inf", "1e400", "0", "-1", "\0", "\n", "é\ud800", "..", "/", "%s{0}", "x" * 5000, "9" * 5000,
    "0000-00-00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2020-13-45T99:99:99Z", "2020",
    "2020-06-01",
    "EPSG:0", "EPSG:99999999", 4326, 32632, "http://[", "file:///etc/passwd", "s3://", "../../x", "B04", "auto", "scl",
    [], {}, [[]], [None], {"": None}, [0, 0, 0, 0], [1, 2, 3], [1e308] * 6, [0] * 6, ["a"] * 6, [math.nan] * 6,
    [10980, 10980], [-5, -5], [10**9, 10**9], [20, 0, 399960, 0, -20, 5300040], _deep(60), {"type": "Feature"}, b"\xff",
)  # fmt: skip
_LETTERS = "abcB0189_-:./% \0é\n\"'\\{}[]<>&;"


def number(choices: Choices) -> float | int:
    """A number near to those that mean something, or far from them."""
    base = choices.pick((0, 1, 10, 100, 1e-4, 0.1, 1000, 10000, 32632, 180, 90, 2**16, 2**31, 1e18, 1e300))
    return choices.pick((1, -1, 0.5, 3)) * base + choices.pick((0, 1, -1, 1e-9))


def value(choices: Choices) -> Any:
    """Something strange, or a number."""
    return number(choices) if choices.once_in(4) else choices.pick(STRANGE)


def text(given: str, choices: Choices) -> str:
    """A text with some letters taken out, put in or doubled."""
    for _ in range(1 + choices.below(3)):
        at = choices.below(len(given) + 1)
        length = choices.below(8)
        new = choices.pick(("", choices.pick(_LETTERS), given[at : at + length], "9", given[::-1][:length]))
        given = given[:at] + new + given[at + choices.pick((0, 1, length)) :]
    return given


def document(given: Any, choices: Choices, *, edits: int = 4) -> Any:
    """A JSON tree with one or a few places spoiled; what was given stays as it is."""
    for _ in range(1 + choices.below(edits)):
        given = _edited(given, choices)
    return given


def _edited(tree: Any, choices: Choices) -> Any:
    """The tree with one place changed, which is looked for from the root downwards."""
    inner = isinstance(tree, dict | list) and len(tree) > 0
    if not inner or choices.once_in(6):
        return _changed(tree, choices)
    if isinstance(tree, list):
        at = choices.below(len(tree))
        new = [] if choices.once_in(12) else [_edited(tree[at], choices)]
        return tree[:at] + new * choices.pick((1, 1, 1, 2)) + tree[at + 1 :]
    key = choices.pick(list(tree))
    rest = {name: inner for name, inner in tree.items() if name != key}
    what = choices.below(12)
    if what == 11:
        return rest
    if what == 10:
        return rest | {text(str(key), choices): tree[key]}
    if what == 9:
        return tree | {key: tree[choices.pick(list(tree))]}
    return tree | {key: _edited(tree[key], choices)}


def _changed(leaf: Any, choices: Choices) -> Any:
    what = choices.below(6)
    if what == 0:
        return value(choices)
    if what == 1 and isinstance(leaf, str):
        return text(leaf, choices)
    if what == 2:
        return [leaf]
    if what == 3:
        return str(leaf)
    if what == 4 and isinstance(leaf, int | float) and not isinstance(leaf, bool):
        return leaf * choices.pick((-1, 0, 2, 0.5, 1e6, 1e300)) if abs(leaf) < 1e9 else -leaf
    return value(choices)


def raw(given: bytes, choices: Choices, *, head: int = 0) -> bytes:
    """Bytes with some flipped, cut off, taken out or doubled; where `head` is given, mostly among the first."""
    out = bytearray(given)
    for _ in range(1 + choices.below(6)):
        reach = min(head, len(out)) if head and not choices.once_in(4) else len(out)
        at = choices.below(reach + 1)
        what = choices.below(6)
        if what == 5:
            del out[at:]
        elif what == 4:
            del out[at : at + 1 + choices.below(16)]
        elif what == 3:
            out[at:at] = out[at : at + 1 + choices.below(64)]
        else:
            out[at : at + 1] = choices.bytes(1)
    return bytes(out)


def as_json(tree: Any) -> bytes:
    """JSON as careless writers make it: NaN and lone surrogates included, bytes as text."""
    return json.dumps(tree, default=str).encode()


def merged(given: Mapping[str, Any], choices: Choices) -> dict[str, Any]:
    """Keyword arguments of which most are left out, and one or two are strange."""
    kept = {name: good for name, good in given.items() if choices.once_in(3)}
    for _ in range(choices.below(3)):
        name = choices.pick(list(given))
        kept[name] = value(choices) if choices.once_in(2) else document(given[name], choices)
    return kept
