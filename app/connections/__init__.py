"""What a workflow may reach: secrets of the Key Vault, and named HTTP connections that know how to sign in."""

from app.connections.clients import ConnectionFault, Connections

__all__ = ["ConnectionFault", "Connections"]
