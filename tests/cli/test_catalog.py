"""`postern list`, `check` and `new`."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from postern.settings import SettingsFault
from tests.cli.conftest import Postern
from tests.process.commands import command

pytestmark = pytest.mark.slow

EXAMPLES = [
    "book-desk",
    "book-room",
    "find-people",
    "hello",
    "issue-badge",
    "my-profile",
    "order-laptop",
    "payroll",
    "register-visitor",
    "request-leave",
    "whoami",
]
REAL = {"POSTERN_TENANT_ID": "00000000-0000-0000-0000-000000000001", "POSTERN_AUDIENCE": "api://real"}


def process(folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    done = command(folder, *arguments, environ=environ)
    assert "Traceback" not in done.stderr
    return done


def test_list_shows_method_url_and_access_of_each_workflow(postern: Postern):
    """One line each, also where the output is no terminal, and anonymous ones are marked."""
    result = postern("list", POSTERN_PUBLIC_URL="https://flows.example")
    assert result.exit_code == 0
    header, *rows = [line.split() for line in result.stdout.splitlines()]
    assert header == ["workflow", "method", "URL", "access"]
    assert [row[0] for row in rows] == EXAMPLES
    assert rows[1] == [
        "book-room",
        "POST",
        "https://flows.example/triggers/book-room/rooms/{room}",
        "tenant_users(apps=no)",
    ]
    lisa = "c33a0e11-b6a6-4ce1-b2e0-e5fbe1e362d2"
    assert rows[7][-1] == f"specific_users(lisa={lisa})"
    assert rows[3] == ["hello", "POST", "https://flows.example/triggers/hello", "anonymous", "(open", "to", "anyone)"]


TOOLS = """
from postern import Context, workflow

@workflow(tool=True, methods=["GET", "POST"])
async def report(ctx: Context) -> None:
    "Report."
"""
MANY = """
def made(number):
    def some(ctx: Context) -> None:
        "Some."
    return workflow(tool=True, name=f"some-{number}")(some)

globals().update({f"some{number}": made(number) for number in range(39)})
"""


def test_list_and_check_show_the_tools_of_agents(postern: Postern, folder: Path):
    """The tools are a column if there is one, and more than 40 are a warning."""
    (folder / "workflows" / "tools.py").write_text(TOOLS, "utf-8")
    header, *rows = [line.split() for line in postern("list").stdout.splitlines()]
    assert header[-1] == "tool"
    assert [row[-2:] for row in rows if row[0] == "report"] == [["get-report,", "post-report"]]
    tools = {each["name"]: each["tools"] for each in json.loads(postern("list", "--json").stdout)["workflows"]}
    assert (tools["report"], tools["payroll"]) == (["get-report", "post-report"], [])
    assert "tools for agents" not in postern("check").stderr
    (folder / "workflows" / "tools.py").write_text(TOOLS + MANY, "utf-8")
    assert "warning the workflows are 41 tools for agents." in postern("check").stderr


def test_check_fails_where_no_token_for_mcp_can_be_valid(postern: Postern, folder: Path):
    code = 'from postern import workflow\n\n@workflow(tool=True)\nasync def find(ctx):\n    """Find."""\n'
    (folder / "workflows" / "find.py").write_text(code, "utf-8")
    names = "".join(f'{name} = "00000000-0000-0000-0000-000000000002"\n' for name in ("lisa", "postern"))
    (folder / "postern.toml").write_text("[people]\n" + names, encoding="utf-8")
    real = {**REAL, "POSTERN_AUDIENCE": "api://real", "POSTERN_PUBLIC_URL": "https://flows.example"}
    result = postern("check", **real)
    assert result.exit_code == 1
    assert "failed neither POSTERN_CLIENT_ID nor POSTERN_AUDIENCE has the client id" in result.stderr
    result = postern("check", **real, POSTERN_CLIENT_ID="11111111-1111-1111-1111-111111111111")
    assert result.exit_code == 0
    assert "Clients request https://flows.example/mcp/.default." in result.stderr


def test_list_and_check_show_the_next_times_of_schedules(postern: Postern, folder: Path):
    code = """
from postern import Context, workflow

@workflow(schedule="0 12 29 FEB *", timezone="Asia/Tokyo", missed="once", on_failure="hello")
async def leap_day(ctx: Context) -> None:
    ...
