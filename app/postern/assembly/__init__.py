"""The only place where the parts of the server are put together: settings in, application out."""

from postern.assembly.application import (
    create_app,
    create_app_from_environment,
    create_http_app_from_environment,
    create_worker_app_from_environment,
)
from postern.assembly.asgi import Application
from postern.assembly.catalog import load_catalog
from postern.assembly.identity import create_identity, installation_of, tenants
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
    "tenants",
]
