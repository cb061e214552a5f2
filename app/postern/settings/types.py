"""Checks of the values of settings.

Each check raises a predicate ("is not a whole number") and a fix. The settings put the value before the predicate,
unless the value could be a secret.
"""

import ipaddress
import re
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import SplitResult, parse_qsl, urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, StrictStr, ValidationInfo
from pydantic_core import PydanticCustomError

from postern.audiences import wrong_with
from postern.loopback import is_loopback
from postern.passwordless.database_url import PASSWORDLESS
from postern.passwordless.url_rules import UrlFault, passwordless

GUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
LARGEST = 1_000_000_000

_VAULT_NAME = re.compile(r"[0-9A-Za-z-]{1,127}")
_ENTRY_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]*")
_HOST = re.compile(r"[0-9A-Za-z_.:-]+")
_ENTITY = re.compile(r"&(amp|#0*38|#x0*26);", re.IGNORECASE)
_DOMAIN = re.compile(r"(\*?\.)?[0-9A-Za-z_-]+(\.[0-9A-Za-z_-]+)*\.?")
_POSTGRES_PORT = re.compile(r"postgresql(\+\w+)?://(.*@)?(\[[^\]]*\]|[^:/?@\[]*)(:(?P<port>[^/?@]*))?", re.DOTALL)
_SQLITE_IGNORED = {"timeout", "check_same_thread", "cached_statements", "isolation_level", "detect_types"}
"""Options of SQLite's driver that release 0.1 accepted. Postern sets them itself."""
_URL_TEXT = re.compile(r"[\x21-\x5b\x5d-\x7e]+")


def fault(wrong: str, fix: str, part: str | None = None) -> PydanticCustomError:
    """A value that cannot be used. `part` is the one item of a list that is wrong."""
    return PydanticCustomError("setting", "{wrong}", {"wrong": wrong, "fix": fix, "part": part})


def guid(text: str) -> str:
    """An id as Entra writes it, in lower case."""
    lowered = text.lower()
    if "@" in lowered:
        raise fault(
            "is an e-mail address, which can be reassigned", "Write the object id that the Entra admin center shows"
        )
    if not GUID.fullmatch(lowered):
        raise fault("is not an id", "Write it like 00000000-0000-0000-0000-000000000000", text)
    return lowered


def texts(value: Any) -> tuple[str, ...]:
    """A list, or a string with commas. Items are not changed, even a trailing slash: Entra compares exactly."""
    if isinstance(value, str):
        items: list[Any] = [item.strip() for item in value.split(",")] if value.strip() else []
    elif isinstance(value, list | tuple):
        items = list(value)
    else:
        raise fault("is not a list of strings", 'Write ["one", "two"]')
    for item in items:
        if not isinstance(item, str):
            raise fault("has an item that is not a string", "Put each item in quotes")
        if not item:
            raise fault("has an empty item", "Write one comma between two items")
        if re.search(r"\s", item):
            raise fault("has white space in it", "Separate items with commas", item)
    return tuple(dict.fromkeys(items))


def proxies(items: tuple[str, ...]) -> tuple[str, ...]:
    """Addresses and networks (CIDR) of proxies."""
    for item in items:
        all_addresses = item == "*"
        try:
            all_addresses = all_addresses or ipaddress.ip_network(item).prefixlen == 0
        except ValueError:
            raise fault("is not an address or a network", "Write it like 10.0.0.7 or 10.0.0.0/8", item) from None
        if all_addresses:
            raise fault(
                "trusts all addresses: any caller could then set its own client address in a header",
                "Name the addresses or networks of your own proxies",
                item,
            )
    return items


def audiences(items: tuple[str, ...]) -> tuple[str, ...]:
    """What tokens are issued for."""
    for item in items:
        wrong, fix = wrong_with(item)
        if wrong:
            raise fault(wrong, fix, item)
    return items


def passwordless_url(text: str, info: ValidationInfo) -> str:
    """A database URL that may sign in with tokens of Entra."""
    try:
        return passwordless(text, info.data)
    except UrlFault as found:
        raise fault(found.wrong, found.fix) from None


