"""Reads gateway.toml, the agent's only settings. Every problem is reported at once, with its place and its fix."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, StrictBool, StrictStr, ValidationError, model_validator
from pydantic_core import ErrorDetails

from postern.clouds import AUTHORITIES
from postern.gateway.agent.rows import Row
from postern.proxy import Proxy
from postern.settings import types
from postern.settings.sources import SettingProblem, SettingsFault, did_you_mean, printable
from postern.settings.types import Entry, Guid, fault

STATUS_PORT = 8790
"""Where /healthz and /metrics are, on loopback."""

WAYS = ("certificate", "client_secret_file", "federated", "managed_identity")

_HEADER = re.compile(r"\s*\[\[?\s*([A-Za-z0-9_-]+)\s*\]")
_KEY = re.compile(r"\s*([A-Za-z0-9_-]+)\s*=")
_PLAIN_WORDS = {
    "missing": ("is missing", "Add it"),
    "string_type": ("is not a string", "Write a string, in quotes"),
    "bool_type": ("is neither true nor false", "Write true, without quotes"),
    "path_type": ("is not a path", "Write a string, in quotes"),
    "tuple_type": ("is not a list of tables", "Write [[allow]] above each row"),
    "model_type": ("is not a table", "Write { key = value }"),
    "model_attributes_type": ("is not a table", "Write { key = value }"),
}


def _file(path: Path) -> Path:
    try:
        with path.open("rb") as file:
            file.read(1)
    except (OSError, ValueError):
        raise fault("cannot be read", "Set it to an existing file that the agent's user can read") from None
    return path


def _certificate(path: Path) -> Path:
    content = _file(path).read_bytes()
    if b"-----BEGIN CERTIFICATE-----" not in content:
        raise fault("has no certificate in PEM", "Write the certificate and its private key into one PEM file")
    if b"ENCRYPTED" in content:
        raise fault("has a private key with a password", "Store the key without one, readable by the agent's user only")
    if b"PRIVATE KEY-----" not in content:
        raise fault("has no private key", "Write the certificate and its private key into one PEM file")
    return path


def _server(text: str) -> str:
    return types.base_url(text).rstrip("/")


def _servers(value: Any) -> tuple[str, ...]:
    items = types.texts(value)
    if not items:
        raise fault("is empty", 'Write servers = ["https://one.example", "https://two.example"]')
    return tuple(_server(item) for item in items)


class SignIn(Entry):
    """How the agent signs in at Entra: the application `client_id` with a `certificate` (PEM, with its key), the secret
    in `client_secret_file`, or a platform's token in the file `federated`; or the `managed_identity` of the machine
    (Azure, Azure Arc), the user-assigned one of `client_id` or the system-assigned one."""

    client_id: Guid | None = None
    certificate: Annotated[Path, AfterValidator(_certificate)] | None = None
    client_secret_file: Annotated[Path, AfterValidator(_file)] | None = None
    federated: Annotated[Path, AfterValidator(_file)] | None = None
    managed_identity: StrictBool = False

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        ways = [way for way in WAYS if getattr(self, way)]
        if len(ways) != 1:
            raise fault(f"has {' and '.join(ways) or 'no way to sign in'}", f"Write one of {', '.join(WAYS)}")
        if self.client_id is None and not self.managed_identity:
            raise fault("has no client_id", "Write the client id of the agent's app registration")
        return self

    @property
    def secret_files(self) -> list[Path]:
        """The files that only the agent's user should be able to read."""
        return [each for each in (self.certificate, self.client_secret_file, self.federated) if each is not None]


