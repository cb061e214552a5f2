"""The cookies of the console. Pure.

Over https their names begin with `__Host-`: a browser takes such a cookie from this host only, over https and for all
paths, so that neither a subdomain nor a path can plant one. Over http, which the console takes on loopback only, Safari
keeps no Secure cookie; and cookies do not tell ports apart, so the name has the port.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from postern.browser_secrets import is_secret
from postern.journal.authorizations import KEPT_FOR
from postern.own_cookies import AUTHORIZATION, HOST_ONLY, SESSION

Header = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Cookies:
    """The names of the two cookies: of the session, and of an authorization request that is under way."""

    session: str
    authorization: str
    secure: bool

    def set_session(self, secret: str) -> Header:
        """The browser keeps it until it is closed; the server decides when the session ends."""
        return self._set(self.session, secret, "")

    def set_authorization(self, secret: str) -> Header:
        """It lives as long as an authorization request."""
        return self._set(self.authorization, secret, f"; Max-Age={KEPT_FOR:.0f}")

    def clear_session(self) -> Header:
        """The browser forgets the session."""
        return self._set(self.session, "", "; Max-Age=0")

    def _set(self, name: str, value: str, lifetime: str) -> Header:
        secure = "; Secure" if self.secure else ""
        return b"set-cookie", f"{name}={value}; Path=/; HttpOnly; SameSite=Lax{secure}{lifetime}".encode("ascii")


def cookies_at(address: str) -> Cookies:
    """The cookies of a console that browsers reach at this address."""
    parts = urlsplit(address)
    if parts.scheme == "https":
        return Cookies(HOST_ONLY + SESSION, HOST_ONLY + AUTHORIZATION, secure=True)
    port = parts.port or 80
    return Cookies(f"{SESSION}-{port}", f"{AUTHORIZATION}-{port}", secure=False)


def secret_in(headers: Iterable[Header], name: str) -> str:
    """The secret in the cookie of this name; "" if there is none. Where several cookies have the name, somebody else
    has set one of them, and none is taken. Only blanks and tabs are no part of a name (RFC 6265, section 5.2): with any
    other space around it, such as 0xa0, browsers let a neighbouring site set a name that begins with `__Host-`."""
    found = [
        value.strip(" \t")
        for field, text in headers
        if field == b"cookie"
        for key, _, value in (pair.partition("=") for pair in text.decode("latin-1").split(";"))
        if key.strip(" \t") == name
    ]
    return found[0] if len(found) == 1 and is_secret(found[0]) else ""