def whole(least: int, most: int = LARGEST) -> Callable[[Any], int]:
    """A check for whole numbers from `least` to `most`."""

    def check(value: Any) -> int:
        number = int(value) if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,18}", value) else value
        if isinstance(number, bool) or not isinstance(number, int):
            raise fault("is not a whole number", f"Write a number from {least} to {most}")
        if not least <= number <= most:
            raise fault("is out of range", f"Write a number from {least} to {most}")
        return number

    return check


AtLeastOne = Annotated[int, BeforeValidator(whole(1))]


def _url(text: str, *, http: Literal["never", "on loopback", "anywhere"]) -> SplitResult:
    """The parts of an absolute http(s) URL without user name and fragment."""
    example = "Write it like https://host.example"
    if not _URL_TEXT.fullmatch(text):
        raise fault("is not a URL", example)
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise fault("is not a URL", example) from None
    if parts.scheme not in ("http", "https") or not _HOST.fullmatch(host):
        raise fault("is not a URL", example)
    if found := _ENTITY.search(text):
        raise fault(f"has {found[0]} in it, copied from a page or a file of XML", "Write & in its place")
    if "@" in parts.netloc:
        raise fault("has a user name in it", "Leave out everything up to the @")
    if "#" in text:
        raise fault("has a fragment", "Leave out the # and what follows")
    if parts.scheme == "http" and (http == "never" or (http == "on loopback" and not is_loopback(host))):
        raise fault("is not https", "Write https://" + ("; http is for loopback only" if http != "never" else ""))
    return parts


def _origin(parts: SplitResult) -> str:
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port is not None else "")


def _without_query(parts: SplitResult, text: str) -> SplitResult:
    if "?" in text:
        raise fault("has a query", "Leave out the ? and what follows")
    return parts


def _bare(parts: SplitResult, text: str) -> str:
    if _without_query(parts, text).path not in ("", "/"):
        raise fault("has a path", "Leave out what follows the host and port")
    return _origin(parts)


def authority(text: str) -> str:
    """An origin. http is for loopback only."""
    return _bare(_url(text, http="on loopback"), text)


def origins(items: tuple[str, ...]) -> tuple[str, ...]:
    """Origins in their usual form: host in lower case, without the default port."""
    return tuple(_origin_of(item) for item in items)


def _origin_of(text: str) -> str:
    parts = urlsplit(_bare(_url(text, http="on loopback"), text).lower())
    return parts.geturl().removesuffix(":443" if parts.scheme == "https" else ":80")


def vault_url(text: str) -> str:
    """An origin with https."""
    return _bare(_url(text, http="never"), text)


def public_url(text: str) -> str:
    """An origin with an optional path, without a slash at the end."""
    parts = _without_query(_url(text, http="anywhere"), text)
    return _origin(parts) + parts.path.rstrip("/")


def proxy_url(text: str) -> str:
    """The origin of a proxy, by http or https. It has no password: settings hold no secrets."""
    if "@" in text:
        raise fault(
            "has a user name or a password in it, and Postern signs in at no proxy",
            "Write the proxy without: let it accept this machine by its address, or name a proxy on this machine that "
            "signs in there",
        )
    if not text.startswith(("http://", "https://")):
        raise fault("is not a URL with http:// or https://", "Write it like http://proxy.example:3128")
    return _bare(_url(text, http="anywhere"), text)


def hosts(items: tuple[str, ...]) -> tuple[str, ...]:
    """Host names, domains (`.example`), addresses and networks (CIDR)."""
    for item in items:
        try:
            ipaddress.ip_network(item)
        except ValueError:
            if not _DOMAIN.fullmatch(item):
                raise fault(
                    "is not a host, a domain or a network", "Write it like vault.example, .example or 10.0.0.0/8", item
                ) from None
    return items


def base_url(text: str, *, by_gateway: bool = False) -> str:
    """The address of a connection: https, or http on loopback. It is not changed. With `by_gateway` it may be http: the
    way to an agent beside the other side is encrypted."""
    _without_query(_url(text, http="anywhere" if by_gateway else "on loopback"), text)
    return text


def trigger_url(text: str, *, by_gateway: bool = False) -> str:
    """The address of a trigger: https, or http as with `base_url`. It is not changed, and may have a query."""
    _url(text, http="anywhere" if by_gateway else "on loopback")
    return text


