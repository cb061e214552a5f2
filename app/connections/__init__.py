"""What a workflow may reach: secrets of the Key Vault, and named HTTP connections that know how to sign in."""

from app.connections.connections import Connections
from app.connections.faults import ConnectionFault

__all__ = ["ConnectionFault", "Connections"]
