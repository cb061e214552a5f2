"""The rows `[[allow]]` of gateway.toml: what the agent may connect to, and what may be requested there."""

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, StrictStr, model_validator

from postern.dot_segments import climbs
from postern.gateway.agent.addresses import refused
from postern.settings import types
from postern.settings.types import Entry, fault

_ADDRESS = re.compile(r"(?:\[(?P<literal>[^\[\]]*)\]|(?P<host>[^:\[\]]*)):(?P<port>[0-9]{1,5})")
_NAME = re.compile(
    r"(?=.{1,253}$)[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*"
)
_NUMBER = re.compile(r"(0x[0-9a-f]*|[0-9]+)")
"""The last part of a host that the system reads as an IPv4 address in one of its odd forms (inet_aton(3))."""
_METHOD = re.compile(r"[A-Z]+(-[A-Z]+)*")
_PATH = re.compile(r"/(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-F]{2})*")
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")

_EXAMPLE = 'Write it like "erp.corp.example:443" or "[fd12::7]:443"'


def host_name(text: str) -> str:
    """A host in the form in which hosts are compared: in lower case, without the dot at the end, an IPv6 address
    without brackets and in its short form (RFC 5952)."""
    lowered = text.lower().removesuffix(".")
    if lowered.startswith("[") and lowered.endswith("]"):
        lowered = lowered[1:-1]
    try:
        return str(ipaddress.ip_address(lowered))
    except ValueError:
        return lowered


def written(host: str, port: int) -> str:
    """A host and port as one text."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_literal(host: str) -> bool:
    """Whether the host is an address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def usual_path(path: bytes) -> bytes:
    """A path with its percent-codes in the usual form: unreserved characters are not encoded, and codes are in upper
    case (RFC 3986, section 6.2.2)."""

    def usual(code: "re.Match[bytes]") -> bytes:
        byte = int(code[1], 16)
        return bytes([byte]) if byte in _UNRESERVED else code[0].upper()

    return re.sub(rb"%([0-9A-Fa-f]{2})", usual, path)


def _address(text: str) -> str:
    found = _ADDRESS.fullmatch(text.lower())
    if not found or not 0 < int(found["port"]) < 65536:
        wrong = "has no port" if ":" not in text else "is not a host and a port"
        raise fault("is a URL" if "//" in text else wrong, _EXAMPLE)
    host = host_name(found["host"] or found["literal"] or "")
    if found["literal"] is not None and ":" not in host:
        raise fault("has brackets around what is not an IPv6 address", _EXAMPLE)
    if not is_literal(host):
        _check_name(host)
    elif why := refused(host, loopback=True):
        raise fault(f"{why}, and is never connected to", "Leave the row out")
    return written(host, int(found["port"]))


def _check_name(host: str) -> None:
    if "*" in host:
        raise fault("has a *, but hosts are exact", "Write a row for each host")
    if not host.isascii():
        raise fault("has letters that DNS does not carry", "Write the name as DNS has it, with xn--")
    if not _NAME.fullmatch(host):
        raise fault("is not a host and a port", _EXAMPLE)
    if _NUMBER.fullmatch(host.rpartition(".")[2]):
        raise fault("is not an address in its usual form", "Write four numbers, like 10.0.0.7:443")


def _words(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise fault("is not a list of strings", 'Write ["one", "two"]')
    if not value:
        raise fault("is empty, so nothing would be allowed", "Write what is allowed, or leave the row out")
    return tuple(dict.fromkeys(value))


def _methods(items: tuple[str, ...]) -> tuple[str, ...]:
    for item in items:
        if not _METHOD.fullmatch(item):
            raise fault("is not a method", 'Write methods in upper case, like "GET"', item)
        if item in ("CONNECT", "TRACE"):
            raise fault("is never allowed", "Leave it out", item)
    return items


def _paths(items: tuple[str, ...]) -> tuple[str, ...]:
    for item in items:
        if "*" in item:
            raise fault("has a *; a path allows all below it anyway", 'Write it like "/items"', item)
        if not _PATH.fullmatch(usual_path(item.encode()).decode()):
            fix = 'Write it like "/items", without the query, other characters percent-encoded'
            raise fault("is not a path", fix, item)
        if climbs(item.encode()):
            raise fault("leads to a parent folder", "Write the path that it leads to", item)
    return tuple(usual_path(item.encode()).decode().rstrip("/") or "/" for item in items)


class Row(Entry):
    """One row. Without a `scheme` it allows tunnels: TLS is between Postern and the target, and the agent reads
    nothing. With one, the agent reads each request, checks its method and path, and sends it anew. A path allows all
    below it."""

    address: Annotated[StrictStr, AfterValidator(_address)]
    scheme: Literal["http", "https"] | None = None
    methods: Annotated[tuple[str, ...], BeforeValidator(_words), AfterValidator(_methods)] | None = None
    paths: Annotated[tuple[str, ...], BeforeValidator(_words), AfterValidator(_paths)] | None = None
    ca_bundle: Annotated[Path, AfterValidator(types.certificates)] | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        given = [name for name in ("methods", "paths", "ca_bundle") if getattr(self, name) is not None]
        if self.scheme is None and given:
            raise fault(
                f"has {given[0]} without a scheme, and what is in a tunnel is not read",
                'Write scheme = "https" or "http", and tls = "gateway" at the connection, or leave it out',
            )
        if self.scheme is not None and (missing := [each for each in ("methods", "paths") if each not in given]):
            raise fault(
                f"has a scheme without {missing[0]}, so nothing would be allowed",
                f"""Write {'methods = ["GET"]' if missing[0] == "methods" else 'paths = ["/items"]; "/" allows all'}""",
            )
        if self.scheme == "http" and self.ca_bundle is not None:
            raise fault("has a ca_bundle with http, which has no certificates", "Leave the ca_bundle out")
        return self

    @property
    def host(self) -> str:
        """The host name or address, without brackets."""
        return self.address.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port."""
        return int(self.address.rpartition(":")[2])

    @property
    def loopback(self) -> bool:
        """Whether the row itself may mean this machine: it says so, or has an address, which DNS cannot change."""
        return self.host == "localhost" or is_literal(self.host)
