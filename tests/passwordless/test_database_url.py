"""POSTERN_DATABASE_URL with `passwordless=entra`: a token goes there, so what is unsafe does not start."""

import pickle

import pytest

from postern.clouds import AUTHORITIES
from postern.identity import CLOUDS
from postern.passwordless.database_url import DatabaseUrl, Passwordless, like
from postern.passwordless.entra_sign_in import SCOPES
from postern.settings import SettingsFault, load_settings
from tests.table import table

GOOD = "postgresql://postern@db.example/postern?sslmode=verify-full&passwordless=entra"
MANAGED = "managed_identity"


def load(url, credential=MANAGED, **more):
    environ = {"POSTERN_DATABASE_URL": url} | ({"POSTERN_AZURE_CREDENTIAL": credential} if credential else {})
    return load_settings(environ | more)


@pytest.mark.parametrize(
    "url",
    [
        GOOD,
        GOOD + "&sslrootcert=system",
        GOOD.replace("postern@", "ada%40tenant.example@"),
        "postgresql://postern@127.0.0.1:5433/postern?passwordless=entra",
        "postgresql://postern@localhost/postern?passwordless=entra",
        "postgresql://postern@/postern?host=/var/run/postgresql&passwordless=entra",
    ],
)
def test_a_server_that_tls_names_or_that_is_on_this_machine_gets_a_token(url):
    assert load(url).database_url == url


@table(
    ("url", "wrong"),
    [
        (GOOD.replace("=entra", "=true"), "has a passwordless other than entra"),
        (GOOD + "&passwordless=no", "has a passwordless other than entra"),
        (GOOD.replace("passwordless", "Passwordless"), "has a passwordless other than entra"),
        (GOOD.replace("=entra", "="), "has a passwordless other than entra"),
        (GOOD.replace("postern@", "postern:planted-S3cret@"), "has a password beside passwordless=entra"),
        (GOOD.replace("postern@", ""), "has passwordless=entra but no user"),
        (GOOD.replace("db.example", ""), "has passwordless=entra but no host"),
        ("sqlite:///var/postern.db?passwordless=entra", "which is for PostgreSQL only"),
        *((GOOD.replace("verify-full", mode), "without sslmode=verify-full") for mode in ("require", "verify-ca")),
        (GOOD.replace("sslmode=verify-full&", ""), "without sslmode=verify-full"),
        (GOOD.replace("sslmode=verify-full&passwordless", "passwordles%73"), "without sslmode=verify-full"),
        ("postgresql://p@127.0.0.1.evil.example/d?passwordless=entra", "without sslmode=verify-full"),
        ("postgresql://p@localhost/d?host=db.example&passwordless=entra", "without sslmode=verify-full"),
        ("postgresql://p@/d?host=/tmp,db.example&passwordless=entra", "without sslmode=verify-full"),
        ("postgresql://p@/d?host=/tmp&host=db.example&passwordless=entra", "without sslmode=verify-full"),
        *(
            (f"{GOOD}&{more}", f"has {more.split('=')[0]} in its query")
            for more in ("password=planted-S3cret", "user=other", "hostaddr=192.0.2.1", "service=x", "passfile=x")
        ),
    ],
)
def test_what_is_unsafe_or_makes_no_sense_is_rejected_and_not_shown(url, wrong):
    with pytest.raises(SettingsFault) as caught:
        load(url)
    (found,) = caught.value.problems
    assert found.setting == "POSTERN_DATABASE_URL"
    assert wrong in found.wrong
    assert found.fix
    assert "S3cret" not in str(caught.value)


def test_it_needs_a_way_to_sign_in_to_azure():
    with pytest.raises(SettingsFault, match="POSTERN_AZURE_CREDENTIAL is not set"):
        load(GOOD, None)
    with pytest.raises(SettingsFault) as caught:
        load(GOOD, "password")
    assert [problem.setting for problem in caught.value.problems] == ["POSTERN_AZURE_CREDENTIAL"], "reported once"


def test_a_url_with_a_password_needs_nothing_of_it():
    assert load("postgresql://u:p@db.example/postern", None).azure_credential is None


def test_how_to_sign_in_travels_with_the_url():
    """The database's code gets it, also in another process, but no other string made from it does."""
    url = load(GOOD, POSTERN_CLOUD="usgov", POSTERN_AUTHORITY="https://login.example").database_url
    how = Passwordless(MANAGED, "usgov", "https://login.example")
    assert isinstance(url, DatabaseUrl)
    assert url.passwordless == how
    again = pickle.loads(pickle.dumps(url))
    assert (again, again.passwordless) == (url, how)
    other = like(url, GOOD.replace("/postern?", "/postgres?"))
    assert isinstance(other, DatabaseUrl)
    assert other.passwordless == how
    assert not isinstance(like("sqlite:///x.db", "sqlite:///y.db"), DatabaseUrl)


def test_every_cloud_has_its_authority_and_its_scope():
    assert set(SCOPES) == set(AUTHORITIES) == set(CLOUDS)
