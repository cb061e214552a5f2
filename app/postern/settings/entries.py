"""The entries of `[connections.*]` and `[triggers.*]`: the address and the authentication of an outside system."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    StrictStr,
    Tag,
    ValidationInfo,
    model_validator,
)

from postern.settings import types
from postern.settings.auth_fields import Headers, SecretReference, switch
from postern.settings.auths import ApiKeyAuth, BasicAuth, NoAuth, OAuth2Auth, one_of
from postern.settings.entra_auth import EntraAuth
from postern.settings.granted_auth import FLOW, GRANTED_ONLY, GrantedAuth
from postern.settings.on_behalf_of_auth import OnBehalfOfAuth
from postern.settings.presets import ENTRA, audience_in
from postern.settings.types import Entry, Table, Texts, fault

__all__ = [
    "AUTHS",
    "KINDS",
    "ApiKeyAuth",
    "Auth",
    "BasicAuth",
    "Connection",
    "EntraAuth",
    "GrantedAuth",
    "NoAuth",
    "OAuth2Auth",
    "OnBehalfOfAuth",
    "SecretReference",
    "Trigger",
    "in_cloud",
]

MAX_RESPONSE_BYTES = 16 * 1024 * 1024
MAX_RESPONSE_ELEMENTS = 200_000

_NOT_FOR_ENTRA = {
    "token_url": "Leave it out: Entra's address follows from POSTERN_CLOUD or POSTERN_AUTHORITY",
    "client_authentication": "Leave it out: client_secret, certificate, managed_identity or federated decides it",
    "private_key": 'Write certificate = { key_vault = "name" }, which holds the key too',
}


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= types.LARGEST:
        raise fault("is not a number of seconds", "Write a number greater than 0, without quotes")
    return value


AUTHS: Mapping[str, type[Entry]] = {
    "none": NoAuth,
    "basic": BasicAuth,
    "api_key": ApiKeyAuth,
    "oauth2": OAuth2Auth,
    "entra": EntraAuth,
}


KINDS: Mapping[str, type[Entry]] = {**AUTHS, "granted": GrantedAuth, "on_behalf_of": OnBehalfOfAuth}
"""The types of `auth` by the tag that tells them apart: two of them are special cases of another type."""


def _kind(value: Any) -> str:
    """The tag of a written or an already validated `auth`."""
    if isinstance(value, Entry):
        return next(tag for tag, kind in KINDS.items() if type(value) is kind)
    if value["type"] == "oauth2" and "flow" in value:
        return "granted"
    return "on_behalf_of" if value["type"] == ENTRA and value.get("on_behalf_of") else str(value["type"])


def _written_auth(value: Any) -> Any:
    """Unify the two spellings of Entra, and reject unknown types with an error of their own."""
    if isinstance(value, Entry):
        return value
    if not isinstance(value, dict):
        raise fault("is not a table", 'Write auth = { type = "none" } or auth = { type = "entra", … }')
    _check_flow(value)
    if value.get("type") == "oauth2" and value.get("identity_provider") == ENTRA and "flow" not in value:
        value = {key: part for key, part in value.items() if key != "identity_provider"} | {"type": ENTRA}
    kind = value.get("type")
    if not isinstance(kind, str) or kind not in AUTHS:
        raise fault("has no known type", one_of(AUTHS, kind if isinstance(kind, str) else ""))
    wrong = next((key for key in _NOT_FOR_ENTRA if key in value), None) if kind == ENTRA else None
    if wrong:
        raise fault(f"has a {wrong}, which Entra does not use", _NOT_FOR_ENTRA[wrong])
    return value


def _check_flow(value: Mapping[str, Any]) -> None:
    """Reject a flow of another type than `oauth2`, and keys of connections that people connect without the flow."""
    if value.get("type") == ENTRA and "flow" in value:
        raise fault("has a flow, which type = entra does not", 'Write type = "oauth2", identity_provider = "entra"')
    meant = next((key for key in GRANTED_ONLY if key in value), None)
    if meant is not None and value.get("type") == "oauth2" and "flow" not in value:
        raise fault(f'has {meant}, but no flow = "{FLOW}"', f'Did you mean flow = "{FLOW}"? Else leave {meant} out')


Auth = Annotated[
    Annotated[NoAuth, Tag("none")]
    | Annotated[BasicAuth, Tag("basic")]
    | Annotated[ApiKeyAuth, Tag("api_key")]
    | Annotated[OAuth2Auth, Tag("oauth2")]
    | Annotated[EntraAuth, Tag("entra")]
    | Annotated[GrantedAuth, Tag("granted")]
    | Annotated[OnBehalfOfAuth, Tag("on_behalf_of")],
    Discriminator(_kind),
    BeforeValidator(_written_auth),
]
_AUTHORIZATION = dict.fromkeys(("basic", "oauth2", "entra"), "authorization")
MaxBytes = Annotated[int, BeforeValidator(types.whole(1))]


def _base_url(text: str, info: ValidationInfo) -> str:
    return types.base_url(text, by_gateway=bool(info.data.get("gateway")))


def _trigger_url(text: str, info: ValidationInfo) -> str:
    return types.trigger_url(text, by_gateway=bool(info.data.get("gateway")))


AT_AGENT = "gateway"
"""The value of `tls` with which a gateway's agent reads each request."""


