"""The versions of a key, without a vault."""

from postern.connections.faults import ConnectionFault
from postern.connections.sealing.sealed_text import KeyGone


class Ring:
    """Versions of a key, the newest last. With none, the vault is unavailable."""

    def __init__(self, **keys: bytes) -> None:
        self.keys = keys

    async def newest(self) -> tuple[str, bytes]:
        """The last one."""
        if not self.keys:
            raise ConnectionFault("POSTERN_DURABLE_KEY_NAME", "cannot be read", "Try again later")
        return list(self.keys.items())[-1]

    async def of(self, version: str) -> bytes:
        """A version that is there."""
        if version not in self.keys:
            raise KeyGone("its key is gone")
        return self.keys[version]
