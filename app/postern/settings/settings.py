"""The settings of one installation: POSTERN_ variables, `.env` and `postern.toml`. All problems are reported at once.

`load_settings` is the only function that makes Settings. They are valid and immutable. No setting is a secret: secrets
are in Key Vault, and the settings name them.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StrictStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from postern.proxy import Proxy
from postern.settings import security, types
from postern.settings.entries import Connection, Trigger, in_cloud
from postern.settings.gateways import Gateway, beside_config, problems_of_gateways
from postern.settings.mcp import DEFAULT_SCOPE, on_or_off, scope_name
from postern.settings.own_application import problems_of
from postern.settings.problems import problem_of
from postern.settings.sources import (
    PREFIX,
    TABLES,
    Found,
    Layer,
    SettingProblem,
    SettingsFault,
    read_dotenv,
    read_environment,
    read_toml,
)


class Settings(BaseModel):
    """The operator's settings. Times are in seconds unless the name says otherwise. Ids are lower-case GUIDs."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True)

    tenant_id: types.Guid | None = Field(None, description="The Entra tenant whose users and applications may call")
    audience: Annotated[types.Texts, AfterValidator(types.audiences)] = Field(
        (),
        description="Accepted token audiences: Application ID URI and client id, separated by a comma: `api://ID,ID`",
    )
    cloud: Literal["public", "usgov", "china"] = Field(
        "public", description="The Microsoft cloud of the tenant: `public`, `usgov` or `china`"
    )
    authority: Annotated[StrictStr, AfterValidator(types.authority)] | None = Field(
        None, description="The address of Entra, if it is not the cloud's: https, or http on loopback"
    )
    client_id: types.Guid | None = Field(None, description="The client id of Postern's own app registration")
    client_secret_name: types.VaultName | None = Field(
        None, description="The name in Key Vault of that app registration's secret"
    )
    key_vault_url: Annotated[StrictStr, AfterValidator(types.vault_url)] | None = Field(
        None, description="The address of the Key Vault: https"
    )
    grants_key_name: types.VaultName | None = Field(
        None, description="The name in Key Vault of the key that seals granted tokens: 32 random bytes in base64url"
    )
    audit_key_name: types.VaultName | None = Field(
        None, description="The name in Key Vault of the key that signs the audit log: an Ed25519 private key in PEM"
    )
    durable_key_name: types.VaultName | None = Field(
        None, description="The name in Key Vault of the key that seals durable runs: 32 random bytes in base64url"
    )
    durable_workers: Annotated[int, BeforeValidator(types.whole(1, 1000))] = Field(
        32, description="How many durable runs each server process executes at the same time"
    )
    durable_waiting: types.AtLeastOne = Field(
        10_000, description="How many accepted durable runs may wait to be started; more are rejected with 429"
    )
    max_result_bytes: types.AtLeastOne = Field(
        1_048_576, description="The largest result of a step of a durable run, in bytes of JSON"
    )
    audit_file: Path | None = Field(None, description="A file to which checkpoints of the audit log are written too")
    azure_credential: Literal["managed_identity", "workload_identity", "client_secret", "developer"] | None = Field(
        None,
        description="How to sign in to Azure: `managed_identity`, `workload_identity`, `client_secret` or `developer`",
    )
    ca_bundle: Annotated[Path, AfterValidator(types.certificates)] | None = Field(
        None, description="A PEM file of the certificate authorities to trust for all outgoing calls"
    )
    proxy: Annotated[StrictStr, AfterValidator(types.proxy_url)] | None = Field(
        None, description="The proxy for all outgoing calls, such as `http://proxy.example:3128`"
    )
    no_proxy: Annotated[types.Texts, AfterValidator(types.hosts)] = Field(
        (), description="Hosts, domains and networks to call without the proxy, separated by commas"
    )
    database_url: Annotated[StrictStr, AfterValidator(types.database_url), AfterValidator(types.passwordless_url)] = (
        Field(
            "sqlite:///var/postern.db",
            description="Where runs are recorded: `sqlite:///` or `postgresql://`",
            repr=False,
        )
    )
    workflows: Path = Field(Path("workflows"), description="The folder of workflows")
    config: Path = Field(Path("postern.toml"), description="The file of settings and tables")
    host: Annotated[StrictStr, AfterValidator(types.host)] = Field("127.0.0.1", description="The address to listen on")
    port: Annotated[int, BeforeValidator(types.whole(0, 65535))] = Field(
        8080, description="The port to listen on; 0 means any free port"
    )
    public_url: Annotated[StrictStr, AfterValidator(types.public_url)] | None = Field(
        None, description="The address at which callers reach this server"
    )
    trusted_proxies: Annotated[types.Texts, AfterValidator(types.proxies)] = Field(
        (), description="Addresses and networks of proxies whose X-Forwarded headers are trusted, separated by commas"
    )
    allowed_networks: Annotated[types.Texts, AfterValidator(security.networks)] = Field(
        (), description="Networks that requests may come from, but those for health and metrics; empty means any"
    )
    operators: types.Guids = Field((), description="Object ids of the operators, separated by commas")
    console: Literal["people", "operators", "off"] = Field(
        "people", description="Who sees the pages below `/console`: `people` of the tenant, `operators`, or `off`"
    )
    mcp: Annotated[bool, BeforeValidator(on_or_off)] = Field(
        True, description="Whether workflows with `tool=` are tools for agents at `/mcp`: `on` or `off`"
    )
    mcp_scope: Annotated[StrictStr, AfterValidator(scope_name)] = Field(
        DEFAULT_SCOPE,
        description="The scope that clients of `/mcp` request: `.default`, or the name of a delegated scope, whose "
        "tokens are then refused elsewhere if they have no other scope",
    )
    session_idle_minutes: Annotated[int, BeforeValidator(types.whole(1, 1440))] = Field(
        30, description="Minutes without a request after which a person has to sign in to the console again"
    )
    session_hours: Annotated[int, BeforeValidator(types.whole(1, 168))] = Field(
        12, description="Hours after which a person has to sign in to the console again in any case"
    )
    max_body_bytes: types.AtLeastOne = Field(
        1_048_576, description="The largest request body that a trigger accepts, in bytes"
    )
    retention_days: Annotated[int, BeforeValidator(types.whole(1, 36500))] = Field(
        30, description="Days for which records are kept"
    )
    database_max_bytes: Annotated[int, BeforeValidator(types.whole(67_108_864, 10**15))] = Field(
        8_589_934_592,
        description="Bytes for records: runs of anonymous callers get half of them, idempotency keys an eighth",
    )
    clock_leeway: Annotated[int, BeforeValidator(types.whole(0, 300))] = Field(
        60, description="Clock difference in seconds that is allowed when a token's times are checked"
    )
    keys_max_age: Annotated[int, BeforeValidator(types.whole(1))] = Field(
        3600, description="Seconds after which signing keys are refreshed in the background"
    )
    keys_cooldown: Annotated[int, BeforeValidator(types.whole(1))] = Field(
        30, description="Least seconds between two fetches of signing keys because of unknown key ids"
    )
    keys_stale: Annotated[int, BeforeValidator(types.whole(1))] = Field(
        86400,
        description="Seconds for which signing keys are used if Entra is unreachable; "
        "they are refreshed after half that time at the latest",
    )
    secret_max_age: Annotated[int, BeforeValidator(types.whole(0))] = Field(
        300, description="Seconds for which a secret from Key Vault is cached"
    )
    log_format: Literal["console", "json"] | None = Field(
        None, description="`console` or `json`; if unset, `console` on a terminal and `json` elsewhere"
    )
    people: Mapping[types.PersonName, types.Guid] = Field({}, description="Short names for object ids")
    gateways: Mapping[types.EntryName, Gateway] = Field(
        {}, description="Gateways, by which entries are reached in a private network"
    )
    connections: Annotated[Mapping[types.EntryName, Connection], AfterValidator(in_cloud())] = Field(
        {}, description="Outside systems that workflows may reach"
    )
    triggers: Annotated[Mapping[types.EntryName, Trigger], AfterValidator(in_cloud())] = Field(
        {}, description="Triggers elsewhere that workflows may call"
    )
    auth_contexts: Mapping[types.EntryName, security.AuthContext] = Field(
        {}, description="Short names for authentication contexts of Conditional Access"
    )
    findings: security.Findings = Field(security.Findings(), description="What happens with findings")
    access: security.AccessReview = Field(security.AccessReview(), description="What `postern access` expects")
    limits: security.Limits = Field(security.Limits(), description="Rates of requests")

    @property
    def way_out(self) -> Proxy | None:
        """The proxy for outgoing calls, and the hosts that are called without it."""
        return Proxy(self.proxy, self.no_proxy) if self.proxy is not None else None


