"""Markers in every kind of secret that a call out needs, and a look at all that is written while workflows use them:
they succeed, are refused, fail, are sent elsewhere and run out of time, against a server that repeats what it gets."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from postern.local_tenant import LocalTenant, serve
from tests.process.commands import command
from tests.process.parrot import CONNECTIONS, TRIGGERS, Parrot, certificate, entries, marker, private_key
from tests.process.servers import Server, grams, leaked, running, settings_of

PUBLIC = "a-public-text-of-the-inputs"
SECRETS = {
    "basic-password": marker(),
    "header-key": marker(),
    "query-key": marker(),
    "oauth-secret": marker(),
    "oauth-key": private_key(),
    "entra-wrong": marker(),
    "entra-certificate": certificate(),
    "plain": marker(),
}
WORKFLOWS = """
from pydantic import BaseModel
from postern import CallError, Context, Retry, tenant_users, workflow

class Received(BaseModel):
    name: str
    outcome: str
    note: str = ""

async def fetched(ctx, received):
    answer = await ctx.connection(received.name).get(received.outcome)
    ctx.log.info("answered", status=answer.status_code, answer=answer)
    return answer.raise_for_status().status_code

@workflow(access=tenant_users())
async def reach(ctx: Context, received: Received) -> int:
    return await fetched(ctx, received)

@workflow(access=tenant_users())
async def reach_in_a_step(ctx: Context, received: Received) -> int:
    return await ctx.step(fetched, ctx, received, retry=Retry.none())

@workflow(access=tenant_users(), timeout=0.5)
async def reach_in_time(ctx: Context, received: Received) -> int:
    return await fetched(ctx, received)

@workflow(access=tenant_users())
async def trigger(ctx: Context, received: Received) -> str:
    return str(await ctx.call(received.name, {"outcome": received.outcome}, retry=Retry.none()))[:2]

@workflow(access=tenant_users(), timeout=0.5)
async def trigger_in_time(ctx: Context, received: Received) -> str:
    return str(await ctx.call(received.name, {"outcome": received.outcome}))[:2]

@workflow(access=tenant_users())
async def trigger_and_report(ctx: Context, received: Received) -> dict:
    try:
        handle = await ctx.call(received.name, {"outcome": received.outcome}, wait=False, retry=Retry.none())
    except CallError as error:
        ctx.log.warning("not-called", error=error, said=str(error), status=error.status)
        return {"said": str(error), "shown": repr(error)}
    ctx.log.info("called", handle=handle)
    return {"shown": repr(handle)}

@workflow(access=tenant_users())
async def read(ctx: Context, received: Received) -> int:
    client = ctx.connection("header-key")
    ctx.log.info("at-hand", client=client, auth=client.auth, services=ctx._services, context=ctx)
    return len(await ctx.secret(received.name))
