"""The frame of every page: what all templates get, and the headers of every answer.

The policy names the assets by origin and path, and not as `'self'`: workflows answer on the same origin, and could
answer a script.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from postern.console.navigation import NAVIGATION
from postern.console.page import Download, Viewer
from postern.console.render import render
from postern.triggers.reply import ALWAYS, Answer

Header = tuple[bytes, bytes]
ASSETS = "/console/assets/"
NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Frame:
    """`address` is where browsers reach the console: the public URL, which may have a path. `version` is the assets',
    `node` the server process."""

    address: str
    version: str
    node: str

    @property
    def prefix(self) -> str:
        """The path of the address, which links begin with."""
        return urlsplit(self.address).path

    def page(
        self,
        template: str,
        values: Mapping[str, Any],
        request_id: str,
        *,
        viewer: Viewer | None = None,
        here: str = "",
        status: int = 200,
        more: tuple[Header, ...] = (),
        closed: bool = False,
        counts: Mapping[str, str] = NOTHING,
    ) -> Answer:
        """The page of a template. `more` are further headers. `closed` says that the console is not open to this
        viewer, who gets no navigation. `counts` are shown beside its entries."""
        shared = {
            "console": f"{self.prefix}/console",
            "connect": f"{self.prefix}/connect",
            "prefix": self.prefix,
            "assets": f"{self.address}{ASSETS}{self.version}/",
            "viewer": viewer,
            "here": here,
            "node": self.node,
            "navigation": () if closed else NAVIGATION,
            "badges": counts,
            "request_id": request_id,
        }
        if hidden := values.keys() & shared.keys():
            raise ValueError(f"a page uses the name {', '.join(sorted(hidden))}, which each page has for itself")
        return self._answer(status, render(template, {**values, **shared}), more)

    def redirect(self, location: str, *, status: int = 303, more: tuple[Header, ...] = ()) -> Answer:
        """Send the browser elsewhere."""
        return self._answer(status, b"", ((b"location", location.encode("ascii")), *more))

    def download(self, file: Download) -> Answer:
        """A file that the browser saves, and does not show."""
        named = f'attachment; filename="{file.name}"'.encode("ascii")
        fields = [(b"content-type", file.media_type.encode("ascii")), (b"content-disposition", named)]
        length = (b"content-length", str(len(file.content)).encode())
        return Answer(200, [*fields, *self.headers[1:], length, *ALWAYS], file.content)

    def below(self, path: str) -> str:
        """The location of a page of this server, for a browser."""
        return f"{self.prefix}{path}"

    def _answer(self, status: int, content: bytes, more: tuple[Header, ...]) -> Answer:
        length = (b"content-length", str(len(content)).encode())
        return Answer(status, [*self.headers, *more, length, *ALWAYS], content)

    @property
    def headers(self) -> tuple[Header, ...]:
        """Those of every page."""
        return (
            (b"content-type", b"text/html; charset=utf-8"),
            (b"content-security-policy", policy(self.address).encode("ascii")),
            (b"cross-origin-opener-policy", b"same-origin"),
            (b"cross-origin-resource-policy", b"same-origin"),
            (b"referrer-policy", b"same-origin"),
        )


def policy(address: str) -> str:
    """The content security policy of the pages."""
    assets = f"{address}{ASSETS}"
    return (
        f"default-src 'none'; script-src {assets}; style-src {assets}; img-src {assets}; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