_NAMES = tuple(name for name in Settings.model_fields if name not in TABLES)


def load_settings(
    environ: Mapping[str, str] | None = None,
    *,
    folder: Path = Path(),
    defaults: Mapping[str, Any] | None = None,
) -> Settings:
    """The settings of `environ` (the process's if None), then `.env` and `postern.toml` in `folder`, then `defaults`.
    Tables are merged entry by entry. Raises SettingsFault with all problems."""
    problems: list[SettingProblem] = []
    found, config = _read(os.environ if environ is None else environ, folder, _defaults(defaults or {}), problems)
    found = beside_config(found, config.parent)
    try:
        settings = Settings(**_nested(found) | {"config": config})
        problems += _between(settings, found)
    except ValidationError as error:
        problems += (problem_of(detail, found, Settings.model_fields) for detail in error.errors(include_url=False))
    if problems:
        raise SettingsFault(problems)
    return settings


def load_address(environ: Mapping[str, str] | None = None, *, folder: Path = Path()) -> tuple[str, int]:
    """Only the host and the port, from the same sources. Problems of other settings are ignored. Raises SettingsFault
    if one of the two cannot be used."""
    found, _ = _read(os.environ if environ is None else environ, folder, {}, [])
    here: Layer = {place: value for place, value in found.items() if place in (("host",), ("port",))}
    try:
        settings = Settings(**_nested(here))
    except ValidationError as error:
        raise SettingsFault(
            problem_of(detail, here, Settings.model_fields) for detail in error.errors(include_url=False)
        ) from None
    return settings.host, settings.port