"""


class Site:
    """A server whose workflows call a parrot, and everything that it has answered."""

    def __init__(self, server: Server, tenant: LocalTenant, parrot: Parrot, environ: dict[str, str]) -> None:
        self.server = server
        self.tenant = tenant
        self.parrot = parrot
        self.environ = environ
        self.answers: list[str] = []
        self.statuses: dict[tuple[str, str, str], int] = {}
        self.runs: list[str] = []

    def run(self, workflow: str, name: str, outcome: str) -> str:
        """Have a workflow use an entry. The id of the run."""
        received = {"name": name, "outcome": outcome, "note": PUBLIC}
        answer = self.server.post(workflow, self.tenant.token("lisa"), json=received)
        self.answers.append(f"{answer.text}\n{answer.headers}")
        self.statuses[workflow, name, outcome] = answer.status_code
        return answer.headers["x-run-id"]

    def get(self, path: str) -> str:
        """What an operator gets."""
        headers = {"Authorization": f"Bearer {self.tenant.token('ada')}"}
        answer = self.server.client.get(path, headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.text

    def command(self, *arguments: str, stdin: str = "") -> str:
        """What a command prints, whatever its exit code."""
        environ = self.environ | {"POSTERN_PUBLIC_URL": self.server.address}
        done = command(self.server.folder, *arguments, environ=environ, stdin=stdin)
        assert "Traceback" not in done.stderr, done.stderr
        return done.stdout + done.stderr

    @property
    def secret(self) -> set[str]:
        """Every piece of what may be written nowhere: secrets, and each credential that the parrot was sent."""
        texts = {*SECRETS.values(), *self.parrot.secrets, *self.parrot.credentials}
        texts |= {self.tenant.client_secret(name) for name in ("postern", "nightly-report")}
        lines = [line for text in texts for line in text.splitlines() if not line.startswith("-----")]
        return grams(*(part for line in lines for part in ([line] if line.count(".") < 2 else line.split(".")[1:])))

    def written(self) -> dict[str, str]:
        """Every file of the server's folder but those that its operator and its authors wrote."""
        own = {self.server.folder / "postern.toml", self.server.folder / "workflows"}
        files = [
            path
            for path in self.server.folder.rglob("*")
            if path.is_file() and not own & {path, *path.parents} and path.suffix != ".pyc"
        ]
        return {path.name: path.read_bytes().decode("latin-1") for path in files}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Everything is driven once; the tests look at what came of it."""
    folder = tmp_path_factory.mktemp("secrets")
    with serve(LocalTenant.open(tmp_path_factory.mktemp("tenant"))) as tenant, Parrot() as parrot:
        for name, value in SECRETS.items():
            tenant.put_secret(name, value)
        tenant.put_secret("nightly-report-client-secret", marker())
        (folder / "workflows").mkdir()
        (folder / "workflows" / "callers.py").write_text(WORKFLOWS, encoding="utf-8")
        (folder / "postern.toml").write_text(entries(parrot, tenant), encoding="utf-8")
        environ = {
            **settings_of(tenant, folder / "workflows"),
            "POSTERN_LOG_FORMAT": "json",
            "POSTERN_OPERATORS": tenant.people["ada"],
            "POSTERN_KEY_VAULT_URL": tenant.key_vault_url,
            "POSTERN_AZURE_CREDENTIAL": "client_secret",
            "AZURE_TENANT_ID": tenant.tenant_id,
            "AZURE_CLIENT_ID": tenant.client_id,
            "AZURE_CLIENT_SECRET": tenant.client_secret("postern"),
        }
        with running("serve", folder, environ) as server:
            site = Site(server, tenant, parrot, environ)
            drive(site)
            yield site


def drive(site: Site) -> None:
    """Every entry, with every outcome; several at a time, as most of them wait."""
    plan = [
        *(("reach", name, outcome) for name in CONNECTIONS for outcome in ("ok", "refused", "fails", "elsewhere")),
        *(("reach-in-a-step", name, "refused") for name in CONNECTIONS),
        *(("reach-in-time", name, "slow") for name in ("basic", "header-key", "oauth-body", "entra-secret")),
        *(
            (workflow, name, outcome)
            for name in TRIGGERS
            for outcome in ("ok", "later", "refused", "forbidden", "fails", "elsewhere")
            for workflow in ("trigger", "trigger-and-report")
        ),
        *(("trigger-in-time", name, "slow") for name in TRIGGERS),
        *(("read", name, "") for name in (*SECRETS, "there-is-none")),
    ]
    with ThreadPoolExecutor(8) as threads:
        site.runs += threads.map(lambda each: site.run(*each), plan)


def test_the_secrets_do_travel(site: Site):
    """So that the tests below are not of a server that makes no calls."""
    worked = [name for name in CONNECTIONS if site.statuses["reach", name, "ok"] == 200]
    assert set(worked) >= set(CONNECTIONS) - {"oauth-refused", "entra-wrong", "entra-certificate"}
    assert [site.statuses["trigger", name, "ok"] for name in TRIGGERS] == [200] * len(TRIGGERS)
    assert [site.statuses["trigger", name, "later"] for name in TRIGGERS] == [200] * len(TRIGGERS)
    arrived = "\n".join(site.parrot.credentials)
    for name in ("basic-password", "header-key", "query-key", "oauth-secret"):
        assert SECRETS[name] in arrived, name
    assert {status for (workflow, *_), status in site.statuses.items() if workflow.endswith("-in-time")} == {504}
    assert site.statuses["reach", "entra-wrong", "ok"] == site.statuses["reach", "oauth-refused", "ok"] == 500


def test_what_is_written_is_looked_at(site: Site):
    """A text that is no secret is found where it belongs."""
    everything = "".join(site.written().values())
    assert PUBLIC in everything
    assert any(name.endswith(("-wal", ".db")) for name in site.written())


def test_no_answer_has_a_secret_in_it(site: Site):
    assert not leaked(site.secret, "\n".join(site.answers))


def test_no_file_has_a_secret_in_it(site: Site):
    """The log, the database and its WAL."""
    secret = site.secret
    assert {name: found for name, text in site.written().items() if (found := leaked(secret, text))} == {}


def test_no_record_has_a_secret_in_it(site: Site):
    """As an operator sees them: one by one, in lists, and by a search."""
    secret = site.secret
    reported = [site.get(f"/runs/{run_id}") for run_id in site.runs]
    reported += [site.get("/runs?limit=100"), site.get("/refusals"), site.get("/workflows"), site.get("/audit")]
    assert not leaked(secret, "\n".join(reported))
    assert any('"error"' in text and "connections." in text for text in reported)
    assert site.get(f"/runs?text={SECRETS['plain']}").count('"id"') == 0


def test_no_metric_has_a_secret_in_it(site: Site):
    assert not leaked(site.secret, site.get("/metrics"))


@pytest.mark.parametrize(("number", "options"), [(1, []), (-1, ["--json"]), (2, ["--tree"])])
def test_no_run_that_is_shown_has_a_secret_in_it(site: Site, number: int, options: list[str]):
    run_id, token = site.runs[number], site.tenant.token("ada")
    shown = site.command("runs", "show", run_id, *options, "--token-file", "-", stdin=token)
    assert run_id in shown
    assert not leaked(site.secret, shown)


@pytest.mark.parametrize("arguments", [["connections"], ["connections", "--json"], ["secrets"], ["secrets", "--json"]])
def test_no_list_has_a_secret_in_it(site: Site, arguments: list[str]):
    shown = site.command(*arguments)
    assert "header-key" in shown
    assert not leaked(site.secret, shown)


@pytest.mark.parametrize(
    "entry", [*(f"connections.{name}" for name in CONNECTIONS), *map("triggers.{}".format, TRIGGERS)]
)
def test_no_stage_of_trying_out_has_a_secret_in_it(site: Site, entry: str):
    shown = site.command("connections", "test", entry)
    assert entry in shown
    assert not leaked(site.secret, shown)


@pytest.mark.last
def test_the_end_of_the_server_writes_no_secret(site: Site):
    """Last of all: what is written when it stops."""
    assert site.server.stop() == 0
    secret = site.secret
    assert {name: found for name, text in site.written().items() if (found := leaked(secret, text))} == {}
    assert "Traceback" not in site.server.output


def test_pieces_of_a_secret_would_be_found(tmp_path: Path):
    """The search itself: plain, and in the middle of something."""
    text: Any = SECRETS["plain"]
    assert leaked(grams(text), f"xx{text[5:30]}yy")
