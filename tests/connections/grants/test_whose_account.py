"""Whose account was connected, and at which address its API is: what is believed of what providers say."""

from typing import Any

import jwt
from hypothesis import given
from hypothesis import strategies as st

from postern.connections.grants.accounts import LEEWAY, instance_url, named_account, salesforce_account
from postern.connections.grants.id_tokens import GOOGLE, Account, account_in, issuers_of, shown_name
from postern.connections.grants.scopes import missing_scopes
from postern.settings.grant_presets import GRANT_PRESETS
from tests.table import table

NOW = 1_800_000_000
ISSUER = "https://login.example/tenant"
DOMAINS = GRANT_PRESETS["salesforce"].domains


def token(algorithm: str = "HS256", **changes: Any) -> str:
    claims = {
        "iss": ISSUER,
        "aud": "an id",
        "sub": "subject",
        "nonce": "the-nonce",
        "iat": NOW - 10,
        "exp": NOW + 3600,
        "email": "lisa@example.com",
        **changes,
    }
    kept = {name: value for name, value in claims.items() if value is not ...}
    return jwt.encode(kept, "k" * 32 if algorithm != "none" else "", algorithm)


def account(text: str) -> Account | None:
    return account_in(text, ISSUER, "an id", "the-nonce", float(NOW), LEEWAY)


def test_a_good_id_token_names_the_account():
    assert account(token()) == Account("subject", "lisa@example.com")
    assert account(token(aud=["an id"], azp="an id", email=..., name="Lisa")) == Account("subject", "Lisa")
    assert account(token(email=...)) == Account("subject", "")


@table(
    "changes",
    [
        *[{"iss": iss} for iss in (..., None, "", ISSUER + "/", ISSUER.upper(), "https://evil.example", [ISSUER])],
        *[{"aud": aud} for aud in (..., None, "", "other", ["an id", "other"], ["other"], [], {"a": "an id"})],
        *[{"azp": azp} for azp in ("other", None, 5)],
        *[{"nonce": nonce} for nonce in (..., None, "", "The-nonce", ["the-nonce"], 1, "ä")],
        *[{"exp": exp} for exp in (..., None, NOW - 60, str(NOW + 60), True, 10**400, float("inf"), float("nan"))],
        *[{"iat": iat} for iat in (..., None, NOW + 61, str(NOW), False, -(10**400))],
        *[{"sub": sub} for sub in (..., None, "", 5, "x" * 256, "a\0b", "\x1b[2J", "a\nb", "\u202e", "\ud800")],
    ],
)  # fmt: skip
def test_an_id_token_that_breaks_a_rule_names_nobody(changes: dict[str, Any]):
    try:
        text = token(**changes)
    except TypeError:  # PyJWT does not write an issuer or a subject of another type
        return
    assert account(text) is None


def test_an_unsigned_token_names_nobody():
    assert account(token(algorithm="none")) is None


@given(st.text(max_size=60))
def test_any_text_that_is_no_token_names_nobody(text: str):
    assert account(text) is None


def test_google_writes_its_issuer_in_two_ways():
    assert issuers_of(GOOGLE) == ("https://accounts.google.com", "accounts.google.com")
    assert issuers_of(ISSUER) == (ISSUER,)


@table(
    ("profile", "expected"),
    [
        ({"id": 583231, "login": "octocat"}, Account("583231", "octocat")),
        ({"id": "10158", "name": "Lisa\nMoreau"}, Account("10158", "LisaMoreau")),
        ({"id": 1}, Account("1", "")),
        ({}, None),
        ({"id": None}, None),
        ({"id": True}, None),
        ({"id": -1}, None),
        ({"id": 1.5}, None),
        ({"id": ""}, None),
        ({"id": "12a"}, None),
        ({"id": "1" * 41}, None),
    ],
)
def test_the_account_of_a_profile(profile: dict[str, Any], expected: Account | None):
    assert named_account(profile) == expected


