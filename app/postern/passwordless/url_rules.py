"""The rules for POSTERN_DATABASE_URL with `passwordless=entra`. A token from Entra is sent as the password, so the
server must be verified."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from postern.loopback import is_loopback
from postern.passwordless.database_url import ENTRA, PASSWORDLESS, DatabaseUrl, Passwordless
from postern.proxy import Proxy

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

_ALLOWED_BESIDE = {PASSWORDLESS, "host", "options", "sslmode", "sslrootcert", "target_session_attrs"}
"""The parameters that a query may have. libpq's others could name another server, user or password."""
_OF_CREDENTIAL = ("azure_credential", "cloud", "authority", "ca_bundle", "proxy", "no_proxy")
_EXAMPLE = f"postgresql://NAME@HOST/postern?sslmode=verify-full&{PASSWORDLESS}={ENTRA}"


class UrlFault(ValueError):
    """A database URL that cannot be used: `wrong` is the problem, and `fix` how to correct it."""

    def __init__(self, wrong: str, fix: str) -> None:
        super().__init__(f"{wrong}. {fix}")
        self.wrong = wrong
        self.fix = fix


def passwordless(text: str, settings: Mapping[str, Any]) -> str:
    """The URL, with the data for signing in if it is passwordless. A passwordless URL that breaks a rule is
    rejected."""
    names = {name.lower() for name, _ in parse_qsl(text.partition("?")[2], keep_blank_values=True)}
    if PASSWORDLESS not in names:
        return text
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise UrlFault("is not a database URL", f"Write it like {_EXAMPLE}") from None
    _check_words(url)
    _check_server(url)
    return _with_credential(text, settings)


def _check_words(url: "URL") -> None:
    if url.get_backend_name() != "postgresql":
        raise UrlFault(f"has {PASSWORDLESS}, which is for PostgreSQL only", f"Leave out {PASSWORDLESS}")
    if url.query.get(PASSWORDLESS) != ENTRA:
        raise UrlFault(f"has a {PASSWORDLESS} other than {ENTRA}", f"Write {PASSWORDLESS}={ENTRA}")
    if url.password:
        raise UrlFault(f"has a password beside {PASSWORDLESS}={ENTRA}", "Leave one of them out")
    if not url.username:
        raise UrlFault(
            f"has {PASSWORDLESS}={ENTRA} but no user",
            f"Write the name of the database's role for this identity: {_EXAMPLE}",
        )
    beside = sorted(set(url.query) - _ALLOWED_BESIDE)
    if beside:
        raise UrlFault(f"has {beside[0]} in its query beside {PASSWORDLESS}={ENTRA}", f"Write it like {_EXAMPLE}")


def _check_server(url: "URL") -> None:
    """Check that TLS verifies the server, unless it is on this machine: the server that responds gets the token."""
    hosts = [*_hosts(url.query.get("host", ())), *_hosts(url.host or ())]
    if not hosts:
        raise UrlFault(f"has {PASSWORDLESS}={ENTRA} but no host", f"Write it like {_EXAMPLE}")
    on_this_machine = all(host.startswith("/") or is_loopback(host) for host in hosts)
    if not on_this_machine and url.query.get("sslmode") != "verify-full":
        raise UrlFault(
            f"has {PASSWORDLESS}={ENTRA} without sslmode=verify-full: the token would be sent to an unverified server",
            "Add sslmode=verify-full",
        )


def _with_credential(text: str, others: Mapping[str, Any]) -> str:
    if any(name not in others for name in _OF_CREDENTIAL):
        return text  # that setting is faulty and reported already
    credential, cloud, authority, ca_bundle, url, direct = (others[name] for name in _OF_CREDENTIAL)
    if credential is None:
        raise UrlFault(
            f"has {PASSWORDLESS}={ENTRA}, but POSTERN_AZURE_CREDENTIAL is not set",
            "Set POSTERN_AZURE_CREDENTIAL to managed_identity, workload_identity, client_secret or developer",
        )
    return DatabaseUrl(text, Passwordless(credential, cloud, authority, ca_bundle, Proxy(url, direct) if url else None))


def _hosts(value: str | tuple[str, ...]) -> Iterator[str]:
    """Every host that libpq tries. One string may name several, with commas."""
    for text in (value,) if isinstance(value, str) else value:
        yield from text.split(",")
