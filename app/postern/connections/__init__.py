"""What a workflow may reach: secrets of the Key Vault, and named HTTP connections that know how to sign in."""

from postern.connections.connections import Connections
from postern.connections.faults import ConnectionFault

__all__ = ["ConnectionFault", "Connections"]
