"""What serves tools, as the part of the server sees it."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from postern.triggers.read import Receive
from postern.triggers.reply import Send
from postern.triggers.secure_transport import Scope

App = Callable[[Scope, Receive, Send], Awaitable[None]]
Respond = Callable[[Scope, Receive, Send, str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Served:
    """What serves tools, as ASGI applications. `run` is entered once, and `drain` is called when the server begins to
    stop."""

    endpoint: App
    metadata: App
    run: Callable[[], AbstractAsyncContextManager[None]]
    drain: Callable[[], object]
