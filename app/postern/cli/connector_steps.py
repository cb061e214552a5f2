"""The steps that remain after a connector's files are written, with the values filled in. Pure."""

import shlex
from pathlib import Path

from postern.openapi.connector import DEFINITION_FILE, PROPERTIES_FILE, Address, Connector
from postern.openapi.connector_auth import ApiKey, Basic, Entra, SignIn

SCOPE = "Workflow.Run.User"
"""The delegated permission of Postern's own registration."""

MAKER = "https://make.powerautomate.com"


def steps(folder: Path, connector: Connector, address: Address, sign_in: SignIn) -> list[str]:
    """The steps in order, each a short paragraph."""
    title = connector.definition["info"]["title"]
    operation = first_operation(connector)
    before = _registration(sign_in, title) if isinstance(sign_in, Entra) else _gateway(sign_in, address)
    test = f"Test tab: create a connection, sign in, and run {operation}. A 401 response says why in its detail."
    return [
        *before,
        (
            f"At {MAKER}, choose your environment, then Custom connectors, New custom connector, Import an OpenAPI "
            f"file: name {title}, file {folder / DEFINITION_FILE}."
        ),
        _security_tab(sign_in),
        *_after(sign_in),
        test if isinstance(sign_in, Entra) else f"Test tab: create a connection and run {operation}.",
        "Share the connector with its users, so that they can see it. Postern decides what they may run.",
    ]


def first_operation(connector: Connector) -> str:
    """The operation to test: the first, in the order of the paths."""
    item = next(iter(connector.definition["paths"].values()))
    return str(next(iter(item.values()))["operationId"])


def command(folder: Path, sign_in: SignIn) -> str:
    """The same steps by Microsoft's command-line tools, which read both files."""
    definition, properties = shlex.quote(str(folder / DEFINITION_FILE)), shlex.quote(str(folder / PROPERTIES_FILE))
    pac = f"pac connector create --api-definition-file {definition} --api-properties-file {properties}"
    paconn = f"paconn create --api-def {definition} --api-prop {properties}"
    if not isinstance(sign_in, Entra):
        return f"{pac}, or {paconn}."
    caveat = "paconn needs the client secret as --secret, which other programs can read; pac and the portal do not"
    placeholder = (
        "" if sign_in.client_id else f" Put the client id into {properties} first, or export with --client-id."
    )
    return f"{pac}, then enter the secret in the portal as above. Or {paconn}: {caveat}.{placeholder}"


def _registration(sign_in: Entra, title: str) -> list[str]:
    place = "https://entra.microsoft.com, App registrations"
    first = (
        f"At {place}: open the connector's own registration, client id {sign_in.client_id}."
        if sign_in.client_id
        else f"At {place}: register an app for the connector, named {title}, for accounts of this directory only. "
        "Note its client id; leave the redirect URI empty for now."
    )
    return [
        first,
        (
            f"API permissions: add a permission, My APIs or APIs my organization uses, {sign_in.resource}, delegated, "
            f"{SCOPE}, and the scopes listed above, if any; nothing else. Then grant admin consent, otherwise each "
            "user is asked for consent."
        ),
        (
            "Certificates & secrets: create a client secret and note its expiry date. Enter its value directly in the "
            "portal in a later step: put it into no file, no message and no command."
        ),
    ]


def _gateway(sign_in: SignIn, address: Address) -> list[str]:
    if not isinstance(sign_in, ApiKey | Basic):
        return []
    key = f"check the key in {sign_in.header}, remove it" if isinstance(sign_in, ApiKey) else ""
    what = key or "check user name and password, remove them"
    return [
        (
            f"At the gateway at {address.url}, which is not Postern: {what}, and call Postern with a "
            "token of the gateway's own identity. Postern accepts no keys or passwords, and its caller is the gateway "
            "instead of people: every caller that the gateway admits may use every workflow listed above."
        )
    ]


def _security_tab(sign_in: SignIn) -> str:
    """The settings that the import leaves out, because only the command-line tools read apiProperties.json."""
    if isinstance(sign_in, Entra):
        client = sign_in.client_id or "the one from step 1"
        return (
            "Security tab: OAuth 2.0, identity provider Azure Active Directory (or Microsoft Entra ID), "
            f"Client ID {client}, Client secret the one from step 3, Authorization URL {sign_in.login_uri}, "
            f"Tenant ID {sign_in.tenant_id}, Resource URL {sign_in.resource}, "
            "Enable on-behalf-of login false, Scope empty."
        )
    if isinstance(sign_in, ApiKey):
        return f"Security tab: API Key, label Key, name {sign_in.header}, location Header. Do not enter a key here."
    if isinstance(sign_in, Basic):
        return "Security tab: Basic authentication. Do not enter a password here: each connection has its own."
    return "Security tab: No authentication."


def _after(sign_in: SignIn) -> list[str]:
    if not isinstance(sign_in, Entra):
        return ["Create connector."]
    return [
        "Create connector. The Security tab now shows the Redirect URL, which is specific to this connector: copy it.",
        (
            "At the app registration again, Authentication, add a platform, Web: paste the Redirect URL. Enable no "
            "implicit grant, and add no other URL."
        ),
    ]
