"""A table with a limit: the entry that was used longest ago makes room for a new one."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Limited(Generic[K, V]):
    """At most `most` entries, by the order of their last use."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._entries: OrderedDict[K, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: K) -> bool:
        return key in self._entries

    def get(self, key: K) -> V | None:
        """The entry, which counts as used now."""
        if key not in self._entries:
            return None
        self._entries.move_to_end(key)
        return self._entries[key]

    def at(self, key: K, make: Callable[[], V]) -> V:
        """The entry, made if there is none."""
        found = self.get(key)
        return found if found is not None else self.put(key, make())

    def put(self, key: K, value: V) -> V:
        """Set the entry. The oldest ones leave."""
        self._entries[key] = value
        self._entries.move_to_end(key)
        while len(self._entries) > self._most:
            self._entries.popitem(last=False)
        return value

    def drop(self, key: K) -> None:
        """Forget the entry, if there is one."""
        self._entries.pop(key, None)
