"""`postern export connector`: the workflows as a custom connector of Power Platform."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from postern.access import GUID
from postern.audiences import is_client_id
from postern.cli.connector_steps import command, steps
from postern.cli.export_catalog import Partial, grouped, whole_catalog
from postern.cli.terminal import out, plain, stop
from postern.cli.workspace import Workspace, workspace
from postern.identity.issuers import tenant
from postern.openapi.connector import Address, Connector, address_of, connector_of
from postern.openapi.connector_auth import GATEWAY_KEY, REDIRECT_URL, ApiKey, Basic, Entra, NoSignIn, SignIn
from postern.openapi.connector_triggers import Choice, Remark, Visitor, Way, choose
from postern.openapi.document import openapi_document
from postern.openapi.export_error import ExportFault

DEFAULT_TITLE = "Postern workflows"


def add_to(export: typer.Typer) -> None:
    """Add the command to those of `postern export`."""
    export.command()(connector)


def connector(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="The folder to write the two files into.")
    ] = Path("connector"),
    auth: Annotated[
        Way,
        typer.Option(
            help="How people sign in. entra: as themselves. none: not at all, for anonymous workflows only. api_key "
            "and basic: at a gateway in front of Postern, which calls Postern with its own token as an application."
        ),
    ] = "entra",
    title: Annotated[str, typer.Option(help="The connector's name, at most 30 characters.")] = DEFAULT_TITLE,
    host: Annotated[
        str | None,
        typer.Option(help="Where the platform reaches this server, or the gateway. Default: POSTERN_PUBLIC_URL."),
    ] = None,
    resource: Annotated[
        str | None, typer.Option(help="The entry of POSTERN_AUDIENCE to request tokens for, if it has several.")
    ] = None,
    client_id: Annotated[
        str | None, typer.Option(help="The client id of the connector's own app registration. Never a secret.")
    ] = None,
    workflow: Annotated[
        list[str] | None, typer.Option(help="A workflow to include; may be repeated. Default: all that can be.")
    ] = None,
    key_header: Annotated[str, typer.Option(help="With api_key, the header that has the key.")] = GATEWAY_KEY,
    force: Annotated[bool, typer.Option("--force", help="Overwrite existing files.")] = False,
    partial: Partial = False,
) -> None:
    """Write the two files of a Power Platform custom connector, and print the steps that remain in the portal."""
    from postern.assembly import installation_of

    here = workspace()
    try:
        address = _address(here, host)
        own_client = _client_id(here, client_id)
        sign_in = _sign_in(here, auth, resource, own_client, key_header)
        snapshot = whole_catalog(here, partial=partial)
        visitor = Visitor(auth, here.settings.tenant_id, own_client, _audiences(here, sign_in))
        choice = choose(snapshot.triggers, visitor, workflow or ())
        document = openapi_document(choice.triggers, installation_of(here.settings, address.url))
        made = connector_of(document, address, sign_in, title)
    except ExportFault as fault:
        stop(str(fault), 2)
    _write(output, made.files(), force=force)
    _report(made, choice, here, sign_in)
    _line("Left to do:")
    for number, step in enumerate(steps(output, made, address, sign_in), start=1):
        _line(f"{number}. {plain(step)}")
    _line(f"A command can replace the steps with Import and Create: {plain(command(output, sign_in))}")


def _address(here: Workspace, host: str | None) -> Address:
    if host is not None:
        return address_of(host, "--host")
    if here.settings.public_url is None:
        raise ExportFault(
            "POSTERN_PUBLIC_URL is not set, and the platform needs the server's address. Set it, or give "
            "--host postern.example.com"
        )
    return address_of(here.settings.public_url, "POSTERN_PUBLIC_URL")


def _client_id(here: Workspace, given: str | None) -> str | None:
    """The client id, in lower case."""
    if given is None:
        return None
    if not GUID.fullmatch(given.lower()):
        raise ExportFault("--client-id: not a client id like 00000000-0000-0000-0000-000000000000")
    if given.lower() in (here.settings.client_id, *(audience.lower() for audience in here.settings.audience)):
        raise ExportFault(
            "--client-id: this is Postern's own registration. Register a separate app for the connector, so that it "
            "has its own secret and consent"
        )
    return given.lower()


def _sign_in(here: Workspace, auth: Way, resource: str | None, client_id: str | None, key_header: str) -> SignIn:
    """The way of signing in, with the settings that it needs."""
    if auth != "entra":
        for option, value in (("--client-id", client_id), ("--resource", resource)):
            if value is not None:
                raise ExportFault(f"{option} is for --auth entra. Leave it out")
        return ApiKey(_header(key_header)) if auth == "api_key" else Basic() if auth == "basic" else NoSignIn()
    settings = here.settings
    if here.local is not None or settings.tenant_id is None:
        raise ExportFault(
            "--auth entra: the local tenant exists on this machine only. Set POSTERN_TENANT_ID and POSTERN_AUDIENCE, "
            "or export the anonymous workflows with --auth none"
        )
    found = tenant(settings.tenant_id, settings.cloud, settings.authority)
    redirect = REDIRECT_URL if settings.cloud == "public" else None
    return Entra(_resource(settings.audience, resource), settings.tenant_id, found.authority, client_id, redirect)


def _resource(audiences: tuple[str, ...], chosen: str | None) -> str:
    """The resource to request tokens for: the one Application ID URI, or the one client id if there is no URI."""
    if chosen is not None:
        if chosen not in audiences:
            known = ", ".join(audiences) or "no entries"
            raise ExportFault(f"--resource {chosen}: choose an entry of POSTERN_AUDIENCE, which has {known}")
        return chosen
    uris = [audience for audience in audiences if "://" in audience]
    candidates = uris or list(audiences)
    if not candidates:
        raise ExportFault("POSTERN_AUDIENCE is not set, and tokens need an audience. Set it to your Application ID URI")
    if len(candidates) > 1:
        raise ExportFault(f"POSTERN_AUDIENCE has several entries. Choose one with --resource: {', '.join(candidates)}")
    return candidates[0]


def _audiences(here: Workspace, sign_in: SignIn) -> tuple[str, ...]:
    """The audiences that the platform's tokens can have: for Entra the resource (version 1.0) or the client id of its
    registration (version 2.0), and no other entry of POSTERN_AUDIENCE."""
    known = here.settings.audience
    if not isinstance(sign_in, Entra):
        return known
    own = (here.settings.client_id,) if here.settings.client_id else ()
    return tuple(each for each in (*known, *own) if each == sign_in.resource or GUID.fullmatch(each.lower()))


def _header(name: str) -> str:
    if not name.replace("-", "").isalnum() or not name.isascii():
        raise ExportFault(f"--key-header {name}: a header name has letters, digits and hyphens, like {GATEWAY_KEY}")
    if name.lower() == "authorization":
        raise ExportFault("--key-header: Authorization is for tokens. Choose another header, or --auth basic")
    return name


def _write(folder: Path, files: dict[str, str], *, force: bool) -> None:
    """Write both files, or none if one exists already."""
    existing = [str(folder / name) for name in files if (folder / name).exists()]
    if existing and not force:
        exist = "exist" if len(existing) > 1 else "exists"
        stop(f"{' and '.join(existing)} already {exist}; not overwritten. Choose another --output, or give --force")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text, encoding="ascii")
    except OSError as error:
        stop(f"--output: {error.filename} cannot be written: {error.strerror}.")
    _line(f"Wrote {' and '.join(files)} into {plain(folder)}.")


def _report(made: Connector, choice: Choice, here: Workspace, sign_in: SignIn) -> None:
    """Print the included workflows, those left out, notes, and details that the files cannot express."""
    _section("Included:", [", ".join(made.workflows())])
    _section("Left out:", _notes(choice.left_out))
    _section("Notes:", [*_notes(choice.notes), *_token_notes(here, sign_in)])
    _section("Not expressed in the files:", grouped(made.losses))


def _token_notes(here: Workspace, sign_in: SignIn) -> list[str]:
    if not isinstance(sign_in, Entra):
        return []
    notes = []
    if "://" not in sign_in.resource:
        notes.append(
            "POSTERN_AUDIENCE has no Application ID URI, so tokens are requested for Postern's client id. That works: "
            "tokens of both versions then have the client id as their audience."
        )
    elif here.settings.client_id is None and not any(map(is_client_id, here.settings.audience)):
        notes.append(
            "POSTERN_AUDIENCE has no client id, and POSTERN_CLIENT_ID is not set. Tokens of version 2 "
            "(requestedAccessTokenVersion 2) have Postern's client id as their audience and would be rejected. Set it."
        )
    if here.settings.authority is not None:
        notes.append(f"POSTERN_AUTHORITY is set: people sign in at {sign_in.login_uri}, which the platform must reach.")
    if sign_in.client_id is None:
        notes.append("No --client-id was given: enter it in the portal (step 5).")
    return notes


def _notes(things: Iterable[Remark]) -> list[str]:
    return [f"{each.workflow}: {each.what}" for each in things]


def _section(heading: str, lines: list[str]) -> None:
    if lines:
        _line(heading)
    for line in lines:
        _line(f"  - {plain(line, lines=True)}")


def _line(text: str) -> None:
    out.print(text, markup=False, highlight=False, soft_wrap=True)
