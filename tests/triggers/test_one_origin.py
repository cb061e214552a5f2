"""Which replies of workflows are sandboxed while the console's pages are at the same origin, and what is left out."""

from hypothesis import given
from hypothesis import strategies as st

from postern.media_types import is_inert
from postern.triggers.one_origin import SANDBOX, on_one_origin
from tests.table import table

CSP = b"content-security-policy"


@table(
    "content_type",
    [
        "application/json",
        "Application/JSON; charset=utf-8",
        "text/json",
        "application/problem+json",
        "application/vnd.api+json;v=1",
        "text/plain",
        "TEXT/PLAIN ; charset=iso-8859-1",
        'text/plain; charset="utf-8"; odd; =',
        "text/plain;",
        "application/pdf",
        "application/pdf; name=a.pdf",
    ],
)
def test_json_text_and_pdf_are_sent_as_they_are(content_type: str):
    sent = [(b"content-type", content_type.encode())]
    assert on_one_origin(sent) == sent


@table(
    "content_type",
    [
        "text/html",
        "text/html; charset=utf-8",
        "application/xhtml+xml",
        "image/svg+xml",
        "text/xml",
        "application/xml",
        "application/rss+xml",
        "text/xsl",
        "multipart/x-mixed-replace; boundary=a",
        "multipart/related",
        "message/rfc822",
        "text/javascript",
        "application/wasm",
        "text/css",
        "image/png",
        "application/octet-stream",
        "text/markdown",
        "text/plainer",
        "text/html+json/x",
        "",
        " ",
        "+json",
        "/x+json",
        "text/html x+json",
        "text/html(x+json",
        "text/html;+json",
        "text/plain, text/html",
        "text/plain;x, text/html",
        'text/plain;x="a, text/html"',
        "text/plain text/html",
        "a/" + "a" * 300 + "+json",
    ],
)
def test_whatever_a_browser_could_run_is_sandboxed(content_type: str):
    field = (b"content-type", content_type.encode())
    assert on_one_origin([field]) == [field, SANDBOX]


def test_a_reply_is_sandboxed_unless_it_has_exactly_one_type():
    text, page = (b"content-type", b"text/plain"), (b"Content-Type", b"text/html")
    for headers in ([], [text, page], [page, text], [text, text], [(b"x-content-type", b"text/plain")]):
        assert on_one_origin(headers) == [*headers, SANDBOX]


def test_the_sandbox_is_added_to_the_authors_own_policy():
    """A browser applies both, so neither is loosened by the other."""
    own = (CSP, b"sandbox allow-same-origin allow-scripts")
    assert on_one_origin([own, (b"content-type", b"text/html")])[-1] == SANDBOX
    assert b"allow-same-origin" not in SANDBOX[1]
    kept = [own, (b"content-type", b"text/plain")]
    assert on_one_origin(kept) == kept


@table(
    ("name", "value"),
    [
        ("x-content-type-options", "none"),
        ("X-Content-Type-Options", "nosniff"),
        ("clear-site-data", '"cookies"'),
        ("service-worker-allowed", "/"),
        ("NEL", '{"report_to": "x", "success_fraction": 1.0, "max_age": 31536000}'),
        ("report-to", '{"group": "x", "endpoints": [{"url": "https://evil.example"}], "max_age": 31536000}'),
        ("Alt-Svc", 'h3=":443"; ma=86400'),
        ("set-cookie", "__Host-postern-session=x; Path=/; Secure"),
        ("Set-Cookie", "__host-postern-authorization=x"),
        ("set-cookie", "postern-session-8080=; Max-Age=0"),
        ("set-cookie", "=postern-session-8080=x"),
    ],
)
def test_fields_that_act_on_the_console_are_left_out(name: str, value: str):
    text = (b"content-type", b"text/plain")
    assert on_one_origin([(name.encode(), value.encode()), text]) == [text]


def test_all_other_fields_of_an_author_are_sent():
    sent = [
        (b"set-cookie", b"a=1"),
        (b"set-cookie", b"b=2; Path=/"),
        (b"location", b"/x"),
        (b"content-type", b"text/html"),
        (b"access-control-allow-origin", b"*"),
    ]
    assert on_one_origin(sent) == [*sent, SANDBOX]


@given(st.binary(max_size=80))
def test_a_type_that_runs_nothing_names_no_other(content_type: bytes):
    if is_inert(content_type):
        essence = content_type.lower().partition(b";")[0].strip()
        assert b"," not in content_type
        assert essence.split(b"/")[1].endswith((b"json", b"plain", b"pdf"))
        assert not set(b' \t()<>@"\\[]?=') & set(essence)


@given(st.text("abhijlmnopstx/+;,= \tjson", max_size=40))
def test_the_same_for_texts_that_look_like_types(content_type: str):
    test_a_type_that_runs_nothing_names_no_other.hypothesis.inner_test(content_type.encode())  # type: ignore[attr-defined]
