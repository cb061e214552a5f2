"""structlog without Rich."""

import sys


def import_structlog() -> None:
    """Import structlog as if Rich was not installed. It imports Rich to show tracebacks with local variables, which no
    log of ours does, and that is a twentieth of the time until a server answers. Call it before anything else imports
    structlog, while the process has one thread."""
    if "structlog" in sys.modules or "rich" in sys.modules:
        return
    sys.modules["rich"] = None  # type: ignore[assignment]  # Python's own way to say that there is no such module
    try:
        import structlog  # noqa: F401
    finally:
        del sys.modules["rich"]
