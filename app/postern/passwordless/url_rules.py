"""What POSTERN_DATABASE_URL must be where it says `passwordless=entra`: a token of Entra goes there as the password, so
it must be certain who receives it."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from postern.loopback import is_loopback
from postern.passwordless.database_url import ENTRA, PASSWORDLESS, DatabaseUrl, Passwordless

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

_MAY_STAND_BESIDE = {PASSWORDLESS, "host", "options", "sslmode", "sslrootcert", "target_session_attrs"}
"""What else a query may have. libpq's others could name another server, user or password."""
_OF_CREDENTIAL = ("azure_credential", "cloud", "authority", "ca_bundle")
_EXAMPLE = f"postgresql://NAME@HOST/postern?sslmode=verify-full&{PASSWORDLESS}={ENTRA}"


class UrlFault(ValueError):
    """A database URL that cannot be used: what is `wrong` with it, and how to `fix` that."""

    def __init__(self, wrong: str, fix: str) -> None:
        super().__init__(f"{wrong}. {fix}")
        self.wrong = wrong
        self.fix = fix


def passwordless(text: str, settings: Mapping[str, Any]) -> str:
    """The URL, with what signing in needs where it has no password. One that lacks something for that, or has something
    too many, is refused."""
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
            f"has {PASSWORDLESS}={ENTRA} and no user",
            f"Write the name of the database's role for this identity: {_EXAMPLE}",
        )
    beside = sorted(set(url.query) - _MAY_STAND_BESIDE)
    if beside:
        raise UrlFault(f"has {beside[0]} in its query beside {PASSWORDLESS}={ENTRA}", f"Write it like {_EXAMPLE}")


def _check_server(url: "URL") -> None:
    """Whoever answers gets the token: TLS must have named the server, unless it is on this machine."""
    hosts = [*_hosts(url.query.get("host", ())), *_hosts(url.host or ())]
    if not hosts:
        raise UrlFault(f"has {PASSWORDLESS}={ENTRA} and no host", f"Write it like {_EXAMPLE}")
    on_this_machine = all(host.startswith("/") or is_loopback(host) for host in hosts)
    if not on_this_machine and url.query.get("sslmode") != "verify-full":
        raise UrlFault(
            f"has {PASSWORDLESS}={ENTRA} without sslmode=verify-full: the token would be sent to whoever answers",
            "Add sslmode=verify-full",
        )


def _with_credential(text: str, others: Mapping[str, Any]) -> str:
    if any(name not in others for name in _OF_CREDENTIAL):
        return text  # that one is faulty, and said to be
    credential, cloud, authority, ca_bundle = (others[name] for name in _OF_CREDENTIAL)
    if credential is None:
        raise UrlFault(
            f"has {PASSWORDLESS}={ENTRA}, and POSTERN_AZURE_CREDENTIAL does not say how to sign in to Azure",
            "Set POSTERN_AZURE_CREDENTIAL to managed_identity, workload_identity, client_secret or developer",
        )
    return DatabaseUrl(text, Passwordless(credential, cloud, authority, ca_bundle))


def _hosts(value: str | tuple[str, ...]) -> Iterator[str]:
    """Every host that libpq tries: one text may name several, with commas."""
    for text in (value,) if isinstance(value, str) else value:
        yield from text.split(",")