"""
    (folder / "workflows" / "leap_day.py").write_text(code, encoding="utf-8")
    for shown in (postern("list").stdout, postern("check").stderr):
        [line] = [line for line in shown.splitlines() if line.startswith("leap-day") and "FEB" in line]
        assert "0 12 29 FEB * Asia/Tokyo" in " ".join(line.split())
        assert re.findall(r"20\d\d-(\d\d-\d\d \d\d:\d\d JST)", shown) == ["02-29 12:00 JST"] * 3
    [found] = [each for each in json.loads(postern("list", "--json").stdout)["workflows"] if each["name"] == "leap-day"]
    assert (found["on_failure"], found["schedule"]["timezone"], len(found["schedule"]["next"])) == (
        "hello",
        "Asia/Tokyo",
        3,
    )


def test_check_says_what_the_console_lacks(postern: Postern):
    """With the local tenant nothing is missing."""
    assert "console" not in postern("check").stderr
    result = postern("check", **REAL, POSTERN_PUBLIC_URL="https://flows.example")
    assert "The console is off: POSTERN_CLIENT_ID is not set; neither POSTERN_CLIENT_SECRET_NAME" in result.stderr
    assert "The console is off: POSTERN_CONSOLE is off." in postern("check", POSTERN_CONSOLE="off").stderr


def test_check_says_where_the_console_is_and_the_redirect_uri_to_register(postern: Postern):
    settings = {
        "POSTERN_PUBLIC_URL": "https://flows.example/base",
        "POSTERN_CLIENT_ID": "11111111-1111-1111-1111-111111111111",
    }
    result = postern("check", **REAL, **settings, POSTERN_AZURE_CREDENTIAL="managed_identity")
    assert "The console is on: https://flows.example/base/console, with the redirect URI " in result.stderr
    assert "https://flows.example/base/console/callback in Entra." in result.stderr


def test_list_as_json_has_a_shape_for_programs(postern: Postern, folder: Path):
    (folder / "workflows" / "broken.py").write_text("import nothing_of_the_kind\n", encoding="utf-8")
    result = postern("list", "--json")
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert document.keys() == {"workflows", "faults"}
    assert [workflow["name"] for workflow in document["workflows"]] == EXAMPLES
    assert document["workflows"][7] == {
        "name": "payroll",
        "methods": ["POST"],
        "url": "http://127.0.0.1:8080/triggers/payroll",
        "access": "specific_users",
        "access_detail": "specific_users(lisa)",
        "people": [{"name": "lisa", "object_id": "c33a0e11-b6a6-4ce1-b2e0-e5fbe1e362d2"}],
        "networks": [],
        "origins": [],
        "description": "Run the payroll of the month.",
        "schedule": None,
        "on_failure": None,
        "tools": [],
        "connections": {"names": [], "declared": False},
        "secrets": {"names": [], "declared": False},
        "file": str(folder / "workflows" / "payroll.py"),
        "line": 6,
    }
    fault = document["faults"][0]
    assert fault.keys() == {"file", "line", "cause", "fix", "still_serving"}
    assert (fault["file"], fault["line"], fault["still_serving"]) == (str(folder / "workflows" / "broken.py"), 1, [])


def test_what_a_module_prints_does_not_get_into_the_json(postern: Postern, folder: Path):
    (folder / "workflows" / "loud.py").write_text('print("loading")\n', "utf-8")
    result = postern("list", "--json")
    assert json.loads(result.stdout)["workflows"]
    assert "loading" in result.stderr


def test_list_as_json_has_what_a_workflow_uses(postern: Postern, folder: Path):
    workflows = {each["name"]: each for each in json.loads(postern("list", "--json").stdout)["workflows"]}
    assert workflows["find-people"]["connections"] == {"names": ["graph"], "declared": False}


def test_check_warns_of_a_declared_connection_that_is_not_there(postern: Postern, folder: Path):
    text = (
        "from postern import Context, workflow\n\n@workflow(connections=['graph', 'grpah'])\ndef f(ctx: Context): ...\n"
    )
    (folder / "workflows" / "misspelt.py").write_text(text, encoding="utf-8")
    result = postern("check")
    assert result.exit_code == 0
    (warning,) = [line for line in result.stderr.splitlines() if line.startswith("warning")]
    assert "misspelt.py:3: f declares the connection grpah, which is not in postern.toml" in warning


def test_check_is_content_with_the_examples_and_names_the_local_tenant(postern: Postern):
    result = postern("check")
    assert result.exit_code == 0
    assert "11 workflows in workflows, no faulty modules" in result.stderr
    assert "the local tenant (POSTERN_TENANT_ID is not set)" in result.stderr


def test_check_names_the_real_tenant(postern: Postern, folder: Path):
    names = "".join(f'{name} = "00000000-0000-0000-0000-000000000002"\n' for name in ("lisa", "postern"))
    (folder / "postern.toml").write_text("[people]\n" + names, encoding="utf-8")
    result = postern("check", **REAL)
    assert (result.exit_code, REAL["POSTERN_TENANT_ID"] in result.stderr) == (0, True)


def test_check_warns_of_settings_that_are_probably_a_mistake_and_passes(postern: Postern, folder: Path):
    names = "".join(f'{name} = "00000000-0000-0000-0000-000000000002"\n' for name in ("lisa", "postern"))
    (folder / "postern.toml").write_text("[people]\n" + names, encoding="utf-8")
    more = {"POSTERN_AUDIENCE": "api://real/", "POSTERN_AUTHORITY": "https://contoso.ciamlogin.com"}
    result = postern("check", **REAL | more)
    said = " ".join(result.stderr.split())
    assert (result.exit_code, said.count("warning ")) == (0, 4)
    assert "api://real/ ends with a slash" in said
    assert "POSTERN_CLIENT_ID is not set" in said
    assert f"Set POSTERN_AUTHORITY to https://{REAL['POSTERN_TENANT_ID']}.ciamlogin.com." in said
    assert "warning" not in postern("check").stderr


def test_check_says_that_a_proxy_of_the_environment_is_not_read(postern: Postern, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://user:planted@proxy.example:3128")
    result = postern("check")
    said = " ".join(result.stderr.split())
    assert (result.exit_code, "HTTPS_PROXY is set, and Postern does not read it" in said) == (0, True)
    assert "set POSTERN_PROXY" in said
    assert "planted" not in said


@pytest.mark.process
@pytest.mark.parametrize("audience", ["api://x/.default", "api://x/user_impersonation", '"api://x"'])
def test_check_finds_an_audience_that_is_none(folder: Path, audience: str):
    done = process(folder, "check", **REAL | {"POSTERN_AUDIENCE": audience})
    assert (done.returncode, "POSTERN_AUDIENCE" in done.stderr) == (2, True)


def test_check_tells_of_a_name_that_people_does_not_have(postern: Postern):
    """payroll names lisa and issue-badge postern, whom a real tenant's settings do not know yet."""
    result = postern("check", **REAL)
    assert result.exit_code == 1
    assert "7 workflows in workflows, 2 faulty modules;" in result.stderr
    assert all(f'{name} = "<object id>"' in result.stderr for name in ("lisa", "postern"))


