"""Where a browser may be sent after signing in. Pure."""

import re

HOME = "/console"
LONGEST = 1500

_BELOW = re.compile(
    r"(?P<path>/(?:console|connect)(?:/(?!\.{0,2}(?:[/?]|$))[A-Za-z0-9._~!$&'()*+,=:@-]+)*)"
    r"(?:\?[A-Za-z0-9._~!$&'()*+,;=:@/?%-]*)?",
    re.ASCII,
)
_OF_SIGNING_IN = ("/console/sign-in", "/console/callback", "/console/sign-out", "/console/signed-out")


def destination(to: str) -> str:
    """`to` if it is a page of this server for people, below `/console` or `/connect`; else the console.

    A path has no `%`, `;`, `.` or `..`, which browsers and proxies would resolve. It is no page of signing in either,
    which would send the browser round in a circle.
    """
    found = _BELOW.fullmatch(to) if len(to) <= LONGEST else None
    return to if found is not None and found["path"] not in _OF_SIGNING_IN else HOME
