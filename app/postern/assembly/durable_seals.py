"""What seals the texts of durable runs, and makes digests of the concurrency keys of secured workflows."""

from postern.assembly.foundation import Foundation
from postern.connections.sealing.vault_keys import DURABLE_KEY, VaultKeys
from postern.durable.seals import KeySeals, NoSeal, Seals


def seals_of(base: Foundation) -> Seals:
    """With the key of POSTERN_DURABLE_KEY_NAME, or without one if it is not set."""
    name, vault = base.settings.durable_key_name, base.connections.connections.vault
    return KeySeals(VaultKeys(vault, name, DURABLE_KEY)) if name else NoSeal()
