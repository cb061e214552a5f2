"""The only place where the parts of the server are put together: settings in, application out.

Each name is loaded when it is first used: a command that reads the catalog does not load the whole server.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from postern.assembly.application import (
        create_app,
        create_app_from_environment,
        create_http_app_from_environment,
        create_worker_app_from_environment,
    )
    from postern.assembly.asgi import Application
    from postern.assembly.catalog import load_catalog
    from postern.assembly.identity import create_identity, mcp_scope, tenants
    from postern.assembly.installation import installation_of
    from postern.assembly.takeovers import durable_is_installed

__all__ = [
    "Application",
    "create_app",
    "create_app_from_environment",
    "create_http_app_from_environment",
    "create_identity",
    "create_worker_app_from_environment",
    "durable_is_installed",
    "installation_of",
    "load_catalog",
    "mcp_scope",
    "tenants",
]

_MODULES = {
    "application": (
        "create_app",
        "create_app_from_environment",
        "create_http_app_from_environment",
        "create_worker_app_from_environment",
    ),
    "asgi": ("Application",),
    "catalog": ("load_catalog",),
    "identity": ("create_identity", "mcp_scope", "tenants"),
    "installation": ("installation_of",),
    "takeovers": ("durable_is_installed",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = found
    return found
