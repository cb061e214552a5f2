"""Every name of a secret, in every syntax, in every place where a record or a log may have it."""

import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, urlencode
from xml.sax.saxutils import quoteattr

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postern.journal.writing.request_headers import written_headers
from postern.journal.writing.rows import MAX_KEPT_BYTES, kept
from postern.redaction import (
    NOT_RECORDED,
    body_without_secrets,
    is_secret_name,
    may_tell,
    redacted_query,
    without_secret_values,
    without_secrets,
    written,
)
from tests.logs.in_memory import Log
from tests.table import table

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
VALUE = "s3same-0pen"


def listed(text: str) -> list[str]:
    return text.split()


SECRET = listed(
    "accessToken access_token ACCESS-TOKEN refreshToken clientAssertion connectionString pwd userPwd "
    "apiKey APIKey x-api-key api.key password password2 Passwort clientSecret token deviceToken "
    "sessiontoken authTokens pin otpCode pin_value jwt idToken sig sasUrl AccountKey authorization cookie "
    "SAMLResponse userpass db_pass"
)

HARMLESS = listed(
    "token_count tokens_used max_tokens completionTokens tokens tokenizer token_type token_url "
    "next_page_token continuationToken keyboard monkey key primaryKey foreign_key idempotency-key "
    "passport passenger compass boarding_pass design signature x-hub-signature-256 secretary "
    "cookie_policy author authentication requires_auth assertions shipping pinned code status_code "
    "session_id"
)


def escaped(name: str) -> str:
    """The name with an escape of JSON in it."""
    return f"{name[0]}\\u{ord(name[1]):04x}{name[2:]}"


def multipart(name: str) -> bytes:
    head = f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{VALUE}\r\n'
    return (head + '--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nstays\r\n--b--\r\n').encode()


BODIES: dict[str, tuple[str, Callable[[str], bytes]]] = {
    "json": ("application/json", lambda name: json.dumps({"a": "stays", name: VALUE}).encode()),
    "nested json": ("application/json", lambda name: json.dumps([{"a": "stays", "b": {name: {"c": VALUE}}}]).encode()),
    "escaped json": ("application/json", lambda name: f'{{"a": "stays", "{escaped(name)}": "{VALUE}"}}'.encode()),
    "json in json": (
        "application/json",
        lambda name: json.dumps({"a": "stays", "b": json.dumps({name: VALUE})}).encode(),
    ),
    "pair": ("application/json", lambda name: json.dumps({"a": "stays", "b": [name, VALUE]}).encode()),
    "named": (
        "application/json",
        lambda name: json.dumps({"a": "stays", "b": {"name": name, "value": VALUE}}).encode(),
    ),
    "json, no type": ("", lambda name: json.dumps({"a": "stays", name: VALUE}).encode()),
    "json as form": (
        "application/x-www-form-urlencoded",
        lambda name: json.dumps({"a": "stays", name: VALUE}).encode(),
    ),
    "form": ("application/x-www-form-urlencoded", lambda name: urlencode({"a": "stays", name: VALUE}).encode()),
    "escaped form": (
        "application/x-www-form-urlencoded",
        lambda name: f"a=stays&%{ord(name[0]):02x}{quote(name[1:])}={VALUE}".encode(),
    ),
    "multipart": ("multipart/form-data; boundary=b", multipart),
    "multipart, no type": ("", multipart),
    "xml": ("text/xml", lambda name: f"<r><a>stays</a><x:{name}>{VALUE}</x:{name}></r>".encode()),
    "xml attribute": ("", lambda name: f"<r a='stays' {name}={quoteattr(VALUE)}/>".encode()),
    "xml, named": ("", lambda name: f'<r a="stays"><add key="{name}" value="{VALUE}"/></r>'.encode()),
    "plist": ("", lambda name: f"<r a='stays'><key>{name}</key> <string>{VALUE}</string></r>".encode()),
    "answer": (
        "",
        lambda name: json.dumps([{"a": "stays"}, {"label": name, "answer": VALUE}, {"K": name, "Val": VALUE}]).encode(),
    ),
    "table": ("", lambda name: json.dumps([["a", name], ["stays", VALUE], ["stays", VALUE]]).encode()),
    "columns": ("", lambda name: json.dumps({"columns": ["a", name], "rows": [["stays", VALUE]]}).encode()),
    "columns, objects": (
        "",
        lambda name: json.dumps({"columns": [{"name": "a"}, {"name": name}], "rows": [["stays", VALUE]]}).encode(),
    ),
    "table in xml": ("", lambda name: f"<r a='stays'><td>{name}:</td><td>{VALUE}</td></r>".encode()),
    "xml in json": ("", lambda name: json.dumps({"a": "stays", "b": f"<{name}>{VALUE}</{name}>"}).encode()),
    "xml in xml": ("", lambda name: f"<r>stays<![CDATA[<{name} a='b'>{VALUE}</{name}>]]></r>".encode()),
    "list in text": ("", lambda name: f"stays {{'{name}': [{{}}, [1], ']', '{VALUE}']}}".encode()),
    "call in text": ("", lambda name: f"stays, {name}=SecretStr('{VALUE}')".encode()),
    "bytes in text": ("", lambda name: f"stays {{b'{name}': b'{VALUE}'}}".encode()),
    "pair in text": ("", lambda name: f"stays [(b'{name}', b'{VALUE}'), (b'a', b'b')]".encode()),
    "option": ("", lambda name: f"stays, --{name} {VALUE} and ['--{name}', '{VALUE}']".encode()),
    "item in text": ("", lambda name: f"""stays config["{name}"] = '''{VALUE}'''""".encode()),
    "form in text": ("", lambda name: f"stays user[{name}]={VALUE}".encode()),
    "aligned": ("", lambda name: f"stays\n{name}          =          {VALUE}".encode()),
    "markdown": ("", lambda name: f"stays\n**{name}:** {VALUE}\n- `{name}`: {VALUE}".encode()),
    "yaml block": ("", lambda name: f"a: stays\n{name}: |\n  {VALUE}\n  {VALUE}\n".encode()),
    "yaml list": ("", lambda name: f"a: stays\n{name}:\n- {VALUE}\n- {VALUE}\n".encode()),
    "yaml map": ("", lambda name: f"a: stays\n{name}:\n  b: c\n  d: {VALUE}\n".encode()),
    "url in a url": ("", lambda name: f"stays /a?next=%2Fb%3Fc%3D1%26{quote(name)}%3D{VALUE}%26d%3D1".encode()),
    "text": ("text/plain", lambda name: f"it stays\n{name}={VALUE}".encode()),
    "dict in text": ("", lambda name: f"stays {{'{name}': '{VALUE}'}}".encode()),
}


