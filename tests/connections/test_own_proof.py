"""How Postern's own application authenticates when it exchanges a code."""

from pathlib import Path

import pytest

from postern.connections.auth.sign_in_context import SignInContext
from postern.connections.authorization import ClientProof
from postern.connections.faults import ConnectionFault
from postern.connections.own_proof import OwnProof
from postern.connections.vault.secret import Secret
from postern.http_client import http_client

pytestmark = pytest.mark.anyio


class Vault:
    """A vault with one secret, of which `read` may know an older value."""

    def __init__(self, *values: str) -> None:
        self.values = list(values)

    async def read(self, name: str) -> Secret:
        return Secret(name, self.values[0])

    async def read_again(self, name: str, refused: str) -> Secret:
        return Secret(name, self.values[-1])


def around(vault: Vault, credential: str | None = None) -> SignInContext:
    return SignInContext(
        vault, http_client(), "https://login.example", "tenant", "client", ca_bundle=None, azure_credential=credential
    )


async def test_the_client_secret_of_the_vault_is_the_proof():
    proof = OwnProof("client", "the-secret", lambda: around(Vault("value")))
    assert await proof.make() == ClientProof("client", "value")


async def test_a_secret_that_was_replaced_is_read_again_and_the_same_one_is_none():
    proof = OwnProof("client", "the-secret", lambda: around(Vault("old", "new")))
    assert await proof.another(await proof.make()) == ClientProof("client", "new")
    unchanged = OwnProof("client", "the-secret", lambda: around(Vault("old")))
    assert await unchanged.another(await unchanged.make()) is None


@pytest.mark.parametrize("value", ["", "line\n", " x"])
async def test_a_secret_that_is_not_one_line_names_its_setting(value: str):
    proof = OwnProof("client", "the-secret", lambda: around(Vault(value)))
    with pytest.raises(ConnectionFault) as caught:
        await proof.make()
    assert caught.value.entry == "POSTERN_CLIENT_SECRET_NAME"


async def test_without_a_secret_the_cluster_proves_the_application(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    token = tmp_path / "token"
    token.write_text("a.service.account\n", "utf-8")
    monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", str(token))
    proof = OwnProof("client", "", lambda: around(Vault("unused"), "workload_identity"))
    made = await proof.make()
    assert made == ClientProof("client", assertion="a.service.account")
    assert await proof.another(made) is None


async def test_without_either_the_fault_names_the_setting():
    proof = OwnProof("client", "", lambda: around(Vault("unused")))
    with pytest.raises(ConnectionFault, match="POSTERN_CLIENT_ID"):
        await proof.make()
