"""`connections`, `triggers` and `secrets`: what stands in for outside systems in a test."""

from collections.abc import Mapping
from typing import Any

from postern.testing.session import SESSION
from postern.testing.stubs import Sent, Stub, Stubs


class Connection:
    """The stubs of `[connections.NAME]`, or of a trigger."""

    def __init__(self, stubs: Stubs) -> None:
        self._stubs = stubs

    def request(self, method: str, path: str = "", *, query: Mapping[str, str] | None = None) -> Stub:
        """The stub of requests with this method and path below the connection's address. `query`: only of those that
        have these parameters."""
        return self._stubs.stub(method.upper(), path, query)

    def get(self, path: str = "", *, query: Mapping[str, str] | None = None) -> Stub:
        """The stub of a GET."""
        return self.request("GET", path, query=query)

    def post(self, path: str = "", *, query: Mapping[str, str] | None = None) -> Stub:
        """The stub of a POST."""
        return self.request("POST", path, query=query)

    def put(self, path: str = "", *, query: Mapping[str, str] | None = None) -> Stub:
        """The stub of a PUT."""
        return self.request("PUT", path, query=query)

    def patch(self, path: str = "", *, query: Mapping[str, str] | None = None) -> Stub:
        """The stub of a PATCH."""
        return self.request("PATCH", path, query=query)

    def delete(self, path: str = "", *, query: Mapping[str, str] | None = None) -> Stub:
        """The stub of a DELETE."""
        return self.request("DELETE", path, query=query)

    def replies(self, json: Any = None, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Stub:
        """Reply to every request with this body. See Stub.replies."""
        return self.request("").replies(json, status=status, headers=headers)

    def fails(self, how: int | str = "connect", *, times: int = 1, then: Any = ...) -> Stub:
        """Fail every request. See Stub.fails."""
        return self.request("").fails(how, times=times, then=then)

    @property
    def calls(self) -> list[Sent]:
        """The requests that workflows sent in this test, in their order."""
        return list(self._stubs.calls)


class Connections:
    """The connections of the settings, by name."""

    def __getitem__(self, name: str) -> Connection:
        server = SESSION.server
        known = server.settings.connections
        if name not in known:
            raise KeyError(f"[connections.{name}] is not in postern.toml; it has {', '.join(sorted(known)) or 'none'}")
        return Connection(SESSION.now.connections[name])


class Triggers:
    """The entries `[triggers.NAME]` of the settings, and the workflows of this project, which are called if they have
    no stub."""

    def __getitem__(self, name: str) -> Connection:
        server = SESSION.server
        known = [*server.settings.triggers, *server.app.catalog.snapshot.triggers]
        if name not in known:
            raise KeyError(f"[triggers.{name}] is not in postern.toml, and no workflow has this name")
        return Connection(SESSION.now.triggers[name])


class Secrets:
    """The secrets of the Key Vault, by name. A test sees no others than its own."""

    def __setitem__(self, name: str, value: str) -> None:
        SESSION.now.secrets[name.lower()] = value

    def __delitem__(self, name: str) -> None:
        del SESSION.now.secrets[name.lower()]

    def __contains__(self, name: str) -> bool:
        return name.lower() in SESSION.now.secrets

    def __repr__(self) -> str:
        return f"<secrets {', '.join(sorted(SESSION.now.secrets))}>"


connections, triggers, secrets = Connections(), Triggers(), Secrets()
