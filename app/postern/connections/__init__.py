"""What a workflow can reach: secrets in the Key Vault, and named HTTP connections that sign in by themselves."""

from postern.connections.connections import Connections
from postern.connections.faults import ConnectionFault

__all__ = ["ConnectionFault", "Connections"]
