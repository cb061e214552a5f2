"""The search for those who hold a text."""

import weakref
from collections.abc import Callable
from hashlib import sha256
from secrets import token_hex

from tests.memory import held, held_texts


class Thing:
    """What a weak proxy refers to, or has a text as its attribute."""

    def __init__(self, text: str = "") -> None:
        self.text = text


WAYS: dict[str, Callable[[str], object]] = {
    "an item": lambda text: [text],
    "bytes": lambda text: [text.encode()],
    "bytes that change": lambda text: [bytearray(text.encode())],
    "a value": lambda text: {"name": text},
    "a key": lambda text: {text: "value"},
    "a key with a number beside it": lambda text: {text: 1, 2: 3},
    "a member of a set": lambda text: {text},
    "an attribute": Thing,
    "a tuple in a dictionary": lambda text: {"name": (text, 1)},
    "a dictionary in a list": lambda text: [{"name": text}],
    "a key of a dictionary in a list": lambda text: [{text: "value"}],
}


def test_a_text_is_found_wherever_it_is_held():
    wanted, holders = {}, []
    for name, hold in WAYS.items():
        text = token_hex()
        wanted[_digest(text)] = name
        holders.append(hold(text))
    del text
    found = {_digest(each) for _, each in held_texts(64) if len(each) == 64}
    assert {name for digest, name in wanted.items() if digest not in found} == set()
    holders.clear()
    found = {_digest(each) for _, each in held_texts(64) if len(each) == 64}
    assert found.isdisjoint(wanted)


def _digest(text: str | bytes) -> bytes:
    return sha256(text if isinstance(text, bytes) else text.encode("utf-8", "replace")).digest()


def test_a_proxy_of_what_is_gone_stops_no_search():
    thing = Thing()
    holder = [weakref.proxy(thing), "beside it"]
    del thing
    assert list(held(holder, 1)) == ["beside it"]
    assert any(each is holder for each, _ in held_texts(1))
