"""What keeps clients of `/mcp` from signing in, as `postern check` and `postern doctor` say it."""

from typing import Any

import pytest

from postern import Tool, anonymous, tenant_users, workflow
from postern.access import bind
from postern.catalog import Snapshot, Trigger
from postern.cli.diagnosis.tools import registration_note, tool_findings
from postern.settings import Settings, load_settings

TENANT = "11111111-aaaa-4111-8111-111111111111"
CLIENT = "22222222-bbbb-4222-8222-222222222222"
URL = "https://postern.example"
READY = {"audience": f"api://{CLIENT}", "client_id": CLIENT, "public_url": URL}
USERS = tenant_users()


def settings_of(tmp_path: Any, **values: str) -> Settings:
    environ = {f"POSTERN_{name.upper()}": value for name, value in values.items()}
    return load_settings({"POSTERN_TENANT_ID": TENANT, **environ}, folder=tmp_path)


def snapshot_of(settings: Settings, access: Any, tmp_path: Any, *, tool: Any = True) -> Snapshot:
    async def find(ctx):
        """Find."""

    made = workflow(access=access, name="find", tool=tool)(find)
    policy = bind(access, people={}, tenants=[TENANT], audiences=settings.audience, client_id=settings.client_id)
    return Snapshot({"find": Trigger(made, policy, tmp_path / "find.py")}, ())


@pytest.mark.parametrize(
    ("values", "access", "tool", "found"),
    [
        (READY, USERS, True, []),
        ({**READY, "client_id": None, "audience": f"api://x,{CLIENT}"}, USERS, True, []),
        ({**READY, "client_id": None}, USERS, True, [("failed", "neither POSTERN_CLIENT_ID nor POSTERN_AUDIENCE")]),
        ({**READY, "client_id": None, "mcp": "off"}, USERS, True, []),
        ({**READY, "client_id": None}, USERS, False, []),
        ({**READY, "client_id": None}, anonymous(), Tool(title="Find"), []),
        (READY, tenant_users(audiences=["api://other"]), True, [("failed", "audiences= of find has no client id")]),
        (READY, tenant_users(audiences=[CLIENT]), True, []),
        ({**READY, "public_url": None}, USERS, True, [("warning", "POSTERN_PUBLIC_URL is not set")]),
        ({**READY, "public_url": None, "authority": "https://127.0.0.1:4711"}, USERS, True, []),
        ({**READY, "mcp_scope": "Tools.Call"}, USERS, True, [("warning", "AADSTS1002012")]),
        (
            {**READY, "mcp_scope": "Run"},
            tenant_users(scopes=["Run"]),
            True,
            [("warning", "AADSTS1002012"), ("warning", "scopes= of find names Run")],
        ),
    ],
)
def test_what_keeps_clients_out_is_named_with_the_fix(
    values: dict[str, Any], access: Any, tool: Any, found: list[tuple[str, str]], tmp_path: Any
):
    settings = settings_of(tmp_path, **{name: value for name, value in values.items() if value is not None})
    made = tool_findings(settings, snapshot_of(settings, access, tmp_path, tool=tool))
    assert [each.state for each in made] == [state for state, _ in found]
    assert all(words in each.detail for each, (_, words) in zip(made, found, strict=True))
    assert all(each.fix for each in made)


def test_the_note_has_what_the_registration_needs(tmp_path: Any):
    settings = settings_of(tmp_path, **READY)
    note = registration_note(settings, snapshot_of(settings, USERS, tmp_path))
    for text in (f"{URL}/mcp,", "requestedAccessTokenVersion 2", f"request {URL}/mcp/.default"):
        assert text in note
    local = registration_note(settings, snapshot_of(settings, USERS, tmp_path), "http://127.0.0.1:8080")
    assert "http://127.0.0.1:8080/mcp/.default" in local
    for other in (anonymous(), USERS):
        tool = other is not USERS
        assert registration_note(settings, snapshot_of(settings, other, tmp_path, tool=tool)) == ""