@table("syntax", BODIES)
def test_a_secret_is_not_recorded_in_any_syntax(syntax: str):
    content_type, made = BODIES[syntax]
    found = {name: kept(made(name), content_type) for name in SECRET}
    assert {name: text for name, (text, _) in found.items() if VALUE in str(text) or "stays" not in str(text)} == {}
    assert {form for _, form in found.values()} == {"redacted"}
    cut = {name: kept(made(name) + b" " * MAX_KEPT_BYTES, content_type)[0] for name in SECRET}
    assert {name for name, text in cut.items() if VALUE in str(text)} == set()


@table("syntax", [each for each in BODIES if "escaped" not in each])
def test_a_word_that_only_looks_like_a_secret_stays_readable(syntax: str):
    content_type, made = BODIES[syntax]
    found = {name: kept(made(name), content_type) for name in HARMLESS}
    assert {name: text for name, (text, _) in found.items() if text != made(name).decode()} == {}
    assert {form for _, form in found.values()} <= {"json", "text"}


PLACES: dict[str, Callable[[str], str]] = {
    "query": lambda name: redacted_query(urlencode({"a": 1, name: VALUE}).encode()),
    "header": lambda name: written_headers(f"{name}\n{VALUE}".encode()),
    "error text": lambda name: without_secret_values(f"HTTP 400 for https://x.example/a?b=1&{name}={VALUE}"),
    "value of a log field": lambda name: json.dumps(written({"b": [{name: VALUE}]})),
    "step input": lambda name: json.dumps(without_secrets({"args": [{name: VALUE}]})),
    "header in a text": lambda name: without_secret_values(f"{name}: {VALUE}"),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_secret_is_written_in_no_place(place: str):
    shown = {name for name in SECRET if VALUE in PLACES[place](name)}
    hidden = {name for name in HARMLESS if VALUE not in PLACES[place](name)}
    if place == "header":  # headers are more careful: see `is_credential`
        hidden -= {"key", "primaryKey", "foreign_key", "session_id"}
    assert (shown, hidden) == (set(), set())


def test_a_log_line_shows_no_secret_as_field_event_or_in_a_text(restored_logs: None):
    log = Log("json")
    for name in SECRET:
        event = f"failed with {name}={VALUE}"
        log.log.info(event, text=f"{name}: {VALUE}", **{name: VALUE})
    assert [line for line in log.lines if VALUE in json.dumps(line)] == []


@table(
    ("content", "content_type"),
    [
        (b'{"password": broken', "application/json"),
        (b'{"p\\u0061ssword": broken', "application/json"),
        (b'{"a": {"password": "x"}, "a": 1}', "application/json"),
        (b"[" * 200_000 + b'"password"', "application/json"),
        (b'{"a": 1}\n{"pin": 1}', "application/x-ndjson"),
        (b"<a><password>x</a>", "application/xml"),
        (b'<!DOCTYPE a [<!ENTITY password "x">]><a>&password;</a>', "application/xml"),
        (b"<p>password<br>x", "text/html"),
        (b"name,password\nada,x", "text/csv"),
        (b"name,password\nada,x", "text/plain"),
        (b'"name";"Client Secret"\r\n"ada";"x"\r\n', ""),
        (b"name\tpin\nada\t1234", "application/octet-stream"),
        (b"password:\n  - x", "application/yaml"),
        (b"password=x", "application/json"),
        (b"no parts, a password", "multipart/form-data; boundary=b"),
        ('{"password": "x"}'.encode("utf-16"), "application/json"),
        ("password=x\xe9".encode("latin-1"), "text/plain"),
        (b"password=x\x00", "text/plain"),
    ],
)
def test_what_cannot_be_read_and_looks_telling_is_not_kept_and_the_record_says_so(content: bytes, content_type: str):
    assert body_without_secrets(content, content_type) == NOT_RECORDED
    if len(content) <= MAX_KEPT_BYTES:
        assert kept(content, content_type) == (NOT_RECORDED, "redacted")


@pytest.mark.parametrize(
    ("content", "content_type", "form"),
    [
        (b'{"broken', "application/json", "json"),
        (b"<p>unclosed", "text/html", "text"),
        (b"\x89PNG\x00\x01", "image/png", "base64"),
        (b"a,b\n1,2", "text/csv", "text"),
        (b"token_count,b\n1,2", "text/plain", "text"),
        (b"Hello, your password\nwas changed by us", "text/plain", "text"),
        (b'{"token": "", "password": null, "pin": false}', "application/json", "json"),
    ],
)
def test_what_tells_nothing_is_kept_as_it_came(content: bytes, content_type: str, form: str):
    assert kept(content, content_type)[1] == form


def test_a_name_in_pieces_is_one_name():
    body = f"<r><name>access<!-- -->Token</name><value>{VALUE}</value></r>".encode()
    assert VALUE not in str(body_without_secrets(body, "text/xml"))


words = st.lists(
    st.sampled_from(listed("access api token key pass word sig count value name id user page max")),
    min_size=1,
    max_size=4,
)


@given(words, st.sampled_from(["_", "-", ".", " "]))
def test_a_name_means_the_same_in_every_case_and_with_every_separator(parts: list[str], separator: str):
    meaning = is_secret_name("_".join(parts))
    camel = parts[0] + "".join(map(str.capitalize, parts[1:]))
    for written_name in (separator.join(parts), separator.join(parts).upper(), camel, camel[0].upper() + camel[1:]):
        assert is_secret_name(written_name) == meaning, written_name


@given(words | st.just(["x"]), st.sampled_from(["", "_", "-"]))
def test_what_is_searched_first_is_in_every_name_of_a_secret(parts: list[str], separator: str):
    """A body without a sign is read no further."""
    name = separator.join(parts)
    assert may_tell(name) or not is_secret_name(name)
    assert may_tell(name.upper().encode()) or not is_secret_name(name)


def test_the_page_for_operators_lists_what_is_hidden_and_what_is_not():
    page = (ROOT / "app/postern/redaction/README.md").read_text("utf-8")
    hidden, readable = page.split("## Names that stay readable")
    for text, secret in ((hidden, True), (readable.split("##")[0], False)):
        rows = [line.split("|")[2] for line in text.splitlines() if line.startswith("| ")][1:]
        names = [name.strip("` ") for row in rows for name in row.split(",") if "`" in name]
        assert len(names) > 10
        assert {name for name in names if is_secret_name(name) != secret} == set()