def settings_table() -> list[tuple[str, str, str]]:
    """The variable, the default ("" if there is none) and the description of every setting that is not a table."""
    return [
        (PREFIX + name.upper(), _shown_default(field), field.description or "")
        for name, field in Settings.model_fields.items()
        if name in _NAMES
    ]


def _read(
    environ: Mapping[str, str], folder: Path, handed_in: Layer, problems: list[SettingProblem]
) -> tuple[Layer, Path]:
    """The merged values of all sources by precedence, and the path of the settings file."""
    environment = read_environment(environ, _NAMES, problems)
    dotenv = read_dotenv(folder / ".env", _NAMES, problems)
    named_by = next((layer["config",] for layer in (environment, dotenv, handed_in) if ("config",) in layer), None)
    config = folder / (named_by.value if named_by else Settings.model_fields["config"].default)
    return handed_in | read_toml(config, _NAMES, problems, named_by=named_by) | dotenv | environment, config


def _shown_default(field: FieldInfo) -> str:
    if isinstance(field.default, bool):
        return "on" if field.default else "off"
    return "" if field.default in (None, (), PydanticUndefined) else str(field.default)


def _defaults(defaults: Mapping[str, Any]) -> Layer:
    layer: Layer = {}
    for name, value in defaults.items():
        if name in TABLES and isinstance(value, Mapping):
            layer |= {(name, entry): Found(part, name, "defaults") for entry, part in value.items()}
        else:
            layer[name,] = Found(value, name, "defaults")
    return layer


def _nested(found: Layer) -> dict[str, Any]:
    """Values by field. If a source sets a table to something else, the entries of lower sources are ignored."""
    values: dict[str, Any] = {}
    for place, value in sorted(found.items(), key=lambda item: -len(item[0])):
        if len(place) == 1:
            values[place[0]] = value.value
        else:
            values.setdefault(place[0], {})[place[1]] = value.value
    return values


def _between(settings: Settings, found: Layer) -> Iterator[SettingProblem]:
    """What is wrong with entries because of other settings."""
    of_application = problems_of(settings.connections, settings.triggers, settings.tenant_id, settings.client_id)
    of_gateways = problems_of_gateways(settings.gateways, settings.people, settings.connections, settings.triggers)
    for place, wrong, fix in (*of_application, *of_gateways):
        yield SettingProblem(*found[place[:2]].at(place), wrong, fix)
