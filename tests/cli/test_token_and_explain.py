"""`postern token` makes tokens good and bad, and `postern explain` says what is wrong with each."""

import json
import re
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import jwt
import pytest

from postern.local_tenant import LocalTenant
from postern.local_tenant.directory import BOOKING_AGENT
from tests.cli.conftest import Postern
from tests.cli.test_catalog import REAL

pytestmark = pytest.mark.slow


@pytest.fixture
def tenant(folder: Path) -> LocalTenant:
    return LocalTenant.open(folder / "var" / "local-tenant")


def claims(token: str) -> dict[str, object]:
    return dict(jwt.decode(token, options={"verify_signature": False}))


def test_a_token_is_alone_on_its_line_and_for_this_server(postern: Postern, tenant: LocalTenant):
    result = postern("token", "--as", "lisa")
    assert (result.exit_code, result.stderr, len(result.stdout.splitlines())) == (0, "", 1)
    found = claims(result.stdout.strip())
    assert (found["oid"], found["aud"], found["ver"]) == (tenant.people["lisa"], tenant.client_id, "2.0")


@pytest.mark.parametrize(
    ("options", "claim", "differs"),
    [
        (["--v1"], "ver", "1.0"),
        (["--audience", "api://other"], "aud", "api://other"),
        (["--wrong-audience"], "aud", None),
        (["--other-tenant"], "tid", None),
        (["--expired"], "exp", None),
        (["--as", "nightly-report"], "roles", ["Workflow.Run"]),
        (["--auth-context", "c1", "--auth-context", "c2"], "acrs", ["c1", "c2"]),
        (["--cp1"], "xms_cc", ["cp1"]),
        (["--as", "booking-agent"], "xms_sub_fct", "9 3 11"),
        (["--agent", "booking-agent"], "xms_act_fct", "3 9 11"),
        (["--agent", "booking-agent"], "azp", BOOKING_AGENT.client_id),
        (["--agent", "booking-agent", "--v1"], "appid", BOOKING_AGENT.client_id),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_each_option_changes_the_token(postern: Postern, options: list[str], claim: str, differs: object):
    usual = claims(postern("token").stdout.strip())
    found = claims(postern("token", *options).stdout.strip())
    assert found[claim] != usual.get(claim)
    assert differs is None or found[claim] == differs


def test_an_unknown_name_lists_those_that_there_are(postern: Postern):
    for command in (["token", "--as", "bob"], ["call", "hello", "--as", "bob"]):
        result = postern(*command)
        assert result.exit_code == 2
        assert "'bob'" in result.stderr
        assert "ada, lisa, gil" in result.stderr


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--agent", "nightly-report"], "'nightly-report' is no agent of the local tenant; it has booking-agent"),
        (["--agent", "lisa"], "it has booking-agent"),
        (["--as", "backup-job", "--agent", "booking-agent"], "--as booking-agent"),
    ],
)
def test_only_an_agent_acts_on_behalf_of_a_person(postern: Postern, options: list[str], says: str):
    result = postern("token", *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert says in result.stderr


def test_a_person_of_the_settings_has_tokens_too(postern: Postern, folder: Path):
    object_id = "00000000-0000-0000-0000-00000000000b"
    (folder / "postern.toml").write_text(f'[people]\nbob = "{object_id}"\n', encoding="utf-8")
    assert claims(postern("token", "--as", "bob").stdout.strip())["oid"] == object_id


def test_there_are_no_local_tokens_beside_a_real_tenant(postern: Postern):
    for command in (["token"], ["call", "hello", "--as", "ada"]):
        result = postern(*command, **REAL)
        assert (result.exit_code, result.stdout) == (2, "")
        assert "POSTERN_TENANT_ID" in result.stderr


EXPLAINED = [
    ("good", ["--as", "lisa"], "payroll", None),
    ("version 1", ["--as", "lisa", "--v1"], "payroll", None),
    ("not on the list", ["--as", "ada"], "payroll", "listed"),
    ("expired", ["--as", "lisa", "--expired"], "payroll", "expiry"),
    ("wrong audience", ["--as", "lisa", "--wrong-audience"], "payroll", "audience"),
    ("other tenant", ["--as", "lisa", "--other-tenant"], "payroll", "known-tenant"),
    ("expired and wrong audience", ["--expired", "--wrong-audience"], "payroll", "expiry"),
    ("an application where people are wanted", ["--as", "nightly-report"], "book-room", "people-only"),
    ("an application", ["--as", "nightly-report"], "whoami", None),
]


@pytest.mark.parametrize(
    ("options", "workflow", "failed"), [row[1:] for row in EXPLAINED], ids=[r[0] for r in EXPLAINED]
)
def test_explain_marks_the_check_that_fails_first(
    postern: Postern, tenant: LocalTenant, options: list[str], workflow: str, failed: str | None
):
    """Every check has one line with the expected and the found value. The scopes to request are below."""
    token = postern("token", *options).stdout.strip()
    result = postern("explain", token, "--workflow", workflow)
    assert (result.exit_code, marked(result.stdout)) == (1 if failed else 0, [failed] if failed else [])
    assert max(map(len, result.stdout.splitlines())) <= 200
    if failed:
        assert f"the check '{failed}' is the first that fails" in result.stderr
        scopes = re.findall(r"^scope to request: (\S+)$", result.stderr, re.MULTILINE)
        assert set(scopes) == {f"{audience}/.default" for audience in tenant.audiences}
    else:
        assert f"{workflow} admits this caller." in result.stderr


def marked(table: str) -> list[str]:
    """The checks that are marked as the first that fails."""
    assert re.search(r"^ +check +expected +found *$", table, re.MULTILINE)
    return re.findall(r"^FAILED +(\S+)", table, re.MULTILINE)


def test_a_forged_signature_is_found_out(postern: Postern, tenant: LocalTenant):
    good = tenant.token("lisa")
    result = postern("explain", good[:-6] + ("AAAAAA" if good[-6:] != "AAAAAA" else "BBBBBB"), "--workflow", "payroll")
    assert marked(result.stdout) in (["signature"], ["form"])
    assert good.rpartition(".")[2][:12] not in result.output


def test_an_audience_that_ends_with_a_slash_gives_a_scope_with_two(postern: Postern, tenant: LocalTenant):
    audience = "https://service.flow.microsoft.com/"
    result = postern("explain", tenant.token("ada", version=1), "--workflow", "whoami", POSTERN_AUDIENCE=audience)
    assert (result.exit_code, marked(result.stdout)) == (1, ["audience"])
    assert "scope to request: https://service.flow.microsoft.com//.default\n" in result.stderr
    good = tenant.token("ada", audience=audience, version=1)
    assert postern("explain", good, "--workflow", "whoami", POSTERN_AUDIENCE=audience).exit_code == 0


@pytest.mark.parametrize("text", ["{}", "Bearer {}", "{}\n", "bearer {}"])
def test_a_token_is_read_from_standard_input(postern: Postern, tenant: LocalTenant, text: str):
    """As it is copied: with the scheme before it or a line's end behind."""
    given = text.format(tenant.token("lisa"))
    assert postern("explain", "-", "--workflow", "payroll", stdin=given).exit_code == 0


@pytest.mark.parametrize("garbage", ["garbage", "a.b.c", "..", "é", "x" * 70_000, "eyJhbGciOiJub25lIn0.e30."])
def test_garbage_is_rejected_without_a_traceback(postern: Postern, garbage: str):
    result = postern("explain", garbage, "--workflow", "payroll")
    assert result.exit_code == 1
    assert len(marked(result.stdout)) == 1


def test_an_anonymous_workflow_ignores_tokens(postern: Postern):
    result = postern("explain", "garbage", "--workflow", "hello")
    assert (result.exit_code, "anyone may call it" in result.stdout) == (0, True)


def test_an_unknown_workflow_lists_those_that_there_are(postern: Postern):
    result = postern("explain", "x", "--workflow", "payrol")
    assert (result.exit_code, "book-desk, book-room, find-people, hello" in result.stderr) == (2, True)


GRAPH = "00000003-0000-0000-c000-000000000000"


@pytest.mark.parametrize(
    ("claims", "header", "says"),
    [
        ({"aud": GRAPH}, {"nonce": "n"}, "it is for Microsoft Graph"),
        ({"aud": "https://graph.microsoft.com/"}, {"nonce": "n"}, "it is for Microsoft Graph"),
        ({}, {"nonce": "n"}, "nonce in its header, as those for Microsoft Graph"),
        ({"aud": "https://management.core.windows.net/"}, {"kid": "unknown"}, "it is for Azure Resource Manager"),
    ],
)
def test_a_token_that_only_its_own_api_can_verify_is_explained_as_that(
    postern: Postern, tenant: LocalTenant, claims: dict[str, str], header: dict[str, str], says: str
):
    """Not as a bad signature alone. What an unverified token says is said to be its own word."""
    minted = tenant.mint(tenant.claims("ada") | claims, header)
    head, body, signature = minted.split(".")
    result = postern("explain", f"{head}.{body}.{signature[::-1][:-1]}A", "--workflow", "whoami")
    assert result.exit_code == 1
    assert marked(result.stdout)[0] in ("signature", "key-published")
    assert says in " ".join(result.stderr.split())
    assert "scope to request: api://postern/.default" in result.stderr


def test_an_audience_that_could_be_ours_is_explained_with_what_to_add(postern: Postern, tenant: LocalTenant):
    """The caller did request the advised scope: to advise it again would not help."""
    audience = f"api://{tenant.client_id}"
    settings = real(tenant) | {"POSTERN_AUDIENCE": audience}
    token = tenant.token("ada")
    keys = Path("keys.json")
    keys.write_text(json.dumps(tenant.jwks()), encoding="utf-8")
    command = ["explain", token, "--workflow", "whoami", "--keys", "keys.json"]
    result = postern(*command, **settings)
    assert (result.exit_code, marked(result.stdout)) == (1, ["audience"])
    assert f"audience {tenant.client_id} could be yours. If it is, add it to POSTERN_AUDIENCE" in result.stderr
    assert "Request one" not in result.stderr
    assert postern(*command, **settings, POSTERN_CLIENT_ID=tenant.client_id).exit_code == 0


def real(tenant: LocalTenant) -> dict[str, str]:
    """The settings of a real tenant, which the local one plays; nothing listens at its authority."""
    return {
        "POSTERN_TENANT_ID": tenant.tenant_id,
        "POSTERN_AUDIENCE": ",".join(tenant.audiences),
        "POSTERN_AUTHORITY": tenant.authority,
        "POSTERN_CA_BUNDLE": str(tenant.ca_bundle),
    }


def test_keys_come_from_a_file_if_the_tenant_is_unreachable(postern: Postern, tenant: LocalTenant, folder: Path):
    (folder / "keys.json").write_text(json.dumps(tenant.jwks()), encoding="utf-8")
    command = ["explain", tenant.token("ada"), "--workflow", "whoami"]
    assert postern(*command, "--keys", "keys.json", **real(tenant)).exit_code == 0


def test_without_keys_the_token_cannot_be_checked(postern: Postern, tenant: LocalTenant, folder: Path):
    """The token is not rejected: exit code 2, and what to do."""
    command = ["explain", tenant.token("ada"), "--workflow", "whoami"]
    unreachable = postern(*command, **real(tenant))
    (folder / "keys.json").write_text("{}", encoding="utf-8")
    unusable = postern(*command, "--keys", "keys.json", **real(tenant))
    for result, place in (
        (unreachable, "the tenant's signing keys are not available"),
        (unusable, "keys.json cannot be used"),
    ):
        assert result.exit_code == 2
        assert place in result.stderr
        assert "--keys" in result.stderr
        assert "rejects it with 401" not in result.stderr


class OfExternalId(BaseHTTPRequestHandler):
    """Metadata whose issuer is by the id of the tenant, whatever address it is fetched from."""

    def do_GET(self) -> None:
        tenant_id = self.path.split("/")[1]
        body = json.dumps({"issuer": f"https://{tenant_id}.ciamlogin.com/{tenant_id}/v2.0"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""


def test_metadata_of_another_issuer_is_explained_with_both_issuers_and_the_authority_to_set(
    postern: Postern, tenant: LocalTenant
):
    with HTTPServer(("127.0.0.1", 0), OfExternalId) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        authority = f"http://127.0.0.1:{server.server_port}"
        settings = real(tenant) | {"POSTERN_AUTHORITY": authority}
        result = postern("explain", tenant.token("ada"), "--workflow", "whoami", **settings)
        server.shutdown()
    assert result.exit_code == 2
    right = f"https://{tenant.tenant_id}.ciamlogin.com"
    assert f"the issuer {right}/{tenant.tenant_id}/v2.0, not of {authority}/{tenant.tenant_id}/v2.0" in result.stderr
    assert f"set POSTERN_AUTHORITY to {right}" in result.stderr


@pytest.mark.parametrize("keys", ["nowhere.json", "workflows"])
def test_a_file_of_keys_has_to_be_one(postern: Postern, keys: str):
    assert postern("explain", "x", "--workflow", "payroll", "--keys", keys).exit_code == 2


REACH = """
from postern import anonymous, tenant_users, workflow

@workflow(access=tenant_users(auth_context="strong"))
async def pay(ctx): ...

@workflow(access=tenant_users(), networks=["10.0.0.0/8"])
async def office(ctx): ...

@workflow(access=anonymous(), networks=["10.0.0.0/8"], origins=["https://app.example"])
async def door(ctx): ...
"""


@pytest.fixture
def reach(folder: Path) -> None:
    (folder / "workflows" / "reach.py").write_text(REACH, encoding="utf-8")
    (folder / "postern.toml").write_text('[auth_contexts]\nstrong = "c1"\n', encoding="utf-8")


@pytest.mark.usefixtures("reach")
def test_a_sign_in_that_meets_an_authentication_context_is_made_by_its_name_and_explained(postern: Postern):
    strong = postern("token", "--as", "lisa", "--auth-context", "strong").stdout.strip()
    assert claims(strong)["acrs"] == ["c1"]
    assert postern("explain", strong, "--workflow", "pay").exit_code == 0
    result = postern("explain", postern("token", "--as", "lisa").stdout.strip(), "--workflow", "pay")
    assert (result.exit_code, marked(result.stdout)) == (1, ["auth-context"])
    assert "requires a sign-in that meets the authentication context c1" in result.stderr


@pytest.mark.usefixtures("reach")
@pytest.mark.parametrize(
    ("workflow", "address", "allowed", "exit_code", "failed"),
    [
        ("office", "10.1.2.3", "", 0, 0),
        ("office", "::ffff:10.1.2.3", "", 0, 0),
        ("office", "203.0.113.9", "", 1, 1),
        ("office", "unknown", "", 1, 1),
        ("office", "10.1.2.3", "10.2.0.0/16", 1, 1),
        ("door", "10.1.2.3", "", 0, 0),
        ("door", "203.0.113.9", "", 1, 1),
        ("whoami", "203.0.113.9", "", 0, 0),
        ("whoami", "203.0.113.9", "10.0.0.0/8", 1, 1),
    ],
)
def test_explain_says_whether_an_address_is_in_the_networks(
    postern: Postern, tenant: LocalTenant, workflow: str, address: str, allowed: str, exit_code: int, failed: int
):
    """Those of the server and those of the workflow, before anything of the token."""
    given = (tenant.token("lisa"), "--workflow", workflow, "--from", address)
    result = postern("explain", *given, POSTERN_ALLOWED_NETWORKS=allowed)
    assert (result.exit_code, result.stdout.count("FAILED  network")) == (exit_code, failed)
    if failed:
        assert f"{workflow} rejects requests from {address} with 401" in result.stderr


def test_explain_takes_an_address_only(postern: Postern, tenant: LocalTenant):
    for given in ("office", "10.0.0.0/8", ""):
        result = postern("explain", tenant.token("lisa"), "--workflow", "whoami", "--from", given)
        assert (result.exit_code, "not an address" in result.stderr) == (2, True)


@pytest.mark.usefixtures("reach")
def test_list_names_the_networks_and_origins(postern: Postern):
    listed = " ".join(postern("list").stdout.split())
    assert "tenant_users(auth_context=strong)" in listed
    assert "tenant_users from 10.0.0.0/8" in listed
    workflows = {each["name"]: each for each in json.loads(postern("list", "--json").stdout)["workflows"]}
    assert (workflows["door"]["networks"], workflows["door"]["origins"]) == (["10.0.0.0/8"], ["https://app.example"])
    assert workflows["pay"]["access_detail"] == "tenant_users(auth_context=strong)"


def test_a_workflow_whose_authentication_context_or_network_is_none_does_not_load(postern: Postern, folder: Path):
    text = "from postern import tenant_users, workflow\n\n@workflow({})\nasync def {}(ctx): ...\n"
    for name, option in (("pay", "access=tenant_users(auth_context='strong')"), ("office", "networks=['10.0.0.1/8']")):
        (folder / "workflows" / f"{name}.py").write_text(text.format(option, name), encoding="utf-8")
    result = postern("check")
    assert result.exit_code == 1
    said = " ".join(result.stderr.split())
    assert "this is not a name in [auth_contexts] of postern.toml (it has no names)" in said
    assert "networks=: '10.0.0.1/8' is not an address or a network" in said