@pytest.mark.parametrize(
    ("text", "line", "cause", "fix"),
    [
        ("from postern import workflow\n\ndef (:\n", 3, "SyntaxError", "Correct the syntax at this line"),
        ("x = 1\n1 / 0\n", 2, "ZeroDivisionError: division by zero", "Correct the error at this line."),
        ("x = 1\n", None, "No workflow is defined", "Write @workflow above a function"),
        ("import nothing_of_the_kind\n", 1, "ModuleNotFoundError", "Install 'nothing_of_the_kind'"),
    ],
    ids=["syntax", "exception", "no workflow", "missing module"],
)
def test_check_shows_file_line_cause_and_fix(
    postern: Postern, folder: Path, text: str, line: int | None, cause: str, fix: str
):
    path = folder / "workflows" / "broken.py"
    path.write_text(text, encoding="utf-8")
    result = postern("check")
    assert result.exit_code == 1
    place, shown_cause, shown_fix, *_ = result.stderr.splitlines()
    assert place == f"fault {path}:{line}" if line else f"fault {path}"
    assert cause in shown_cause
    assert shown_fix.startswith(f"  fix: {fix}")


@pytest.mark.process
def test_wrong_settings_are_reported_all_at_once(folder: Path):
    """Each with its name, with exit code 2, and without a traceback."""
    done = process(folder, "check", POSTERN_PORT="many", POSTERN_TENANT_ID="x", POSTERN_AUDIENCES="api://x")
    assert done.returncode == 2
    assert [
        name for name in ("POSTERN_PORT", "POSTERN_TENANT_ID", "POSTERN_AUDIENCES") if name not in done.stderr
    ] == []
    assert "Did you mean POSTERN_AUDIENCE?" in done.stderr


