"""The token that an application uses in place of a secret: of a managed identity, or of a cluster's service account.

Reference: learn.microsoft.com/entra/workload-id/workload-identity-federation.
"""

import asyncio
import os
from dataclasses import replace
from typing import TYPE_CHECKING

from postern.access import default_scope
from postern.connections.auth.entra_errors import EXCHANGE_AUDIENCES, TokenDetails
from postern.connections.auth.entra_token_request import request_token
from postern.connections.faults import ConnectionFault

if TYPE_CHECKING:
    from collections.abc import Callable

    from azure.core.credentials_async import AsyncTokenCredential

    from postern.azure_clients import Note
    from postern.connections.auth.sign_in_context import SignInContext


async def federated_assertion(entry: str, around: "SignInContext", details: TokenDetails, until: float) -> str:
    """The token of the identity in POSTERN_AZURE_CREDENTIAL, for the application of these details. Raises
    ConnectionFault."""
    if around.azure_credential == "workload_identity":
        return await asyncio.to_thread(_service_account_token, entry)
    if around.azure_credential != "managed_identity":
        raise ConnectionFault(
            entry,
            "has federated = true, but there is no identity here to sign in with",
            "Set POSTERN_AZURE_CREDENTIAL to managed_identity or workload_identity, in Azure or a cluster; on a "
            "laptop, write client_secret in its place",
        )
    scope = default_scope(EXCHANGE_AUDIENCES.get(around.authority, EXCHANGE_AUDIENCES[""]))
    client_id = os.environ.get("AZURE_CLIENT_ID")
    details = replace(details, way="managed_identity", client_id=client_id or "", scope=scope)
    found = await request_token(entry, details, (scope,), identity_of(client_id, around), until)
    return found.token


def identity_of(client_id: str | None, around: "SignInContext") -> "Callable[[Note], AsyncTokenCredential]":
    """Makes the credential of a managed identity: the user-assigned one of `client_id`, or the system-assigned one."""

    def make(note: "Note") -> "AsyncTokenCredential":
        from postern.azure_clients import managed_identity_credential

        return managed_identity_credential(client_id, around.authority, around.ca_bundle, note)

    return make


def _service_account_token(entry: str) -> str:
    from postern.azure_clients import federated_token_file

    try:
        return federated_token_file().read_text("utf-8").strip()
    except (LookupError, OSError, ValueError) as error:
        why = f": {error.args[0]}" if isinstance(error, LookupError) else ""
    raise ConnectionFault(
        entry,
        f"has federated = true, but the cluster's token cannot be read{why}",
        "Let the cluster's workload identity set AZURE_FEDERATED_TOKEN_FILE (label and service account of the pod)",
    )
