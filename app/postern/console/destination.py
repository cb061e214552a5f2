"""Where a browser may be sent after signing in. Pure."""

import re

from postern.redaction import without_tokens

HOME = "/console"
LONGEST = 1500

_BELOW = re.compile(
    r"(?P<path>/console(?:/(?!\.{0,2}(?:[/?]|$))[A-Za-z0-9._~!$&'()*+,=:@-]+)*"
    r"|/connect(?:/[A-Za-z0-9][A-Za-z0-9._-]*(?:/link/[0-9a-f]{64})?)?)"
    r"(?:\?[A-Za-z0-9._~!$&'()*+,;=:@/?%-]*)?",
    re.ASCII,
)
_OF_SIGNING_IN = ("/console/sign-in", "/console/callback", "/console/sign-out", "/console/signed-out")


def destination(to: str, otherwise: str = HOME) -> str:
    """`to` if it is a page of this server for people, below `/console` or `/connect`; else the console, or `otherwise`.

    A path has no `%`, `;`, `.` or `..`, which browsers and proxies would resolve. It is no page of signing in either,
    which would send the browser round in a circle. It has no token, which a person may have pasted into a filter,
    because the journal keeps it meanwhile. Below `/connect` it is one of the pages: other paths may have the secret
    of a link, or a code.
    """
    found = _BELOW.fullmatch(to) if len(to) <= LONGEST else None
    safe = found is not None and found["path"] not in _OF_SIGNING_IN and without_tokens(to) == to
    return to if safe else otherwise
