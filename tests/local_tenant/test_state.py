"""The state folder: who may read it, what stays the same, and what is renewed."""

import json
import os
import socket
import stat
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509

from postern.connections.sealing.sealed_text import KEY_BYTES
from postern.connections.sealing.vault_keys import key_in
from postern.local_tenant import LocalTenant, TenantFault, serve
from postern.local_tenant.state import create_file, write_file
from postern.local_tenant.vault import AUDIT_KEY_NAME, GRANTS_KEY_NAME, judge
from postern.security.audit.signing_key import signing_key

pytestmark = pytest.mark.network

DAY = 86400


def modes(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


def port_of(tenant: LocalTenant) -> int:
    return int(tenant.authority.rpartition(":")[2])


def server_certificate(tenant: LocalTenant) -> x509.Certificate:
    return x509.load_pem_x509_certificate((tenant.folder / "server.pem").read_bytes())


def test_only_the_owner_reads_the_folder_and_its_files(tmp_path: Path) -> None:
    """The folder is 0700, each file 0600, and nothing temporary is left."""
    tenant = LocalTenant.open(tmp_path / "var" / "local-tenant")
    tenant.put_secret("a", "b")
    assert stat.S_IMODE(tenant.folder.stat().st_mode) == 0o700
    files = [
        ".gitignore",
        "ca-key.pem",
        "ca.pem",
        "server-key.pem",
        "server.pem",
        "signing-keys.pem",
        "state.json",
        "vault.json",
    ]
    assert modes(tenant.folder) == dict.fromkeys(files, 0o600)


def test_a_folder_that_others_may_write_in_is_rejected(tmp_path: Path) -> None:
    """They could swap the keys, so the fault says what to run."""
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(TenantFault, match="chmod 700"):
        LocalTenant.open(folder)


def test_a_folder_of_another_user_is_rejected_with_its_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its modes are those of a good one. Nothing in it is read or changed."""
    folder = LocalTenant.open(tmp_path / "tenant").folder
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 4711)
    with pytest.raises(TenantFault, match="belongs to another user"):
        LocalTenant.open(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_link_in_place_of_a_key_is_rejected(tmp_path: Path) -> None:
    """The fault names it."""
    folder = LocalTenant.open(tmp_path / "tenant").folder
    key = folder / "signing-keys.pem"
    key.rename(tmp_path / "elsewhere.pem")
    key.symlink_to(tmp_path / "elsewhere.pem")
    with pytest.raises(TenantFault, match=r"signing-keys\.pem is not a plain file"):
        LocalTenant.open(folder)


@pytest.mark.parametrize("above", ["one", "one/two", "real"])
def test_a_folder_above_that_others_may_write_in_is_rejected(tmp_path: Path, above: str) -> None:
    """They could rename the folders below it. Folders that a link leads to count too."""
    (tmp_path / "real" / "tenant").mkdir(parents=True, mode=0o700)
    (tmp_path / "real" / "tenant").chmod(0o700)
    (tmp_path / "one" / "two").mkdir(parents=True)
    (tmp_path / "one" / "two" / "tenant").symlink_to(tmp_path / "real" / "tenant")
    LocalTenant.open(tmp_path / "one" / "two" / "tenant")
    (tmp_path / above).chmod(0o777)
    with pytest.raises(TenantFault, match="chmod go-w"):
        LocalTenant.open(tmp_path / "one" / "two" / "tenant")
    (tmp_path / above).chmod(0o1777)
    LocalTenant.open(tmp_path / "one" / "two" / "tenant")


def test_everything_is_the_same_when_opened_again(tmp_path: Path) -> None:
    """Addresses, keys, secrets and certificates are those of the first time."""
    first = LocalTenant.open(tmp_path / "tenant")
    before = {path.name: path.read_bytes() for path in first.folder.iterdir()}
    again = LocalTenant.open(tmp_path / "tenant")
    assert {path.name: path.read_bytes() for path in again.folder.iterdir()} == before
    assert again.jwks() == first.jwks()


def test_the_state_names_the_addresses(tmp_path: Path) -> None:
    """`state.json` has what other commands look for, and the served Postern once it is known."""
    tenant = LocalTenant.open(tmp_path / "tenant")
    tenant.set_server_url("http://127.0.0.1:8080")
    assert json.loads((tenant.folder / "state.json").read_text()) == {
        "authority": tenant.authority,
        "key_vault_url": tenant.authority,
        "tenant_id": tenant.tenant_id,
        "server_url": "http://127.0.0.1:8080",
        "sign_in_url": "",
    }
    assert tenant.server_url == "http://127.0.0.1:8080"


def test_the_port_is_kept_or_given_up_for_a_free_one(tmp_path: Path) -> None:
    """A restart listens where it did; if the port is in use, another one is used and written down."""
    tenant = LocalTenant.open(tmp_path / "tenant")
    first = port_of(tenant)
    for _ in range(2):
        with serve(tenant):
            assert port_of(tenant) == first
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", first))
        other.listen()
        with serve(tenant) as served:
            assert port_of(served) != first
            assert port_of(LocalTenant.open(tenant.folder)) == port_of(served)
            with socket.create_connection(("127.0.0.1", port_of(served)), timeout=10):
                pass
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port_of(tenant)), timeout=10).close()


@pytest.mark.parametrize(
    "authority",
    ["https://0.0.0.0:8443", "http://127.0.0.1:8443", "https://127.0.0.1", "https://127.0.0.1:99999", 5],
)
def test_a_state_that_names_anything_but_loopback_is_rejected(tmp_path: Path, authority: object) -> None:
    """Nothing listens elsewhere because a file says so."""
    tenant = LocalTenant.open(tmp_path / "tenant")
    path = tenant.folder / "state.json"
    path.write_text(json.dumps({"authority": authority, "server_url": ""}))
    with pytest.raises(TenantFault, match="delete"):
        LocalTenant.open(tenant.folder)


@pytest.mark.parametrize("name", ["ca-key.pem", "server.pem", "signing-keys.pem", "vault.json", "state.json"])
def test_a_damaged_file_is_a_fault_that_repeats_no_content(tmp_path: Path, name: str) -> None:
    """The message names the file and what to do."""
    tenant = LocalTenant.open(tmp_path / "tenant")
    (tenant.folder / name).write_text('{"secret-looking')
    with pytest.raises(TenantFault, match=name) as caught:
        LocalTenant.open(tenant.folder)
    assert "secret-looking" not in str(caught.value)


def test_a_command_that_serves_no_tenant_reads_its_keys_when_it_signs(tmp_path: Path) -> None:
    """Listing workflows needs names and addresses only, and makes what is missing."""
    folder = LocalTenant.open(tmp_path / "tenant", serves=False).folder
    assert LocalTenant.open(folder).token("ada")
    for name in ("ca-key.pem", "server.pem", "signing-keys.pem"):
        (folder / name).write_text("damaged")
    tenant = LocalTenant.open(folder, serves=False)
    assert tenant.authority.startswith("https://127.0.0.1:")
    with pytest.raises(TenantFault, match="signing-keys"):
        tenant.token("ada")


def test_the_certificate_is_renewed_before_it_ends(tmp_path: Path) -> None:
    """Eleven months later it is another one, of the same key and by the same authority; ten days later it is not."""
    now = time.time()
    tenant = LocalTenant.open(tmp_path / "tenant", now=now)
    ca, first = tenant.ca_bundle.read_bytes(), server_certificate(tenant)
    assert server_certificate(LocalTenant.open(tenant.folder, now=now + 10 * DAY)) == first
    renewed = server_certificate(LocalTenant.open(tenant.folder, now=now + 340 * DAY))
    assert renewed.not_valid_after_utc > datetime.fromtimestamp(now + 700 * DAY, UTC)
    assert renewed.public_key() == first.public_key()
    assert tenant.ca_bundle.read_bytes() == ca


def test_a_renewed_authority_vouches_for_what_clients_of_the_former_meet(tmp_path: Path) -> None:
    """Near its own end the authority is renewed with its key, and signs a certificate that outlives neither."""
    now = time.time()
    tenant = LocalTenant.open(tmp_path / "tenant", now=now)
    former = x509.load_pem_x509_certificate(tenant.ca_bundle.read_bytes())
    LocalTenant.open(tenant.folder, now=now + 3300 * DAY)
    renewed = x509.load_pem_x509_certificate(tenant.ca_bundle.read_bytes())
    assert renewed != former
    server = server_certificate(tenant)
    for authority in (former, renewed):
        server.verify_directly_issued_by(authority)
    assert server.not_valid_after_utc <= renewed.not_valid_after_utc


def test_the_first_writer_wins(tmp_path: Path) -> None:
    """A process that was slower uses what the faster one wrote."""
    path = tmp_path / "key"

    def slow() -> bytes:
        write_file(path, b"faster")
        return b"slower"

    assert create_file(path, slow) == b"faster"
    assert [each.name for each in tmp_path.iterdir()] == ["key"]


def test_secrets_show_in_no_repr(tmp_path: Path) -> None:
    """Neither the tenant nor a secret's version nor a key prints what it guards."""
    tenant = LocalTenant.open(tmp_path / "tenant")
    versions = tenant.vault.versions("postern-client-secret")
    assert tenant.client_secret("postern") not in f"{tenant!r} {versions!r} {tenant.signing_keys!r}"


def test_a_disabled_client_secret_is_a_wrong_one(tmp_path: Path) -> None:
    """A secret still good wins over the same value expired; a disabled one counts for nothing."""
    tenant = LocalTenant.open(tmp_path / "tenant")
    tenant.put_secret("x", "one", expires=10)
    tenant.put_secret("x", "two", enabled=False)
    versions = tenant.vault.versions("x")
    assert [judge(versions, value, 9) for value in ("one", "two", "")] == ["good", "wrong", "wrong"]
    assert judge(versions, "one", 10) == "expired"
    with pytest.raises(ValueError, match="letters, digits and hyphens"):
        tenant.put_secret("no_underscores", "x")


def test_a_rotation_never_lengthens_the_life_of_an_older_secret(tmp_path: Path) -> None:
    """What was about to expire or was disabled stays so, whatever end the rotation gives to the former secret."""
    tenant = LocalTenant.open(tmp_path / "tenant", now=0)
    first = tenant.client_secret("backup-job")
    second = tenant.rotate_client_secret("backup-job", former_expires=10, now=0)
    third = tenant.rotate_client_secret("backup-job", former_expires=20, now=0)
    versions = tenant.vault.versions("backup-job-client-secret")
    assert [judge(versions, secret, 15) for secret in (first, second, third)] == ["expired", "good", "good"]
    tenant.rotate_client_secret("backup-job", now=0)
    tenant.rotate_client_secret("backup-job", former_expires=99, now=0)
    versions = tenant.vault.versions("backup-job-client-secret")
    assert [judge(versions, secret, 1) for secret in (first, second, third)] == ["wrong"] * 3


def test_the_certificate_of_an_application_is_made_once(tmp_path: Path) -> None:
    """On first use; a renewal disables the former one."""
    tenant = LocalTenant.open(tmp_path / "tenant")
    (first,) = tenant.vault.versions("invoice-export-certificate")
    (again,) = LocalTenant.open(tenant.folder).vault.versions("invoice-export-certificate")
    assert again == first
    tenant.renew_certificate("invoice-export", pem=True)
    former, newest = tenant.vault.versions("invoice-export-certificate")
    assert (former.enabled, newest.enabled) == (False, True)
    assert newest.value.startswith("-----BEGIN PRIVATE KEY-----")


def test_the_key_of_grants_is_made_once_also_in_a_folder_that_had_none(tmp_path: Path) -> None:
    """It is 32 random bytes in base64url."""
    folder = LocalTenant.open(tmp_path / "tenant").folder
    vault = json.loads((folder / "vault.json").read_text())
    former = vault.pop(GRANTS_KEY_NAME)
    write_file(folder / "vault.json", json.dumps(vault).encode())
    (made,) = LocalTenant.open(folder).vault.versions(GRANTS_KEY_NAME)
    assert LocalTenant.open(folder).vault.versions(GRANTS_KEY_NAME) == [made]
    assert len(key_in(made.value) or b"") == KEY_BYTES
    assert made.value != former[-1]["value"]


def test_the_key_of_the_audit_log_is_made_once_also_in_a_folder_that_had_none(tmp_path: Path) -> None:
    """It is an Ed25519 key in PEM."""
    folder = LocalTenant.open(tmp_path / "tenant").folder
    vault = json.loads((folder / "vault.json").read_text())
    former = vault.pop(AUDIT_KEY_NAME)
    write_file(folder / "vault.json", json.dumps(vault).encode())
    (made,) = LocalTenant.open(folder).vault.versions(AUDIT_KEY_NAME)
    assert LocalTenant.open(folder).vault.versions(AUDIT_KEY_NAME) == [made]
    assert signing_key(made.value).id != signing_key(former[-1]["value"]).id