@pytest.mark.process
def test_a_missing_folder_is_reported_with_the_setting_to_change(folder: Path):
    done = process(folder, "check", POSTERN_WORKFLOWS="nowhere")
    assert done.returncode == 2
    assert "POSTERN_WORKFLOWS" in done.stderr
    assert str(folder / "nowhere") in done.stderr


@pytest.mark.process
def test_a_spoilt_local_tenant_is_reported_with_the_file_to_delete(folder: Path):
    (folder / "var" / "local-tenant" / "state.json").write_text("{", encoding="utf-8")
    done = process(folder, "check")
    assert done.returncode == 2
    assert f"{folder}/var/local-tenant/state.json cannot be read: delete it" in done.stderr


def test_a_guarded_workflow_of_a_real_tenant_needs_an_audience(postern: Postern):
    with pytest.raises(SettingsFault) as caught:
        postern("check", POSTERN_TENANT_ID=REAL["POSTERN_TENANT_ID"])
    assert str(caught.value) == (
        "POSTERN_AUDIENCE is not set. Workflows that are not anonymous need it: set it to the Application ID URI or "
        "client id of your app registration."
    )


@pytest.mark.parametrize("verb", ["check", "serve"])
def test_a_connection_that_people_connect_needs_its_settings(postern: Postern, folder: Path, verb: str):
    """They are named at once, before anything is served. The local tenant provides all of them."""
    auth = 'type = "oauth2", flow = "authorization_code", identity_provider = "github", client_id = "c"'
    entry = f'base_url = "https://api.github.com"\nauth = {{ {auth}, client_secret = {{ key_vault = "app" }} }}'
    with (folder / "postern.toml").open("a", encoding="utf-8") as file:
        file.write(f"\n[connections.tickets]\n{entry}\n")
    with pytest.raises(SettingsFault) as caught:
        postern(verb, **REAL)
    found = [problem.setting for problem in caught.value.problems]
    assert found == ["POSTERN_GRANTS_KEY_NAME", "POSTERN_KEY_VAULT_URL", "connections.tickets"]
    if verb == "check":
        assert postern("check").exit_code == 0


def test_new_writes_a_module_that_loads(postern: Postern, folder: Path):
    """What it prints is the next command to type."""
    result = postern("new", "approve_leave")
    assert result.exit_code == 0
    assert "Wrote workflows/approve_leave.py" in result.stdout
    assert """call approve-leave --as ada --data '{"name": "Ada"}'""" in result.stdout
    assert "approve-leave" in [each["name"] for each in json.loads(postern("list", "--json").stdout)["workflows"]]
    assert postern("check").exit_code == 0


def test_new_keeps_a_file_that_is_there(postern: Postern, folder: Path):
    before = (folder / "workflows" / "hello.py").read_bytes()
    result = postern("new", "hello")
    assert (result.exit_code, "already exists" in result.stderr) == (1, True)
    assert (folder / "workflows" / "hello.py").read_bytes() == before


@pytest.mark.parametrize("name", ["9-lives", "Approve", "a--b", "a/b", "../a", "a.py", "", "é", "class", "a b", "_a"])
def test_new_rejects_an_invalid_name(postern: Postern, folder: Path, name: str):
    before = set(folder.rglob("*.py"))
    assert postern("new", name).exit_code == 2
    assert set(folder.rglob("*.py")) == before


def test_new_makes_the_folder(postern: Postern, folder: Path):
    assert postern("new", "first", POSTERN_WORKFLOWS="mine").exit_code == 0
    assert (folder / "mine" / "first.py").is_file()


@pytest.mark.process
def test_commands_to_paste_start_the_same_program(folder: Path):
    """What is printed begins with a path wherever a bare name would start another Python, or none."""
    path = f"{folder}:/usr/bin:/bin"
    printed = process(folder, "new", "first", PATH=path).stdout
    assert f"  {sys.executable} -m postern call first" in printed


def test_check_names_an_alert_whose_workflow_cannot_be_started(postern: Postern, folder: Path):
    for run, why in (("gone", "no workflow of this name is served"), ("book-room", "its path has parameters")):
        (folder / "postern.toml").write_text(f'[findings]\nrun = "{run}"\n', encoding="utf-8")
        result = postern("check")
        assert result.exit_code == 1
        assert f'[findings] run = "{run}" of postern.toml: {why}' in result.stderr
    (folder / "postern.toml").write_text('[findings]\nrun = "hello"\n', encoding="utf-8")
    assert postern("check").exit_code == 0
