"""What a server with a local tenant knows of the people there."""

from collections.abc import Callable

from postern.access import Caller, Guarded
from postern.catalog import Trigger

TokenCommand = Callable[[Trigger], str]
"""Returns the command that prints a token of the local tenant with which a trigger may be called; "" if nobody there
may."""

LocalCaller = Callable[[str, Guarded], Caller | None]
"""Returns whom a token of the local tenant would name at a policy, by the name of a person there; None if there is no
such person."""
