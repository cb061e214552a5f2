"""A local stand-in for Entra, Key Vault and Graph on loopback, so that everything works on a laptop without Azure.

Only the command line and tests import it. It uses the real protocols over TLS, so the same clients and the same
verification code run against it as in production. Its tokens are valid nowhere else.
"""

from postern.local_tenant.directory import Application, Person
from postern.local_tenant.server import serve, serve_identity
from postern.local_tenant.state import TenantFault
from postern.local_tenant.tenant import LocalTenant, UnknownName

__all__ = ["Application", "LocalTenant", "Person", "TenantFault", "UnknownName", "serve", "serve_identity"]
