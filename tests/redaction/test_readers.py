"""The readers of bodies: they never raise, read once, and leave alone what has no secret."""

import json
import time
from urllib.parse import parse_qsl, urlencode
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postern.redaction import REDACTED, body_without_secrets, is_secret_name, without_secret_values
from postern.redaction.texts import first_sign
from tests.table import table

pytestmark = pytest.mark.slow

TYPES = ["", "application/json", "application/x-www-form-urlencoded", "text/xml", "multipart/form-data; boundary=b"]

pieces = st.lists(
    st.sampled_from(
        [
            *'{}[]<>"=&:;,/\\ \n%',
            "password",
            "token",
            "a",
            "--b\r\n",
            "\r\n\r\n",
            'name="pwd"',
            "</a>",
            "<a>",
            "\\u0070",
        ]
    )
    | st.text(max_size=3)
).map("".join)


@given(pieces | st.text(), st.sampled_from(TYPES))
def test_a_reader_takes_anything_and_its_result_is_text_that_can_be_stored(text: str, content_type: str):
    content = text.encode("utf-8", "surrogatepass")
    found = body_without_secrets(content, content_type)
    assert found is None or found.encode("utf-8")


@given(st.binary(), st.sampled_from(TYPES))
def test_a_reader_takes_any_bytes(content: bytes, content_type: str):
    body_without_secrets(content, content_type)


values = st.text(st.characters(categories=["L", "N"]), min_size=9, max_size=12).map(lambda text: f"v{text}")
names = st.sampled_from(["a", "count", "accessToken", "pass_word", "user-pwd", "page", "client.secret"])
trees = st.recursive(
    values, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3), max_leaves=8
)


def hidden(tree: object, *, below: bool = False) -> set[str]:
    """The values under secret names."""
    if isinstance(tree, dict):
        return {each for name, part in tree.items() for each in hidden(part, below=below or is_secret_name(name))}
    if isinstance(tree, list):
        return {each for part in tree for each in hidden(part, below=below)}
    return {str(tree)} if below else set()


@given(trees)
def test_json_loses_all_values_under_secret_names_and_no_others(tree: object):
    found = body_without_secrets(json.dumps(tree).encode(), "application/json")
    text = found if found is not None else json.dumps(tree, ensure_ascii=False)
    assert not [value for value in hidden(tree) if f'"{value}"' in text and value not in shown(tree)]
    assert [value for value in shown(tree) if value not in text] == []


def shown(tree: object) -> set[str]:
    if isinstance(tree, dict):
        return {each for name, part in tree.items() if not is_secret_name(name) for each in shown(part)}
    if isinstance(tree, list):
        return {each for part in tree for each in shown(part)}
    return {str(tree)}


@given(st.lists(st.tuples(names, values), max_size=5))
def test_a_form_keeps_its_pairs(pairs: list[tuple[str, str]]):
    sent = urlencode(pairs)
    found = body_without_secrets(sent.encode(), TYPES[2])
    clean = [(name, REDACTED if is_secret_name(name) else value) for name, value in pairs]
    assert parse_qsl(sent if found is None else found) == clean


@given(st.lists(st.tuples(st.sampled_from(["a", "accessToken", "pwd"]), values | st.just("a < b & c")), max_size=5))
def test_xml_keeps_its_elements(pairs: list[tuple[str, str]]):
    root = ET.Element("r")
    for name, value in pairs:
        ET.SubElement(root, name).text = value
    sent = ET.tostring(root, encoding="unicode")
    found = ET.fromstring(body_without_secrets(sent.encode(), "text/xml") or sent)
    assert [(each.tag, each.text) for each in found] == [
        (name, REDACTED if is_secret_name(name) else value) for name, value in pairs
    ]


@given(st.dictionaries(st.sampled_from(["a", "b", "pwd"]), values | st.sampled_from(["'\"", "a\n\tb\r", "<&>"])))
def test_xml_keeps_its_attributes(attributes: dict[str, str]):
    sent = ET.tostring(ET.Element("r", attributes), encoding="unicode")
    found = ET.fromstring(body_without_secrets(sent.encode(), "text/xml") or sent)
    assert found.attrib == {
        name: REDACTED if value and is_secret_name(name) else value for name, value in attributes.items()
    }


