"""How the client of one entry authenticates at its token endpoint: by its secret, or, at Entra, by a certificate or the
federated identity that `entra` entries use."""

import asyncio
from dataclasses import dataclass, field

from postern.connections.auth.entry_secret import EntrySecret
from postern.connections.auth.sign_in_context import SignInContext
from postern.connections.authorization import ClientProof, federated_proof
from postern.connections.vault.secret import Secret
from postern.settings import GrantedAuth


@dataclass(frozen=True, slots=True)
class Made:
    """A proof, and the value of the secret that it was made with; "" if there is no secret."""

    proof: ClientProof
    value: str = field(default="", repr=False)


class EntryProof:
    """The proof of one entry. `entry` is its full name."""

    def __init__(self, entry: str, auth: GrantedAuth, context: SignInContext) -> None:
        self._entry = entry
        self._auth = auth
        self._context = context
        key = "certificate" if auth.certificate is not None else "client_secret"
        reference = auth.certificate or auth.client_secret
        self._secret = EntrySecret(entry, key, reference, context.secrets) if reference is not None else None

    async def make(self, endpoint: str) -> Made:
        """The proof for a request to this endpoint. Raises ConnectionFault."""
        if self._secret is None:
            return Made(await federated_proof(self._entry, self._auth.client_id, self._context))
        return await self._by(self._secret, await self._secret.read(), endpoint)

    async def another(self, endpoint: str, rejected: Made) -> Made | None:
        """The proof by a secret that has replaced that of the rejected proof meanwhile; None if there is none. Raises
        ConnectionFault."""
        if self._secret is None:
            return None
        newer = await self._secret.another(rejected.value)
        return await self._by(self._secret, newer, endpoint) if newer is not None else None

    async def _by(self, kept: EntrySecret, secret: Secret, endpoint: str) -> Made:
        client_id = self._auth.client_id
        if self._auth.certificate is not None:
            return Made(ClientProof(client_id, assertion=await self._assertion(secret, endpoint)), secret.value)
        in_header = self._auth.authentication == "header"
        return Made(ClientProof(client_id, kept.line(secret), in_header=in_header), secret.value)

    async def _assertion(self, secret: Secret, endpoint: str) -> str:
        """Signed in a thread: checking a private key takes about 100 ms."""

        def signed() -> str:
            from postern.connections.auth.certificate_chain import signed_with_chain
            from postern.connections.auth.certificates import read_certificate

            certificate = read_certificate(self._entry, secret)
            return signed_with_chain(certificate.content, self._auth.client_id, endpoint)

        return await asyncio.to_thread(signed)
