"""gateway.toml: what it says, and what is reported of a faulty one."""

from pathlib import Path

import pytest

from postern.gateway.agent.settings import load
from postern.settings import SettingsFault
from tests.table import table

PEM = "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\nx\n"
ID = "00000000-0000-0000-0000-000000000001"
HEAD = f'name = "madrid"\ntenant_id = "{ID}"\naudience = "api://postern"\n'
SERVER = 'server = "https://postern.example.com"\n'
SIGN_IN = f'sign_in = {{ client_id = "{ID}", certificate = "agent.pem" }}\n'
WHOLE = HEAD + SERVER + SIGN_IN


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("agent")
    (made / "agent.pem").write_text(PEM, "utf-8")
    (made / "secret").write_text("s", "utf-8")
    (made / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\n", "utf-8")
    (made / "locked.pem").write_text(PEM.replace("PRIVATE", "ENCRYPTED PRIVATE"), "utf-8")
    return made


def written(folder: Path, text: str) -> Path:
    path = folder / "gateway.toml"
    path.write_text(text, "utf-8")
    return path


def test_a_file_says_everything_and_its_paths_are_relative_to_its_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    text = f"""{WHOLE}
proxy = "http://proxy.corp:8080"
ca_bundle = "ca.pem"
[[allow]]
address = "erp.madrid.corp:443"
[[allow]]
address = "stock.madrid.corp:8443"
scheme = "https"
ca_bundle = "ca.pem"
methods = ["GET"]
paths = ["/items"]
"""
    monkeypatch.chdir(tmp_path)
    settings = load(written(folder, text))
    assert settings.addresses == ("https://postern.example.com",)
    assert settings.sign_in.certificate == folder / "agent.pem"
    assert settings.ca_bundle == settings.allow[1].ca_bundle == folder / "ca.pem"
    assert settings.way_out is not None
    assert settings.way_out.carries("postern.example.com")
    assert settings.authority_url == "https://login.microsoftonline.com"


@table(
    "sign_in",
    [
        f'{{ client_id = "{ID}", client_secret_file = "secret" }}',
        f'{{ client_id = "{ID}", federated = "secret" }}',
        "{ managed_identity = true }",
        f'{{ managed_identity = true, client_id = "{ID}" }}',
    ],
)
def test_there_are_further_ways_to_sign_in(folder: Path, sign_in: str):
    assert load(written(folder, f"{HEAD}{SERVER}sign_in = {sign_in}\n")).allow == ()


FAULTY = [
    (HEAD + SIGN_IN, "has no server"),
    (WHOLE + 'servers = ["https://a.example"]\n', "has both server and servers"),
    (HEAD + SIGN_IN + "servers = []\n", "servers (gateway.toml line 5): is empty"),
    (HEAD + SIGN_IN + 'server = "http://postern.example"\n', "line 5): 'http://postern.example' is not https"),
    (HEAD + SIGN_IN + 'server = "https://u:p@postern.example"\n', "has a user name in it"),
    (SERVER + SIGN_IN, "name (gateway.toml): is missing"),
    (WHOLE + 'proxi = "x"\n', "proxi (gateway.toml line 6): is not a known key. Did you mean proxy?"),
    (WHOLE + 'proxy = "http://u:secret@proxy:1"\n', "and Postern signs in at no proxy"),
    (WHOLE + 'ca_bundle = "none.pem"\n', "cannot be read"),
    (WHOLE + 'name = "x"\n', "is not valid TOML"),
    (HEAD + SERVER, "sign_in (gateway.toml): is missing"),
    (HEAD + SERVER + f'sign_in = {{ client_id = "{ID}" }}\n', "has no way to sign in"),
    (HEAD + SERVER + 'sign_in = { certificate = "agent.pem" }\n', "has no client_id"),
    (HEAD + SERVER + 'sign_in = { client_id = "me@x", managed_identity = true }\n', "is an e-mail address"),
    (
        HEAD + SERVER + f'sign_in = {{ client_id = "{ID}", certificate = "agent.pem", federated = "secret" }}\n',
        "has certificate and federated",
    ),
    (HEAD + SERVER + f'sign_in = {{ client_id = "{ID}", client_secret = "hush" }}\n', "client_secret_file?"),
    (HEAD + SERVER + f'sign_in = {{ client_id = "{ID}", certificate = "locked.pem" }}\n', "with a password"),
    (HEAD + SERVER + f'sign_in = {{ client_id = "{ID}", certificate = "ca.pem" }}\n', "has no private key"),
    (HEAD + SERVER + f'sign_in = {{ client_id = "{ID}", certificate = "none.pem" }}\n', "cannot be read"),
    (WHOLE + '[[allow]]\naddres = "a.corp:1"\n', "allow[1].addres (gateway.toml line 7): is not a known key"),
    (WHOLE + '[[allow]]\naddress = "a:1"\n[[allow]]\naddress = "b.corp"\n', "allow[2].address (gateway.toml line 9)"),
    (WHOLE + '[allow]\naddress = "a.corp:1"\n', "Write [[allow]] above each row"),
    (
        WHOLE
        + "".join(
            f'[[allow]]\naddress = "a.corp:1"\nscheme = "{each}"\nmethods = ["GET"]\npaths = ["/"]\n'
            for each in ("http", "https")
        ),
        "has rows with http and with https for a.corp:1",
    ),
    (
        WHOLE
        + "".join(
            f'[[allow]]\naddress = "a.corp:1"\nscheme = "https"\nmethods = ["GET"]\npaths = ["/"]\n{each}\n'
            for each in ("", 'ca_bundle = "ca.pem"')
        ),
        "has rows with different ca_bundles for a.corp:1",
    ),
]


@table("text, expected", FAULTY, ids=[expected for _, expected in FAULTY])
def test_a_fault_names_the_key_its_line_and_the_fix(folder: Path, text: str, expected: str):
    with pytest.raises(SettingsFault) as caught:
        load(written(folder, text))
    assert expected in str(caught.value)
    assert "hush" not in str(caught.value)
    assert "secret@" not in str(caught.value)


def test_a_file_that_is_missing_or_no_text_is_a_fault(tmp_path: Path):
    with pytest.raises(SettingsFault, match="there is no file"):
        load(tmp_path / "gateway.toml")
    (tmp_path / "gateway.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsFault, match="not text in UTF-8"):
        load(tmp_path / "gateway.toml")
