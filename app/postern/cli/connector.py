"""`postern export connector`: the workflows as a custom connector of Power Platform."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from postern.access import GUID
from postern.cli.connector_steps import command, steps
from postern.cli.export_catalog import Partial, whole_catalog
from postern.cli.terminal import out, plain, stop
from postern.cli.workspace import Workspace, workspace
from postern.identity.issuers import tenant
from postern.openapi.connector import Address, Connector, address_of, connector_of
from postern.openapi.connector_auth import GATEWAY_KEY, REDIRECT_URL, ApiKey, Basic, Entra, NoSignIn, SignIn
from postern.openapi.connector_triggers import Choice, Remark, Visitor, Way, choose
from postern.openapi.conversion_loss import Loss
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
            "and basic: at a gateway in front of Postern, which calls on with a token of its own as an application."
        ),
    ] = "entra",
    title: Annotated[str, typer.Option(help="What the connector is called, in at most 30 characters.")] = DEFAULT_TITLE,
    host: Annotated[
        str | None,
        typer.Option(help="Where the platform reaches this server, or the gateway. POSTERN_PUBLIC_URL else."),
    ] = None,
    resource: Annotated[
        str | None, typer.Option(help="Which entry of POSTERN_AUDIENCE to ask tokens for, where there are several.")
    ] = None,
    client_id: Annotated[
        str | None, typer.Option(help="The client id of the connector's own app registration. Never a secret.")
    ] = None,
    workflow: Annotated[
        list[str] | None, typer.Option(help="A workflow to put in; may be given several times. All that can be, else.")
    ] = None,
    key_header: Annotated[str, typer.Option(help="With api_key, the header that the key goes in.")] = GATEWAY_KEY,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that are there.")] = False,
    partial: Partial = False,
) -> None:
    """Write the two files of a Power Platform custom connector, and say what is left to do in the portal."""
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
    _line(f"In place of steps with Import and Create, by a command: {plain(command(output, sign_in))}")


def _address(here: Workspace, host: str | None) -> Address:
    if host is not None:
        return address_of(host, "--host")
    if here.settings.public_url is None:
        raise ExportFault(
            "POSTERN_PUBLIC_URL is not set, and the platform must know where to call. Set it, or give "
            "--host postern.example.com"
        )
    return address_of(here.settings.public_url, "POSTERN_PUBLIC_URL")


def _client_id(here: Workspace, given: str | None) -> str | None:
    """The client id, in lower case."""
    if given is None:
        return None
    if not GUID.fullmatch(given.lower()):
        raise ExportFault("--client-id: that is not a client id like 00000000-0000-0000-0000-000000000000")
    if given.lower() in (here.settings.client_id, *(audience.lower() for audience in here.settings.audience)):
        raise ExportFault(
            "--client-id: that is Postern's own registration. Register an app for the connector, so that its secret "
            "and its consent are its own"
        )
    return given.lower()


def _sign_in(here: Workspace, auth: Way, resource: str | None, client_id: str | None, key_header: str) -> SignIn:
    """The way of signing in, with what it needs of the settings."""
    if auth != "entra":
        for option, value in (("--client-id", client_id), ("--resource", resource)):
            if value is not None:
                raise ExportFault(f"{option} is for --auth entra. Leave it out")
        return ApiKey(_header(key_header)) if auth == "api_key" else Basic() if auth == "basic" else NoSignIn()
    settings = here.settings
    if here.local is not None or settings.tenant_id is None:
        raise ExportFault(
            "--auth entra: the local tenant is on this machine only. Set POSTERN_TENANT_ID and POSTERN_AUDIENCE to "
            "your own, or export the anonymous workflows with --auth none"
        )
    found = tenant(settings.tenant_id, settings.cloud, settings.authority)
    redirect = REDIRECT_URL if settings.cloud == "public" else None
    return Entra(_resource(settings.audience, resource), settings.tenant_id, found.authority, client_id, redirect)


def _resource(audiences: tuple[str, ...], chosen: str | None) -> str:
    """What tokens are asked for: the one Application ID URI, or the one client id where there is no URI."""
    if chosen is not None:
        if chosen not in audiences:
            known = ", ".join(audiences) or "nothing"
            raise ExportFault(f"--resource {chosen}: choose an entry of POSTERN_AUDIENCE, which has {known}")
        return chosen
    uris = [audience for audience in audiences if "://" in audience]
    candidates = uris or list(audiences)
    if not candidates:
        raise ExportFault(
            "POSTERN_AUDIENCE is not set, and tokens must be for something. Set it to your Application ID URI"
        )
    if len(candidates) > 1:
        raise ExportFault(f"POSTERN_AUDIENCE has several entries. Choose one with --resource: {', '.join(candidates)}")
    return candidates[0]


def _audiences(here: Workspace, sign_in: SignIn) -> tuple[str, ...]:
    """What the tokens of the platform may be issued for: for Entra the resource (version 1.0) or the client id of its
    registration (version 2.0), and no other entry of POSTERN_AUDIENCE."""
    known = here.settings.audience
    if not isinstance(sign_in, Entra):
        return known
    return tuple(each for each in known if each == sign_in.resource or GUID.fullmatch(each.lower()))


def _header(name: str) -> str:
    if not name.replace("-", "").isalnum() or not name.isascii():
        raise ExportFault(
            f"--key-header {name}: a header has a name of letters, digits and hyphens, like {GATEWAY_KEY}"
        )
    if name.lower() == "authorization":
        raise ExportFault("--key-header: Authorization is for tokens. Choose another header, or --auth basic")
    return name


def _write(folder: Path, files: dict[str, str], *, force: bool) -> None:
    """Both files or none, as far as can be known before."""
    there = [str(folder / name) for name in files if (folder / name).exists()]
    if there and not force:
        stop(f"{' and '.join(there)} is there already; nothing was written. Choose another --output, or give --force")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text, encoding="ascii")
    except OSError as error:
        stop(f"--output: {error.filename} cannot be written: {error.strerror}.")
    _line(f"Wrote {' and '.join(files)} into {plain(folder)}.")


def _report(made: Connector, choice: Choice, here: Workspace, sign_in: SignIn) -> None:
    """What is in, what is not, what to look after, and what was lost."""
    _say("In it:", [", ".join(made.workflows())])
    _say("Left out:", _told(choice.left_out))
    _say("Look after:", [*_told(choice.notes), *_about_tokens(here, sign_in)])
    _say("What the files cannot say:", _grouped(made.losses))


def _about_tokens(here: Workspace, sign_in: SignIn) -> list[str]:
    if not isinstance(sign_in, Entra):
        return []
    told = []
    if "://" not in sign_in.resource:
        told.append(
            "POSTERN_AUDIENCE has no Application ID URI, so tokens are asked for by Postern's client id: that works, "
            "and is what tokens of either version then have as their audience."
        )
    elif not any(GUID.fullmatch(audience.lower()) for audience in here.settings.audience):
        told.append(
            "POSTERN_AUDIENCE has no client id: tokens of version 2 (requestedAccessTokenVersion 2) are for it, and "
            "would be refused. Add Postern's client id to it."
        )
    if here.settings.authority is not None:
        told.append(f"POSTERN_AUTHORITY is set: people sign in at {sign_in.login_uri}, which the platform must reach.")
    if sign_in.client_id is None:
        told.append("No --client-id was given: the portal asks for it (step 5).")
    return told


def _told(things: Iterable[Remark]) -> list[str]:
    return [f"{each.workflow}: {each.what}" for each in things]


def _grouped(losses: Iterable[Loss]) -> list[str]:
    """Each sentence once, with the places that it is true of."""
    places: dict[str, list[str]] = {}
    for loss in losses:
        places.setdefault(loss.what, []).append(loss.where)
    return [
        plain(what) + "".join(f"\n      at {plain(each)}" for each in where if each) for what, where in places.items()
    ]


def _say(heading: str, lines: list[str]) -> None:
    if lines:
        _line(heading)
    for line in lines:
        _line(f"  - {plain(line, lines=True)}")


def _line(text: str) -> None:
    out.print(text, markup=False, highlight=False, soft_wrap=True)
