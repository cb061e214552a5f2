"""Resolves the name in `ctx.call`: an entry `[triggers.NAME]`, or else a workflow of this server. No I/O."""

import re
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from postern.access import OPEN, Guarded, Signed
from postern.connections.allowed_urls import secure
from postern.connections.faults import ConnectionFault
from postern.connections.route import DIRECT, Route, route_of
from postern.http_client import URL
from postern.settings import EntraAuth, NoAuth
from postern.settings import Trigger as TriggerEntry
from postern.settings.entries import MAX_RESPONSE_BYTES, MAX_RESPONSE_ELEMENTS
from postern.settings.presets import POWER_AUTOMATE_AUDIENCES
from postern.settings.types import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from postern.catalog import Trigger
    from postern.settings import SecretReference, Settings

NONE = Table()
"""No further headers."""

SECONDS = 130.0
"""The shortest time limit of a reply: Power Automate and Postern respond within 120 seconds."""
SPARE = 10.0
"""Seconds that the reply of a workflow of our own may take beyond its timeout."""

_FLOW_HOSTS = re.compile(
    r"\.(api\.(gov\.|high\.)?powerplatform\.(com|microsoft\.us|partner\.microsoftonline\.cn)|api\.appsplatform\.us"
    r"|logic\.azure\.(com|us|cn))"
)
_POSTERN_PATH = re.compile(r"(.*)/triggers/[a-z0-9]+(-[a-z0-9]+)*(/.*)?")
_PATH_LETTERS = "/%:@!$&'()*+,;=-._~"
_PORTS = {"http": 80, "https": 443}
_DOTS = re.compile(r"(\.|%2e){1,2}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Target:
    """A trigger to call. `entry` names it in errors. `url` may have a signature in its query. `own`: it is a workflow
    of this server. `flow`: it belongs to Power Automate or Logic Apps. `keyed`: it honours an Idempotency-Key; None if
    its replies have to show whether it is a Postern. `runs` is where a Postern shows its runs, "" if the URL is not
    one of a Postern. `headers` are sent beside the `auth`. Results may also be at the origins of `results_at`. `route`
    is the way there."""

    name: str
    entry: str
    url: str = field(repr=False)
    auth: Any = field(repr=False)
    own: bool
    flow: bool
    keyed: bool | None
    takes_key: bool
    runs: str = field(repr=False)
    seconds: float
    response_bytes: int
    response_elements: int
    headers: "Mapping[str, SecretReference]" = NONE
    results_at: tuple[str, ...] = ()
    route: Route = DIRECT

    def is_at_own_origin(self, url: str) -> bool:
        """Whether the URL is at the origin that the credential is for."""
        return origin(url) == origin(self.url)

    @property
    def audience(self) -> str:
        """The audience of the Entra token to request; "" if none is requested."""
        if not isinstance(self.auth, EntraAuth):
            return ""
        return self.auth.audience or self.auth.scopes[0].removesuffix("/.default")


class Targets:
    """Finds targets. `served` returns the current triggers."""

    def __init__(self, settings: "Settings", served: "Callable[[], Mapping[str, Trigger]]") -> None:
        self._settings = settings
        self._served = served
        self._known: dict[str, tuple[object, Target]] = {}

    def find(self, name: str) -> Target:
        """The target of this name. An entry takes precedence over a workflow. Raises ConnectionFault."""
        source = self._settings.triggers.get(name) or self._served().get(name)
        if source is None:
            raise self._unknown(name)
        made_of, target = self._known.get(name, (None, None))
        if target is None or made_of is not source:
            target = self._made(name, source)
            self._known[name] = source, target
        return target

    def _made(self, name: str, source: "TriggerEntry | Trigger") -> Target:
        if isinstance(source, TriggerEntry):
            return _elsewhere(name, source)
        return self._here(name, source)

    def _here(self, name: str, trigger: "Trigger") -> Target:
        """A workflow of this server, called at its public address with this server's own identity."""
        url, workflow = self._settings.public_url, trigger.workflow
        if url is None:
            raise ConnectionFault(
                "POSTERN_PUBLIC_URL",
                f"is not set, and the workflow {name} is called at that address",
                "Set it to the address under which callers reach this server",
            )
        if not secure(URL(url)):
            raise ConnectionFault(
                "POSTERN_PUBLIC_URL",
                f"is plain http, and the workflow {name} is called at that address",
                "Write https://; http is for loopback only",
            )
        if isinstance(trigger.policy, Signed):
            raise ConnectionFault(
                f"the workflow {name}",
                "accepts signed requests only, and ctx.call signs none",
                "Move what both need into a function, or into a workflow with another access mode",
            )
        return Target(
            name,
            f"workflow {name}",
            f"{url}/triggers/{name}",
            NoAuth() if trigger.policy is OPEN else self._own_auth(name, trigger),
            own=True,
            flow=False,
            keyed=not workflow.stateless,
            takes_key=not workflow.stateless,
            runs=f"{url}/runs/",
            seconds=max(SECONDS, workflow.timeout + SPARE),
            response_bytes=MAX_RESPONSE_BYTES,
            response_elements=MAX_RESPONSE_ELEMENTS,
        )

    def _own_auth(self, name: str, trigger: "Trigger") -> EntraAuth:
        """How this server signs in at itself: as its own app registration, for an audience of the workflow."""
        settings = self._settings
        if settings.client_id is None:
            raise ConnectionFault(
                "POSTERN_CLIENT_ID",
                f"is not set, and the workflow {name}, which is not anonymous, is called as this server itself",
                "Set it to the client id of Postern's own app registration",
            )
        proof: dict[str, Any]
        if settings.client_secret_name is not None:
            proof = {"client_secret": {"key_vault": settings.client_secret_name}}
        elif settings.azure_credential in ("managed_identity", "workload_identity"):
            proof = {"federated": True}
        else:
            raise ConnectionFault(
                "POSTERN_CLIENT_SECRET_NAME",
                f"is not set, and the workflow {name}, which is not anonymous, is called as this server itself",
                "Set it to the name in Key Vault of that app registration's secret, or use a managed identity in its "
                "place: POSTERN_AZURE_CREDENTIAL=managed_identity",
            )
        taken = trigger.policy.audiences if isinstance(trigger.policy, Guarded) else frozenset()
        ours = [audience for audience in settings.audience if audience in taken]
        audience = (ours or sorted(taken) or list(settings.audience) or [settings.client_id])[0]
        return EntraAuth.model_validate({"client_id": settings.client_id, "audience": audience, **proof})

    def _unknown(self, name: str) -> ConnectionFault:
        workflows, entries = sorted(self._served()), sorted(self._settings.triggers)
        near = get_close_matches(name, [*entries, *workflows], n=1)
        return ConnectionFault(
            f"triggers.{name}",
            f"is not in postern.toml, and there is no workflow {name}",
            (f"Did you mean {near[0]}? " if near else "")
            + f"Workflows: {', '.join(workflows) or '(none)'}. Triggers in postern.toml: "
            + (", ".join(entries) or "(none)"),
        )


def relative(path: str) -> str:
    """The relative path of a call, quoted for a URL. Raises ValueError if it would lead elsewhere."""
    if not path:
        return ""
    quoted = quote(path, safe=_PATH_LETTERS)
    unfit = not path.startswith("/") or any(character in path for character in "?#\\")
    if unfit or "//" in path or any(_DOTS.fullmatch(segment) for segment in quoted.split("/")):
        raise ValueError("path= is a relative path like /orders/42: quote what comes from elsewhere, no ?, # or dots")
    return quoted


def _elsewhere(name: str, entry: TriggerEntry) -> Target:
    url, auth = entry.url, entry.auth
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    flow = _FLOW_HOSTS.search(host) is not None or getattr(auth, "audience", "") in POWER_AUTOMATE_AUDIENCES.values()
    honours = entry.honours_idempotency_key
    postern = _POSTERN_PATH.fullmatch(parts.path) if not flow and "/paths/invoke" not in parts.path else None
    return Target(
        name,
        f"triggers.{name}",
        url,
        auth,
        own=False,
        flow=flow,
        keyed=False if honours is None and postern is None else honours,
        takes_key=True,
        runs=f"{parts.scheme}://{parts.netloc}{postern[1]}/runs/" if postern else "",
        seconds=SECONDS,
        response_bytes=entry.max_response_bytes,
        response_elements=entry.max_response_elements,
        headers=entry.headers,
        results_at=entry.results_at,
        route=route_of(entry),
    )


def origin(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port (RFC 6454, section 4). Raises ValueError."""
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or _PORTS.get(parts.scheme)
