"""How the database's URL says that no password is used, and what signing in without one needs besides the URL."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.engine import URL

from app.errors import DatabaseFault
from app.settings.passwordless import ENTRA, PASSWORDLESS

Open = Callable[[URL, Mapping[str, str]], Engine]
"""Opens an engine on a URL as libpq reads it; the driver is told the rest besides."""


@dataclass(frozen=True, slots=True)
class Passwordless:
    """Postern's own credential for the database: which kind (POSTERN_AZURE_CREDENTIAL), in which cloud, at which
    authority, and who is trusted on the way. It has no secret, and goes to the writer's process as it is."""

    credential: str
    cloud: str
    authority: str
    ca_bundle: Path | None = None


def open_passwordless(url: URL, how: Passwordless | None, open_plain: Open) -> Engine:
    """An engine by `open_plain` that signs in with tokens. Raises DatabaseFault."""
    if how is None or url.query[PASSWORDLESS] != ENTRA:
        raise DatabaseFault(
            f"POSTERN_DATABASE_URL has {PASSWORDLESS}={ENTRA}, and nothing says how to sign in: set "
            "POSTERN_AZURE_CREDENTIAL"
        )
    try:
        from app.runs.journal.entra_sign_in import settled, sign_in
    except ModuleNotFoundError as error:
        raise DatabaseFault(
            f"POSTERN_DATABASE_URL has {PASSWORDLESS}={ENTRA}, which needs {error.name}: install postern[postgres]"
        ) from None
    engine = open_plain(url.difference_update_query([PASSWORDLESS]), settled(url.query, how.ca_bundle))
    sign_in(engine, how)
    return engine