def database_url(text: str) -> str:
    """A URL for SQLAlchemy: SQLite with a path, or PostgreSQL."""
    if text.startswith("postgres://"):
        raise fault("begins with postgres://", "Write postgresql://")
    if not re.match(r"(sqlite:///|postgresql(\+\w+)?://).", text):
        raise fault("is neither SQLite nor PostgreSQL", "Write sqlite:///path or postgresql://host/name")
    if text.startswith("sqlite"):
        _check_sqlite(text.removeprefix("sqlite:///"))
    elif not _may_have_port(text):
        raise fault("has a port that is not a number from 1 to 65535", "Write postgresql://host:5432/name")
    return text


def _check_sqlite(path: str) -> None:
    path, _, query = path.partition("?")
    names = [name for name, _ in parse_qsl(query, keep_blank_values=True)]
    # `passwordless` has its own rules, which come next.
    if unknown := [name for name in names if name not in _SQLITE_IGNORED and name.lower() != PASSWORDLESS]:
        raise fault(
            f"has {unknown[0][:40]!r} after the ?, and SQLite's URL has no such option", "Write sqlite:///path alone"
        )
    if path.startswith("file:"):
        raise fault("has a URI in place of a path", "Write sqlite:///path")
    if path == ":memory:":
        raise fault("names a database in memory, which the server's processes cannot share", "Write sqlite:///path")


def _may_have_port(text: str) -> bool:
    """Whether the port, if there is one, can be one."""
    found = _POSTGRES_PORT.match(text)
    port = found["port"] if found else ""
    if not port or re.fullmatch("[0-9]{1,5}", port):
        return not port or 0 < int(port) < 65536
    # A password may have any of the characters that separate parts: then only SQLAlchemy's own reading counts.
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        make_url(text)
    except (ArgumentError, ValueError):
        return False
    return True


def certificates(path: Path) -> Path:
    """An existing file of certificates in PEM."""
    try:
        if b"-----BEGIN CERTIFICATE-----" in path.read_bytes():
            return path
    except (OSError, ValueError):
        raise fault("cannot be read", "Set it to an existing file of certificates in PEM") from None
    raise fault("has no certificate in PEM", "Set it to a file that has -----BEGIN CERTIFICATE-----")


def authorities(path: Path) -> Path:
    """The same, and its certificates can be read."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cafile=certificates(path))
    except ssl.SSLError:
        raise fault("has a certificate that cannot be read", "Export it again, as PEM with its whole chain") from None
    return path


def vault_name(text: str) -> str:
    """The name of a secret in Key Vault."""
    if not _VAULT_NAME.fullmatch(text):
        raise fault("is not the name of a secret in Key Vault", "Write its name, never the secret itself")
    return text


def host(text: str) -> str:
    """A host name or address to listen on."""
    if not _HOST.fullmatch(text):
        raise fault("is not a host name or address", "Write it like 127.0.0.1 or 0.0.0.0")
    return text


def entry_name(name: str) -> str:
    """The name of a connection or trigger."""
    if not _ENTRY_NAME.fullmatch(name):
        raise fault("is not a valid entry name", "Use letters, digits, _ and -")
    return name


def person_name(name: str) -> str:
    """A short name for a person."""
    if not name.strip() or name != name.strip() or "@" in name:
        raise fault("is not a valid person name", "Use a short name like lisa, without an @")
    return name


Guid = Annotated[StrictStr, AfterValidator(guid)]
VaultName = Annotated[StrictStr, AfterValidator(vault_name)]
EntryName = Annotated[StrictStr, AfterValidator(entry_name)]
PersonName = Annotated[StrictStr, AfterValidator(person_name)]
Texts = Annotated[tuple[str, ...], BeforeValidator(texts)]
Guids = Annotated[Texts, AfterValidator(lambda items: tuple(dict.fromkeys(map(guid, items))))]


class Table(dict[str, Any]):
    """A table inside an entry, which stays hashable. Nothing changes it."""

    def __hash__(self) -> int:  # type: ignore[override]  # a plain dict has none
        return hash(frozenset(self.items()))


class Entry(BaseModel):
    """The base of all tables of `postern.toml`: unknown keys are rejected, and values are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