class AgentSettings(Entry):
    """gateway.toml. `name` is the gateway's, as in `[gateways.NAME]` of the server. `agent` is how this agent is shown,
    the machine's name if it is not set. `servers` names each node where a balancer is sticky."""

    name: types.EntryName
    agent: types.EntryName | None = None
    server: Annotated[StrictStr, AfterValidator(_server)] | None = None
    servers: Annotated[tuple[str, ...], BeforeValidator(_servers)] = ()
    tenant_id: Guid
    audience: StrictStr
    cloud: Literal["public", "usgov", "china"] = "public"
    authority: Annotated[StrictStr, AfterValidator(types.authority)] | None = None
    sign_in: SignIn
    proxy: Annotated[StrictStr, AfterValidator(types.proxy_url)] | None = None
    ca_bundle: Annotated[Path, AfterValidator(types.certificates)] | None = None
    status_port: Annotated[int, BeforeValidator(types.whole(0, 65535))] = STATUS_PORT
    log_format: Literal["console", "json"] | None = None
    allow: tuple[Row, ...] = Field(default=())

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if bool(self.server) == bool(self.servers):
            wrong = "has both server and servers" if self.server else "has no server"
            raise fault(wrong, 'Write server = "https://postern.example", or servers with the address of each node')
        types.audiences((self.audience,))
        ways: dict[str, Row] = {}
        for row in (row for row in self.allow if row.scheme):
            first = ways.setdefault(row.address, row)
            if first.scheme != row.scheme:
                raise fault(f"has rows with http and with https for {row.address}", "Write the one that is there")
            if first.ca_bundle != row.ca_bundle:
                raise fault(f"has rows with different ca_bundles for {row.address}", "Write the same one in each")
        return self

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses of the server, without a slash at the end."""
        return (self.server,) if self.server else self.servers

    @property
    def way_out(self) -> Proxy | None:
        """The proxy for the link and the sign-in. It never carries connections to targets."""
        return Proxy(self.proxy) if self.proxy else None

    @property
    def authority_url(self) -> str:
        """Where the agent signs in."""
        return self.authority or AUTHORITIES[self.cloud]


def load(path: Path) -> AgentSettings:
    """The settings in this file. Paths in it are relative to its folder. Raises SettingsFault with all problems."""
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError:
        raise _fault(path, f"there is no file {str(path)!r}", "Write it, or name another one with --config") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it is not text in UTF-8"
        raise _fault(path, f"the file cannot be read: {why}", "Check the file and its permissions") from None
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise _fault(path, f"is not valid TOML: {error}"[:300], "Correct the file") from None
    try:
        return AgentSettings(**_with_folder(document, path.absolute().parent))
    except ValidationError as error:
        lines = _lines(text)
        found = [_problem(detail, path.name, lines) for detail in error.errors(include_url=False)]
    raise SettingsFault(found)


def _fault(path: Path, wrong: str, fix: str) -> SettingsFault:
    return SettingsFault([SettingProblem(path.name, "", wrong, fix)])


def _with_folder(document: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The document with paths that do not depend on the working directory."""
    found = dict(document)
    for table in (found, sign_in := dict(found.get("sign_in", {})) if _is_table(found.get("sign_in")) else {}):
        for key in ("ca_bundle", "certificate", "client_secret_file", "federated"):
            if isinstance(table.get(key), str):
                table[key] = folder / table[key]
    if sign_in:
        found["sign_in"] = sign_in
    rows = found.get("allow")
    if isinstance(rows, list):
        found["allow"] = tuple(
            {**row, "ca_bundle": folder / row["ca_bundle"]} if _is_table(row) and "ca_bundle" in row else row
            for row in rows
        )
    return found


def _is_table(value: Any) -> bool:
    return isinstance(value, dict)


def _problem(detail: ErrorDetails, file: str, lines: Mapping[tuple[str | int, ...], int]) -> SettingProblem:
    """A pydantic error in plain words, with the place of the value."""
    place = detail["loc"]
    name = "".join(f"[{part + 1}]" if isinstance(part, int) else f".{printable(part)}" for part in place)[1:]
    line = next((lines[place[:n]] for n in range(len(place), 0, -1) if place[:n] in lines), None)
    source = f"{file} line {line}" if line else file
    context = detail.get("ctx", {})
    if detail["type"] == "setting":
        wrong, fix = context["wrong"], context["fix"]
    elif detail["type"] == "literal_error":
        wrong, fix = f"is not one of {context['expected']}", "Write one of these"
    elif detail["type"] == "extra_forbidden":
        wrong, fix = "is not a known key", did_you_mean(str(place[-1]), _known(place))
    else:
        wrong, fix = _PLAIN_WORDS.get(detail["type"], ("cannot be used", "See the page of the agent"))
    shown = "" if detail["type"] == "extra_forbidden" else _shown(place, context.get("part") or detail["input"])
    return SettingProblem(name or file, source if name else "", f"{shown} {wrong}".strip(), fix)


def _shown(place: tuple[str | int, ...], value: Any) -> str:
    """The value, or nothing if it is a table or could be a secret."""
    if not place or place[0] == "sign_in" or isinstance(value, bool) or not isinstance(value, str | int | Path):
        return ""
    text = str(value)
    return "" if "@" in text or "?" in text or len(text) > 100 else repr(text)


def _known(place: tuple[str | int, ...]) -> list[str]:
    models: dict[str, type[Entry]] = {"allow": Row, "sign_in": SignIn} if len(place) > 1 else {}
    return list(models.get(str(place[0]), AgentSettings).model_fields)


def _lines(text: str) -> dict[tuple[str | int, ...], int]:
    """The line of each key and table, by their place. It matches lines and does not parse TOML."""
    lines: dict[tuple[str | int, ...], int] = {}
    table: tuple[str | int, ...] = ()
    rows = 0
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            table = (header[1],)
            if line.lstrip().startswith("[["):
                table, rows = (header[1], rows), rows + 1
            lines.setdefault(table, number)
        elif key := _KEY.match(line):
            lines.setdefault((*table, key[1]), number)
    return lines
