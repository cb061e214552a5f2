"""The tables of `postern.toml` for operating: `[findings]`, `[access]`, `[limits]` and `[auth_contexts]`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, StrictStr

from postern.networks import canonical
from postern.settings import types

_RATE = re.compile(r"([1-9][0-9]{0,8})/(second|minute|hour)")
_SECONDS = {"second": 1, "minute": 60, "hour": 3600}
_AUTH_CONTEXT = re.compile(r"c([1-9]|[1-9][0-9])")
_WORKFLOW = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True, slots=True)
class Rate:
    """So many requests in so many seconds."""

    requests: int
    seconds: int


def rate(value: Any) -> Rate:
    """A rate as it is written, such as `60/minute`."""
    if isinstance(value, Rate):
        return value
    found = _RATE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise types.fault("is not a rate", 'Write it like "20/second", "600/minute" or "5000/hour"')
    return Rate(int(found[1]), _SECONDS[found[2]])


def workflow_name(text: str) -> str:
    """The name of a workflow, as it is in its URL."""
    if not _WORKFLOW.fullmatch(text):
        raise types.fault("is not the name of a workflow", "Write it as it is in the trigger's URL: find-people")
    return text


def auth_context(text: str) -> str:
    """The id of an authentication context of Conditional Access (Microsoft: c1 to c99)."""
    if not _AUTH_CONTEXT.fullmatch(text):
        raise types.fault(
            "is not an authentication context", "Write its id as the Entra admin center shows it, c1 to c99"
        )
    return text


def networks(items: tuple[str, ...]) -> tuple[str, ...]:
    """Addresses and networks of clients, as CIDR."""
    return tuple(_network(item) for item in items)


def _network(item: str) -> str:
    try:
        return canonical(item)
    except ValueError:
        raise types.fault("is not an address or a network", "Write it like 10.0.0.0/8 or 2001:db8::/32", item) from None


WorkflowName = Annotated[StrictStr, AfterValidator(workflow_name)]
Rated = Annotated[Rate, BeforeValidator(rate)]
AuthContext = Annotated[StrictStr, AfterValidator(auth_context)]


class Findings(types.Entry):
    """`[findings]`: `run` is the workflow that is started for each new finding."""

    run: WorkflowName | None = None


class AccessReview(types.Entry):
    """`[access]`: `anonymous` names the workflows that anyone may call, and were meant to."""

    anonymous: tuple[WorkflowName, ...] = ()


class Limit(types.Entry):
    """Rates for the requests of one caller, and of one address."""

    per_caller: Rated | None = None
    per_address: Rated | None = None


class Limits(Limit):
    """`[limits]`: rates for all triggers together, and for single workflows (`[limits.workflows.NAME]`)."""

    workflows: Mapping[WorkflowName, Limit] = {}
