"""Valid callers beside a flood of refused requests, at a real server."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import create_engine, func, select

from postern.journal import schema
from postern.local_tenant import LocalTenant
from tests.bench.client import Summary
from tests.bench.flood import forged
from tests.process.servers import ROOT, Server, environment, running, settings_of, until

TRIES = 4
"""A machine that others use is unfair now and then."""

LAST = ["nice", "-n", "10"]
"""What the clients of a flood run with: they take what other processes leave. In the field they have machines of their
own; here they would take the processors of the valid callers and of the journal. The flood is no smaller by that: its
clients mostly wait, because the server delays its refusals."""


@pytest.fixture
def server(tmp_path: Path, local_tenant: LocalTenant) -> Iterator[Server]:
    environ = {
        **settings_of(local_tenant, ROOT / "tests" / "bench" / "workflows"),
        "POSTERN_DATABASE_URL": f"sqlite:///{tmp_path / 'flood.db'}",
    }
    with running("serve", tmp_path, environ) as server:
        yield server


def load(server: Server, token: str, *options: str, before: Sequence[str] = ()) -> "subprocess.Popen[str]":
    """Clients that each send the next request when they have their answer."""
    command = [
        *before,
        sys.executable,
        "-m",
        "tests.bench.client",
        f"{server.address}/triggers/greet-on-record",
        *options,
    ]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment({"BENCH_TOKEN": token}), stdout=subprocess.PIPE, text=True
    )


def ended(client: "subprocess.Popen[str]") -> Summary:
    """What they got."""
    printed, _ = client.communicate(timeout=60)
    return Summary(**json.loads(printed))


def test_valid_callers_keep_half_of_their_rate_and_rejections_are_few_rows(
    server: Server, tmp_path: Path, local_tenant: LocalTenant
):
    """The rate beside the flood is compared with those before and after it: a machine that others use may have become
    slower meanwhile."""
    token = local_tenant.token("ada")
    server.answers("greet-on-record", 200, token, json={"name": "Ada"})

    def valid_rate() -> float:
        found = ended(load(server, token, "--connections", "16", "--seconds", "1"))
        assert set(found.statuses) == {"200"}
        return found.rate

    rates, refused = [valid_rate()], 0
    for _ in range(TRIES):
        floods = [
            load(server, bearer, "--connections", "32", "--seconds", "20", before=LAST)
            for bearer in (forged(token), "")
        ]
        until(partial(has_rejected, server, refused + 100))
        beside = valid_rate()
        for flood in floods:
            flood.terminate()
            found = ended(flood)
            assert set(found.statuses) == {"401"}
            refused += found.statuses["401"]
        alone = rates[-1]
        rates.append(beside)
        if beside < alone / 2:
            rates.append(valid_rate())
        if beside >= min(alone, rates[-1]) / 2:
            break
    else:
        pytest.fail(f"without and with the flood in turn: {rates}")
    assert server.stop() == 0
    engine = create_engine(f"sqlite:///{tmp_path / 'flood.db'}")
    with engine.connect() as connection:
        rows, total = connection.execute(select(func.count(), func.sum(schema.refusals.c["count"]))).one()
    engine.dispose()
    assert total == refused
    assert rows <= 4 * TRIES


def has_rejected(server: Server, count: int) -> bool:
    """Whether the server has refused more requests than that."""
    lines = server.client.get("/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if 'outcome="unauthenticated"' in line) > count
