"""How the kit makes a test fail: with a text that says what to write."""

from typing import Self


class KitFailure(AssertionError):
    """A test did what the kit does not allow, or asked for what is not there. The text says what to write."""

    def again(self) -> Self:
        """The same failure, without the traceback of the workflow that caused it."""
        return type(self)(*self.args)


class NetworkUsed(KitFailure):
    """Something in this process wanted to connect, listen or look up a name while a test used the kit."""
