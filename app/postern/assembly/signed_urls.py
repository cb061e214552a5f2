"""Signed URLs: for senders that can send no token."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from postern.access import Caller
from postern.assembly.foundation import Foundation
from postern.assembly.installation import installation_of
from postern.assembly.once import Once
from postern.assembly.part import Part
from postern.catalog import Trigger
from postern.connections.faults import ConnectionFault
from postern.connections.vault.secret import NoSuchSecret
from postern.connections.vault.vault import Vault
from postern.errors import problem
from postern.journal.audit_event import Kind
from postern.journal.reading.readers import SERVER
from postern.journal.signed_urls import SignedUrl
from postern.security.audit.log import Note
from postern.security.signed_urls.check import SignedUrls
from postern.security.signed_urls.keys import UrlKeys
from postern.security.signed_urls.links import Links
from postern.triggers.gate import add_header
from postern.triggers.secure_transport import Scope, unsafe

if TYPE_CHECKING:
    from postern.api.signed_url_actions import SignedUrlActions

MakeSecret = Callable[[str], None]
"""Makes a secret of this name, of 32 random bytes, where the vault is that of a local tenant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedUrlsPart(Part):
    """`sender` and `still` are for the Gate. `actions` returns what operators do."""

    sender: Callable[[Trigger, Scope], Awaitable[Caller]]
    still: Callable[[Trigger, Caller], Awaitable[None]]
    actions: Callable[[], "SignedUrlActions"]


def signed_urls_part(base: Foundation, make_secret: MakeSecret | None) -> SignedUrlsPart:
    """Uses are written while the server runs."""
    journal, catalog, installation = base.journal, base.catalog, installation_of(base.settings)
    keys = UrlKeys(partial(_read, base.connections.connections.vault), make=make_secret)
    links = Links(partial(journal.read, caller=SERVER), journal.write)

    def actions() -> "SignedUrlActions":
        from postern.api.signed_url_actions import SignedUrlActions  # for pages only

        return SignedUrlActions(
            journal.read,
            journal.write,
            catalog.snapshot,
            keys.to_sign,
            installation.server_url,
            changed=links.forget,
            made=partial(_note_made, base.note),
            revoked=partial(_note_revoked, base.note),
        )

    urls = SignedUrls(keys, links, unsafe, add_header)

    @asynccontextmanager
    async def life() -> AsyncIterator[None]:
        yield
        await links.aclose()

    return SignedUrlsPart(
        sender=urls.sender,
        still=urls.still,
        actions=Once(actions),
        life=life,
        tasks=(links.run,),
    )


async def _read(vault: Vault, name: str, *, fresh: bool) -> str | None:
    """A secret of the vault, None if it has none of this name. Raises Problem if the vault cannot be asked."""
    try:
        return (await (vault.read_now(name) if fresh else vault.read(name))).value
    except NoSuchSecret:
        return None
    except ConnectionFault as fault:
        raise problem("signing-key-unavailable", reason=str(fault)) from None


def _note_made(note: Note, row: SignedUrl, by: Caller) -> None:
    fields = {"link": row.id, "key": row.key, "expires_at": row.expires_at}
    note(Kind.SIGNED_URL_MADE, by=by, workflow=row.workflow, fields=fields)


def _note_revoked(note: Note, row: SignedUrl, by: Caller) -> None:
    note(Kind.SIGNED_URL_REVOKED, by=by, workflow=row.workflow, fields={"link": row.id})
