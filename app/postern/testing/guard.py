"""No test that uses the kit reaches the network: an audit hook of Python rejects it, wherever the code comes from."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from postern.testing.failing import NetworkUsed

EVENTS = {
    "socket.connect": "connects to",
    "socket.bind": "listens at",
    "socket.getaddrinfo": "looks up",
    "socket.gethostbyname": "looks up",
    "socket.gethostbyaddr": "looks up",
    "socket.getnameinfo": "looks up",
    "socket.sendto": "sends to",
    "socket.sendmsg": "sends to",
}
"""Events of Python's own modules (docs.python.org/3/library/audit_events.html). A socket pair raises none of them."""

_LIBRARY = str(Path(sys.modules["os"].__file__ or "").parent)
_KIT = str(Path(__file__).parent.parent)


class Guard:
    """Rejects the network while it is `on`. `noted` gets the failure too: the code that tried may hide an exception.

    A hook cannot be removed, so there is one in a process, which does nothing while no test uses the kit."""

    def __init__(self, noted: Callable[[NetworkUsed], object]) -> None:
        self.on = False
        self._noted = noted
        self._installed = False

    def begin(self) -> None:
        """Reject the network from now on."""
        if not self._installed:
            sys.addaudithook(self._hook)
            self._installed = True
        self.on = True

    def _hook(self, event: str, arguments: tuple[object, ...]) -> None:
        if not self.on or event not in EVENTS:
            return
        given = arguments[:2] if event == "socket.getaddrinfo" else arguments[1:2] or arguments
        if event in ("socket.sendto", "socket.sendmsg") and given in ((None,), ()):
            return  # of a socket that is connected: a pair
        failure = NetworkUsed(
            f"A test with postern.testing uses no network, but something {EVENTS[event]} {_shown(given)}"
            f"{_place(sys._getframe(1))}. Write ctx.connection(NAME) in the workflow, and "
            'connections["NAME"].get("/PATH").replies({...}) in the test; or replace the function that does this.'
        )
        self._noted(failure)
        raise failure


def _shown(given: tuple[object, ...]) -> str:
    address = given[0] if len(given) == 1 else given
    if isinstance(address, tuple):
        return ":".join(str(part) for part in address[:2])[:200]
    return str(address)[:200]


def _place(frame: FrameType | None) -> str:
    """Where in the project that was; "" if only libraries are on the stack."""
    while frame is not None:
        file = frame.f_code.co_filename
        if not file.startswith(("<", _LIBRARY, _KIT)) and "site-packages" not in file:
            return f" ({file}:{frame.f_lineno})"
        frame = frame.f_back
    return ""
