"""The test kit: authors test their workflows through the real pipeline, in this process (`README.md`).

Each name is loaded when it is first used: the plug-in is loaded by every pytest of the environment, and nothing of the
server is imported until a test asks for it.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from postern.testing.calling import call, runs, start
    from postern.testing.clock import clock
    from postern.testing.crashes import crash_after, resume
    from postern.testing.people import app, nobody, user
    from postern.testing.result import Result, Started
    from postern.testing.stand_ins import connections, secrets, triggers
    from postern.testing.stubs import Sent

_MODULES = {
    "calling": ("call", "runs", "start"),
    "clock": ("clock",),
    "crashes": ("crash_after", "resume"),
    "people": ("app", "nobody", "user"),
    "result": ("Result", "Started"),
    "stand_ins": ("connections", "secrets", "triggers"),
    "stubs": ("Sent",),
}
_MODULE_OF = {name: f"postern.testing.{module}" for module, names in _MODULES.items() for name in names}

__all__ = [
    "Result",
    "Sent",
    "Started",
    "app",
    "call",
    "clock",
    "connections",
    "crash_after",
    "nobody",
    "resume",
    "runs",
    "secrets",
    "start",
    "triggers",
    "user",
]


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'postern.testing' has no attribute {name!r}")
    found: object = getattr(__import__(_MODULE_OF[name], fromlist=[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
