"""What waits for the garbage collector: objects that refer to each other, and that nothing else refers to. What a
request leaves so stays in memory, with its body, until the collector looks at everything."""

import gc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def garbage() -> Iterator[Counter[str]]:
    """What is left while the block runs: see `left`. It is known afterwards."""
    found: Counter[str] = Counter()
    rest()
    try:
        yield found
        found.update(left())
    finally:
        gc.enable()


def rest() -> None:
    """From now on the collector collects nothing."""
    gc.collect()
    gc.disable()


def left() -> Counter[str]:
    """The objects of Postern's classes and the frames of its functions that are garbage, by their names. All garbage is
    collected, and the collector works again."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    gc.set_debug(0)
    found = Counter(filter(None, map(_name, gc.garbage)))
    gc.garbage.clear()
    gc.enable()
    return found


def _name(garbage: object) -> str:
    """The name of a class or function of Postern; "" for others."""
    if isinstance(garbage, FrameType):
        module, name = str(garbage.f_globals.get("__name__", "")), garbage.f_code.co_qualname
    else:
        module, name = type(garbage).__module__, type(garbage).__qualname__
    return f"{module}.{name}" if module.split(".")[0] == "postern" else ""
