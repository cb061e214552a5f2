"""The commands of grants beside `postern dev`: a link, the states, a new key, and the end."""

import json
import secrets

from postern.local_tenant import LocalTenant
from postern.local_tenant.vault import GRANTS_KEY_NAME
from tests.process.commands import command
from tests.process.servers import Server
from tests.process.test_my_profile import Person


def said(dev: Server, *arguments: str, stdin: str = "") -> tuple[int, str, str]:
    done = command(dev.folder, *arguments, stdin=stdin)
    return done.returncode, done.stdout, done.stderr


def states(dev: Server) -> dict[str, int]:
    listed = json.loads(said(dev, "connections", "--json")[1])["connections"]
    found: dict[str, int] = next(row["grants"] for row in listed if row["name"] == "my-profile")
    return found


def test_a_grant_is_asked_for_counted_sealed_anew_and_ended_by_commands(dev: Server, tenant: LocalTenant):
    """Gil's runs go on with the new key, until an operator ends the grant."""
    code, link, _ = said(dev, "connections", "link", "my-profile", "--for", "gil")
    assert (code, link.startswith(f"{dev.address}/connect/my-profile/invitation/")) == (0, True)
    before = states(dev).get("Connected", 0)
    gil = Person(dev, "gil")
    with gil.client:
        assert gil.sign_in().status_code == 200
        assert "Connected" in gil.answers(gil.clicks_connect(), "allow").text
        assert states(dev) == {"Connected": before + 1}
        assert gil.calls(tenant).json()["id"] == tenant.people["gil"]

        assert said(dev, "secrets", "set", GRANTS_KEY_NAME, stdin=secrets.token_urlsafe(32))[0] == 0
        newest = tenant.vault.versions(GRANTS_KEY_NAME)[-1].version
        code, _, told = said(dev, "connections", "reseal")
        assert (code, f"sealed with version {newest} of the key" in told) == (0, True)
        assert gil.calls(tenant).status_code == 200

        code, _, told = said(dev, "connections", "disconnect", "my-profile", "--for", "gil")
        assert (code, "connections.my-profile is disconnected." in told) == (0, True)
        assert gil.calls(tenant).status_code == 424
    assert states(dev).get("Connected", 0) == before
