"""How often Python looks for garbage in cycles. Its own numbers are for programs with little in memory."""

import gc


def begin() -> None:
    """A process begins: modules leave no garbage when they are loaded, and to look through them again and again, each
    700 new objects, is a seventh of the time of a start. Commands that end soon need no more than this."""
    gc.set_threshold(300_000, 20, 50)


def loaded() -> None:
    """All is loaded, in a process that goes on for long: what is there stays, so it is not looked at again. A request
    leaves no cycles, and with Python's 700 the collector would run every few requests. It looks at everything after two
    million objects that were not freed otherwise: errors that refer to their own frames hold whole requests."""
    gc.freeze()
    gc.set_threshold(10_000, 20, 10)
