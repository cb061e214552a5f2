"""The texts that objects of this process hold, so that a test finds out who still has a secret."""

import gc
from collections.abc import Iterator
from typing import TypeGuard


def held_texts(least: int) -> Iterator[tuple[object, str | bytes]]:
    """Each object that the garbage collector knows, with each text it holds that is at least so long."""
    for holder in gc.get_objects():
        for text in held(holder, least):
            yield holder, text


def held(holder: object, least: int) -> Iterator[str | bytes]:
    """The texts and bytes of an object, also by way of those that the garbage collector leaves out: tuples and
    dictionaries of such values alone, and the keys of dictionaries that are all texts.

    The type is looked at, and not the object: `isinstance` takes a weak proxy for what it refers to, which raises
    ReferenceError once that is gone.
    """
    for each in gc.get_referents(holder):
        kind = type(each)
        if issubclass(kind, str | bytes | bytearray):
            if len(each) >= least:
                yield bytes(each) if kind is bytearray else each
        elif issubclass(kind, tuple | dict) and not gc.is_tracked(each):
            yield from held(each, least)
    if _is_dict(holder):
        yield from [key for key in list(dict.keys(holder)) if type(key) is str and len(key) >= least]


def _is_dict(thing: object) -> TypeGuard[dict[object, object]]:
    return issubclass(type(thing), dict)
