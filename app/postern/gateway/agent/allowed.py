"""What the rows of gateway.toml allow: a target, and a request there. Pure.

Everything is compared in its usual form, and what is not in a row is not allowed. The texts are for the agent's log
and for the operators of the server: each names the row to add.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from postern.dot_segments import climbs
from postern.gateway.agent.rows import Row, host_name, usual_path, written
from postern.gateway.reasons import Reason


@dataclass(frozen=True, slots=True)
class Denied:
    """What is not allowed, and the fix."""

    reason: Reason
    text: str


@dataclass(frozen=True, slots=True)
class Target:
    """What a tunnel may connect to. `scheme` is how the agent speaks with it, None where the tunnel is not read;
    `rows` are those that say what may be requested. `loopback`: the rows say that it may be this machine."""

    host: str
    port: int
    rows: tuple[Row, ...]

    @property
    def scheme(self) -> str | None:
        """http, https or None."""
        return self.rows[0].scheme

    @property
    def loopback(self) -> bool:
        """Whether it may be this machine."""
        return self.rows[0].loopback

    @property
    def address(self) -> str:
        """Host and port as one text."""
        return written(self.host, self.port)


def target_of(rows: Sequence[Row], authority: str, *, ends_tls: bool) -> Target | Denied:
    """What the `:authority` of a CONNECT means (RFC 9113, section 8.5). `ends_tls`: TLS ends at the agent, which reads
    the requests."""
    name, colon, digits = authority.rpartition(":")
    known = digits.isascii() and digits.isdigit() and 0 < int(digits[:6]) < 65536
    if not colon or not name or not known or (":" in name and not name.startswith("[")):
        return Denied(Reason.TARGET_NOT_ALLOWED, "the target is not a host and a port")
    host, port = host_name(name), int(digits)
    address = written(host, port)
    of_address = [row for row in rows if row.address == address]
    found = tuple(row for row in of_address if (row.scheme is not None) == ends_tls)
    if found:
        return Target(host, port, found)
    if not of_address:
        more = ', scheme = "https", methods and paths' if ends_tls else ""
        return Denied(Reason.TARGET_NOT_ALLOWED, f'no row allows it: add [[allow]] with address = "{address}"{more}')
    if ends_tls:
        text = (
            'its row has no scheme, and so allows tunnels only: leave out tls = "gateway", or add a row with a scheme'
        )
    else:
        text = 'its row has a scheme, and so allows no tunnel: write tls = "gateway", or add a row without a scheme'
    return Denied(Reason.TARGET_NOT_ALLOWED, text)


def row_of(target: Target, method: str, path: bytes) -> Row | Denied:
    """The row that allows a request. `path` is the request's target as it was sent, with its query. A path that some
    server could read as leading to a parent folder is not allowed."""
    bare = path.partition(b"?")[0]
    if not bare.startswith(b"/") or b"#" in path or not _is_visible(path):
        return Denied(Reason.REQUEST_NOT_ALLOWED, "the request's target is not a path")
    if climbs(bare):
        return Denied(Reason.REQUEST_NOT_ALLOWED, "the path could lead to a parent folder: leave out dot segments")
    usual = usual_path(bare)
    for row in target.rows:
        if method in (row.methods or ()) and any(_covers(each, usual) for each in row.paths or ()):
            return row
    shown = usual.decode("ascii")[:200]
    text = f"no row of {target.address} allows {method[:20]} {shown}: add the method and the path"
    return Denied(Reason.REQUEST_NOT_ALLOWED, text)


def _covers(allowed: str, path: bytes) -> bool:
    base = allowed.encode().rstrip(b"/")
    return path == base or path.startswith(base + b"/")


def _is_visible(path: bytes) -> bool:
    return all(0x21 <= byte <= 0x7E for byte in path)