def test_a_file_in_a_form_beside_a_secret_does_not_hide_it():
    body = (
        b'--b\r\nContent-Disposition: form-data; name="f"; filename="a.png"\r\n'
        b"Content-Type: image/png\r\n\r\n\x89\xff\x00"
        b'\r\n--b\r\nContent-Disposition: form-data; name="pass%77ord"\r\n\r\nhunter2\r\n--b--\r\n'
    )
    assert "hunter2" not in str(body_without_secrets(body, "multipart/form-data; boundary=b"))


@table(
    ("text", "expected"),
    [
        ("Authorization: Bearer abc.def ghi", "Authorization: [redacted]"),
        ("Cookie: a=b; c=d", "Cookie: [redacted]"),
        ("{'Authorization': 'Basic YTpi'}", "{'Authorization': [redacted]}"),
        ("API key: abc", "API key: [redacted]"),
        ("postgresql://u:hunter2@h/db", "postgresql://u:[redacted]@h/db"),
        ("Server=x;Password=hunter2;User Id=ada", "Server=x;Password=[redacted];User Id=ada"),
        ("/a?b=1&sig=%5Bredacted%5D", "/a?b=1&sig=%5Bredacted%5D"),
        ("password == hunter2", "password == [redacted]"),
        ("pass\\u0077ord=hunter2", "pass\\u0077ord=[redacted]"),
        ("'a\\npassword=hunter2'", "'a\\npassword=[redacted]'"),
        ('{"a": "{\\"pwd\\":\\"x y\\"}"}', '{"a": "{\\"pwd\\":[redacted]}"}'),
        ("password={'a': 'hunter2'}", "password=[redacted]"),
        ('client_secret = { key_vault = "graph" }', 'client_secret = { key_vault = "graph" }'),
        ("-----BEGIN PRIVATE KEY-----\nMII\n-----END PRIVATE KEY-----\nend", "[redacted]\nend"),
    ],
)
def test_a_text_loses_secrets_in_the_forms_that_programs_write(text: str, expected: str):
    assert without_secret_values(text) == expected
    assert without_secret_values(expected) == expected


REPEATED = [
    *[
        "x",
        "x=",
        "x ",
        "'",
        "password=",
        'token: "',
        "-",
        "a b ",
        "a=b&",
        "password='\\",
        "%41",
        "\\u0041",
        "\\",
        "eyJ",
        "eyJ.",
    ],
    *[
        "://a:b",
        "-----BEGIN PRIVATE KEY-----",
        "cookie:",
        "<a>",
        "<a b='c'>",
        "[",
        '{"a":',
        '"pwd":1,',
        "&#112;",
        "--b\r\n",
    ],
    *["password=[", "password=[']", "('token','\\'", '(\'token\',b"""', "--token ", "Bearer ", "token   ", "token\t"],
    *["token: |\n", "token:\n ", "?code=", "%26token%3D", "<token>a", "password=\\\\'", "://a1"],
    *["\r\n", 'name="', "key: [", "\\u0070 ", "aA"],
]


def work(text: str) -> float:
    """Processor time of all readers. The least of three, because other processes disturb it."""

    def once() -> float:
        began = time.process_time()
        for content_type in TYPES:
            body_without_secrets(b"password " + text.encode(), content_type)
            body_without_secrets(b'{"password":"' + text.encode(), content_type)
        first_sign(text)
        return time.process_time() - began

    return min(once() for _ in range(3))


@pytest.mark.slow
@table("part", REPEATED)
def test_a_reader_reads_a_body_once(part: str):
    """Four times the body is not sixteen times the work."""
    size = 8_000
    small, large = work(part * (size // len(part))), work(part * (4 * size // len(part)))
    assert large < 9 * small + 0.01