class _Outside(Entry):
    """What connections and triggers have in common. `gateway` names the one by whose agents it is reached: with `tls`
    "server" TLS is between this server and the other side, and with "gateway" between the agent and the other side.
    `ca_bundle` is a file of the authorities to trust for this entry. `headers` are sent beside the auth, such as a
    key of an API gateway."""

    gateway: types.EntryName | None = None  # before the address, which may then be http
    tls: Literal["server", "gateway"] = "server"
    ca_bundle: Annotated[Path, AfterValidator(types.authorities)] | None = None
    auth: Auth = NoAuth()
    headers: Headers = Table()

    @model_validator(mode="after")
    def _each_header_once(self) -> Self:
        taken = self.auth.header if isinstance(self.auth, ApiKeyAuth) else _AUTHORIZATION.get(self.auth.type)
        twice = next((name for name in self.headers if taken and name.lower() == taken.lower()), None)
        if twice:
            raise fault(f"has {twice} among its headers, which its auth sets", "Leave one of them out")
        return self

    @model_validator(mode="after")
    def _tls_makes_sense(self) -> Self:
        if self.tls == AT_AGENT and self.gateway is None:
            raise fault('has tls = "gateway", and no gateway', 'Write gateway = "NAME", or leave tls out')
        if self.tls == AT_AGENT and self.ca_bundle is not None:
            fix = "Write it in gateway.toml of the agent, in the row of this address, or leave tls out"
            raise fault('has a ca_bundle beside tls = "gateway", where the agent checks the certificate', fix)
        if self.is_clear and self.tls != AT_AGENT:
            fix = 'Write https://, or tls = "gateway", with which the agent reads each request'
            raise fault("is plain http, and has a gateway", fix)
        return self

    @property
    def is_clear(self) -> bool:
        """Whether requests are in the clear between the agent of its gateway and the other side."""
        address = str(getattr(self, "base_url", "") or getattr(self, "url", ""))
        return self.gateway is not None and address.lower().startswith("http:")


class Connection(_Outside):
    """A named outside system: its address and authentication. `timeout` is in seconds, for one request."""

    base_url: Annotated[StrictStr, AfterValidator(_base_url)]
    auth: Auth = Field()  # no default: that a system needs no authentication has to be written
    timeout: Annotated[float, BeforeValidator(_seconds)] = 100
    max_response_bytes: MaxBytes = MAX_RESPONSE_BYTES


class Trigger(_Outside):
    """A trigger elsewhere. The URL of a flow that anyone may call contains its signature, so it is never shown.
    A result that comes later is fetched at the trigger's own origin, and at those in `results_at`.
    `honours_idempotency_key` says whether the other side runs requests with one Idempotency-Key once only. If it is
    None, only a Postern does, which its replies show."""

    url: Annotated[StrictStr, AfterValidator(_trigger_url)] = Field(repr=False)
    results_at: Annotated[Texts, AfterValidator(types.origins)] = ()
    honours_idempotency_key: Annotated[bool | None, BeforeValidator(switch)] = None
    max_response_bytes: MaxBytes = MAX_RESPONSE_BYTES
    max_response_elements: MaxBytes = MAX_RESPONSE_ELEMENTS


Kept = TypeVar("Kept", Connection, Trigger)


def in_cloud() -> Callable[[Mapping[str, Kept], ValidationInfo], Mapping[str, Kept]]:
    """A validator that replaces a preset's name by the audience in the settings' cloud."""

    def named(entries: Mapping[str, Kept], info: ValidationInfo) -> Mapping[str, Kept]:
        return {name: _named(entry, info.data.get("cloud", "public")) for name, entry in entries.items()}

    return named


def _named(entry: Kept, cloud: str) -> Kept:
    if not isinstance(entry.auth, EntraAuth):
        return entry
    audience = audience_in(cloud, entry.auth.audience)
    return entry.model_copy(update={"auth": entry.auth.model_copy(update={"audience": audience})})


def is_tag(place: tuple[str, ...], n: int) -> bool:
    """Whether pydantic added this part: the type of an `auth`, which no file has in its path."""
    return n == 3 and place[0] in ("connections", "triggers") and place[2] == "auth" and place[3] in KINDS
