"""What an entry can say so that the other side understands it: each field takes what its RFC allows."""

from pathlib import Path
from typing import Any

import pytest

from postern.settings import SecretReference, Settings, SettingsFault, load_settings
from postern.settings.references import secret_references
from tests.settings.test_entries import ENTRA, ID, OAUTH2, PLANTED, REFERENCE, SECRET, TOKEN_URL, auth_of, load


def trigger(folder: Path, lines: str) -> Settings:
    (folder / "postern.toml").write_text(f'[triggers.t]\nurl = "https://t.example/x"\n{lines}', "utf-8")
    return load_settings({}, folder=folder)


@pytest.mark.parametrize(
    ("auth", "key", "value"),
    [
        (f'type = "oauth2", client_id = "a client: 1", client_secret = {SECRET}, {TOKEN_URL}', "client_id", None),
        (f'{OAUTH2}, {TOKEN_URL}, resource = "urn:a,b"', "resource", ("urn:a,b",)),
        (f'{OAUTH2}, {TOKEN_URL}, resource = ["urn:a", "urn:b"]', "resource", ("urn:a", "urn:b")),
        (f'{OAUTH2}, {TOKEN_URL}, scopes = ["a,b", "c"]', "scopes", ("a,b", "c")),
        (f'{OAUTH2}, {TOKEN_URL}, parameters = {{ account_id = "1" }}', "parameters", {"account_id": "1"}),
        (f"{OAUTH2}, {TOKEN_URL}, parameters = {{ password = {SECRET} }}", "parameters", {"password": REFERENCE}),
        (f'type = "api_key", query = "a key[1] é", key = {SECRET}', "query", "a key[1] é"),
        (f'type = "basic", username = "", password = {SECRET}', "username", ""),
        (f'type = "basic", username = "Jürgen M", password = {SECRET}', "username", "Jürgen M"),
        (f'type = "basic", username = {SECRET}', "username", REFERENCE),
    ],
)
def test_a_field_takes_what_its_rfc_allows(tmp_path: Path, auth: str, key: str, value: Any):
    found = getattr(auth_of(tmp_path, auth), key)
    assert found == (value if value is not None else "a client: 1")


def test_an_assertion_s_key_and_audience_can_be_named(tmp_path: Path):
    signed = f'type = "oauth2", client_id = "c", private_key = {SECRET}, client_authentication = "private_key_jwt"'
    more = 'key_id = "k 1", assertion_audience = "https://idp.example", certificate_chain = true'
    auth = auth_of(tmp_path, f"{signed}, {TOKEN_URL}, {more}")
    assert (auth.key_id, auth.assertion_audience, auth.certificate_chain) == ("k 1", "https://idp.example", True)


def test_a_certificate_s_chain_can_be_sent_along(tmp_path: Path):
    chain = f'type = "entra", client_id = "{ID}", certificate = {SECRET}, audience = "a", certificate_chain = true'
    assert auth_of(tmp_path, chain).certificate_chain is True


def test_headers_by_reference_are_of_connections_and_triggers(tmp_path: Path):
    headers = f"headers = {{ Ocp-Apim-Subscription-Key = {SECRET} }}"
    settings = load(tmp_path, f'{ENTRA}, audience = "a"', headers)
    wanted = {"Ocp-Apim-Subscription-Key": REFERENCE}
    assert settings.connections["sap"].headers == wanted
    assert trigger(tmp_path, headers).triggers["t"].headers == wanted


def test_each_secret_of_an_entry_is_listed_with_its_place(tmp_path: Path):
    further = f"parameters = {{ password = {SECRET} }}"
    settings = load(tmp_path, f"{OAUTH2}, {TOKEN_URL}, {further}", f"headers = {{ X-Key = {SECRET} }}")
    assert secret_references(settings)["a-secret"] == (
        "connections.sap client_secret",
        "connections.sap parameters.password",
        "connections.sap headers.X-Key",
    )


