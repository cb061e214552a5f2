"""How Postern's own application (POSTERN_CLIENT_ID) authenticates when it exchanges a code: by its client secret, or by
the federated identity that `entra` entries use."""

from collections.abc import Callable

from postern.connections.auth.entry_secret import EntrySecret
from postern.connections.auth.sign_in_context import SignInContext
from postern.connections.authorization import ClientProof, federated_proof
from postern.settings import SecretReference

ENTRY = "POSTERN_CLIENT_ID"


class OwnProof:
    """`secret_name` is the secret's name in the Key Vault; with "" the federated identity is used. `around` returns
    what signing in needs, when it is first needed."""

    def __init__(self, client_id: str, secret_name: str, around: Callable[[], SignInContext]) -> None:
        self._client_id = client_id
        self._secret_name = secret_name
        self._around = around
        self._of_vault: EntrySecret | None = None

    async def make(self) -> ClientProof:
        """The proof for one exchange. Raises ConnectionFault."""
        secret = self._secret
        if secret is None:
            return await federated_proof(ENTRY, self._client_id, self._around())
        return ClientProof(self._client_id, secret.line(await secret.read()))

    async def another(self, rejected: ClientProof) -> ClientProof | None:
        """The proof by a secret that has replaced the rejected one meanwhile; None if there is none. Raises
        ConnectionFault."""
        secret = self._secret
        newer = await secret.another(rejected.secret) if secret is not None else None
        return ClientProof(self._client_id, secret.line(newer)) if secret is not None and newer is not None else None

    @property
    def _secret(self) -> EntrySecret | None:
        if self._of_vault is None and self._secret_name:
            reference = SecretReference(key_vault=self._secret_name)
            self._of_vault = EntrySecret(ENTRY, "client_secret", reference, self._around().secrets)
        return self._of_vault