@table(
    ("written", "expected"),
    [
        ("https://acme.my.salesforce.com", "https://acme.my.salesforce.com"),
        ("https://acme.my.salesforce.com/", "https://acme.my.salesforce.com"),
        ("https://ACME--uat.sandbox.my.Salesforce.com", "https://acme--uat.sandbox.my.salesforce.com"),
        ("https://na1.salesforce.com", "https://na1.salesforce.com"),
        ("https://acme.force.com", "https://acme.force.com"),
        ("https://acme.my.salesforce.mil", "https://acme.my.salesforce.mil"),
        *[(written, None) for written in (
            "", "http://acme.my.salesforce.com", "https://salesforce.com", "https://evilsalesforce.com",
            "https://salesforce.com.evil.example", "https://evil.example/.salesforce.com",
            "https://evil.example?.salesforce.com", "https://evil.example#.salesforce.com",
            "https://evil.example\\.salesforce.com", "https://u:p@acme.salesforce.com", "https://@a.salesforce.com",
            "https://acme.salesforce.com:8443", "https://acme.salesforce.com/services", "https://acme.salesforce.com.",
            "//acme.salesforce.com", "acme.salesforce.com", "https://\u0430cme.salesforce.com", "https://a_b.salesforce.com",
            "https://a b.salesforce.com", "https://acme.salesforce.com\n", "https://%61cme.salesforce.com",
            "https://.salesforce.com", "https://a..salesforce.com", "https://[::1].salesforce.com",
            f"https://{'a' * 240}.salesforce.com",
        )],
    ],
)  # fmt: skip
def test_a_base_url_is_below_the_provider_s_own_domains(written: str, expected: str | None):
    assert instance_url(written, DOMAINS) == expected


@given(st.text("a.-/:@?#\\ \n%[]", max_size=12), st.sampled_from(["", ".salesforce.com", "salesforce.com"]))
def test_no_spelling_leads_to_another_host(middle: str, end: str):
    """Whatever is believed has a host below the domains, as the HTTP client reads it too."""
    from postern.http_client import URL

    found = instance_url(f"https://{middle}{end}", DOMAINS)
    assert found is None or URL(found).host.endswith(".salesforce.com")
    if found is not None:
        assert (URL(found).scheme, URL(found).path, URL(found).userinfo) == ("https", "/", b"")


@table(
    ("written", "expected"),
    [
        ("https://login.salesforce.com/id/00Dx0000000BV7z/005x00000012Q9P", "00Dx0000000BV7z/005x00000012Q9P"),
        ("https://acme.my.salesforce.com/id/00Dx0000000BV7zEAM/005x00000012Q9PAAM",
         "00Dx0000000BV7zEAM/005x00000012Q9PAAM"),
        *[(written, None) for written in (
            "", "https://login.salesforce.com/id/1/2", "https://login.salesforce.com/id/00Dx0000000BV7z",
            "https://evil.example/id/00Dx0000000BV7z/005x00000012Q9P",
            "http://login.salesforce.com/id/00Dx0000000BV7z/005x00000012Q9P",
            "https://login.salesforce.com/id/00Dx0000000BV7z/005x00000012Q9P/x",
        )],
    ],
)  # fmt: skip
def test_salesforce_s_account_is_the_end_of_an_address(written: str, expected: str | None):
    found = salesforce_account(written, DOMAINS)
    assert (found.id if found else None) == expected


@given(st.one_of(st.none(), st.integers(), st.text()))
def test_a_name_for_showing_is_one_short_line(value: object):
    shown = shown_name(value)
    assert len(shown) <= 200
    assert shown == "" or shown.isprintable()


@table(
    ("requested", "granted", "missing"),
    [
        (["a", "b"], None, []),
        (["a", "b"], ["b", "a", "c"], []),
        (["a", "b"], ["a"], ["b"]),
        (["a"], [], ["a"]),
        ([], [], []),
        (["openid", "profile", "email", "offline_access"], [], []),
        (["offline_access", "https://graph.microsoft.com/User.Read"], ["openid", "user.read"], []),
        (["User.Read", "Mail.Read"], ["https://graph.microsoft.com/User.Read"], ["Mail.Read"]),
        (["https://graph.microsoft.com/.default"], ["User.Read"], []),
        (["https://www.googleapis.com/auth/drive"], ["https://www.googleapis.com/auth/drive.file"],
         ["https://www.googleapis.com/auth/drive"]),
        (["user:email", "repo"], ["user"], ["repo"]),
        (["read:org"], ["admin:org"], []),
        (["read:org"], ["write:org"], []),
        (["admin:org"], ["read:org"], ["admin:org"]),
        (["user"], ["user:email"], ["user"]),
        (["api", "refresh_token"], ["api"], []),
        (["Mail.Send"], ["https://graph.microsoft.com/mail.send"], []),
        (["https://a.example/x.read"], ["X.Read"], []),
    ],
)  # fmt: skip
def test_the_scopes_that_were_not_granted(requested: list[str], granted: list[str] | None, missing: list[str]):
    assert missing_scopes(requested, granted) == tuple(missing)
