"""The tenant's pages for people, in plain HTML. Of a request only the scopes are on them."""

import base64
from collections.abc import Iterable
from hashlib import sha256
from html import escape

from starlette.responses import HTMLResponse

from postern.local_tenant.directory import Person
from postern.local_tenant.errors import EntraError

_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
main { max-width: 26rem; margin: 10vh auto; padding: 0 1rem }
h1 { font-size: 1.4rem; font-weight: 600 }
button { display: block; width: 100%; margin: 0 0 .75rem; padding: .75rem 1rem; font: inherit; text-align: left }
small { display: block }
"""
_HASH = base64.b64encode(sha256(_STYLE.encode()).digest()).decode()
# No `form-action`: browsers would apply it to the redirect back to the application too.
_POLICY = f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; frame-ancestors 'none'"
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": _POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def people_page(application: str, people: Iterable[Person]) -> HTMLResponse:
    """The people to sign in as. The form is sent to the page's own address, which has the whole request."""
    buttons = "\n".join(
        f'<button name="person" value="{escape(each.name)}">{escape(each.display_name)}'
        f"<small>{escape(', '.join([each.mail, *_marks(each)]))}</small></button>"
        for each in people
    )
    form = f'<form method="post">\n{buttons}\n<button name="person" value="">Cancel</button>\n</form>'
    return _page(
        f"Sign in to {application}", f"<p>This is the local tenant. Choose a person: no password is needed.</p>\n{form}"
    )


def consent_page(application: str, person: Person, permissions: Iterable[tuple[str, str]]) -> HTMLResponse:
    """What the application asks for, to be allowed or not. The form is sent to the page's own address, too."""
    asked = "\n".join(f"<li>{escape(words)} <small>{escape(scope)}</small></li>" for scope, words in permissions)
    return _page(
        f"{application} asks for your permission",
        f"""<p>You are signed in as {escape(person.display_name)} ({escape(person.mail)}).
The application would like to:</p>
<ul>
{asked}
</ul>
<form method="post">
<input type="hidden" name="person" value="{escape(person.name)}">
<button name="consent" value="allow">Allow</button>
<button name="consent" value="">Cancel</button>
</form>""",
    )


def signed_out_page() -> HTMLResponse:
    """The page after signing out, without a registered address to go back to."""
    return _page("You signed out of your account", "<p>It is a good idea to close all browser windows.</p>")


def error_page(error: EntraError) -> HTMLResponse:
    """An error that cannot be sent to the application, because it is not known where that is."""
    text = f"<p><strong>AADSTS{error.code}</strong>: {escape(error.description)}</p>"
    return _page("Sorry, but we're having trouble signing you in", text, error.status)


def _marks(person: Person) -> list[str]:
    return [*person.roles, *(["guest"] if person.guest else [])]


def _page(title: str, content: str, status: int = 200) -> HTMLResponse:
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
    text = f"""<!doctype html>
<html lang="en">
<head>{head}<style>{_STYLE}</style></head>
<body><main>
<h1>{escape(title)}</h1>
{content}
</main></body>
</html>
"""
    return HTMLResponse(text, status, _HEADERS)
