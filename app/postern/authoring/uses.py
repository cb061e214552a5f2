"""The connections and secrets that a workflow declares. Where they are declared, it can use no others."""

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from postern.authoring.signature import WorkflowFault

if TYPE_CHECKING:
    from httpx2 import AsyncClient

    from postern.authoring.context import Context, Services

Names = tuple[str, ...]

LONGEST_NAME = 127
"""Characters; the limit of Key Vault."""


class NotDeclared(LookupError):
    """A workflow asked for a connection or secret that its options do not name."""

    def __init__(self, option: str, call: str, declared: Names) -> None:
        names = ", ".join(declared) or "none"
        super().__init__(
            f"{call} was called with a name that {option}= of @workflow does not have (it has: {names}). Add the name "
            "there, exactly as it is written here, or leave the option out"
        )


def declared_names(option: str, names: Iterable[str] | None) -> Names | None:
    """The names that an option of `@workflow` has, in order; None if it was left out. Raises WorkflowFault."""
    if names is None:
        return None
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise WorkflowFault(f"{option}= takes a list of names: write {option}=[{names!r}]")
    found = tuple(names)
    for name in found:
        if not isinstance(name, str) or not name.isprintable() or not 1 <= len(name) <= LONGEST_NAME:
            raise WorkflowFault(
                f"{option}= has {name!r}, which is not a name: write the names of postern.toml as strings"
            )
    return tuple(dict.fromkeys(str.__str__(name) for name in found))


def limited(services: "Services", connections: Names | None, secrets: Names | None) -> "Services":
    """The services of a workflow with these options: its context gets nothing that they do not name."""

    def connection(ctx: "Context", name: str) -> "AsyncClient":
        if connections is not None and name not in connections:
            raise NotDeclared("connections", "ctx.connection", connections)
        return services.connection(ctx, name)

    async def secret(name: str) -> str:
        if secrets is not None and name not in secrets:
            raise NotDeclared("secrets", "ctx.secret", secrets)
        return await services.secret(name)

    return replace(services, connection=connection, secret=secret)
