"""The fields of the `auth` tables: references to secrets, and what a header, a query or a token request can carry.

Each field takes what its RFC allows.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, PlainValidator, StrictStr, model_validator

from postern.redaction import is_secret_name
from postern.settings import types
from postern.settings.types import Entry, Table, fault

REFERENCE = 'Every secret is a reference: { key_vault = "name" }'

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_PRINTABLE = re.compile(r"[\x20-\x7e]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_FRAMING = {
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
}
_OWN_KEYS: Mapping[str, str] = {
    **{name: name for name in ("client_id", "client_secret", "audience", "resource")},
    "scope": "scopes",
    "client_assertion": "private_key",
    "client_assertion_type": "private_key",
}
"""Parameters of a token request that have a key of the entry, and that key."""


def switch(value: Any) -> bool:
    """true or false."""
    if not isinstance(value, bool):
        raise fault("is neither true nor false", "Write true, without quotes, or leave it out")
    return value


class SecretReference(Entry):
    """The name of a secret in Key Vault. The settings never contain its value."""

    key_vault: types.VaultName

    @model_validator(mode="before")
    @classmethod
    def _no_plain_secret(cls, value: Any) -> Any:
        if isinstance(value, cls):
            return value
        if not isinstance(value, dict) or set(value) != {"key_vault"}:
            raise fault("is not a reference", REFERENCE)
        return value


def _text_or_reference(value: Any) -> str | SecretReference:
    if isinstance(value, SecretReference | str):
        return value
    if not isinstance(value, Mapping):
        raise fault("is not a string", f"Write a string, in quotes. {REFERENCE}")
    name = value.get("key_vault")
    if set(value) != {"key_vault"} or not isinstance(name, str):
        raise fault("is not a reference", REFERENCE)
    return SecretReference(key_vault=types.vault_name(name))


TextOrReference = Annotated[str | SecretReference, PlainValidator(_text_or_reference)]


def username(given: str | SecretReference) -> str | SecretReference:
    """A user name has no colon, which would end it, and no control characters (RFC 7617, section 2). It may be
    empty."""
    if isinstance(given, str) and (":" in given or _CONTROL.search(given)):
        raise fault("has a colon or a control character in it", "Write the user name alone, without the password")
    return given


def header_name(name: str) -> str:
    """A header name is a token (RFC 9110, section 5.1). Names that affect the framing or the target are rejected."""
    if not _TOKEN.fullmatch(name):
        raise fault("is not the name of a header", "Write its name alone, like X-Api-Key, without the value")
    if name.lower() in _FRAMING:
        raise fault(
            "is a header that the request itself needs", "Write the header in which the other side expects the key"
        )
    return name


def query_name(name: str) -> str:
    """The name of a query parameter: any text, which is percent-encoded where it is sent (RFC 3986, section 2.1)."""
    if not name or not name.isprintable():
        raise fault("is empty, or has a control character in it", "Write the name alone")
    return name


def client_id(text: str) -> str:
    """A client id is printable ASCII, spaces included (RFC 6749, appendix A.1)."""
    return printable(text)


def printable(text: str) -> str:
    """Printable ASCII, spaces included."""
    if not _PRINTABLE.fullmatch(text):
        raise fault("is empty, or has characters other than printable ASCII", "Write it as the other side shows it")
    return text


def token_parameters(given: Mapping[str, str | SecretReference]) -> Mapping[str, str | SecretReference]:
    """Further parameters of a token request (RFC 6749, section 8.2): each has one value, and a secret is a
    reference."""
    for name, value in given.items():
        if not re.fullmatch(r"[A-Za-z0-9._\-\[\]]+", name):
            raise fault("has a name with characters other than letters, digits, - . _ and brackets", "Correct the name")
        if name in _OWN_KEYS:
            raise fault(f"has {name}, which has a key of its own", f"Write it as {_OWN_KEYS[name]} of the auth")
        if isinstance(value, str) and is_secret_name(name):
            raise fault(f"has {name} as plain text", REFERENCE)
    return Table(given)


def _resources(value: Any) -> tuple[str, ...]:
    """One or more identifiers (RFC 8707, section 2). They are not changed, and a comma is a part of them."""
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list | tuple) or not all(isinstance(item, str) for item in items):
        raise fault("is not a list of strings", 'Write "one" or ["one", "two"]')
    return tuple(dict.fromkeys(map(printable, items)))


Resources = Annotated[tuple[str, ...], BeforeValidator(_resources)]


def headers(given: Mapping[str, SecretReference]) -> Mapping[str, SecretReference]:
    """Further headers of each request. Names ignore case (RFC 9110, section 5.1)."""
    if len({name.lower() for name in given}) < len(given):
        raise fault("has a header twice", "Write each header once; upper and lower case are the same")
    return Table(given)


HeaderName = Annotated[StrictStr, AfterValidator(header_name)]
Headers = Annotated[Mapping[HeaderName, SecretReference], AfterValidator(headers)]