@pytest.mark.parametrize(
    ("auth", "headers", "wrong"),
    [
        ('type = "none"', '{ X-Key = "PLANTED" }', "is not a reference"),
        ('type = "none"', f'{{ "X Key" = {SECRET} }}', "is not the name of a header"),
        ('type = "none"', f"{{ Host = {SECRET} }}", "is a header that the request itself needs"),
        ('type = "none"', f"{{ X-Key = {SECRET}, x-key = {SECRET} }}", "has a header twice"),
        (f'{ENTRA}, audience = "a"', f"{{ authorization = {SECRET} }}", "which its auth sets"),
        (f'type = "basic", username = "u", password = {SECRET}', f"{{ Authorization = {SECRET} }}", "its auth sets"),
        (f'type = "api_key", header = "X-Key", key = {SECRET}', f"{{ x-key = {SECRET} }}", "which its auth sets"),
    ],
)
def test_headers_that_cannot_be_sent_are_rejected(tmp_path: Path, auth: str, headers: str, wrong: str):
    with pytest.raises(SettingsFault) as caught:
        load(tmp_path, auth, f"headers = {headers}".replace("PLANTED", PLANTED))
    text = str(caught.value)
    assert wrong in text
    assert PLANTED not in text
    assert text.startswith("connections.sap")


def test_where_results_may_be_is_a_list_of_origins(tmp_path: Path):
    found = trigger(tmp_path, 'results_at = ["https://FUNC.example:443", "https://b.example:8443/"]').triggers["t"]
    assert found.results_at == ("https://func.example", "https://b.example:8443")


@pytest.mark.parametrize("written", ["http://func.example", "https://func.example/x", "func.example", "https://u@f.x"])
def test_a_place_of_results_that_is_no_origin_is_rejected(tmp_path: Path, written: str):
    with pytest.raises(SettingsFault, match=r"triggers\.t\.results_at"):
        trigger(tmp_path, f'results_at = ["{written}"]')


@pytest.mark.parametrize("entity", ["&amp;", "&#38;", "&#x26;", "&AMP;"])
def test_a_url_that_was_copied_from_a_page_is_rejected(tmp_path: Path, entity: str):
    """A parameter called `amp;sig` is none that the other side knows."""
    (tmp_path / "postern.toml").write_text(f'[triggers.t]\nurl = "https://t.example/x?a=1{entity}sig=b"', "utf-8")
    with pytest.raises(SettingsFault, match=r"has .* copied from a page or a file of XML\. Write & in its place") as e:
        load_settings({}, folder=tmp_path)
    assert "sig" not in str(e.value)


def test_entries_with_tables_stay_hashable():
    """What is shared is found by the entry."""
    reference = SecretReference(key_vault="a")
    made = [load_settings({}, defaults={"connections": {"a": _entry(value)}}).connections["a"] for value in "112"]
    assert hash(made[0]) == hash(made[1])
    assert made[0] == made[1] != made[2]
    assert made[0].headers["X"] == reference


def _entry(value: str) -> dict[str, Any]:
    secret = {"key_vault": "a"}
    auth = {"type": "oauth2", "token_url": "https://x.example", "client_id": "c", "client_secret": secret}
    return {"base_url": "https://x.example", "auth": {**auth, "parameters": {"p": value}}, "headers": {"X": secret}}


@pytest.mark.parametrize(
    ("proxy", "wrong"),
    [
        ("http://u:planted@proxy.example", "has a user name or a password in it, and Postern signs in at no proxy"),
        ("http://u:pl#planted@proxy.example", "has a user name or a password in it"),
        ("u:planted@proxy.example:3128", "has a user name or a password in it"),
        ("planted@proxy.example:3128", "has a user name or a password in it"),
        ("socks5://proxy.example", "is not a URL"),
        ("proxy.example:3128", "is not a URL"),
        ("http://proxy.example/x", "has a path"),
    ],
)
def test_a_proxy_is_an_origin_without_a_password(proxy: str, wrong: str):
    with pytest.raises(SettingsFault, match=rf"POSTERN_PROXY .* {wrong}") as caught:
        load_settings({"POSTERN_PROXY": proxy})
    assert "planted" not in str(caught.value)


def test_hosts_without_the_proxy_are_names_domains_addresses_and_networks(tmp_path: Path):
    written = "vault.example,.example,*.a.example,10.0.0.0/8,fd00::/8,10.0.0.7"
    environ = {"POSTERN_PROXY": "http://proxy.example:3128", "POSTERN_NO_PROXY": written}
    assert load_settings(environ, folder=tmp_path).no_proxy == tuple(written.split(","))
    with pytest.raises(SettingsFault, match="is not a host, a domain or a network"):
        load_settings({"POSTERN_NO_PROXY": "https://vault.example"}, folder=tmp_path)
